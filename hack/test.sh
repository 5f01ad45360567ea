#!/usr/bin/env bash
# Runs one layer of tests with everything that it needs.
#
#   hack/test.sh unit           plain go test, with the race detector
#   hack/test.sh fuzz           the fuzz targets of expressions, templates and the writers of files, FUZZTIME each (30000x)
#   hack/test.sh integration    with a real API server and a real Vault, no node, with the race detector
#   hack/test.sh chart          the Helm chart, against what kustomize makes and a real API server
#   hack/test.sh alerts         the alerts of config/prometheus, by promtool
#   hack/test.sh release        what make release makes, twice; PLATFORMS (linux/amd64) is what for, SYSTEMS (linux) the plugin
#   hack/test.sh isolation      what a hostile tenant does, and what another one has meanwhile (root)
#   hack/test.sh e2e            on a real node of its own, which is gone afterwards
#   hack/test.sh install        there, a release from a registry, by the tutorial of README.md, word by word
#   hack/test.sh soak           there, 20 minutes of roll-outs, crashes and outages; SALLYPORT_SOAK is how long, SEED in which order
#   hack/test.sh rollouts       there, with the controller of Argo Rollouts
#   hack/test.sh imagevolume    there, with containerd 2, which mounts images
#   hack/test.sh openbao        the specs of test/integration/vault with an OpenBao, where the machine has one
#   hack/test.sh upgrade        there, from the release before to this checkout and back, under pods; FORMER is its commit
#
# FOCUS='words' runs the specs of integration, chart, isolation or e2e whose names match. The end-to-end tests' node lives in
# SALLYPORT_CLUSTER_DIR, by default $SALLYPORT_CACHE/e2e, so that a running demo is not disturbed. KUBERNETES=v1.34.x has
# it be of that version, CONTAINERD=2 run containerd 2.
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
  while read -r package; do packages+=("$package"); done < <(test_packages ./... | cut -d' ' -f1 | grep -vE '/test/(integration|chart|alerts|release|isolation|e2e|install|bench|scale)(/|$)')
  hack/packages.sh race
  # By default Gomega waits for a second, in which a machine that is busy does nothing at all.
  export GOMEGA_DEFAULT_EVENTUALLY_TIMEOUT=45s
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
  printf '%s\n' -test.v "-test.timeout=${TEST_TIMEOUT:-45m}"
  [[ -z ${TEST_TIMEOUT:-} ]] || printf '%s\n' "-ginkgo.timeout=$TEST_TIMEOUT"
  [[ -z ${SEED:-} ]] || printf '%s\n' "-ginkgo.seed=$SEED"
  [[ -z ${FOCUS:-} ]] || printf '%s\n' "-ginkgo.focus=$FOCUS"
  [[ -z ${ONLY_FILES:-} ]] || printf '%s\n' "-ginkgo.focus-file=$ONLY_FILES"
  [[ -z ${NO_FILES:-} ]] || printf '%s\n' "-ginkgo.skip-file=$NO_FILES"
}

# HALF are the files of test/integration that take half of its time. They run beside the others.
HALF='/integration/(lease|restart|vaulttask)[a-z_]*_test\.go'

integration() {
  local assets vault
  assets=$(hack/tools.sh --assets)
  vault=$(hack/tools.sh --path vault)
  hack/packages.sh ldap
  hack/packages.sh database
  hack/tools.sh age age-keygen
  ARGOCD_BINARY=$(hack/tools.sh --path argocd)
  # Its CRD, for the restarts of Rollouts.
  ARGO_ROLLOUTS=$(module_dir hack/tools/rollouts github.com/argoproj/argo-rollouts)
  export ARGOCD_BINARY ARGO_ROLLOUTS
  [[ $(uname -s) != Linux ]] || export_node
  hack/packages.sh race
  export KUBEBUILDER_ASSETS=$assets VAULT_BINARY=$vault
  heading "Integration tests: kube-apiserver $("$assets/kube-apiserver" --version | awk '{print $2}'), $("$vault" version | cut -d, -f1)"
  each_suite ./test/integration/... race_test run_here "$HALF"
}

