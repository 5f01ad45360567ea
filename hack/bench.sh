#!/usr/bin/env bash
# Measures Sallyport with a real API server and a real Vault, and no node:
#
#   hack/bench.sh                    everything
#   hack/bench.sh TestVaultConfigs   the measurements whose names match
#   hack/bench.sh TestPublish        mounting volumes, compared with a floor in the same run (root)
#   hack/bench.sh TestConnections    10,000 Connections at rest
#   hack/bench.sh TestRollouts       tokens that restarts of the controller leave in Vault
#   hack/bench.sh TestVictim         what a tenant has while another one attacks, beside what it has at rest (root)
#
# Each prints a table and writes a JSON file to BENCH_OUTPUT (bin/bench), with the logs of controller and node plugin
# beside it, and fails if a limit is not held. It is no part of `make test`: it takes an hour, and its figures depend
# on the machine. BENCH_CONFIGS, BENCH_CONNECTIONS, BENCH_VOLUMES, BENCH_REPEAT, BENCH_ROLLOUTS, BENCH_TASKS,
# BENCH_SECONDS and BENCH_ROWS make it shorter.
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

KUBEBUILDER_ASSETS=$(hack/tools.sh --assets)
VAULT_BINARY=$(hack/tools.sh --path vault)
SALLYPORT_BINARY=$ROOT/bin/sallyport
BENCH_OUTPUT=${BENCH_OUTPUT:-$ROOT/bin/bench}
export KUBEBUILDER_ASSETS VAULT_BINARY SALLYPORT_BINARY BENCH_OUTPUT

make --no-print-directory build
go test -c -o bin/bench.test ./test/bench
heading "Measuring"
(cd test/bench && exec "$ROOT/bin/bench.test" -test.timeout=90m -test.run "${1:-.}" </dev/null)
