#!/usr/bin/env bash
# Makes everything that users install, from the commit that is checked out, in OUTPUT (dist): the image for linux/amd64 and
# linux/arm64, manifests, Helm chart, SBOMs, release notes, provenance, checksums. The same commit gives the same bytes.
#
#   hack/release.sh VERSION
#   hack/release.sh --push REPOSITORY [--plain-http]    sends image and chart that OUTPUT holds to a registry; the chart
#                                                       goes to charts/sallyport beside the image
#
# REPOSITORY (sallyport.dev/sallyport) is where the image will be pulled from, PLATFORMS what it is made for. SYSTEMS
# (linux,darwin,windows) is what kubectl's plugin is made for, DOWNLOADS where kubectl krew will find its archives.
# SALLYPORT_SIGNING_KEY, a private key in PEM or the file that holds it, signs checksums and image as cosign does.
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

OUTPUT=${OUTPUT:-$ROOT/dist}
program=$(hack/tools.sh --path release)

if [[ ${1:-} == --push ]]; then
  usage='usage: hack/release.sh --push registry.example.com/sallyport [--plain-http]'
  [[ ${2:-} == */* && ${3:-} =~ ^(--plain-http)?$ ]] || die "$usage"
  helm=$(hack/tools.sh --path helm)
  "$program" push -from "$OUTPUT" -to "$2" ${3:+"-${3#--}"}
  "$helm" push "$OUTPUT"/sallyport-*.tgz "oci://${2%/*}/charts" ${3:+"$3"}
  exit
fi

# One version of Go compiles releases, wherever they are made: that of the Dockerfile.
GOTOOLCHAIN=go$(sed -nE 's/^FROM .*golang:([0-9.]+).*/\1/p' Dockerfile)
export GOTOOLCHAIN
heading "Release ${1:-}"
"$program" build -root "$ROOT" -output "$OUTPUT" -version "${1:-}" -repository "${REPOSITORY:-sallyport.dev/sallyport}" \
  -platforms "${PLATFORMS:-linux/amd64,linux/arm64}" -systems "${SYSTEMS:-linux,darwin,windows}" -downloads "${DOWNLOADS:-}"
good "$OUTPUT: $(find "$OUTPUT" -type f | wc -l | tr -d ' ') files"
