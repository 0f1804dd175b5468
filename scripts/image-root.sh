#!/bin/sh
# Gathers the root file system of the image: Node, and of Debian just the programs that the daemon starts, with their
# libraries. No package manager, no npm, no bash, perl or coreutils: what gets in by a plugin finds no tools there.
#   image-root.sh FOLDER [PROGRAM …]    programs besides, as absolute paths, that plugins need
# Runs in the base image, as root. What came from which package stays told in var/lib/dpkg/status, for scanners.
set -eu
root=$1
shift

mkdir -p "$root/etc/ssl/certs" "$root/var/lib/dpkg" "$root/usr/bin" "$root/usr/lib" "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/mnt"
mkdir -m 1777 "$root/tmp"
# Where the base has /bin and /lib as links into /usr, so has the image.
for top in /bin /sbin /lib /lib64; do
  if [ -L "$top" ]; then
    cp -P "$top" "$root$top"
    mkdir -p "$root/usr$top"
  fi
done

# A file by its real name and, where it is a link, by the name it is asked for.
keep() {
  real=$(realpath "$1")
  [ -e "$root$real" ] || cp --parents --preserve=mode,timestamps "$real" "$root"
  [ "$(realpath -m "$root$1")" = "$(realpath -m "$root$real")" ] || { mkdir -p "$root${1%/*}" && ln -sf "$real" "$root$1"; }
  echo "$real" >>"$root.files"
}

# sh: the entry, and the channel of plugins without network. setpriv, prlimit: the sandbox and limits of plugins.
for program in "$(command -v node)" /bin/sh /usr/bin/tini /usr/bin/setpriv /usr/bin/prlimit "$@"; do
  keep "$program"
  ldd "$program" | sed -nE 's/^.*=> (\/[^ ]+) .*$/\1/p; s/^\s*(\/[^ ]+) .*$/\1/p' | while read -r library; do keep "$library"; done
done
for file in /etc/os-release /etc/debian_version /etc/nsswitch.conf /etc/ssl/certs/ca-certificates.crt; do
  [ ! -e "$file" ] || keep "$file"
done
printf 'root:x:0:0:root:/:/bin/false\nplugin-host:x:65532:65532:plugin-host:/:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:\nplugin-host:x:65532:\n' >"$root/etc/group"

# Packages know their files from before /lib was a link.
sort -u "$root.files" | while read -r file; do
  dpkg-query --search "$file" "${file#/usr}" 2>/dev/null || true
done | sed -E 's/: .*$//; s/, /\n/g' | sort -u >"$root.packages"
# Their relations are to packages that are not there, which would keep apt from looking for newer versions.
while read -r package; do
  dpkg-query --status "$package" | sed -nE '/^(Package|Status|Priority|Section|Maintainer|Architecture|Multi-Arch|Source|Version|Homepage): /p'
  echo
  copyright=/usr/share/doc/${package%:*}/copyright
  [ ! -e "$copyright" ] || cp -L --parents "$copyright" "$root"
done <"$root.packages" >"$root/var/lib/dpkg/status"
[ -s "$root/var/lib/dpkg/status" ] || { echo "no packages were found" >&2; exit 1; }
rm "$root.files" "$root.packages"
