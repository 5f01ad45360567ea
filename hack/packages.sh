#!/usr/bin/env bash
# Installs system packages where commands are missing; on a machine without apt-get it says which ones. Every other
# program is hack/tools.sh's business.
#
#   hack/packages.sh          what a real node needs
#   hack/packages.sh ldap     the LDAP server of the integration tests
#   hack/packages.sh database the database server of the integration tests
#   hack/packages.sh argocd   what Argo CD needs in the end-to-end tests
#   hack/packages.sh lint     the linter of shell scripts
#   hack/packages.sh race     the C compiler that Go's race detector needs
#   hack/packages.sh runc     what runc is built with
#   hack/packages.sh node     Node.js, in which tests run a client library
#   hack/packages.sh diagrams what draws the diagrams of the docs
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# What is looked for, Debian's name of the package that has it, and why.
needed() {
  case ${1:-} in
    ldap) echo 'slapd slapd                      has the users of the tests of LDAP logins'; return ;;
    database) echo 'initdb postgresql                has the users of the tests of database credentials'; return ;;
    argocd) printf '%s\n' 'redis-server redis-server  keeps what Argo CD has rendered' 'git git  has what it applies'; return ;;
    race) printf '%s\n' 'gcc gcc  builds tests with the race detector' 'libc libc6-dev  has the headers for it'; return ;;
    runc) printf '%s\n' 'gcc gcc  compiles the part of it that is C' 'libc libc6-dev  has the headers for it' \
      'pkg-config pkg-config  finds libraries' 'seccomp libseccomp-dev  filters system calls'; return ;;
    lint) echo 'shellcheck shellcheck            checks shell scripts'; return ;;
    diagrams) printf '%s\n' 'plantuml plantuml  draws sequences' 'dot graphviz  draws states'; return ;;
    node) printf '%s\n' 'node nodejs  runs a client library of Service Bindings' 'curl curl  fetches it'; return ;;
  esac
  cat <<'LIST'
containerd containerd              runs the node's containers
ctr        containerd              imports images into it
runc       runc                    starts a container for containerd
cni        containernetworking-plugins  gives pods their network
nft        nftables                kube-proxy's rules for Services
iptables   iptables                the kubelet's, and kube-proxy's on older kernels
ip         iproute2                makes the node's network
unshare    util-linux              makes the node's namespaces
nsenter    util-linux              enters them
flock      util-linux              keeps two runs apart
pgrep      procps                  finds what is left to stop
openssl    openssl                 makes keys and certificates
jq         jq                      reads Vault's answers
LIST
  engine_docker || echo 'buildah    buildah                 builds images without a Docker engine'
}

present() {
  case $1 in
    cni) [[ -x /usr/lib/cni/ptp || -x /opt/cni/bin/ptp || -x /usr/libexec/cni/ptp ]] ;;
    initdb) compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || have initdb ;;
    seccomp) pkg-config --exists libseccomp 2>/dev/null ;;
    libc) [[ $(uname -s) != Linux ]] || gcc -E -include stdlib.h -x c /dev/null -o /dev/null 2>/dev/null ;;
    *) have "$1" ;;
  esac
}

missing=() packages=()
while read -r command package why; do
  if ! present "$command"; then
    missing+=("$command ($why)") packages+=("$package")
  fi
done < <(needed "$@")
if ((${#missing[@]} == 0)); then
  exit 0
fi

say "Missing on this machine: $(printf '%s, ' "${missing[@]}" | sed 's/, $//')"
have apt-get || die "there is no apt-get here; please install these commands by other means"
[[ $EUID == 0 ]] || die "installing packages needs root; or: sudo apt-get install ${packages[*]}"
mkdir -p "$SALLYPORT_CACHE/logs"
export DEBIAN_FRONTEND=noninteractive
if [[ ${1:-} =~ ^(ldap|database|argocd)$ && ! -e /usr/sbin/policy-rc.d ]]; then
  # The tests start servers of their own; Debian's packages must not start one for the whole machine.
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod +x /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
with_progress 'apt-get update' "$SALLYPORT_CACHE/logs/apt-update.log" apt-get update
if [[ ${1:-} == database ]]; then
  # Nor make a database that the next boot would start.
  with_progress 'apt-get install postgresql-common' "$SALLYPORT_CACHE/logs/apt-install.log" \
    apt-get install --yes --no-install-recommends postgresql-common
  sed -i 's/^#\? *create_main_cluster *=.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
fi
# sort -u: several commands come from one package.
mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
with_progress "apt-get install ${packages[*]}" "$SALLYPORT_CACHE/logs/apt-install.log" \
  apt-get install --yes --no-install-recommends "${packages[@]}"
