#!/usr/bin/env bash
# Builds images into archives in the cache and imports them into the node. Sourced, after env.sh.
#
# With docker when an engine answers, else with buildah, which needs neither a daemon nor a registry. Its storage is
# kept in the cache, away from what the machine's own containers use.

# archive_of IMAGE KEY prints where an image with that content is kept. KEY may be a pattern.
archive_of() { echo "$SALLYPORT_CACHE/images/$(tr '/:' '__' <<<"$1")-$2.tar"; }

# forget_archives IMAGE removes what was kept of it: every build of a program would leave one more.
forget_archives() { find "$SALLYPORT_CACHE/images" -path "$(archive_of "$1" '*')" -delete; }

# build_archive IMAGE ARCHIVE CONTEXT [BUILD-ARGUMENT…] builds CONTEXT's Dockerfile and writes it to ARCHIVE.
build_archive() { with_lock images build_archive_now "$@"; }

build_archive_now() {
  local image=$1 archive=$2 context=$3 log
  shift 3
  mkdir -p "$(dirname "$archive")" "$SALLYPORT_CACHE/logs"
  log=$SALLYPORT_CACHE/logs/build-image.log
  rm -f "$archive.tmp"
  forget_archives "$image"
  if engine_docker; then
    run_logged "$log" docker_build "$image" "$archive.tmp" "$context" "$@"
  else
    run_logged "$log" buildah_build "$image" "$archive.tmp" "$context" "$@"
  fi
  mv "$archive.tmp" "$archive"
}

run_logged() {
  local log=$1
  shift
  "$@" >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "building the image failed; $log has all of it"; }
}

docker_build() {
  local image=$1 archive=$2 context=$3
  shift 3
  docker build --tag "$image" "$@" "$context" && docker save --output "$archive" "$image"
}

buildah_build() {
  local image=$1 archive=$2 context=$3
  local storage=(--root "$SALLYPORT_CACHE/buildah" --runroot "$SALLYPORT_CACHE/buildah-run" --storage-driver vfs)
  shift 3
  buildah "${storage[@]}" bud --isolation chroot --tag "$image" "$@" "$context" &&
    buildah "${storage[@]}" push "$image" "docker-archive:$archive:$image" &&
    buildah "${storage[@]}" rmi --all --force
}

# import_archive ARCHIVE makes the image known to the node's kubelet.
import_archive() {
  "$CLUSTER_SCRIPTS/exec.sh" ctr --namespace k8s.io images import "$1" >>"$LOGS/images.log" 2>&1 ||
    { tail -n 5 "$LOGS/images.log" >&2; die "containerd did not take $1"; }
}
