#!/usr/bin/env bash
# Ends the cluster and checks that nothing is left of it: no process, namespace, mount, cgroup or directory outside
# its state directory, of which only the logs stay. Safe to run at any time, also after a crash.
set -euo pipefail
# shellcheck source=hack/cluster/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

# node_processes lists whatever lives in the node's network namespace, or was started as its first process.
node_processes() {
  local namespace dir
  namespace=$(recorded_namespace) || true
  for dir in /proc/[0-9]*; do
    if [[ -n $namespace && $(readlink "$dir/ns/net" 2>/dev/null) == "$namespace" ]]; then
      echo "${dir#/proc/}"
    fi
  done
  # An up.sh that was killed before it wrote down the namespace.
  pgrep -f "^unshare .*$CLUSTER_SCRIPTS/node.sh $CLUSTER\$" || true
}

# end_processes kills the first process; the kernel then kills all the others, and lets go of their mounts and
# network with the last one.
end_processes() {
  local pid deadline=$((SECONDS + 30))
  ! pid=$(node_pid) || kill -KILL "$pid" 2>/dev/null || true
  while pids=$(node_processes) && [[ -n $pids ]]; do
    ((SECONDS < deadline)) || die "these processes of the node did not end: ${pids//$'\n'/ }"
    # shellcheck disable=SC2086 # one argument per process
    kill -KILL $pids 2>/dev/null || true
    sleep 0.1
  done
}

remove_cgroups() {
  local mount attempt
  for attempt in 1 2 3 4 5; do
    while read -r mount; do
      [[ ! -d $mount/$CGROUP ]] || find "$mount/$CGROUP" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done < <(cgroup_mounts)
    [[ -n $(left_cgroups) ]] || return 0
    sleep "0.$attempt"
  done
}

left_cgroups() {
  local mount
  while read -r mount; do
    [[ ! -d $mount/$CGROUP ]] || echo "$mount/$CGROUP"
  done < <(cgroup_mounts)
}

# remove_directories removes the mount points that node.sh had to make on the machine. Not while another cluster runs:
# the kernel lets go of mounts, in every namespace, on a directory that is removed.
remove_directories() {
  if [[ ! -f $MADE_DIRECTORIES ]] || pgrep -f '^unshare .*/hack/cluster/node.sh /' >/dev/null; then return 0; fi
  while read -r dir; do rmdir "$dir" 2>/dev/null || true; done <"$MADE_DIRECTORIES"
  rm "$MADE_DIRECTORIES"
}

remove_state() {
  [[ -d $CLUSTER ]] || return 0
  find "$CLUSTER" -mindepth 1 -maxdepth 1 ! -name logs -exec rm -rf {} +
}

verify() {
  local namespace=$1 left=''
  [[ -z $(node_processes) ]] || left+=" processes: $(node_processes | tr '\n' ' ')"
  if [[ -n $namespace ]] && grep -qF "$namespace" /proc/self/mountinfo; then left+=" network namespace $namespace"; fi
  if grep -qF " $CLUSTER/" /proc/self/mountinfo; then left+=" mounts below $CLUSTER"; fi
  [[ -z $(left_cgroups) ]] || left+=" cgroups: $(left_cgroups | tr '\n' ' ')"
  [[ -z $left ]] || die "left behind:$left"
}

main() {
  local namespace ran=''
  namespace=$(recorded_namespace) || true
  ! node_runs || ran=yes
  end_processes
  remove_cgroups
  remove_directories
  verify "$namespace"
  remove_state
  if [[ -n $ran ]]; then
    say "The cluster is down: no process, namespace, network device, mount or cgroup of it is left. Its logs: $LOGS"
  else
    say "No cluster is running, and nothing of one is left."
  fi
}

need_root
! inside_node || die "run this outside the node"
# An up.sh that was killed may leave a part of it running for a moment: wait for that.
with_lock "cluster-$CGROUP" main
