#!/usr/bin/env bash
# Shows what Sallyport costs where there is much of everything: simulated nodes with the node plugin's real code against
# two replicas of the controller, a real API server and a real Vault (test/scale):
#
#   hack/scale.sh
#
# By default 1,000 nodes mount 100,000 volumes with 20,000 secrets in 500 namespaces, with refreshInterval 180 s: time
# passes a third as fast as it would with the default. SCALE_NODES, SCALE_VOLUMES, SCALE_SECRETS and SCALE_NAMESPACES say
# how much there is, SCALE_INTERVAL the refreshInterval in seconds, SCALE_REST how long what rests is watched,
# SCALE_OUTAGE how long the replicas are away, and SCALE_MEMORY the memory limit of a replica in MiB. It tells every ten
# seconds how far it is, prints a table, writes SCALE_OUTPUT (bin/scale) with the logs of the replicas, and fails if a
# limit is not held. It is no part of `make test`.
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

KUBEBUILDER_ASSETS=$(hack/tools.sh --assets)
VAULT_BINARY=$(hack/tools.sh --path vault)
SALLYPORT_BINARY=$ROOT/bin/sallyport
SCALE_OUTPUT=${SCALE_OUTPUT:-$ROOT/bin/scale}
export KUBEBUILDER_ASSETS VAULT_BINARY SALLYPORT_BINARY SCALE_OUTPUT

make --no-print-directory build
go test -c -o bin/scale.test ./test/scale
rm -rf "$SCALE_OUTPUT"
# Each node has a connection and two sockets.
ulimit -n "$(ulimit -Hn)"
heading "Scale"
(cd test/scale && exec "$ROOT/bin/scale.test" -test.timeout=8h </dev/null)
