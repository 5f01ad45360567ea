#!/usr/bin/env bash
# Demonstrates Sallyport on this machine: a real Kubernetes node and a real Vault are started, Sallyport is installed as
# a user installs it, a pod mounts a Connection, its password is changed in Vault, the Vault token is renewed, and at
# the end everything that the node wrote to disk is searched for the passwords.
#
# Each command is shown as a user would type it, and then run. "hack/demo.sh walkthrough" is the part that runs inside
# the node, where kubectl and vault are set up; it can be repeated.
set -euo pipefail
# shellcheck source=hack/cluster/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster/env.sh"
cd "$ROOT"

IMAGE=${IMAGE:-sallyport.dev/sallyport:0.1.0}
# Beside Vault's own storage: the one place where the passwords may be.
PASSWORDS=$VAULT_DIR/demo-passwords

# show COMMAND… prints the command and runs it.
show() { show_as "$*" "$@"; }

# show_as TEXT COMMAND… is for a command whose text is not what the shell needs to see.
show_as() {
  printf '%s$ %s%s\n' "$BOLD" "$1" "$PLAIN"
  shift
  "$@"
}

chapter() { printf '\n%s── %s%s\n' "$GREEN" "$*" "$PLAIN"; }
note() { printf '%s%s%s\n' "$DIM" "$*" "$PLAIN"; }

# wait_until SECONDS WHAT COMMAND… repeats COMMAND until it succeeds and says how long that took.
wait_until() {
  local limit=$1 what=$2 start=$SECONDS
  shift 2
  until "$@"; do
    if ((SECONDS - start >= limit)); then
      warn "not after $limit s: $what"
      kubectl get vaultconfigs,connections,pods -o wide >&2 || true
      exit 1
    fi
    sleep 0.5
  done
  note "($what after $((SECONDS - start)) s)"
}

set_up() {
  chapter "A Kubernetes node and a Vault, for real, in namespaces of their own on this machine"
  # Before anything else, so that a program that does not compile costs no wait.
  with_progress 'Compiling Sallyport (some minutes the first time)' "$SALLYPORT_CACHE/logs/demo-build.log" make --no-print-directory build
  show hack/cluster/up.sh --no-hints
  show_as 'make image' without_output make --no-print-directory image IMAGE="$IMAGE"
}

without_output() { "$@" >/dev/null; }

install() {
  chapter "Install Sallyport"
  show kubectl apply -k config/default
  show kubectl -n sallyport-system rollout status deployment/sallyport-controller --timeout=120s
  show kubectl -n sallyport-system rollout status daemonset/sallyport-node --timeout=120s
  show kubectl -n sallyport-system get pods
}

prepare_vault() {
  chapter "A secret in Vault, and a token that may read it"
  PASSWORD=$(random_password)
  remember password "$PASSWORD"
  # shellcheck disable=SC2016 # shown, not expanded
  show_as 'vault kv put secret/oracle user=scott password="$PASSWORD"' \
    vault kv put secret/oracle user=scott password="$PASSWORD"
  show vault policy write oracle hack/demo/policy.hcl
  show_as 'vault token create -orphan -policy=oracle -ttl=40s -explicit-max-ttl=24h -field=token |
    kubectl create secret generic vault-token --from-file=token=/dev/stdin' make_token
  show_as "kubectl create configmap vault-ca --from-file=ca.crt=\$VAULT_CACERT" create_again \
    configmap vault-ca --from-file=ca.crt="$VAULT_CACERT"
}

random_password() { openssl rand -hex 12; }

# remember NAME VALUE notes what the scan at the end has to look for.
remember() { (umask 077 && echo "$1=$2" >>"$PASSWORDS"); }

make_token() {
  vault token create -orphan -policy=oracle -ttl=40s -explicit-max-ttl=24h -field=token |
    create_again secret generic vault-token --from-file=token=/dev/stdin
}

# create_again KIND … lets a create be repeated: "kubectl apply" would keep a second copy in an annotation.
create_again() {
  local name=$2
  [[ $1 != secret ]] || name=$3
  kubectl delete "$1" "$name" --ignore-not-found >/dev/null
  kubectl create "$@"
}

connect() {
  chapter "A VaultConfig and a Connection"
  show cat hack/demo/vaultconfig.yaml hack/demo/connection.yaml
  show kubectl apply -f hack/demo/vaultconfig.yaml -f hack/demo/connection.yaml
  show kubectl wait --for=condition=Ready vaultconfig/main connection/oracle --timeout=60s
  show kubectl get vaultconfigs,connections
  note "What Kubernetes knows of the value, and all it will ever know:"
  show kubectl get connection oracle -o 'jsonpath={.spec.value}{"\n"}'
}

