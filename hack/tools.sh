#!/usr/bin/env bash
# Makes sure that the programs which the other commands need are there, and says what it does meanwhile.
#
#   hack/tools.sh [NAME… | envtest | node | codegen | containerd2 | all]   makes them available in $SALLYPORT_CACHE/bin
#   hack/tools.sh --path NAME                                              the same for one, and prints its path
#   hack/tools.sh --assets                                                 etcd, kube-apiserver, kubectl; prints KUBEBUILDER_ASSETS
#
# Kubernetes and Vault have several sources, because machines differ in what they may reach. In this order: what is
# on the machine already, what an earlier run left in the cache, the usual download (envtest's programs only), and
# a build from Go modules, which works wherever a Go module proxy does. Programs whose version changes their output
# (code generators, the linter) are always built at the version that their module pins.
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

TOOLS_DIR=$ROOT/hack/tools
KUBERNETES_DIR=$TOOLS_DIR/${OTHER_KUBERNETES:+other/}kubernetes$OTHER_KUBERNETES
SETUP_ENVTEST=sigs.k8s.io/controller-runtime/tools/setup-envtest@v0.25.1

ENVTEST=(etcd kube-apiserver kubectl)
NODE=("${ENVTEST[@]}" kubelet kube-controller-manager kube-scheduler kube-proxy kube-network-policies vault)
CODEGEN=(controller-gen buf protoc-gen-go protoc-gen-go-grpc dashboard site)
AGE=(age age-keygen)
RELEASE=(helm registry)
PROMETHEUS=(prometheus promtool)
CONTAINERD2=(containerd ctr containerd-shim-runc-v2 runc)
# Without rollouts-controller and containerd 2, which only the long tests need.
ALL=("${NODE[@]}" "${CODEGEN[@]}" golangci-lint actionlint argocd "${AGE[@]}" "${RELEASE[@]}" "${PROMETHEUS[@]}")

# module_version MODULE_DIR MODULE prints the version that MODULE_DIR/go.mod pins.
module_version() { awk -v m="$2" '{ sub(/^require[ \t]+/, ""); if ($1 == m) { print $2; exit } }' "$1/go.mod"; }

