# What the samples' token may do in Vault: read the bookshop's secrets, and write one of them (for the VaultTask).
path "secret/data/bookshop/*" {
  capabilities = ["read"]
}
path "secret/data/bookshop/report" {
  capabilities = ["read", "create", "update"]
}
# To find the current version of a secret before writing it, and to see a deleted one.
path "secret/metadata/bookshop/*" {
  capabilities = ["read"]
}