mount_it() {
  chapter "A pod that mounts the Connection"
  kubectl delete pod app --ignore-not-found --wait >/dev/null
  show tail -n 14 hack/demo/app.yaml
  show kubectl apply -f hack/demo/app.yaml
  show kubectl wait --for=condition=Ready pod/app --timeout=60s
  # shellcheck disable=SC2016 # expanded in the pod
  show_as "kubectl exec app -- sh -c 'cd /connection; for f in *; do echo \"\$f = \$(cat \$f)\"; done'" \
    kubectl exec app -- sh -c 'cd /connection; for f in *; do echo "$f = $(cat $f)"; done'
  show kubectl exec app -- grep /connection /proc/mounts
  [[ $(mounted_password) == "$PASSWORD" ]] || die "the pod has another password than Vault"
}

mounted_password() { kubectl exec app -- cat /connection/password; }

change() {
  chapter "The password changes in Vault; the running pod sees it"
  PASSWORD=$(random_password)
  remember new-password "$PASSWORD"
  # shellcheck disable=SC2016 # shown, not expanded
  show_as 'vault kv put secret/oracle user=scott password="$NEW_PASSWORD"' \
    vault kv put secret/oracle user=scott password="$PASSWORD"
  wait_until 30 'the new password is in the pod' pod_has_password
  show kubectl exec app -- cat /connection/password
  echo
  show kubectl logs app
}

pod_has_password() { [[ $(mounted_password) == "$PASSWORD" ]]; }

renew() {
  chapter "The Vault token lives 40 seconds; Sallyport renews it"
  local before
  before=$(last_renewal)
  wait_until 60 'renewed' renewed_since "$before"
  show kubectl get vaultconfig main -o 'jsonpath={.status.token}{"\n"}'
  show kubectl get vaultconfigs,connections
}

last_renewal() { kubectl get vaultconfig main -o 'jsonpath={.status.token.lastRenewalTime}'; }

renewed_since() { local now; now=$(last_renewal); [[ -n $now && $now != "$1" ]]; }

# search runs outside the node: seen from there, its state directory holds what was written to disk, and none of the
# memory that only pods see.
search() {
  local canary=bin/canary
  chapter "Is there a copy of the passwords?"
  note "Searched: all that the node wrote to disk: etcd, the API server's audit log (every request and response in full), the"
  note "log of every program and container, the kubelet's and containerd's directories. Left out: Vault's own storage and"
  note "audit log, which is where the secret lives. In plain text, base64, hex, URL encoding and more."
  go build -o "$canary" ./test/canary/cmd
  show_as "bin/canary -values PASSWORDS -except $VAULT_DIR $CLUSTER" \
    "$canary" -values "$PASSWORDS" -except "$VAULT_DIR" "$CLUSTER"
  good "None."
  echo
  note "And would it have been found? What was never secret is, and so is the Vault token that we put in a Secret ourselves:"
  show_as "bin/canary -values - -expect $CLUSTER/etcd" "$canary" -values - -expect "$CLUSTER/etcd" < <(known_values)
}

known_values() {
  echo 'host=my-oracle-server'
  printf 'vault-token=%s\n' "$("$CLUSTER_SCRIPTS/exec.sh" kubectl get secret vault-token -o 'go-template={{.data.token | base64decode}}')"
}

walkthrough() {
  rm -f "$PASSWORDS"
  install
  prepare_vault
  connect
  mount_it
  change
  renew
}

farewell() {
  chapter "The end, after $SECONDS s. The node keeps running:"
  cat <<TEXT
  hack/cluster/exec.sh bash                             a shell in it, with kubectl and vault set up
  hack/cluster/exec.sh kubectl get connection oracle -o yaml
  hack/cluster/exec.sh kubectl -n sallyport-system logs deployment/sallyport-controller
  make demo-down                                        ends it; nothing is left behind
TEXT
}

case ${1:-} in
  '')
    need_root
    set_up
    hack/cluster/exec.sh hack/demo.sh walkthrough
    search
    farewell ;;
  walkthrough)
    inside_node || die "the walkthrough runs inside the node: hack/cluster/exec.sh hack/demo.sh walkthrough"
    walkthrough ;;
  *) die "usage: hack/demo.sh" ;;
esac
