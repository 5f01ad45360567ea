#!/usr/bin/env bash
# Configuration files and command lines of the node's programs. Sourced by up.sh (the files) and component.sh (the
# commands).

write_configs() {
  mkdir -p "$CONFIG" "$CONFIG/cni"
  local name
  for name in kube-controller-manager kube-scheduler kube-proxy kubelet; do
    kubeconfig "$name" "$CONFIG/$name.kubeconfig"
  done
  kubeconfig admin "$CLUSTER/admin.kubeconfig"
  # Nothing outside the node can be reached, and there is no cluster DNS: programs are given addresses.
  echo 'options timeout:1 attempts:1' >"$CONFIG/resolv.conf"
  write_audit_policy
  write_containerd
  write_cni
  write_kubelet
  write_kube_proxy
  write_vault
  write_registry
}

# Every request and every response in full: the canary scan searches them for secrets.
write_audit_policy() {
  cat >"$CONFIG/audit-policy.yaml" <<YAML
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: RequestResponse
YAML
}

write_containerd() {
  cat >"$CONFIG/containerd.toml" <<TOML
version = 2
root = "$CLUSTER/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  # A profile would be loaded into the machine's kernel, and stay there.
  disable_apparmor = true
  # Without CAP_SYS_RESOURCE runc cannot lower a container's OOM score, and no container would start.
  restrict_oom_score_adj = $(can_lower_oom_score && echo false || echo true)
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$(cni_plugins)"
    conf_dir = "$CONFIG/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$(snapshotter)"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
TOML
}

# snapshotter: overlayfs does not stack on every file system (not on another overlayfs, where a container has it).
snapshotter() {
  local probe
  probe=$(mktemp -d "$CLUSTER/overlay.XXXXXX")
  mkdir "$probe/lower" "$probe/upper" "$probe/work" "$probe/merged"
  if mount -t overlay overlay -o "lowerdir=$probe/lower,upperdir=$probe/upper,workdir=$probe/work" "$probe/merged" 2>/dev/null; then
    umount "$probe/merged"
    echo overlayfs
  else
    echo native
  fi
  rm -rf "$probe"
}

cni_plugins() {
  local dir
  for dir in /usr/lib/cni /opt/cni/bin /usr/libexec/cni; do
    if [[ -x $dir/ptp && -x $dir/host-local ]]; then
      echo "$dir"
      return
    fi
  done
}