# describe NAME sets what is known of one program:
#   SOURCES  where it may come from: "any" (the machine, a download, a build) or "build" (the pinned version only)
#   MODULE_DIR, PACKAGE, FLAGS, CGO  how to build it;  VERSION  what go.mod pins;  COST  what a cold build takes on two cores
#   LINKS  the directory for the link to it
describe() {
  SOURCES=build COST='a minute or less' FLAGS=(-trimpath -ldflags '-s -w') CGO=$CGO_ENABLED LINKS=$BIN
  case $1 in
    kube-network-policies)
      MODULE_DIR=$TOOLS_DIR/networkpolicies PACKAGE=sigs.k8s.io/kube-network-policies/cmd
      VERSION=$(module_version "$MODULE_DIR" sigs.k8s.io/kube-network-policies) ;;
    etcd | kube* )
      describe_kubernetes "$1" ;;
    vault)
      SOURCES=any MODULE_DIR=$TOOLS_DIR/vault PACKAGE=github.com/hashicorp/vault COST='about 7 minutes'
      FLAGS=(-trimpath -ldflags '-s -w')
      VERSION=$(module_version "$MODULE_DIR" "$PACKAGE") ;;
    controller-gen)
      describe_codegen sigs.k8s.io/controller-tools cmd/controller-gen ;;
    buf)
      describe_codegen github.com/bufbuild/buf cmd/buf ;;
    protoc-gen-go)
      describe_codegen google.golang.org/protobuf cmd/protoc-gen-go ;;
    protoc-gen-go-grpc)
      describe_codegen google.golang.org/grpc/cmd/protoc-gen-go-grpc '' ;;
    age | age-keygen)
      SOURCES=any MODULE_DIR=$TOOLS_DIR/age PACKAGE=filippo.io/age/cmd/$1
      VERSION=$(module_version "$MODULE_DIR" filippo.io/age) ;;
    argocd)
      MODULE_DIR=$TOOLS_DIR/argocd PACKAGE=github.com/argoproj/argo-cd/v3/cmd COST='about 3 minutes'
      VERSION=$(module_version "$MODULE_DIR" github.com/argoproj/argo-cd/v3) ;;
    rollouts-controller)
      describe_helper rollouts github.com/argoproj/argo-rollouts cmd/rollouts-controller
      COST='about 4 minutes' ;;
    containerd | ctr | containerd-shim-runc-v2)
      describe_helper containerd github.com/containerd/containerd/v2 "cmd/$1"
      FLAGS=(-trimpath -ldflags "-s -w -X github.com/containerd/containerd/v2/version.Version=${VERSION#v}")
      LINKS=$CONTAINERD_BIN ;;
    runc)
      # Without seccomp it would start no container that asks for RuntimeDefault; hack/packages.sh runc has what that needs.
      describe_helper runc github.com/opencontainers/runc ''
      FLAGS+=(-tags seccomp) CGO=1 LINKS=$CONTAINERD_BIN ;;
    helm)
      describe_helper helm helm.sh/helm/v4 cmd/helm
      COST='about 3 minutes' ;;
    registry)
      describe_helper registry github.com/distribution/distribution/v3 cmd/registry
      COST='about 2 minutes' ;;
    prometheus | promtool)
      describe_helper prometheus github.com/prometheus/prometheus "cmd/$1"
      COST='about 5 minutes; the two share most of it' ;;
    dashboard)
      MODULE_DIR=$TOOLS_DIR/grafana PACKAGE=. VERSION=devel ;;
    release | site)
      MODULE_DIR=$TOOLS_DIR/$1 PACKAGE=. VERSION=devel ;;
    actionlint)
      describe_helper actionlint github.com/rhysd/actionlint cmd/actionlint ;;
    golangci-lint)
      MODULE_DIR=$TOOLS_DIR/lint PACKAGE=github.com/golangci/golangci-lint/v2/cmd/golangci-lint COST='about 4 minutes'
      VERSION=$(module_version "$MODULE_DIR" github.com/golangci/golangci-lint/v2)
      # With plugins compiled in, the main package is our own.
      [[ ! -d $MODULE_DIR/cmd/golangci-lint ]] || PACKAGE=./cmd/golangci-lint ;;
    *)
      die "unknown program $1; known are: ${ALL[*]}" ;;
  esac
}

describe_kubernetes() {
  SOURCES=any MODULE_DIR=$KUBERNETES_DIR PACKAGE=k8s.io/kubernetes/cmd/$1
  VERSION=$(module_version "$MODULE_DIR" k8s.io/kubernetes)
  local minor=${VERSION#v1.} stamp=k8s.io/component-base/version
  FLAGS=(-trimpath -ldflags "-s -w -X $stamp.gitVersion=$VERSION -X $stamp.gitMajor=1 -X $stamp.gitMinor=${minor%%.*}")
  case $1 in
    etcd)
      MODULE_DIR=$TOOLS_DIR/kubernetes PACKAGE=go.etcd.io/etcd/server/v3 VERSION=$(module_version "$MODULE_DIR" "$PACKAGE") ;;
    kube-apiserver)
      COST='about 5 minutes; the other Kubernetes programs share most of it' ;;
    kube-controller-manager)
      COST='about 2 minutes' ;;
  esac
}

describe_codegen() { describe_helper codegen "$@"; }

# describe_helper DIR MODULE PACKAGE is for what hack/tools/DIR pins as MODULE.
describe_helper() {
  MODULE_DIR=$TOOLS_DIR/$1 PACKAGE=$2${3:+/$3}
  VERSION=$(module_version "$MODULE_DIR" "$2")
}

# tool_dir NAME is where its build is kept. The key holds everything that decides the outcome, so a changed pin is
# a new directory and two checkouts with different pins can share a cache.
tool_dir() {
  local key
  key=$({
    printf '%s\n' "$PACKAGE" "${FLAGS[@]}" "$(go env GOVERSION GOOS GOARCH)"
    find "$MODULE_DIR" -type f \( -name '*.go' -o -name 'go.mod' -o -name 'go.sum' \) | LC_ALL=C sort | while read -r file; do cat "$file"; done
  } | sha256)
  echo "$SALLYPORT_CACHE/programs/$1-$VERSION-$key"
}

