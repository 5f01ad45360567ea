#!/usr/bin/env bash
# Makes sure that the packages of Node.js which tests run are there, and prints the directory for NODE_PATH.
#
# hack/tools/node/package-lock.json pins them by version and checksum. They are fetched without npm, which Debian has
# only with several hundred packages: from npm_config_registry, by default https://registry.npmjs.org, and kept in
# $SALLYPORT_CACHE. Nothing of them is run here.
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

LOCK=$ROOT/hack/tools/node/package-lock.json
REGISTRY=${npm_config_registry:-https://registry.npmjs.org}

# pins prints name, version and checksum (SRI) of each package in the lock file.
pins() {
  node -e '
    for (const [path, { version, integrity }] of Object.entries(require(process.argv[1]).packages)) {
      if (path !== "") console.log(path.replace("node_modules/", ""), version, integrity)
    }' "$LOCK"
}

# fetch NAME VERSION INTEGRITY DIR unpacks a package below DIR, if it is what the lock file says.
fetch() {
  local archive=$4/.archive.tgz found
  curl --fail --silent --show-error --location --retry 2 --max-time 120 --output "$archive" "${REGISTRY%/}/$1/-/${1##*/}-$2.tgz"
  found=sha512-$(node -p 'crypto.createHash("sha512").update(fs.readFileSync(process.argv[1])).digest("base64")' "$archive")
  [[ $found == "$3" ]] || die "$1 $2 is not what $LOCK pins: it has the checksum $found"
  mkdir -p "$4/$1"
  tar -xzf "$archive" --strip-components=1 -C "$4/$1"
  rm "$archive"
}

ensure() {
  local dir name version integrity
  dir=$SALLYPORT_CACHE/programs/node-packages-$(sha256 <"$LOCK")
  if [[ ! -d $dir ]]; then
    mkdir -p "$SALLYPORT_CACHE/programs" "$SALLYPORT_CACHE/logs"
    tmp=$(mktemp -d "$SALLYPORT_CACHE/programs/.node-packages.XXXXXX")
    trap 'rm -rf "$tmp"' EXIT
    while read -r name version integrity; do
      with_progress "$name $version: fetching it from $REGISTRY" "$SALLYPORT_CACHE/logs/fetch-${name##*/}.log" fetch "$name" "$version" "$integrity" "$tmp"
    done < <(pins)
    chmod 755 "$tmp"
    mv "$tmp" "$dir"
  fi
  echo "$dir"
}

"$ROOT/hack/packages.sh" node
with_lock node ensure
