#!/usr/bin/env bash
# Tells which Debian packages of an image this machine's sources of apt have newer versions of, those of the security archive
# marked as such: what the image was built from is then to be pulled or made anew. Needs Debian of the image's release, with
# lists that are up to date (apt-get update), and nothing else from a network. Ends with 1 where there are any.
#   container-scan.sh ROOTFS    the folder of an image's root file system, as container-image.sh prints it
set -euo pipefail
status=$(realpath "${1:?which folder}")/var/lib/dpkg/status
[ -s "$status" ] || { echo "there is no list of packages at $status" >&2; exit 2; }
newer=$(apt list --upgradable -o Dir::State::status="$status" 2>/dev/null | grep upgradable || true)
echo "$(grep -c '^Package: ' "$status") packages, $(grep -c . <<<"$newer" || true) with a newer version"
[ -z "$newer" ] || { echo "$newer"; exit 1; }