# build_tool NAME MODULE_DIR PACKAGE [FLAG…] builds PACKAGE of that module as DIR/NAME, DIR being $TOOL_DIR.
build_tool() {
  local name=$1 module=$2 package=$3 tmp log
  shift 3
  mkdir -p "$SALLYPORT_CACHE/programs" "$SALLYPORT_CACHE/logs"
  tmp=$(mktemp -d "$SALLYPORT_CACHE/programs/.$name.XXXXXX") log=$SALLYPORT_CACHE/logs/build-$name.log
  if ! with_progress "$PROGRESS $name $VERSION: building from Go modules ($COST, once)" "$log" \
    env "CGO_ENABLED=$CGO" go build -C "$module" "$@" -o "$tmp/$name" "$package"; then
    rm -rf "$tmp"
    die "$name could not be built from $package $VERSION; it is looked for on PATH first, if you have one"
  fi
  chmod 755 "$tmp"
  rm -rf "$TOOL_DIR"
  mv "$tmp" "$TOOL_DIR"
}

# on_machine NAME prints the path of a usable NAME that was installed by other means.
on_machine() {
  local dir candidate
  while read -r dir; do
    candidate=$dir/$1
    case $dir in '' | "$SALLYPORT_CACHE"*) continue ;; esac
    if [[ -x $candidate ]] && usable "$1" "$candidate"; then
      echo "$candidate"
      return
    fi
  done < <(printf '%s' "${KUBEBUILDER_ASSETS:-}:$PATH:" | tr : '\n')
  return 1
}

# usable NAME PATH: the same minor version for Kubernetes, because API and flags follow it; for etcd and Vault any
# version that still does what is asked of it here.
usable() {
  local found
  case $1 in
    kubectl) found=$("$2" version --client 2>/dev/null) || return 1 ;;
    *) found=$("$2" --version 2>/dev/null) || return 1 ;;
  esac
  found=$(sed -nE 's/^[^0-9]*v?([0-9]+\.[0-9]+)\..*/\1/p' <<<"$found" | head -n 1)
  case $1 in
    kube*) [[ v$found == "${VERSION%.*}" ]] ;;
    etcd) at_least "$found" 3 5 ;;
    vault) at_least "$found" 1 15 ;;
    age*) at_least "$found" 1 0 ;;
  esac
}

