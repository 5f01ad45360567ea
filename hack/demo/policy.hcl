path "secret/data/oracle" {
  capabilities = ["read"]
}
path "secret/metadata/oracle" {
  capabilities = ["read"]
}