# ptp rather than bridge: on a bridge, the answer of a Service's pod to its neighbour takes a short cut past the
# address translation, unless the kernel has br_netfilter. Here every packet is routed.
write_cni() {
  cat >"$CONFIG/cni/10-sallyport.conflist" <<JSON
{
  "cniVersion": "0.4.0",
  "name": "sallyport",
  "plugins": [
    {
      "type": "ptp",
      "mtu": 1500,
      "ipam": {
        "type": "host-local",
        "dataDir": "/run/cni-addresses",
        "ranges": [[{"subnet": "$POD_CIDR"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
JSON
}

write_kubelet() {
  cat >"$CONFIG/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: "$PKI/kubernetes-ca.crt"}
authorization: {mode: Webhook}
tlsCertFile: $PKI/kubelet-server.crt
tlsPrivateKeyFile: $PKI/kubelet-server.key
clusterDomain: cluster.local
clusterDNS: [10.96.0.10]
resolvConf: $CONFIG/resolv.conf
volumePluginDir: /var/lib/kubelet/volume-plugins
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
$(cgroup_v2 || echo 'failCgroupV1: false')
enforceNodeAllocatable: []
failSwapOn: false
localStorageCapacityIsolation: false
oomScoreAdj: $(can_lower_oom_score && echo -999 || echo 0)
# The machine's free disk and memory are nobody's business here: no eviction, no removal of images.
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%", imagefs.inodesFree: "0%"}
logging: {verbosity: 2}
YAML
}

write_kube_proxy() {
  cat >"$CONFIG/kube-proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: "$CONFIG/kube-proxy.kubeconfig"}
hostnameOverride: $NODE_NAME
clusterCIDR: $POD_CIDR
mode: PROXY_MODE
oomScoreAdj: $(can_lower_oom_score && echo -999 || echo 0)
# These limits are the whole machine's; a network namespace may not set them.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
YAML
}

write_vault() {
  mkdir -p "$VAULT_DIR/data"
  cat >"$CONFIG/vault.hcl" <<HCL
storage "raft" {
  path = "$VAULT_DIR/data"
  node_id = "$NODE_NAME"
  # The time to wait for another leader, of which there is none.
  performance_multiplier = 1
}
listener "tcp" {
  address       = "0.0.0.0:8200"
  tls_cert_file = "$PKI/vault.crt"
  tls_key_file  = "$PKI/vault.key"
}
api_addr      = "$VAULT_URL"
cluster_addr  = "https://$NODE_IP:8201"
disable_mlock = true
HCL
}

write_registry() {
  cat >"$CONFIG/registry.yaml" <<YAML
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: "$CLUSTER/registry"}}
http:
  addr: $NODE_IP:443
  tls: {certificate: "$PKI/registry.crt", key: "$PKI/registry.key"}
  debug: {addr: "127.0.0.1:5001"}
health: {storagedriver: {enabled: true}}
YAML
}

# proxy_mode is asked inside the node: what works depends on kernel and tools.
proxy_mode() {
  if nft add table ip sallyport-probe 2>/dev/null && nft delete table ip sallyport-probe; then
    echo nftables
  else
    echo iptables
  fi
}

# prepare_network_policies is called inside the node. kube-network-policies knows of no other way to the API server than a pod's: a service
# account's token in the usual place. /run is the node's own.
prepare_network_policies() {
  local mount=/run/secrets/kubernetes.io/serviceaccount
  mkdir -p "$mount"
  kubectl apply -f - >/dev/null <<YAML
apiVersion: v1
kind: ServiceAccount
metadata: {name: kube-network-policies, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: kube-network-policies}
rules:
- {apiGroups: [""], resources: [pods, namespaces], verbs: [get, list, watch]}
- {apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: kube-network-policies}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: kube-network-policies}
subjects: [{kind: ServiceAccount, name: kube-network-policies, namespace: kube-system}]
YAML
  (umask 077 && kubectl create token kube-network-policies --namespace kube-system --duration 24h >"$mount/token")
  cp "$PKI/kubernetes-ca.crt" "$mount/ca.crt"
  queue_packets
}

# queue_packets sends the first packets of pods' connections to kube-network-policies. It does so itself where nftables can; not every
# kernel has that part of it, and iptables has one of its own. What root of the node sends is let through, kubelet's probes among it,
# and everything while nobody listens.
queue_packets() {
  ! can_queue || return 0
  iptables -t mangle -N SALLYPORT-POLICIES 2>/dev/null || return 0
  iptables -t mangle -A SALLYPORT-POLICIES -m owner --uid-owner 0 -j RETURN
  iptables -t mangle -A SALLYPORT-POLICIES -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN
  iptables -t mangle -A SALLYPORT-POLICIES -s "$POD_CIDR" -j NFQUEUE --queue-num 100 --queue-bypass
  iptables -t mangle -A SALLYPORT-POLICIES -d "$POD_CIDR" -j NFQUEUE --queue-num 100 --queue-bypass
  iptables -t mangle -A POSTROUTING -j SALLYPORT-POLICIES
}

can_queue() {
  local status=0
  nft add table ip sallyport-probe
  nft 'add chain ip sallyport-probe probe'
  nft add rule ip sallyport-probe probe queue num 100 2>/dev/null || status=1
  nft delete table ip sallyport-probe
  return "$status"
}

# command_of COMPONENT sets COMMAND, the program and its arguments.
command_of() {
  case $1 in
    etcd) COMMAND=(etcd --name "$NODE_NAME" --data-dir "$CLUSTER/etcd"
      --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
      --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync --log-level warn) ;;
    # The node's registry is all that containerd can reach.
    containerd) COMMAND=(env "SSL_CERT_FILE=$PKI/registry-ca.crt" containerd --config "$CONFIG/containerd.toml" --log-level info) ;;
    vault) COMMAND=(vault server "-config=$CONFIG/vault.hcl") ;;
    kube-apiserver) kube_apiserver_command ;;
    kube-controller-manager) COMMAND=(kube-controller-manager --bind-address 127.0.0.1 --leader-elect=false
      --use-service-account-credentials --service-account-private-key-file "$PKI/service-accounts.key"
      --root-ca-file "$PKI/kubernetes-ca.crt" --cluster-signing-cert-file "$PKI/kubernetes-ca.crt"
      --cluster-signing-key-file "$PKI/kubernetes-ca.key" --profiling=false)
      serving_and_kubeconfig kube-controller-manager ;;
    kube-scheduler) COMMAND=(kube-scheduler --bind-address 127.0.0.1 --leader-elect=false --profiling=false)
      serving_and_kubeconfig kube-scheduler ;;
    kubelet) COMMAND=(kubelet --config "$CONFIG/kubelet.yaml" --kubeconfig "$CONFIG/kubelet.kubeconfig"
      --hostname-override "$NODE_NAME" --node-ip "$NODE_IP") ;;
    kube-proxy) COMMAND=(kube-proxy --config "$CONFIG/kube-proxy.yaml") ;;
    kube-network-policies) COMMAND=(env "KUBERNETES_SERVICE_HOST=$NODE_IP" KUBERNETES_SERVICE_PORT=6443 kube-network-policies
      --hostname-override "$NODE_NAME" --metrics-bind-address 127.0.0.1:9080 --disable-nri --fail-open --netfilter-bug-1766-fix=false) ;;
    registry) COMMAND=(env OTEL_TRACES_EXPORTER=none registry serve "$CONFIG/registry.yaml") ;;
    *) die "unknown component $1; known are: ${COMPONENTS[*]}" ;;
  esac
}