# module_dir DIRECTORY MODULE[@VERSION] prints where the files of a module are; without a version it is the one that
# DIRECTORY/go.mod pins.
module_dir() {
  local dir
  dir=$(go mod download -C "$1" -json "$2" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  [[ -d $dir ]] || die "cannot download the module $2"
  echo "$dir"
}

chart() {
  local assets
  assets=$(hack/tools.sh --assets)
  HELM_BINARY=$(hack/tools.sh --path helm)
  # Its CRDs, for the PodMonitor and the alerts.
  PROMETHEUS_OPERATOR=$(module_dir . github.com/prometheus-operator/prometheus-operator@v0.85.0)
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
  export HELM_BINARY REGISTRY_BINARY PLATFORMS=${PLATFORMS:-linux/amd64} SYSTEMS=${SYSTEMS:-linux}
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

# each_suite PACKAGES COMPILER RUNNER [FILES] compiles every test package, then runs each suite. The first one runs in the
# open; beside it its specs in FILES and then the last suite, and beside both the other suites one after the other, for
# each has an API server of its own and waits more than it works. Their output comes when the first is over.
each_suite() {
  local line last suites=() beside=() process status=0 logs=$ROOT/bin/suites
  rm -rf "$logs"
  mkdir -p "$logs"
  while read -r line; do suites+=("$line"); done < <(test_packages "$1")
  ((${#suites[@]} > 0)) || die "there are no tests in $1"
  "$2" -c -o "$ROOT/bin/" "$1"
  if [[ -n ${4:-} ]]; then
    last=$((${#suites[@]} - 1))
    first_and_last "$3" "$4" "${suites[0]}" "${suites[last]}" >"$logs/first.log" 2>&1 &
    beside+=("$!")
    unset "suites[last]"
  fi
  if ((${#suites[@]} > 1)); then
    run_suites "$3" "${suites[@]:1}" >"$logs/others.log" 2>&1 &
    beside+=("$!")
  fi
  # shellcheck disable=SC2064 # the processes of now
  ((${#beside[@]} == 0)) || trap "kill ${beside[*]} 2>/dev/null || true" EXIT
  NO_FILES=${4:-} run_suites "$3" "${suites[0]}" || status=1
  if ((${#beside[@]} > 0)); then
    for process in "${beside[@]}"; do wait "$process" || status=1; done
    trap - EXIT
    cat "$logs"/*.log
  fi
  return "$status"
}

# first_and_last RUNNER FILES FIRST LAST
first_and_last() {
  local status=0
  ONLY_FILES=$2 run_suites "$1" "$3" || status=1
  run_suites "$1" "$4" || status=1
  return "$status"
}

# run_suites RUNNER SUITE… runs suites, each of which is "import-path directory", in their directories. The failure of
# one does not hide the others.
run_suites() {
  local runner=$1 suite package dir start status=0
  shift
  for suite in "$@"; do
    read -r package dir <<<"$suite"
    heading "${package#sallyport.dev/sallyport/}${ONLY_FILES:+, files $ONLY_FILES}"
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
  case $OTHER_KUBERNETES in -1.3[234]) installation=${SALLYPORT_FORMER:-$ROOT/config/before-1.35} ;; esac
  export SALLYPORT_CLUSTER_DIR=${SALLYPORT_CLUSTER_DIR:-$SALLYPORT_CACHE/e2e}
  need_root
  hack/packages.sh database
  hack/packages.sh argocd
  PROMETHEUS_BINARY=$(hack/tools.sh --path prometheus)
  ARGOCD_BINARY=$(hack/tools.sh --path argocd)
  # Its CRDs.
  ARGOCD_SOURCE=$(module_dir hack/tools/argocd github.com/argoproj/argo-cd/v3)
  export PROMETHEUS_BINARY ARGOCD_BINARY ARGOCD_SOURCE SALLYPORT_INSTALLATION=$installation
  # Before anything else, so that a program that does not compile costs no wait.
  make --no-print-directory build build-plugin
  trap after_e2e EXIT
  hack/cluster/up.sh --no-hints
  [[ -z ${SALLYPORT_FORMER:-} ]] || former_image
  make --no-print-directory image IMAGE="$IMAGE" >/dev/null
  heading "Installing ${installation#"$ROOT/"}"
  hack/cluster/exec.sh kubectl apply -k "$installation" >&2
  heading "End-to-end tests"
  each_suite ./test/e2e/... plain_test run_in_node
}

# install makes a release of this checkout as it stands, pushes it to a real registry beside the node, and does what the
# tutorial of README.md says. The tutorial writes files: it runs in the copy that the release was made of.
install() {
  local checkout=$SALLYPORT_CACHE/install
  export SALLYPORT_CLUSTER_DIR=${SALLYPORT_CLUSTER_DIR:-$SALLYPORT_CACHE/e2e}
  need_root
  hack/tools.sh helm registry release age age-keygen
  heading "A release of this checkout"
  copy_checkout "$checkout"
  (cd "$checkout" && PLATFORMS=linux/$(go env GOARCH) SYSTEMS=linux REPOSITORY=registry.example.com/sallyport hack/release.sh v0.2.0)
  trap after_e2e EXIT
  hack/cluster/up.sh --no-hints
  hack/cluster/component.sh start registry
  hack/cluster/exec.sh ctr --namespace k8s.io images tag sallyport.dev/demo-app:1 docker.io/library/busybox:1.37 >/dev/null
  # Of what Helm and the push ask for.
  export SSL_CERT_FILE=$SALLYPORT_CLUSTER_DIR/pki/registry-ca.crt
  OUTPUT=$checkout/dist hack/cluster/exec.sh "$checkout/hack/release.sh" --push registry.example.com/sallyport
  export TUTORIAL_CHECKOUT=$checkout HELM_CACHE_HOME=$checkout/.helm HELM_CONFIG_HOME=$checkout/.helm HELM_DATA_HOME=$checkout/.helm
  heading "Installing from a registry"
  each_suite ./test/install plain_test run_in_node
}

# copy_checkout DIR copies what git would commit now into DIR, and commits it there: a release is made of a commit.
copy_checkout() {
  rm -rf "$1"
  mkdir -p "$1"
  git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    [[ ! -e $file && ! -L $file ]] || printf '%s\0' "$file"
  done | tar -cf - --null -T - | tar -xf - -C "$1"
  git -C "$1" init --quiet
  git -C "$1" add --all
  git -C "$1" -c user.name=tests -c user.email=tests@example.com commit --quiet --message 'A release to test'
}

# soak has roll-outs, crashes and outages at random for SALLYPORT_SOAK, under pods with credentials that Vault makes. The
# specs know how long they may take.
soak() {
  export SALLYPORT_SOAK=${SALLYPORT_SOAK:-20m} FOCUS="${FOCUS:-A soak of mishaps}" TEST_TIMEOUT=24h
  e2e
}

# rollouts has the real controller of Argo Rollouts restart pods.
rollouts() {
  ROLLOUTS_BINARY=$(hack/tools.sh --path rollouts-controller)
  ARGO_ROLLOUTS=$(module_dir hack/tools/rollouts github.com/argoproj/argo-rollouts)
  export ROLLOUTS_BINARY ARGO_ROLLOUTS FOCUS='The controller of Argo Rollouts'
  e2e
}

# openbao runs the specs of what Sallyport does in a Vault in an OpenBao, where the machine has one: OPENBAO_BINARY, or bao on
# PATH. No registry has it, so that nothing here gets it.
openbao() {
  local bao assets
  bao=${OPENBAO_BINARY:-$(type -P bao || true)}
  if [[ -z $bao ]]; then
    warn "SKIPPED test/integration/vault with OpenBao: this machine has no program bao (OPENBAO_BINARY=/path/to/bao hack/test.sh openbao)"
    return
  fi
  assets=$(hack/tools.sh --assets)
  hack/packages.sh ldap
  hack/packages.sh database
  hack/tools.sh age age-keygen
  hack/packages.sh race
  export KUBEBUILDER_ASSETS=$assets VAULT_BINARY=$bao
  heading "Integration tests with OpenBao: $("$bao" version | cut -d, -f1)"
  each_suite ./test/integration/vault race_test run_here
}

# imagevolume has a pod take its first program from an image that is a volume.
imagevolume() {
  export CONTAINERD=2 FOCUS='sallyport-exec on a volume that is an image'
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
  unit | fuzz | integration | chart | alerts | release | isolation | e2e | install | soak | rollouts | imagevolume | openbao | upgrade) "$1" ;;
  *) die "usage: hack/test.sh unit|fuzz|integration|chart|alerts|release|isolation|e2e|install|soak|rollouts|imagevolume|openbao|upgrade" ;;
esac
