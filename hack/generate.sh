#!/usr/bin/env bash
# Generates what follows from the sources, at the versions that hack/tools/codegen pins:
#
#   api/*/zz_generated.deepcopy.go   deepcopy functions, from the API types
#   config/crd/bases/*.yaml          CRDs, from the API types
#   config/rbac/role.yaml            the controller's rights, from +kubebuilder:rbac markers beside the code
#   internal/**/*.pb.go              the gRPC code, from the .proto files
#   config/argocd/argocd-cm.yaml     the ConfigMap that teaches Argo CD our kinds, from the Lua beside it
#   config/grafana/dashboard.json    the dashboard, from hack/tools/grafana
#
# Everything is made in a temporary directory first and replaces the old files at the end: a failure changes nothing,
# and what is no longer generated (the CRD of a kind that is gone) goes away.
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

# The one role that generated rules go to, unless a marker names another with roleName=. A marker with namespace= makes
# a Role in that namespace, the others a ClusterRole; all of them are in config/rbac/role.yaml.
ROLE=sallyport-controller
PROTOS=internal/resolver/api
LUA=config/argocd/resource_customizations/sallyport.dev

# path_of NAME prints the directory of a tool, so that progress and errors of its build stay visible.
path_of() { "$ROOT/hack/tools.sh" --path "$1"; }

# packages DIR… prints ./DIR/... for each directory that holds Go code.
packages() {
  local dir
  for dir in "$@"; do
    [[ -z $(find "$dir" -name '*.go' -print 2>/dev/null | head -n 1) ]] || echo "./$dir/..."
  done
}

generate_api() {
  say "[1/5] deepcopy functions and CRDs, from api/"
  "$CONTROLLER_GEN" paths=./api/... object:headerFile=hack/boilerplate.go.txt crd \
    output:object:dir="$OUT/deepcopy" output:crd:dir="$OUT/crd"
}

generate_rbac() {
  local paths=() path
  say "[2/5] RBAC roles, from the markers in controllers/ and internal/"
  while read -r path; do paths+=("paths=$path"); done < <(packages controllers internal)
  ((${#paths[@]} > 0)) || return 0
  "$CONTROLLER_GEN" "${paths[@]}" rbac:roleName="$ROLE" output:rbac:dir="$OUT/rbac"
}

generate_grpc() {
  say "[3/5] gRPC code, from $PROTOS"
  mkdir -p "$OUT/grpc"
  PATH=$PLUGINS:$PATH "$BUF" generate . --config hack/buf.yaml --template hack/buf.gen.yaml -o "$OUT/grpc"
  find "$OUT/grpc" -name '*.pb.go' | while read -r file; do
    without_strings <"$file" >"$file.new"
    mv "$file.new" "$file"
  done
}

# generate_argocd writes each health.lua and the actions of each kind into the data of the ConfigMap argocd-cm.
generate_argocd() {
  local kind action file=$OUT/argocd/argocd-cm.yaml
  say "[4/5] the ConfigMap of Argo CD, from $LUA"
  mkdir -p "$OUT/argocd"
  {
    printf '%s\n' '# Generated from resource_customizations. A patch: it leaves the rest of the ConfigMap as it is.' \
      'apiVersion: v1' 'kind: ConfigMap' 'metadata:' '  name: argocd-cm' '  namespace: argocd' '  labels:' \
      '    app.kubernetes.io/name: argocd-cm' '    app.kubernetes.io/part-of: argocd' 'data:'
    for kind in Connection VaultConfig VaultTask; do
      echo "  resource.customizations.health.sallyport.dev_$kind: |"
      indented 4 <"$LUA/$kind/health.lua"
      echo "  resource.customizations.actions.sallyport.dev_$kind: |"
      echo '    discovery.lua: |'
      indented 6 <"$LUA/$kind/actions/discovery.lua"
      echo '    definitions:'
      for action in "$LUA/$kind"/actions/*/action.lua; do
        echo "    - name: $(basename "$(dirname "$action")")"
        echo '      action.lua: |'
        indented 8 <"$action"
      done
    done
  } >"$file"
}

generate_dashboard() {
  say "[5/5] the dashboard, from hack/tools/grafana"
  mkdir -p "$OUT/grafana"
  "$DASHBOARD" >"$OUT/grafana/dashboard.json"
}

# indented N puts N blanks before each line that is not empty.
indented() { sed "s/^./$(printf '%*s' "$1" '')&/"; }

# without_strings takes the String methods of messages out of generated code. They would print a message's content,
# which is tokens and secrets here; a redacting String has to be written by hand, and without one the code does not
# compile.
without_strings() {
  awk '
    /^func \(x \*[A-Za-z0-9_]+\) String\(\) string \{$/ {
      head = $0
      getline
      if ($0 ~ /protoimpl\.X\.MessageStringOf\(x\)/) { getline; getline; next }
      print head
    }
    { print }'
}

# replace DIR PATTERN FROM makes the files of DIR that match PATTERN the same as those in FROM. Files that are the same
# already are left alone, so that nothing is rebuilt for their sake.
replace() {
  local dir=$1 pattern=$2 from=$3 file
  mkdir -p "$from"
  if [[ -d $dir ]]; then
    find "$dir" -maxdepth 1 -type f -name "$pattern" | while read -r file; do
      [[ -f $from/${file##*/} ]] || { rm "$file" && say "  removed $file"; }
    done
  fi
  find "$from" -maxdepth 1 -type f -name "$pattern" | while read -r file; do
    ! cmp -s "$file" "$dir/${file##*/}" || continue
    mkdir -p "$dir"
    cp "$file" "$dir/${file##*/}"
    say "  wrote $dir/${file##*/}"
  done
}

CONTROLLER_GEN=$(path_of controller-gen)
BUF=$(path_of buf)
PLUGINS=$(dirname "$(path_of protoc-gen-go)"):$(dirname "$(path_of protoc-gen-go-grpc)")

DASHBOARD=$(path_of dashboard)

OUT=$(mktemp -d "${TMPDIR:-/tmp}/sallyport-generate.XXXXXX")
trap 'rm -rf "$OUT"' EXIT

generate_api
generate_rbac
generate_grpc
generate_argocd
generate_dashboard

replace api/v1alpha1 'zz_generated.*.go' "$OUT/deepcopy"
replace config/crd/bases '*.yaml' "$OUT/crd"
replace config/rbac role.yaml "$OUT/rbac"
replace config/argocd argocd-cm.yaml "$OUT/argocd"
replace config/grafana dashboard.json "$OUT/grafana"
replace "$PROTOS/v1" '*.pb.go' "$OUT/grpc/$PROTOS/v1"
good "Generated files are current."
