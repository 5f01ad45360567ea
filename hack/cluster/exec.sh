#!/usr/bin/env bash
# Runs a command inside the node, with kubectl and vault set up for it:
#
#   hack/cluster/exec.sh kubectl get pods -A
#   hack/cluster/exec.sh vault kv get secret/oracle
#   hack/cluster/exec.sh bash
#
# Working directory, stdin, terminal and exit code are the caller's.
set -euo pipefail
# shellcheck source=hack/cluster/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

(($# > 0)) || die "usage: hack/cluster/exec.sh COMMAND [ARGUMENT…]"
need_root
need_node

export PATH=${CONTAINERD:+$CONTAINERD_BIN:}$BIN:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export KUBECONFIG=$CLUSTER/admin.kubeconfig
# What kubectl remembers of an API server must not outlive it: every fresh cluster has the same address.
export KUBECACHEDIR=$CLUSTER/kube-cache
export VAULT_ADDR=$VAULT_URL VAULT_CACERT=$PKI/vault-ca.crt
VAULT_TOKEN=$(cat "$VAULT_DIR/root-token" 2>/dev/null) || true
export VAULT_TOKEN
# For programs that stop and start components, or search the node's files.
export SALLYPORT_ROOT=$ROOT

! inside_node || exec "$@"
# --root, for whoever runs all this in a chroot. nsenter's own --wd would keep a directory of the mounts outside. /run
# is the node's own, so cd may fail.
# shellcheck disable=SC2016 # expanded by the inner shell
exec nsenter --target "$(node_pid)" --mount --root --net --pid --ipc --uts \
  bash -c 'cd "$1" 2>/dev/null || cd /; shift; exec "$@"' exec.sh "$PWD" "$@"
