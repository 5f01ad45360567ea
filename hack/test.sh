#!/usr/bin/env bash
# Runs one layer of tests with everything that it needs.
#
#   hack/test.sh unit           plain go test, with the race detector
#   hack/test.sh fuzz           the fuzz targets of expressions, templates and the writers of files, FUZZTIME each (30000x)
#   hack/test.sh integration    with a real API server and a real Vault, no node, with the race detector
#   hack/test.sh chart          the Helm chart, against what kustomize makes and a real API server
#   hack/test.sh alerts         the alerts of config/prometheus, by promtool
#   hack/test.sh release        what make release makes, twice; PLATFORMS (linux/amd64) is what for
#   hack/test.sh isolation      what a hostile tenant does, and what another one has meanwhile (root)
#   hack/test.sh e2e            on a real node of its own, which is gone afterwards
#   hack/test.sh soak           there, 20 minutes of roll-outs, crashes and outages; SALLYPORT_SOAK is how long
#   hack/test.sh upgrade        there, from the release before to this checkout and back, under pods; FORMER is its commit
#
# FOCUS='words' runs the specs of integration, chart, isolation or e2e whose names match. The end-to-end tests' node lives in
# SALLYPORT_CLUSTER_DIR, by default $SALLYPORT_CACHE/e2e, so that a running demo is not disturbed.
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

# Ginkgo colours its output even in a file.
[[ -t 1 ]] || export GINKGO_NO_COLOR=yes
IMAGE=${IMAGE:-sallyport.dev/sallyport:0.1.0}

# race_test is "go test" with the race detector, which needs cgo and a C compiler. Only programs of tests are built so:
# what is shipped, and all else that tests run, has no cgo.
race_test() { CGO_ENABLED=1 go test -race "$@"; }

plain_test() { go test "$@"; }

unit() {
  local packages=()
  while read -r package; do packages+=("$package"); done < <(test_packages ./... | cut -d' ' -f1 | grep -vE '/test/(integration|chart|alerts|release|isolation|e2e|bench)(/|$)')
  hack/packages.sh race
  heading "Unit tests"
  race_test "${packages[@]}"
  say "What measures memory, without the race detector"
  plain_test -run '^Test(MemoryIsChargedInFull|UnmountingWorksWithMemoryNearlyFull|WholeValuesAreWrittenWithoutCopies|MoreThanAVolumeHoldsIsNotWritten)$' \
    ./internal/node ./internal/projection
}

# fuzz looks for new inputs, for so many executions or so long. By default it counts: at the end of a time, Go before
# 1.27 takes a busy machine for a failure (go.dev/issue/75804). The seeds are unit tests. A failing input is written to
# testdata/fuzz beside the test. The targets of other packages are left to those who change them: all that they import
# would have to be compiled once more, for minutes.
fuzz() {
  local target file output status=0
  heading "Fuzzing, ${FUZZTIME:-30000x} each"
  while IFS=: read -r file target; do
    say "${file#./}: $target"
    output=$(go test "$(dirname "$file")" -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-30000x}" 2>&1) || { warn "$output" && status=1; }
  done < <(grep -rEo '^func Fuzz[A-Za-z0-9]+' --include='*_test.go' ./internal/expression ./internal/projection | sed 's/func //')
  return "$status"
}

# test_packages PATTERN prints import path and directory of each package that has tests.
test_packages() { go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}' "$1"; }

# suite_flags are for the specs' own program.
suite_flags() {
  printf '%s\n' -test.v -test.timeout=45m
  [[ -z ${FOCUS:-} ]] || printf '%s\n' "-ginkgo.focus=$FOCUS"
}

integration() {
  local assets vault
  assets=$(hack/tools.sh --assets)
  vault=$(hack/tools.sh --path vault)
  hack/packages.sh ldap
  hack/packages.sh database
  hack/tools.sh age age-keygen
  ARGOCD_BINARY=$(hack/tools.sh --path argocd)
  export ARGOCD_BINARY
  [[ $(uname -s) != Linux ]] || export_node
  hack/packages.sh race
  export KUBEBUILDER_ASSETS=$assets VAULT_BINARY=$vault
  heading "Integration tests: kube-apiserver $("$assets/kube-apiserver" --version | awk '{print $2}'), $("$vault" version | cut -d, -f1)"
  each_suite ./test/integration/... race_test run_here
}

