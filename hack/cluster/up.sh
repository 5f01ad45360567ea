#!/usr/bin/env bash
# Starts a real one-node Kubernetes cluster and a real Vault on this machine, from nothing: etcd, API server,
# controller manager, scheduler, containerd, kubelet, kube-proxy, kube-network-policies. Whatever an earlier run left is removed first.
#
# It needs root, a Linux machine, the packages that hack/packages.sh installs and the programs that hack/tools.sh
# finds or makes; it calls both. hack/cluster/exec.sh runs commands inside, hack/cluster/down.sh ends it.
#
#   hack/cluster/up.sh [--no-hints]
#
# CONTAINERD=2, there and for the other scripts, has it run containerd 2 and not the machine's containerd.
set -euo pipefail
# shellcheck source=hack/cluster/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
# shellcheck source=hack/cluster/pki.sh
source "$CLUSTER_SCRIPTS/pki.sh"
# shellcheck source=hack/cluster/config.sh
source "$CLUSTER_SCRIPTS/config.sh"

component() { "$CLUSTER_SCRIPTS/component.sh" "$@"; }
inside() { "$CLUSTER_SCRIPTS/exec.sh" "$@"; }

now() { date +%s%N; }

# step LABEL COMMAND… runs COMMAND and says how long it took. COMMAND stands alone, not in a condition: bash ignores
# failures in the middle of a function that is called in one.
STEP=''
step() {
  local start
  STEP=$1 start=$(now)
  shift
  "$@"
  printf '  %-44s %5.1f s\n' "$STEP" "$((($(now) - start) / 100000000))e-1" >&2
  STEP=''
}

say_where() {
  [[ -z $STEP ]] || warn "Starting the cluster failed at: $STEP. Logs: $LOGS"
}

prepare_state() {
  rm -rf "$CLUSTER"
  (umask 077 && mkdir -p "$CLUSTER")
  mkdir -p "$LOGS" "$RUN" "$CLUSTER/etcd"
  chmod 700 "$CLUSTER/etcd"
}

start_node() {
  local outer pid deadline=$((SECONDS + 20))
  setsid unshare --mount --net --pid --ipc --uts --fork --kill-child --mount-proc \
    "$CLUSTER_SCRIPTS/node.sh" "$CLUSTER" </dev/null >"$LOGS/node.log" 2>&1 &
  outer=$!
  until [[ -e $RUN/prepared ]]; do
    if ! kill -0 "$outer" 2>/dev/null || ((SECONDS > deadline)); then
      cat "$LOGS/node.log" >&2
      return 1
    fi
    sleep 0.05
  done
  pid=$(pgrep -P "$outer")
  network_namespace "$pid" >"$RUN/namespace"
  echo "$pid" >"$RUN/node.pid"
}

launch() {
  local name
  for name in "$@"; do component launch "$name"; done
}

# set_up_vault does what an administrator does once: initialise, unseal, audit, and the engines of the examples.
set_up_vault() {
  component wait vault
  (
    umask 077
    inside vault operator init -key-shares=1 -key-threshold=1 -format=json >"$VAULT_DIR/init.json"
    jq -r '.unseal_keys_b64[0]' "$VAULT_DIR/init.json" >"$VAULT_DIR/unseal-key"
    jq -r .root_token "$VAULT_DIR/init.json" >"$VAULT_DIR/root-token"
  )
  component vault-unseal
  {
    inside vault audit enable file "file_path=$VAULT_DIR/audit.log"
    inside vault secrets enable -path=secret -version=2 kv
    inside vault secrets enable -path=kv -version=1 kv
  } >>"$LOGS/vault.log" 2>&1
}

node_ready() {
  local deadline=$((SECONDS + 90))
  component wait kubelet
  until inside kubectl get node "$NODE_NAME" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || component_failed kubelet
    sleep 0.2
  done
  inside kubectl wait --for=condition=Ready "node/$NODE_NAME" --timeout=90s >/dev/null || component_failed kubelet
}

component_failed() {
  warn "$1 did not get there. The end of $LOGS/$1.log:"
  tail -n 20 "$LOGS/$1.log" | cut -c1-400 | sed 's/^/  | /' >&2
  return 1
}

# Pods can be created only once the controller manager has made the namespace's service account.
service_account_ready() {
  local deadline=$((SECONDS + 60))
  until inside kubectl get serviceaccount default >/dev/null 2>&1; do
    ((SECONDS < deadline)) || component_failed kube-controller-manager
    sleep 0.2
  done
}

up() {
  step 'removing what an earlier run left' quietly "$CLUSTER_SCRIPTS/down.sh"
  step 'keys, certificates, configuration' fresh_files
  step 'namespaces, mounts, network' start_node
  launch etcd containerd vault
  # Vault needs nothing of the others, and takes a few seconds to elect itself.
  set_up_vault &
  local vault=$!
  step etcd component wait etcd
  launch kube-apiserver
  step "containerd $(inside containerd --version | awk '{print $3}')" component wait containerd
  step 'images' "$CLUSTER_SCRIPTS/images.sh"
  step "kube-apiserver $(version_of kube-apiserver)" component wait kube-apiserver
  launch kube-controller-manager kube-scheduler kubelet
  step kube-controller-manager component wait kube-controller-manager
  step kube-scheduler component wait kube-scheduler
  step "kubelet $(version_of kubelet), node Ready" node_ready
  launch kube-proxy
  step "kube-proxy" component wait kube-proxy
  step "kube-network-policies" component start kube-network-policies
  step 'service account for pods' service_account_ready
  step "Vault $("$BIN/vault" version | awk '{print $2}' | tr -d ,), unsealed" wait "$vault"
}

containerd2() {
  [[ $CONTAINERD == 2 ]] || die "CONTAINERD is $CONTAINERD; it may be 2, or nothing for the containerd of this machine"
  "$ROOT/hack/packages.sh" runc
  "$ROOT/hack/tools.sh" containerd2
}

quietly() { "$@" 2>/dev/null || "$@"; }

fresh_files() {
  prepare_state
  (umask 077 && make_pki && write_configs)
}

version_of() { "$BIN/$1" --version | awk '{print $2}'; }

hints() {
  cat >&2 <<TEXT

The cluster runs. From here:
  hack/cluster/exec.sh kubectl get pods -A        any command, inside the node
  hack/cluster/exec.sh vault kv list secret/      vault has its address and root token set
  hack/cluster/exec.sh bash                       a shell in there; KUBECONFIG=$CLUSTER/admin.kubeconfig
  hack/cluster/component.sh restart kubelet       one program of the node
  hack/cluster/down.sh                            the end of it
Logs, one file per program: $LOGS
TEXT
}

main() {
  local start
  start=$(now)
  trap say_where EXIT
  "$ROOT/hack/packages.sh"
  "$ROOT/hack/tools.sh" node
  [[ -z ${CONTAINERD:-} ]] || containerd2
  heading "Starting the cluster"
  up
  good "$(printf 'Ready after %.1f s.' "$((($(now) - start) / 100000000))e-1")"
  [[ $1 == --no-hints ]] || hints
}

need_root
! inside_node || die "run this outside the node"
with_lock "cluster-$CGROUP" main "${1:-}"
