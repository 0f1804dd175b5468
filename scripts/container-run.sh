#!/usr/bin/env bash
# Runs a command as a container engine would run it in an image's root file system, with util-linux alone: own mount,
# process, network and host-name namespaces, a read-only root, an unprivileged user who can gain nothing, process 1.
#   container-run.sh ROOTFS UID:GID WORKDIR [NAME=VALUE …] -- COMMAND…
# Writable are /tmp and the image's volume (in memory), and what CONTAINER_VOLUME=HOST_FOLDER:FOLDER binds. Signals go to process 1, the only child of
# the `unshare` that this script becomes, whose exit code is the command's.
set -euo pipefail

if [ "${1:-}" != --inside ]; then
  exec unshare --mount --pid --net --uts --ipc --fork --kill-child=SIGKILL -- "${BASH_SOURCE[0]}" --inside "$@"
fi
shift
root=$(realpath "$1") user=$2 workdir=$3
shift 3
environment=()
while [ "$1" != -- ]; do
  environment+=("$1")
  shift
done
shift

ip link set lo up
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777,size=64m,nosuid,nodev tmpfs "$root/tmp"
mount -t tmpfs -o mode=755,size=64k tmpfs "$root/dev"
for device in null zero full random urandom; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
if [ -n "${CONTAINER_VOLUME:-}" ]; then
  mount --bind "${CONTAINER_VOLUME%%:*}" "$root${CONTAINER_VOLUME#*:}"
fi
# The volume that the image declares, empty, as an engine makes one where none is named.
if [ -d "$root/var/lib/plugin-host" ]; then
  mount -t tmpfs -o "mode=700,uid=${user%:*},gid=${user#*:},size=64m" tmpfs "$root/var/lib/plugin-host"
fi
mount -o remount,bind,ro "$root"
cd "$root"
# The image itself has no tools for this: they are of the host until the command takes over.
exec /usr/bin/env -i "${environment[@]}" /usr/bin/setpriv --no-new-privs /usr/bin/unshare \
  --root="$root" --wd="$workdir" --setgid="${user#*:}" --setuid="${user%:*}" -- "$@"
