#!/usr/bin/env bash
# Builds the container image from what `make build` made in bin, keeps it as an archive in the cache, and
# imports it into the cluster if that runs. Prints the archive's path.
#
#   hack/image.sh IMAGE
set -euo pipefail
# shellcheck source=hack/cluster/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster/env.sh"
# shellcheck source=hack/cluster/containers.sh
source "$CLUSTER_SCRIPTS/containers.sh"

image=${1:?usage: hack/image.sh IMAGE}
[[ -x $ROOT/bin/sallyport && -x $ROOT/bin/sallyport-exec ]] || die "there is no bin/sallyport, or no bin/sallyport-exec; run make image, which builds them first"
[[ $EUID == 0 ]] || engine_docker || die "without a docker engine, building an image needs root; try: sudo -E make image"
"$ROOT/hack/packages.sh"

key=$(cat "$ROOT/bin/sallyport" "$ROOT/bin/sallyport-exec" "$ROOT/Dockerfile" | sha256)
archive=$(archive_of "$image" "$key")
if [[ -f $archive ]]; then
  say "Image $image: in the cache"
else
  say "Image $image: building from bin …"
  build_archive "$image" "$archive" "$ROOT" --target prebuilt \
    --build-arg "VERSION=$("$ROOT/bin/sallyport" version)" \
    --build-arg "REVISION=$(git -C "$ROOT" rev-parse HEAD 2>/dev/null || echo unknown)"
fi
if node_runs; then
  import_archive "$archive"
  say "Image $image: imported into the cluster"
fi
echo "$archive"
