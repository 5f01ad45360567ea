#!/usr/bin/env bash
# Measures Sallyport with a real API server and a real Vault, and for some of it on a real node:
#
#   hack/bench.sh                         everything
#   hack/bench.sh TestVaultConfigs        the measurements whose names match
#   hack/bench.sh TestPublish             mounting volumes, compared with a floor in the same run, and mounted volumes at rest (root)
#   hack/bench.sh TestConnections         10,000 Connections at rest
#   hack/bench.sh TestMountedConnections  10,000 Connections that are all mounted (root)
#   hack/bench.sh TestVaultTasks          1,000 VaultTasks at once
#   hack/bench.sh TestFinishedTasks       10,000 finished VaultTasks at rest, and a start of the controller with them
#   hack/bench.sh TestRollouts            tokens that restarts of the controller leave in Vault
#   hack/bench.sh TestVictim              what a tenant has while another one attacks, beside what it has at rest (root)
#   hack/bench.sh TestChange              from a change in Vault to the new file (root)
#   hack/bench.sh TestStart               from a pod's creation to Running, with and without volumes, on a real node (root)
#   hack/bench.sh TestReturn              from Vault's return to the start of the pods that waited, on a real node (root)
#
# Each prints a table and writes a JSON file to BENCH_OUTPUT (bin/bench), with the logs of controller and node plugin
# beside it, and fails if a limit is not held. It is no part of `make test`: it takes two hours, and its figures depend
# on the machine. BENCH_CONFIGS, BENCH_CONNECTIONS, BENCH_VOLUMES, BENCH_REPEAT, BENCH_ROLLOUTS, BENCH_TASKS, BENCH_PODS,
# BENCH_AT_ONCE, BENCH_CHANGES, BENCH_SECONDS and BENCH_ROWS make it shorter. The node lives in SALLYPORT_CLUSTER_DIR, by
# default $SALLYPORT_CACHE/bench, and is gone afterwards.
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

KUBEBUILDER_ASSETS=$(hack/tools.sh --assets)
VAULT_BINARY=$(hack/tools.sh --path vault)
SALLYPORT_BINARY=$ROOT/bin/sallyport
BENCH_OUTPUT=${BENCH_OUTPUT:-$ROOT/bin/bench}
IMAGE=${IMAGE:-sallyport.dev/sallyport:0.1.0}
export KUBEBUILDER_ASSETS VAULT_BINARY SALLYPORT_BINARY BENCH_OUTPUT

# ON_NODE are the measurements that run inside the node of hack/cluster.
ON_NODE='^Test(Start|Return)$'

# measure TESTS [PREFIX…] runs these measurements, by a program in front of them if there is one.
measure() {
  local tests=$1
  shift
  (cd test/bench && exec "$@" "$ROOT/bin/bench.test" -test.timeout=150m -test.run "^(${tests//$'\n'/|})\$" </dev/null)
}

on_node() {
  need_root
  export SALLYPORT_CLUSTER_DIR=${SALLYPORT_CLUSTER_DIR:-$SALLYPORT_CACHE/bench}
  trap hack/cluster/down.sh EXIT
  hack/cluster/up.sh --no-hints
  make --no-print-directory image IMAGE="$IMAGE" >/dev/null
  hack/cluster/exec.sh kubectl apply -k config/default >&2
  heading "Measuring on the node"
  measure "$1" "$ROOT/hack/cluster/exec.sh"
}

make --no-print-directory build
go test -c -o bin/bench.test ./test/bench
found=$(bin/bench.test -test.list "${1:-.}")
[[ -n $found ]] || die "there is no measurement whose name matches ${1:-.}"
status=0
without_node=$(grep -vE "$ON_NODE" <<<"$found" || true)
with_node=$(grep -E "$ON_NODE" <<<"$found" || true)
if [[ -n $without_node ]]; then
  heading "Measuring"
  measure "$without_node" || status=1
fi
if [[ -n $with_node && $EUID != 0 && -n $without_node ]]; then
  warn "What needs a node needs root, and was not measured: ${with_node//$'\n'/, }"
elif [[ -n $with_node ]]; then
  on_node "$with_node"
fi
exit "$status"
