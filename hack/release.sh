#!/usr/bin/env bash
# Makes everything that users install, from the commit that is checked out, in OUTPUT (dist): the image for linux/amd64 and
# linux/arm64, manifests, Helm chart, SBOMs, release notes, provenance, checksums. The same commit gives the same bytes.
#
#   hack/release.sh VERSION
#   hack/release.sh --push REPOSITORY [--plain-http]    sends the image that OUTPUT holds to a registry
#
# REPOSITORY (sallyport.dev/sallyport) is where the image will be pulled from, PLATFORMS what it is made for.
# SALLYPORT_SIGNING_KEY, a private key in PEM or the file that holds it, signs checksums and image as cosign does.
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

OUTPUT=${OUTPUT:-$ROOT/dist}
program=$(hack/tools.sh --path release)

if [[ ${1:-} == --push ]]; then
  exec "$program" push -from "$OUTPUT" -to "${2:?usage: hack/release.sh --push REPOSITORY}" ${3:+"-${3#--}"}
fi

# One version of Go compiles releases, wherever they are made: that of the Dockerfile.
GOTOOLCHAIN=go$(sed -nE 's/^FROM .*golang:([0-9.]+).*/\1/p' Dockerfile)
export GOTOOLCHAIN
heading "Release ${1:-}"
"$program" build -root "$ROOT" -output "$OUTPUT" -version "${1:-}" -repository "${REPOSITORY:-sallyport.dev/sallyport}" \
  -platforms "${PLATFORMS:-linux/amd64,linux/arm64}"
good "$OUTPUT: $(find "$OUTPUT" -type f | wc -l | tr -d ' ') files"