at_least() { [[ $1 == *.* ]] && ((${1%%.*} > $2 || (${1%%.*} == $2 && ${1#*.} >= $3))); }

# download_envtest fetches envtest's three programs with setup-envtest. Tried once per run: where it is refused,
# that takes a second or two, and the build follows.
ENVTEST_TRIED=''
download_envtest() {
  local name dir version=$VERSION log=$SALLYPORT_CACHE/logs/setup-envtest.log
  [[ -z $ENVTEST_TRIED && " ${ENVTEST[*]} " == *" $1 "* ]] || return 1
  ENVTEST_TRIED=yes
  version=$(module_version "$KUBERNETES_DIR" k8s.io/kubernetes)
  mkdir -p "$SALLYPORT_CACHE/logs"
  say "$PROGRESS $1: asking setup-envtest for Kubernetes ${version%.*} …"
  if ! dir=$(fetch_envtest "${version%.*}" 2>"$log") || [[ ! -x $dir/$1 ]]; then
    say "  ${DIM}not available here: $(grep -vE '^(go: |exit status)' "$log" | tail -n 1 | cut -c1-160)${PLAIN}"
    return 1
  fi
  for name in "${ENVTEST[@]}"; do install_copy "$name" "$dir/$name"; done
}

fetch_envtest() {
  local limit=()
  ! have timeout || limit=(timeout 300)
  ${limit[@]+"${limit[@]}"} go run "$SETUP_ENVTEST" use "${1#v}.x!" --bin-dir "$SALLYPORT_CACHE/envtest" -p path
}

# install_copy NAME FILE puts a downloaded program where its own build would be, so that the next run finds it.
install_copy() {
  local dir tmp
  describe "$1"
  dir=$(tool_dir "$1")
  [[ ! -x $dir/$1 ]] || return 0
  mkdir -p "$SALLYPORT_CACHE/programs"
  tmp=$(mktemp -d "$SALLYPORT_CACHE/programs/.$1.XXXXXX")
  chmod 755 "$tmp"
  cp "$2" "$tmp/$1"
  mv "$tmp" "$dir"
}

# ensure NAME leaves the program's path in TOOL_PATH and a link in its directory, which is $BIN for most.
ensure() {
  local name=$1
  describe "$name"
  if [[ $SOURCES == any ]] && TOOL_PATH=$(on_machine "$name"); then
    say "$PROGRESS $name: using $TOOL_PATH"
  else
    [[ -f $MODULE_DIR/go.mod ]] || die "$name: there is no $MODULE_DIR/go.mod that says how to build it"
    TOOL_DIR=$(tool_dir "$name")
    TOOL_PATH=$TOOL_DIR/$name
    if [[ -x $TOOL_PATH ]]; then
      : # in the cache
    elif [[ $SOURCES == any ]] && download_envtest "$name"; then
      say "  ${DIM}downloaded${PLAIN}"
    else
      describe "$name"
      build_tool "$name" "$MODULE_DIR" "$PACKAGE" "${FLAGS[@]}"
    fi
  fi
  link "$TOOL_PATH" "$LINKS/$name"
  [[ " ${ENVTEST[*]} " != *" $name "* ]] || link "$TOOL_PATH" "$ASSETS/$name"
}

# link TARGET LINK replaces LINK in one step: another run may be starting the program right now.
link() {
  [[ "$(readlink "$2" 2>/dev/null)" != "$1" ]] || return 0
  mkdir -p "$(dirname "$2")"
  ln -s "$1" "$2.$$"
  mv -f "$2.$$" "$2"
}

ensure_each() {
  local name number=0
  for name in "$@"; do
    number=$((number + 1)) PROGRESS="[$number/$#]"
    ensure "$name"
  done
  [[ -n $QUIET ]] || say "Programs: $# of $# are there ($LINKS)"
}

# expand turns group names into program names.
expand() {
  local name
  for name in "$@"; do
    case $name in
      envtest) printf '%s\n' "${ENVTEST[@]}" ;;
      node) printf '%s\n' "${NODE[@]}" ;;
      codegen) printf '%s\n' "${CODEGEN[@]}" ;;
      containerd2) printf '%s\n' "${CONTAINERD2[@]}" ;;
      all) printf '%s\n' "${ALL[@]}" ;;
      *) printf '%s\n' "$name" ;;
    esac
  done
}

print_path() {
  PROGRESS="[1/1]" QUIET=yes
  ensure "$1"
  echo "$TOOL_PATH"
}

print_assets() {
  QUIET=yes
  ensure_each "${ENVTEST[@]}"
  echo "$ASSETS"
}

have go || die "go is not on PATH; see https://go.dev/doc/install"
QUIET=''
[[ -z ${KUBERNETES:-} || -f $KUBERNETES_DIR/go.mod && -n $OTHER_KUBERNETES ]] ||
  die "KUBERNETES is $KUBERNETES; $TOOLS_DIR/other has: $(cd "$TOOLS_DIR/other" && printf '%s ' kubernetes-*)"
case ${1:-all} in
  --path) with_lock tools print_path "${2:?usage: hack/tools.sh --path NAME}" ;;
  --assets) with_lock tools print_assets ;;
  -*) die "usage: hack/tools.sh [NAME… | envtest | node | codegen | containerd2 | all | --path NAME | --assets]" ;;
  *)
    names=()
    while read -r name; do names+=("$name"); done < <(expand "${@:-all}")
    with_lock tools ensure_each "${names[@]}" ;;
esac
