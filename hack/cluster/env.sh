#!/usr/bin/env bash
# shellcheck disable=SC2034 # the scripts that source this use what it sets
#
# Names, addresses and paths of the one-node cluster, and how to get into it. Sourced by the scripts beside it.
#
# The whole node (control plane, kubelet, container runtime, Vault) lives in one set of Linux namespaces: its
# network, processes, mounts and host name are its own. Killing its first process ends all of it, and the machine's
# network and mounts are never touched.

# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

CLUSTER=${SALLYPORT_CLUSTER_DIR:-$SALLYPORT_CACHE/cluster}
export SALLYPORT_CLUSTER_DIR=$CLUSTER

PKI=$CLUSTER/pki
CONFIG=$CLUSTER/config
LOGS=$CLUSTER/logs
RUN=$CLUSTER/run
VAULT_DIR=$CLUSTER/vault
# Of all clusters, see down.sh.
MADE_DIRECTORIES=$SALLYPORT_CACHE/made-directories

NODE_NAME=sallyport-node
NODE_IP=10.99.0.1
POD_CIDR=10.244.0.0/24
SERVICE_CIDR=10.96.0.0/16
API_SERVICE_IP=10.96.0.1
VAULT_URL=https://$NODE_IP:8200
PAUSE_IMAGE=sallyport.dev/pause:1
DEMO_IMAGE=sallyport.dev/demo-app:1
# The name that the documentation's examples use. Inside the node it is an address.
REGISTRY=registry.example.com

# In the order in which they start. The registry starts only where it is asked for.
COMPONENTS=(etcd containerd vault kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kube-network-policies registry)

# A directory of its own in every cgroup hierarchy, so that what the kubelet leaves there is known to be ours. It
# follows the state directory: two clusters with different ones can run side by side.
CGROUP=sallyport-$(printf '%s' "$CLUSTER" | sha256 | cut -c1-8)

CLUSTER_SCRIPTS=$ROOT/hack/cluster

# Both namespaces of a process are compared, never its name: a process id may be in use again by something else.
network_namespace() { readlink "/proc/$1/ns/net" 2>/dev/null; }

recorded_namespace() { cat "$RUN/namespace" 2>/dev/null; }

inside_node() { [[ -n $(recorded_namespace) && $(network_namespace self) == "$(recorded_namespace)" ]]; }

# node_pid prints the id, seen from outside, of the node's first process.
node_pid() {
  local pid
  pid=$(cat "$RUN/node.pid" 2>/dev/null) || return 1
  [[ -n $(recorded_namespace) && $(network_namespace "$pid") == "$(recorded_namespace)" ]] && echo "$pid"
}

node_runs() { inside_node || node_pid >/dev/null; }

need_node() { node_runs || die "the cluster is not running; hack/cluster/up.sh (or make demo) starts it"; }

# can_lower_oom_score: without CAP_SYS_RESOURCE (bit 24) nothing may protect itself from the OOM killer, and
# programs that insist on it fail to start.
can_lower_oom_score() { (((0x$(awk '/^CapEff/ {print $2}' /proc/self/status) >> 24) & 1)); }

cgroup_v2() { [[ $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]]; }

# cgroup_mounts lists every cgroup hierarchy's mount point.
cgroup_mounts() { awk '$3 == "cgroup" || $3 == "cgroup2" {print $2}' /proc/self/mounts; }
