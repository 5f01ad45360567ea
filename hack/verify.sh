#!/usr/bin/env bash
# Fails when something that follows from the sources is not what it should be: generated files, go.mod, formatting, links
# of the documentation. It works on a temporary copy, so the checkout never changes. Every check runs, and each failure names its cure.
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

# What the product never requires, not even indirectly: programs that only tests need, one of them under another
# licence.
FORBIDDEN='k8s\.io/kubernetes|github\.com/hashicorp/vault(/sdk)?'

# copy_sources DIR copies what git would commit; without git, all but what was built.
copy_sources() {
  mkdir -p "$1"
  if [[ $(git rev-parse --show-toplevel 2>/dev/null) == "$ROOT" ]]; then
    git ls-files -z --cached --others --exclude-standard
  else
    find . \( -path ./.git -o -path ./bin \) -prune -o -type f -print0
  fi | while IFS= read -r -d '' file; do
    # A file that was deleted but not yet committed is gone in the copy as well.
    [[ ! -e $file && ! -L $file ]] || printf '%s\0' "$file"
  done | tar -cf - --null -T - | tar -xf - -C "$1"
}

verify_generated() {
  copy_sources "$TEMP/a"
  cp -R "$TEMP/a" "$TEMP/b"
  if ! "$TEMP/b/hack/generate.sh" 2>"$TEMP/log"; then
    cat "$TEMP/log" >&2
    return 1
  fi
  (cd "$TEMP" && diff -ruN a b)
}

verify_tidy() { GOFLAGS=-mod=mod go mod tidy -diff; }

verify_requirements() {
  local found
  found=$(go mod edit -print | grep -nE "^(require)?[[:space:]]*($FORBIDDEN) v" || true)
  [[ -z $found ]] || { echo "$found"; return 1; }
}

verify_gofmt() {
  local found
  found=$(find . \( -path ./.git -o -path ./bin \) -prune -o -type f -name '*.go' -print0 | xargs -0 gofmt -l)
  [[ -z $found ]] || { echo "$found"; return 1; }
}

# verify_links has the site made without writing it.
verify_links() { "$(hack/tools.sh --path site)" -root .; }

# check LABEL CURE COMMAND… shows COMMAND's output, which says what is wrong, and the cure when it fails.
NUMBER=0 FAILED=0
check() {
  local label=$1 cure=$2
  shift 2
  NUMBER=$((NUMBER + 1))
  say "[$NUMBER/5] $label"
  "$@" && return
  warn "  not so: $label. Cure: $cure"
  FAILED=$((FAILED + 1))
}

TEMP=$(mktemp -d "${TMPDIR:-/tmp}/sallyport-verify.XXXXXX")
trap 'rm -rf "$TEMP"' EXIT

check "generated files are current" "run make generate and commit the result" verify_generated
check "go.mod and go.sum are tidy" "run go mod tidy and commit the result" verify_tidy
check "the product requires neither Kubernetes' nor Vault's server" \
  "a program that tests need belongs into a module of hack/tools" verify_requirements
check "Go files are formatted" "run gofmt -w on them" verify_gofmt
check "links of the documentation lead somewhere" "correct them; headings are named as GitHub does" verify_links
((FAILED == 0)) || die "$FAILED of $NUMBER checks failed"
good "All $NUMBER checks passed."
