#!/usr/bin/env bash
# Keys and certificates of a fresh cluster: the same authorities, names and groups that kubeadm would make, and a
# separate authority for Vault, which in a real installation is not the cluster's. Sourced by up.sh.

# authority NAME makes NAME.crt and NAME.key.
authority() {
  openssl req -x509 -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "/CN=$1" \
    -addext 'keyUsage=critical,keyCertSign,cRLSign,digitalSignature' \
    -keyout "$PKI/$1.key" -out "$PKI/$1.crt" 2>/dev/null
}

# certificate NAME AUTHORITY SUBJECT USAGE [ALTERNATIVE-NAMES] makes NAME.crt and NAME.key; USAGE is clientAuth or
# serverAuth.
certificate() {
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$3" \
    -keyout "$PKI/$1.key" -out "$PKI/$1.csr" 2>/dev/null
  openssl x509 -req -in "$PKI/$1.csr" -CA "$PKI/$2.crt" -CAkey "$PKI/$2.key" -CAcreateserial -days 30 \
    -extfile <(printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=%s\n' "$4"
      [[ -z ${5:-} ]] || printf 'subjectAltName=%s\n' "$5") \
    -out "$PKI/$1.crt" 2>/dev/null
  rm "$PKI/$1.csr"
}

make_pki() {
  local api_names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost
  api_names+=,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:$NODE_IP,IP:$API_SERVICE_IP
  mkdir -p "$PKI"
  authority kubernetes-ca
  authority front-proxy-ca
  authority vault-ca
  authority registry-ca
  certificate kube-apiserver kubernetes-ca /CN=kube-apiserver serverAuth "$api_names"
  certificate localhost kubernetes-ca /CN=localhost serverAuth DNS:localhost,IP:127.0.0.1
  certificate kubelet-server kubernetes-ca "/CN=$NODE_NAME" serverAuth "DNS:$NODE_NAME,IP:$NODE_IP"
  certificate vault vault-ca /CN=vault serverAuth "DNS:vault,DNS:localhost,IP:127.0.0.1,IP:$NODE_IP"
  certificate registry registry-ca "/CN=$REGISTRY" serverAuth "DNS:$REGISTRY"
  certificate front-proxy front-proxy-ca /CN=front-proxy-client clientAuth
  certificate apiserver-kubelet-client kubernetes-ca /O=system:masters/CN=kube-apiserver-kubelet-client clientAuth
  certificate admin kubernetes-ca /O=system:masters/CN=kubernetes-admin clientAuth
  certificate kube-controller-manager kubernetes-ca /CN=system:kube-controller-manager clientAuth
  certificate kube-scheduler kubernetes-ca /CN=system:kube-scheduler clientAuth
  certificate kube-proxy kubernetes-ca /CN=system:kube-proxy clientAuth
  certificate kubelet kubernetes-ca "/O=system:nodes/CN=system:node:$NODE_NAME" clientAuth
  openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/service-accounts.key"
  openssl ec -in "$PKI/service-accounts.key" -pubout -out "$PKI/service-accounts.pub" 2>/dev/null
}

# kubeconfig NAME FILE writes a kubeconfig for the holder of certificate NAME.
kubeconfig() {
  cat >"$2" <<YAML
apiVersion: v1
kind: Config
current-context: sallyport
clusters:
- name: sallyport
  cluster: {server: "https://127.0.0.1:6443", certificate-authority: "$PKI/kubernetes-ca.crt"}
users:
- name: $1
  user: {client-certificate: "$PKI/$1.crt", client-key: "$PKI/$1.key"}
contexts:
- name: sallyport
  context: {cluster: sallyport, user: $1}
YAML
}
