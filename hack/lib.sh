#!/usr/bin/env bash
# shellcheck disable=SC2034 # the scripts that source this use what it sets
#
# What every script in hack/ shares: where things are kept, and how progress is told. Sourced, never run.
#
# All messages go to stderr, so that a script's stdout carries only its answer. It keeps to what bash 3.2 knows,
# so that the unit and integration tests run on a Mac as well.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SALLYPORT_CACHE=${SALLYPORT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sallyport}
export SALLYPORT_CACHE
# Without paths of this checkout in it, what one checkout, or a release's build, has compiled is of use to every other.
export CGO_ENABLED=${CGO_ENABLED:-0} GOFLAGS=${GOFLAGS:--buildvcs=false -trimpath}

# KUBERNETES=v1.34.x has node and API server be of another version, which hack/tools/other/kubernetes-1.34 pins. Its programs
# have links of their own.
OTHER_KUBERNETES=$(sed -nE 's/^v?([0-9]+\.[0-9]+)(\.(x|[0-9]+))?$/-\1/p' <<<"${KUBERNETES:-}")
BIN=$SALLYPORT_CACHE/bin$OTHER_KUBERNETES
ASSETS=$SALLYPORT_CACHE/assets$OTHER_KUBERNETES
# CONTAINERD=2 has the node run containerd 2, with a runc to go with it, whichever the machine has. They have the names of the
# machine's own, so their links are found only then.
CONTAINERD_BIN=$SALLYPORT_CACHE/containerd-2

if [[ -t 2 ]]; then
  BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' GREEN=$'\e[32m' PLAIN=$'\e[0m'
else
  BOLD='' DIM='' RED='' GREEN='' PLAIN=''
fi

say() { printf '%s\n' "$*" >&2; }
heading() { printf '\n%s%s%s\n' "$BOLD" "$*" "$PLAIN" >&2; }
good() { printf '%s%s%s\n' "$GREEN" "$*" "$PLAIN" >&2; }
warn() { printf '%s%s%s\n' "$RED" "$*" "$PLAIN" >&2; }
die() { warn "${0##*/}: $*"; exit 1; }

have() { command -v "$1" >/dev/null 2>&1; }

sha256() {
  if have sha256sum; then sha256sum | cut -c1-16; else shasum -a 256 | cut -c1-16; fi
}

# with_progress LABEL LOG COMMAND… runs COMMAND with its output in LOG and shows LABEL with the time that has
# passed: every second on a terminal, once a minute elsewhere. When COMMAND fails, the end of LOG is shown.
with_progress() {
  local label=$1 log=$2 start=$SECONDS pid status=0
  shift 2
  say "$label …"
  "$@" >"$log" 2>&1 &
  pid=$!
  tick_while "$pid" "$start"
  wait "$pid" || status=$?
  [[ ! -t 2 ]] || printf '\r\e[K' >&2
  if ((status != 0)); then
    warn "  failed after $((SECONDS - start)) s; the end of $log:"
    tail -n 25 "$log" | sed 's/^/  | /' >&2
    return "$status"
  fi
  say "  ${DIM}done in $((SECONDS - start)) s${PLAIN}"
}

tick_while() {
  local pid=$1 start=$2 told=0 elapsed
  while kill -0 "$pid" 2>/dev/null; do
    elapsed=$((SECONDS - start))
    if [[ -t 2 ]]; then
      printf '\r  %s%d s%s' "$DIM" "$elapsed" "$PLAIN" >&2
    elif ((elapsed >= told + 60)); then
      told=$elapsed
      say "  still at it after $elapsed s"
    fi
    sleep 0.2
  done
}

# with_lock NAME COMMAND… keeps two runs from building or starting the same thing at once; what COMMAND calls may ask
# for the same lock again. Without flock (not on every machine) it just runs: everything in the cache is put in place by
# a rename, so the worst case is work done twice.
with_lock() {
  local name=$1 file=$SALLYPORT_CACHE/.lock-$1
  shift
  if ! have flock || [[ " ${SALLYPORT_LOCKS:-} " == *" $name "* ]]; then
    "$@"
    return
  fi
  mkdir -p "$SALLYPORT_CACHE"
  (
    exec 9>"$file"
    if ! flock -n 9; then
      say "Another run holds $file; waiting for it …"
      flock 9
    fi
    export SALLYPORT_LOCKS="${SALLYPORT_LOCKS:-} $name"
    # Closed for what it starts: a program that keeps running would keep the lock. This shell's copy holds it.
    "$@" 9>&-
  )
}

need_root() {
  [[ $(uname -s) == Linux ]] || die "a Kubernetes node needs Linux"
  [[ $EUID == 0 ]] || die "a Kubernetes node needs root; run the same command after: sudo -E env PATH=\"\$PATH\""
}

# engine_docker succeeds when a docker engine answers; a docker command alone is not enough.
engine_docker() { have docker && timeout 5 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }
