#!/bin/sh
# rootfs.sh PROGRAM FOLDER: creates the root file system of an image: the program, its libraries, certificates, and the
# few files that libc reads. deploy/Dockerfile and build-in-folder.sh run it.
set -eu

program=$1 root=$2
name=$(basename "$program")

rm -rf "$root"
mkdir -p "$root/etc/ssl/certs" "$root/run/secrets" "$root/proc" "$root/dev" "$root/sys" "$root/tmp"
install -m 0755 "$program" "$root/$name"
# Backtraces keep the names of functions. Line numbers would make up half of the image.
strip --strip-debug "$root/$name"

# A line of ldd is `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` for the loader. The kernel's library has no path.
libraries=$(ldd "$program" | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }')
if ldd "$program" | grep -q 'not found'; then
  echo "rootfs.sh: a library of $program is missing" >&2
  exit 1
fi
for library in $libraries; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done

# Scanners read from these files which packages of Debian the libraries and certificates come from. The crates are listed
# in the program itself.
mkdir -p "$root/var/lib/dpkg/status.d"
cp -L /etc/os-release "$root/etc/os-release"
for file in $libraries /etc/ssl/certs/ca-certificates.crt; do
  case $file in
    *.crt) package=ca-certificates ;;
    # dpkg knows a library by its path before or after /lib became a link to /usr/lib.
    *) package=$(dpkg -S "$file" "/usr$file" "${file#/usr}" 2>/dev/null | sed 's/:.*//' | head -n 1 || true) ;;
  esac
  if [ -z "$package" ]; then
    echo "rootfs.sh: no package of Debian has $file" >&2
    exit 1
  fi
  dpkg -s "$package" >"$root/var/lib/dpkg/status.d/$package"
done

install -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nnonroot:x:65532:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
