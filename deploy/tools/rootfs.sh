#!/bin/sh
# rootfs.sh PROGRAM FOLDER: lays out the root file system of an image: the program, the libraries that it is linked with,
# certificates, and the few files that libc looks for. Run by deploy/Dockerfile and by build-in-folder.sh.
set -eu

program=$1 root=$2
name=$(basename "$program")

rm -rf "$root"
mkdir -p "$root/etc/ssl/certs" "$root/run/secrets" "$root/proc" "$root/dev" "$root/sys" "$root/tmp"
install -m 0755 "$program" "$root/$name"
# Functions keep their names in a backtrace; the numbers of lines would be half of the image.
strip --strip-debug "$root/$name"

# Lines of ldd are `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` for the loader itself. The kernel's has no path.
libraries=$(ldd "$program" | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }')
if ldd "$program" | grep -q 'not found'; then
  echo "rootfs.sh: $program is linked with what is not here" >&2
  exit 1
fi
for library in $libraries; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done

install -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nnonroot:x:65532:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
