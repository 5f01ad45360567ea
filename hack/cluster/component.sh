#!/usr/bin/env bash
# Starts and stops single programs of the running node, for fault tests and for curiosity.
#
#   hack/cluster/component.sh start|stop|kill|restart|pause|resume|wait|status COMPONENT
#   hack/cluster/component.sh vault-unseal
#
# "stop" asks first and insists after ten seconds; "kill" does not ask. "pause" freezes the program, so that callers
# see a connection that never answers. "start" waits until the component serves (Vault: until it answers, sealed;
# vault-unseal does the rest). Works from outside the node and from inside.
set -euo pipefail
# shellcheck source=hack/cluster/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
# shellcheck source=hack/cluster/config.sh
source "$CLUSTER_SCRIPTS/config.sh"

TIME_LIMIT=${SALLYPORT_COMPONENT_TIME_LIMIT:-60}

pid_of() {
  local pid
  pid=$(cat "$RUN/$1.pid" 2>/dev/null) || return 1
  # A restarted node starts counting process ids again.
  [[ $(readlink "/proc/$pid/exe" 2>/dev/null) == "$(program "$1")" ]] && echo "$pid"
}

program() { realpath "$(command -v "$1")"; }

launch() {
  local COMMAND
  ! pid_of "$1" >/dev/null || return 0
  [[ $1 != kube-proxy ]] || sed -i "s/PROXY_MODE/$(proxy_mode)/" "$CONFIG/kube-proxy.yaml"
  [[ $1 != kube-network-policies ]] || prepare_network_policies
  command_of "$1"
  # The caller's Vault settings are for the vault command, not for the server.
  env -u VAULT_ADDR -u VAULT_TOKEN -u VAULT_CACERT setsid "${COMMAND[@]}" </dev/null >>"$LOGS/$1.log" 2>&1 &
  echo $! >"$RUN/$1.pid"
  # Until it is what it will be, the process is env's or setsid's, and looks as if the program had ended.
  until pid_of "$1" >/dev/null || ! kill -0 $! 2>/dev/null; do sleep 0.01; done
}

# http_ok PORT PATH asks a plain HTTP endpoint of the node; a bare machine may have no curl.
http_ok() {
  local status
  status=$(timeout 2 bash -c "exec 3<>/dev/tcp/127.0.0.1/$1; printf 'GET $2 HTTP/1.0\r\n\r\n' >&3; head -n 1 <&3" 2>/dev/null) || return 1
  [[ $status == *' 200 '* ]]
}

https_ok() { kubectl --server "https://127.0.0.1:$1" get --raw "$2" >/dev/null 2>&1; }

ready() {
  case $1 in
    etcd) http_ok 2379 /health ;;
    containerd) timeout 2 ctr version >/dev/null 2>&1 ;;
    vault) vault_answers ;;
    kube-apiserver) kubectl get --raw /readyz >/dev/null 2>&1 ;;
    kube-controller-manager) https_ok 10257 /healthz ;;
    kube-scheduler) https_ok 10259 /healthz ;;
    kubelet) http_ok 10248 /healthz ;;
    kube-proxy) http_ok 10256 /healthz ;;
    kube-network-policies) http_ok 9080 /metrics ;;
    registry) http_ok 5001 /debug/health ;;
    *) die "unknown component $1; known are: ${COMPONENTS[*]}" ;;
  esac
}

# vault status exits with 2 when Vault is sealed, which is an answer too.
vault_answers() {
  local status=0
  vault status >/dev/null 2>&1 || status=$?
  ((status == 0 || status == 2))
}

await() {
  local deadline=$((SECONDS + TIME_LIMIT))
  until ready "$1"; do
    pid_of "$1" >/dev/null || fail "$1" "ended"
    ((SECONDS < deadline)) || fail "$1" "was not ready after $TIME_LIMIT s"
    sleep 0.1
  done
}

fail() {
  warn "$1 $2. The end of $LOGS/$1.log:"
  tail -n 20 "$LOGS/$1.log" | cut -c1-400 | sed 's/^/  | /' >&2
  exit 1
}

stop() {
  local pid deadline=$((SECONDS + 10))
  pid=$(pid_of "$1") || return 0
  kill -CONT "$pid"
  kill -TERM "$pid"
  while kill -0 "$pid" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.1; done
  kill_now "$1"
}

kill_now() {
  local pid
  pid=$(pid_of "$1") || return 0
  kill -KILL "$pid"
  while [[ -e /proc/$pid/exe ]]; do sleep 0.05; done
}

signal() {
  local pid
  pid=$(pid_of "$2") || die "$2 is not running"
  kill "-$1" "$pid"
}

status() {
  local pid
  if pid=$(pid_of "$1"); then echo "$1 runs (process $pid in the node)"; else echo "$1 is stopped"; fi
}

vault_unseal() {
  vault operator unseal "$(cat "$VAULT_DIR/unseal-key")" >/dev/null
  until vault status >/dev/null 2>&1; do sleep 0.1; done
}

main() {
  case ${1:-}:${2:+component} in
    launch:component) launch "$2" ;;
    start:component) launch "$2"; await "$2" ;;
    stop:component) stop "$2" ;;
    kill:component) kill_now "$2" ;;
    restart:component) stop "$2"; launch "$2"; await "$2" ;;
    pause:component) signal STOP "$2" ;;
    resume:component) signal CONT "$2" ;;
    wait:component) await "$2" ;;
    status:component) status "$2" ;;
    vault-unseal:) vault_unseal ;;
    *) die "usage: hack/cluster/component.sh start|stop|kill|restart|pause|resume|wait|status COMPONENT | vault-unseal" ;;
  esac
}

if inside_node; then
  main "$@"
else
  exec "$CLUSTER_SCRIPTS/exec.sh" "$CLUSTER_SCRIPTS/component.sh" "$@"
fi