serving_and_kubeconfig() {
  COMMAND+=(--tls-cert-file "$PKI/localhost.crt" --tls-private-key-file "$PKI/localhost.key" --kubeconfig "$CONFIG/$1.kubeconfig"
    --authentication-kubeconfig "$CONFIG/$1.kubeconfig" --authorization-kubeconfig "$CONFIG/$1.kubeconfig")
}

kube_apiserver_command() {
  # shellcheck disable=SC2054 # the commas belong to the values
  COMMAND=(kube-apiserver --etcd-servers http://127.0.0.1:2379
    --advertise-address "$NODE_IP" --secure-port 6443 --service-cluster-ip-range "$SERVICE_CIDR"
    --tls-cert-file "$PKI/kube-apiserver.crt" --tls-private-key-file "$PKI/kube-apiserver.key"
    --client-ca-file "$PKI/kubernetes-ca.crt"
    --kubelet-certificate-authority "$PKI/kubernetes-ca.crt"
    --kubelet-client-certificate "$PKI/apiserver-kubelet-client.crt"
    --kubelet-client-key "$PKI/apiserver-kubelet-client.key" --kubelet-preferred-address-types InternalIP
    --requestheader-client-ca-file "$PKI/front-proxy-ca.crt" --requestheader-allowed-names front-proxy-client
    --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group
    --requestheader-extra-headers-prefix X-Remote-Extra-
    --proxy-client-cert-file "$PKI/front-proxy.crt" --proxy-client-key-file "$PKI/front-proxy.key"
    --service-account-issuer https://kubernetes.default.svc.cluster.local
    --service-account-signing-key-file "$PKI/service-accounts.key"
    --service-account-key-file "$PKI/service-accounts.pub"
    --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged
    --audit-policy-file "$CONFIG/audit-policy.yaml" --audit-log-path "$LOGS/audit.log" --profiling=false)
}
