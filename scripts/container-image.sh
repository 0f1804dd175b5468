#!/usr/bin/env bash
# Builds the image of ../Dockerfile with Debian's buildah, without a container engine or a registry of images: the base
# image is made here, from debootstrap and Node. Run as root. Prints the folder of the image's root file
# system and writes the image's configuration beside it.
#   container-image.sh FOLDER    FOLDER/rootfs (a link) and FOLDER/image.json; remove with container-image.sh --remove FOLDER
# Its Node is that of the Dockerfile's own base, from npm where this machine runs another. The base is kept in $CONTAINER_CACHE (default: a folder below the system's temporary one) for the next run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { echo "container: $*" >&2; }
fail() {
  say "$*"
  exit 1
}

[ "$(id -u)" -eq 0 ] || fail "needs root, for debootstrap and chroot"
for tool in buildah debootstrap node npm tar; do
  command -v "$tool" >/dev/null || fail "$tool is missing: apt-get install buildah debootstrap; node and npm on the path"
done

build() { buildah --root "$folder/storage" --runroot "$folder/run" --storage-driver vfs "$@"; }

if [ "${1:-}" = --remove ]; then
  folder=$(realpath "${2:?which folder}")
  [ -d "$folder/storage" ] || fail "$folder holds no image"
  build umount --all >/dev/null 2>&1 || true
  build rm --all >/dev/null 2>&1 || true
  rm -rf "$folder"
  exit 0
fi

mkdir -p "${1:?a folder for the image}"
folder=$(realpath "$1")
cache=${CONTAINER_CACHE:-${TMPDIR:-/tmp}/webapi-plugin-host-container}
mkdir -p "$cache"
suite=bookworm

# The mirror that this machine's own apt uses for Debian.
mirror() {
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $suite" 'Origin: Debian' | head -n 1
}

# A minimal Debian with node, npm and the init of the image, as a tar file in the cache; made under another name first, so that it is whole or absent.
major=$(sed -nE 's/^ARG BASE_IMAGE=node:([0-9]+)-.*$/\1/p' Dockerfile)
[ -n "$major" ] || fail "the Dockerfile names no Node"
if [ "$(node -p 'process.versions.node.split(".")[0]')" = "$major" ]; then
  node_bin=$(node -p process.execPath)
else
  package="node-$(node -p 'process.platform + "-" + process.arch')"
  npm install --ignore-scripts --no-save --no-fund --no-audit --prefix "$cache/node-$major" "$package@$major" >/dev/null ||
    fail "Node $major could not be had from npm"
  node_bin="$cache/node-$major/node_modules/$package/bin/node"
fi
base="$cache/$suite-tini-copyright-node-$("$node_bin" -v)-$(npm -v 2>/dev/null).tar"
if [ ! -s "$base" ]; then
  work=$(mktemp -d "$cache/debootstrap.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  source=$(mirror)
  if [ -z "$source" ]; then
    apt-get update -qq && source=$(mirror)
  fi
  [ -n "$source" ] || fail "apt has no source for Debian $suite"
  say "making the base from Debian $suite"
  debootstrap --variant=minbase --include=libstdc++6,ca-certificates,tini "$suite" "$work/tree" "$source" >"$work/log" 2>&1 || {
    tail -n 30 "$work/log" >&2
    fail "debootstrap failed"
  }
  find "$work"/tree/usr/share/doc -type f ! -name copyright -delete
  rm -rf "$work"/tree/var/cache/apt/* "$work"/tree/var/lib/apt/lists/* "$work"/tree/usr/share/{locale,man}/* \
    "$work"/tree/etc/apt/sources.list "$work"/tree/etc/resolv.conf
  install -D -m 755 "$node_bin" "$work/tree/usr/local/bin/node"
  mkdir -p "$work/tree/usr/local/lib/node_modules"
  cp -r "$(npm root -g 2>/dev/null)/npm" "$work/tree/usr/local/lib/node_modules/npm"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$work/tree/usr/local/bin/npm"
  ln -s ../lib/node_modules/npm/bin/npx-cli.js "$work/tree/usr/local/bin/npx"
  tar -C "$work/tree" --exclude=./dev/* -cf "$work/base.tar" .
  mv "$work/base.tar" "$base"
fi

say "importing the base"
container=$(build from scratch)
build add -q "$container" "$base" / >/dev/null
build config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
build commit -q --rm "$container" localhost/plugin-host-base >/dev/null

# npm inside the build uses this machine's own configuration, certificates and cache: mounted, never copied.
npmrc=$(mktemp)
trap 'rm -rf "$npmrc" "${work:-}"' EXIT
for file in "$(npm config get globalconfig 2>/dev/null)" "$(npm config get userconfig 2>/dev/null)"; do
  [ -f "$file" ] && { cat "$file"; echo; } >>"$npmrc"
done
printf 'cache=/npm-cache\n' >>"$npmrc"
mounts=(--volume "$(npm config get cache 2>/dev/null):/npm-cache")
[ -d /etc/ssl/certs ] && mounts+=(--volume /etc/ssl/certs:/etc/ssl/certs:ro)

say "building the image"
build bud --isolation chroot --format docker --pull-never --layers=false --build-arg BASE_IMAGE=localhost/plugin-host-base \
  --secret "id=npmrc,src=$npmrc" "${mounts[@]}" -t localhost/webapi-plugin-host . >"$folder/build.log" 2>&1 || {
  tail -n 60 "$folder/build.log" >&2
  fail "the build failed"
}
build inspect --type image localhost/webapi-plugin-host >"$folder/image.json"
container=$(build from --pull-never localhost/webapi-plugin-host)
ln -sfn "$(build mount "$container")" "$folder/rootfs"
say "built"
echo "$folder/rootfs"
