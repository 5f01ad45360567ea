#!/usr/bin/env bash
# Images that the node itself needs, made here because there may be no registry: the sandbox ("pause") image, and
# an image with a shell for the demo's and the tests' pods. Built once, kept as archives in the cache under a key of
# their content, and imported into the running node.
set -euo pipefail
# shellcheck source=hack/cluster/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
# shellcheck source=hack/cluster/containers.sh
source "$CLUSTER_SCRIPTS/containers.sh"

pause_context() {
  go build -C "$ROOT" -trimpath -ldflags '-s -w' -o "$1/pause" ./hack/pause
  printf 'FROM scratch\nCOPY pause /pause\nUSER 65535:65535\nENTRYPOINT ["/pause"]\n' >"$1/Dockerfile"
}

demo_context() {
  mkdir -p "$1/bin" "$1/tmp" "$1/etc"
  cp "$(static_busybox)" "$1/bin/busybox"
  local applet
  for applet in $("$1/bin/busybox" --list); do
    [[ $applet == busybox ]] || ln -s busybox "$1/bin/$applet"
  done
  echo 'root:x:0:0:root:/:/bin/sh' >"$1/etc/passwd"
  printf 'FROM scratch\nCOPY bin /bin\nCOPY etc /etc\nCOPY tmp /tmp\nENV PATH=/bin\nCMD ["/bin/sh"]\n' >"$1/Dockerfile"
}

# static_busybox prints the path of a busybox that needs no libraries. Debian's package of it would replace the
# machine's own busybox, so it is unpacked into the cache rather than installed.
static_busybox() {
  local found=$SALLYPORT_CACHE/programs/busybox-static/bin/busybox
  for candidate in /bin/busybox /usr/bin/busybox /usr/local/bin/busybox "$found"; do
    if [[ -x $candidate ]] && ! ldd "$candidate" >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
  unpack_busybox >&2
  echo "$found"
}

unpack_busybox() {
  local tmp
  have apt-get || die "a static busybox is missing; install one as /usr/local/bin/busybox"
  tmp=$(mktemp -d "$SALLYPORT_CACHE/programs/.busybox.XXXXXX")
  (
    cd "$tmp"
    # By default apt-get downloads as a user who cannot write here.
    download=(apt-get -o APT::Sandbox::User=root -qq download busybox-static)
    "${download[@]}" 2>/dev/null || { apt-get -qq update && "${download[@]}"; }
  )
  dpkg-deb -x "$tmp"/busybox-static_*.deb "$tmp"
  rm -rf "$SALLYPORT_CACHE/programs/busybox-static" "$tmp"/*.deb
  # Where /bin is a link to /usr/bin, the package has only the latter.
  [[ -e $tmp/bin/busybox ]] || { mkdir -p "$tmp/bin" && ln "$tmp/usr/bin/busybox" "$tmp/bin/busybox"; }
  mv "$tmp" "$SALLYPORT_CACHE/programs/busybox-static"
}

# provide IMAGE FUNCTION KEY imports IMAGE, building it first when the cache has none for KEY.
provide() {
  local archive context
  archive=$(archive_of "$1" "$3")
  if [[ ! -f $archive ]]; then
    context=$(mktemp -d)
    "$2" "$context"
    build_archive "$1" "$archive" "$context"
    rm -rf "$context"
  fi
  import_archive "$archive"
}

mkdir -p "$SALLYPORT_CACHE/images" "$SALLYPORT_CACHE/programs"
provide "$PAUSE_IMAGE" pause_context "$(cat "$ROOT"/hack/pause/*.go "${BASH_SOURCE[0]}" | sha256)"
provide "$DEMO_IMAGE" demo_context "$(sha256 <"${BASH_SOURCE[0]}")"