chart() {
  local assets operator=github.com/prometheus-operator/prometheus-operator@v0.85.0
  assets=$(hack/tools.sh --assets)
  HELM_BINARY=$(hack/tools.sh --path helm)
  # Its CRDs, for the PodMonitor and the alerts.
  PROMETHEUS_OPERATOR=$(go mod download -json "$operator" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  [[ -d $PROMETHEUS_OPERATOR ]] || die "cannot download the module $operator"
  export HELM_BINARY PROMETHEUS_OPERATOR KUBEBUILDER_ASSETS=$assets
  heading "Helm chart: $("$HELM_BINARY" version --short)"
  each_suite ./test/chart plain_test run_here
}

alerts() {
  PROMTOOL_BINARY=$(hack/tools.sh --path promtool)
  export PROMTOOL_BINARY
  heading "Alerts"
  plain_test ./test/alerts
}

release() {
  HELM_BINARY=$(hack/tools.sh --path helm)
  REGISTRY_BINARY=$(hack/tools.sh --path registry)
  # Before the copies of the checkout ask for it.
  hack/tools.sh release
  export HELM_BINARY REGISTRY_BINARY PLATFORMS=${PLATFORMS:-linux/amd64}
  heading "Release for $PLATFORMS"
  each_suite ./test/release plain_test run_here
}

# isolation runs the programs that users run, so without the race detector. ISOLATION_LONG=yes attacks harder and longer.
isolation() {
  need_root
  KUBEBUILDER_ASSETS=$(hack/tools.sh --assets)
  VAULT_BINARY=$(hack/tools.sh --path vault)
  SALLYPORT_BINARY=$ROOT/bin/sallyport
  ISOLATION_OUTPUT=${ISOLATION_OUTPUT:-$ROOT/bin/isolation}
  export KUBEBUILDER_ASSETS VAULT_BINARY SALLYPORT_BINARY ISOLATION_OUTPUT
  make --no-print-directory build
  heading "Isolation of tenants"
  each_suite ./test/isolation/... plain_test run_here
}

# export_node is for the specs with real mounts.
export_node() {
  NODE_PATH=$(hack/node.sh)
  export NODE_PATH
}

# each_suite PACKAGES COMPILER RUNNER compiles every test package, then runs each suite. The first one runs in the open,
# and the others one after the other beside it, for each has an API server of its own and waits more than it works;
# their output comes when the first is over.
each_suite() {
  local line suites=() beside='' status=0 log=$ROOT/bin/suites.log
  mkdir -p bin
  while read -r line; do suites+=("$line"); done < <(test_packages "$1")
  ((${#suites[@]} > 0)) || die "there are no tests in $1"
  "$2" -c -o "$ROOT/bin/" "$1"
  if ((${#suites[@]} > 1)); then
    run_suites "$3" "${suites[@]:1}" >"$log" 2>&1 &
    beside=$!
    # shellcheck disable=SC2064 # the process of now
    trap "kill $beside 2>/dev/null || true" EXIT
  fi
  run_suites "$3" "${suites[0]}" || status=1
  if [[ -n $beside ]]; then
    wait "$beside" || status=1
    trap - EXIT
    cat "$log"
  fi
  return "$status"
}

# run_suites RUNNER SUITE… runs suites, each of which is "import-path directory", in their directories. The failure of
# one does not hide the others.
run_suites() {
  local runner=$1 suite package dir start status=0
  shift
  for suite in "$@"; do
    read -r package dir <<<"$suite"
    heading "${package#sallyport.dev/sallyport/}"
    start=$SECONDS
    (cd "$dir" && "$runner" "$ROOT/bin/${package##*/}.test") || status=1
    say "${package#sallyport.dev/sallyport/}: $((SECONDS - start)) s"
  done
  return "$status"
}

run_here() {
  local flags=()
  while read -r flag; do flags+=("$flag"); done < <(suite_flags)
  "$1" "${flags[@]}" </dev/null
}

run_in_node() {
  local flags=()
  while read -r flag; do flags+=("$flag"); done < <(suite_flags)
  "$ROOT/hack/cluster/exec.sh" "$1" "${flags[@]}" </dev/null
}

e2e() {
  local installation=${SALLYPORT_FORMER:-$ROOT/config/default}
  export SALLYPORT_CLUSTER_DIR=${SALLYPORT_CLUSTER_DIR:-$SALLYPORT_CACHE/e2e}
  need_root
  hack/packages.sh database
  PROMETHEUS_BINARY=$(hack/tools.sh --path prometheus)
  export PROMETHEUS_BINARY
  # Before anything else, so that a program that does not compile costs no wait.
  make --no-print-directory build
  trap after_e2e EXIT
  hack/cluster/up.sh --no-hints
  [[ -z ${SALLYPORT_FORMER:-} ]] || former_image
  make --no-print-directory image IMAGE="$IMAGE" >/dev/null
  heading "Installing ${installation#"$ROOT/"}"
  hack/cluster/exec.sh kubectl apply -k "$installation" >&2
  heading "End-to-end tests"
  each_suite ./test/e2e/... plain_test run_in_node
}

# soak has roll-outs, crashes and outages at random for SALLYPORT_SOAK, under pods with credentials that Vault makes.
soak() {
  export SALLYPORT_SOAK=${SALLYPORT_SOAK:-20m} FOCUS='A soak of mishaps'
  e2e
}

# upgrade begins with the release before, made from the history of this checkout, and its manifests.
upgrade() {
  local commit=${FORMER:-3a90b3f} former=$SALLYPORT_CACHE/former
  git cat-file -e "$commit^{commit}" 2>/dev/null || die "the release before is commit $commit, which is not in this clone; try: git fetch --unshallow"
  rm -rf "$former"
  mkdir -p "$former/upgrade"
  git archive "$commit" | tar -x -C "$former"
  printf '%s\n' 'resources: [../config/default]' 'images:' "- {name: ${IMAGE%:*}, newTag: former}" >"$former/upgrade/kustomization.yaml"
  export SALLYPORT_FORMER=$former/upgrade FOCUS='An upgrade'
  e2e
}

# former_image imports the image of the release before; make image builds bin/sallyport anew.
former_image() {
  say "Image ${IMAGE%:*}:former: from $(dirname "$SALLYPORT_FORMER")"
  go build -C "$(dirname "$SALLYPORT_FORMER")" -trimpath -ldflags '-s -w -X sallyport.dev/sallyport/internal/app.version=former' \
    -o "$ROOT/bin/sallyport" .
  hack/image.sh "${IMAGE%:*}:former" >/dev/null
}

# after_e2e runs however the tests ended. The logs of a failure outlive the next run.
after_e2e() {
  local status=$? kept
  trap - EXIT
  if ((status != 0)); then
    kept=$SALLYPORT_CACHE/failed/e2e-$(date +%Y%m%d-%H%M%S)
    save_state "$kept" || true
    warn "End-to-end tests failed. Logs, events and objects: $kept"
  fi
  hack/cluster/down.sh
  exit "$status"
}

save_state() {
  (umask 077 && mkdir -p "$1")
  hack/cluster/exec.sh kubectl get all,csidrivers,sallyport --all-namespaces -o wide >"$1/objects.txt" 2>&1 || true
  hack/cluster/exec.sh kubectl get sallyport --all-namespaces -o yaml >"$1/sallyport.yaml" 2>&1 || true
  hack/cluster/exec.sh kubectl get events --all-namespaces --sort-by=.lastTimestamp >"$1/events.txt" 2>&1 || true
  hack/cluster/exec.sh kubectl describe pods --all-namespaces >"$1/pods.txt" 2>&1 || true
  cp -R "$SALLYPORT_CLUSTER_DIR/logs" "$1/"
}

case ${1:-} in
  unit | fuzz | integration | chart | alerts | release | isolation | e2e | soak | upgrade) "$1" ;;
  *) die "usage: hack/test.sh unit|fuzz|integration|chart|alerts|release|isolation|e2e|soak|upgrade" ;;
esac
