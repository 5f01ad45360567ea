#!/usr/bin/env bash
# The node's first process (PID 1 of its own namespaces): prepares mounts and network, then only collects the
# processes that others leave behind. Its end is the end of everything in the node. Started by up.sh.
set -euo pipefail
# shellcheck source=hack/cluster/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

mounts() {
  # Pods with Bidirectional mount propagation (the CSI node plugin is one) need a shared tree to propagate into.
  mount --make-rshared /
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir -p /run/lock
  private /var/lib/kubelet "$CLUSTER/kubelet"
  private /var/lib/cni "$CLUSTER/cni"
  private /var/log "$LOGS/node"
  names
}

# names stands for the DNS that the node does not have.
names() {
  printf '127.0.0.1 localhost\n%s %s %s\n' "$NODE_IP" "$NODE_NAME" "$REGISTRY" >/run/hosts
  mount --bind /run/hosts /etc/hosts
}

# private DIR STATE shows STATE at DIR to the node only. DIR is made on the machine where it does not exist, and
# down.sh removes it again.
private() {
  mkdir -p "$2"
  if [[ ! -d $1 ]]; then
    echo "$1" >>"$MADE_DIRECTORIES"
    mkdir -p "$1"
  fi
  mount --bind "$2" "$1"
  # A peer group of its own: else what is mounted below DIR would appear below STATE as well.
  mount --make-private "$1"
  mount --make-shared "$1"
}

# kernel_settings: at its start the kubelet writes these, and unlike network settings they are the whole machine's.
# Plain files over them hold what it wants to see, so the machine keeps its own.
kernel_settings() {
  local setting
  mkdir -p /run/kernel-settings
  for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    shadow "${setting%=*}" "${setting#*=}"
  done
}

shadow() {
  [[ -e /proc/sys/$1 ]] || return 0
  echo "$2" >"/run/kernel-settings/${1//\//.}"
  mount --bind "/run/kernel-settings/${1//\//.}" "/proc/sys/$1"
}

# network gives the node an address on a device that leads nowhere. A bridge, because not every kernel has dummy
# devices. The default route is there for programs that look for the address it would use.
network() {
  hostname "$NODE_NAME"
  ip link set lo up
  ip link add node0 type bridge
  ip address add "$NODE_IP/24" dev node0
  ip link set node0 up
  ip route add default dev node0
  echo 1 >/proc/sys/net/ipv4/ip_forward
}

cgroups() {
  local mount
  while read -r mount; do
    mkdir -p "$mount/$CGROUP"
    # v1's cpuset starts empty, and an empty one accepts no process.
    if [[ -e $mount/$CGROUP/cpuset.cpus && ! -e $mount/cgroup.controllers ]]; then
      cat "$mount/cpuset.cpus" >"$mount/$CGROUP/cpuset.cpus"
      cat "$mount/cpuset.mems" >"$mount/$CGROUP/cpuset.mems"
    fi
  done < <(cgroup_mounts)
  ! cgroup_v2 || delegate_controllers
}

# delegate_controllers lets the node's cgroup have what a kubelet on cgroup v2 asks for.
delegate_controllers() {
  local controller
  for controller in cpuset cpu io memory pids hugetlb; do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
  done
  for controller in cpu memory pids; do
    grep -qw "$controller" "/sys/fs/cgroup/$CGROUP/cgroup.controllers" || die "cgroup controller $controller cannot be \
used below /sys/fs/cgroup; inside a container, start that container with its own cgroup hierarchy"
  done
}

trap 'exit 0' TERM INT
mounts
kernel_settings
network
cgroups
touch "$RUN/prepared"
while :; do
  sleep 3600 &
  wait
done
