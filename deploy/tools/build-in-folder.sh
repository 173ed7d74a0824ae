#!/usr/bin/env bash
# The images without Docker: performs the build stage of deploy/Dockerfile in a folder, as it stands there, lays out the
# root file systems of the last stages, and starts what is in them: read-only, as an unprivileged user.
#
# build-in-folder.sh build FOLDER                     build, and lay out FOLDER/images/{gateway,persistence,migrations}
# build-in-folder.sh run FOLDER IMAGE [ARGUMENT...]   start an image as it says itself, with this environment
# build-in-folder.sh health FOLDER IMAGE              ask its health as Docker would
# build-in-folder.sh exec FOLDER IMAGE PROGRAM [ARGUMENT...]
#                                                     the image's program of this name, wherever PROGRAM lies here
#
# TIDINGS_BIN_DIR: programs that are built already; cargo is not asked to build, only whether the sources are complete.
# TIDINGS_MOUNT=FROM:TO  a file or folder that the image sees at TO, read-only.
# Exit code 3: this machine lets nobody have a root file system of their own.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
dockerfile=$root/deploy/Dockerfile
images=(gateway persistence migrations)

usage() {
  sed -n '2,/^set -euo/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

# A cargo that builds nothing: the programs lie in target/release already. It still has every member of the workspace
# looked at, as the real one would first.
pretend_to_build() {
  mkdir -p "$1"
  cat >"$1/cargo" <<CARGO
#!/bin/sh
case " \$* " in *" --locked "*) ;; *) echo "cargo is not told --locked" >&2; exit 1 ;; esac
unset CARGO_TARGET_DIR
exec "$(command -v cargo)" metadata --locked --offline --no-deps --format-version 1 >/dev/null
CARGO
  chmod +x "$1/cargo"
}

build() {
  local folder=$1 image
  mkdir -p "$folder"
  folder=$(cd "$folder" && pwd)
  rm -rf "$folder/src" "$folder/images"
  mkdir -p "$folder/src"
  if [[ -n ${TIDINGS_BIN_DIR:-} ]]; then
    mkdir -p "$folder/src/target"
    ln -s "$(cd "$TIDINGS_BIN_DIR" && pwd)" "$folder/src/target/release"
    pretend_to_build "$folder/bin"
    PATH=$folder/bin:$PATH
  else
    # What Docker has as a cache. Dependencies need not be built again; the project's own crates lie elsewhere now, and are.
    ln -s "${CARGO_TARGET_DIR:-$root/target}" "$folder/src/target"
  fi
  unset CARGO_TARGET_DIR
  TIDINGS_COMMIT=${TIDINGS_COMMIT:-$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)}
  export TIDINGS_COMMIT
  python3 "$here/dockerfile.py" perform "$dockerfile" build "$root" "$folder"
  for image in "${images[@]}"; do
    python3 "$here/dockerfile.py" assemble "$dockerfile" "$image" "$folder"
    echo "$folder/images/$image: $(du -sh "$folder/images/$image" | cut -f 1)" >&2
  done
}

# Replaces itself by the command, in the image and as its user. One process from first to last: signals reach the program.
enter() {
  local folder=$1 image=$2 as
  shift 2
  local place=$folder/images/$image
  [[ -d $place ]] || { echo "there is no image $image in $folder" >&2; exit 1; }
  if unshare --mount true 2>/dev/null; then
    as=root
  elif unshare --user --map-root-user --mount true 2>/dev/null; then
    as=user
  else
    echo "this machine lets nobody have a root file system of their own (neither root nor user namespaces)" >&2
    exit 3
  fi
  # shellcheck disable=SC2016 # expanded by the inner shell
  local inside='
    set -eu
    place=$1 as=$2 user=$3 mount=$4
    shift 4
    mount --make-rprivate /
    mount --bind "$place" "$place"
    if [ -n "$mount" ]; then
      if [ -d "${mount%%:*}" ]; then mkdir -p "$place${mount#*:}"; else : >>"$place${mount#*:}"; fi
      mount --bind "${mount%%:*}" "$place${mount#*:}"
      mount -o remount,bind,ro "$place${mount#*:}"
    fi
    mount --rbind /proc "$place/proc"
    mount -o remount,bind,ro "$place"
    if [ "$as" = root ]; then
      exec setpriv --no-new-privs chroot --userspec="$user" --groups="${user#*:}" "$place" "$@"
    fi
    exec setpriv --no-new-privs unshare --user --map-user="${user%%:*}" --map-group="${user#*:}" --root="$place" "$@"'
  local namespaces=(--mount)
  [[ $as == root ]] || namespaces+=(--user --map-root-user)
  exec unshare "${namespaces[@]}" sh -c "$inside" enter "$place" "$as" "$user" "${TIDINGS_MOUNT:-}" "$@"
}

# What the image says of itself: user, entrypoint, command, health, environment. What the environment says already goes
# first.
settings_of() {
  local one
  user='' entrypoint=() command=() health=() environment=()
  # shellcheck source=/dev/null
  source "$1/images/$2.sh"
  for one in "${environment[@]}"; do
    if [[ -z $(printenv "${one%%=*}") ]]; then export "${one?}"; fi
  done
}

action=${1:-}
[[ -n $action && -n ${2:-} ]] || usage
shift
case $action in
  build) build "$1" ;;
  run | health | exec)
    (($# >= 2)) || usage
    folder=$(cd "$1" && pwd) image=$2
    shift 2
    settings_of "$folder" "$image"
    case $action in
      health) enter "$folder" "$image" "${health[@]}" ;;
      exec)
        program=$(basename "$1")
        shift
        enter "$folder" "$image" "/$program" "$@"
        ;;
      run)
        (($#)) || set -- ${command[@]+"${command[@]}"}
        enter "$folder" "$image" "${entrypoint[@]}" "$@"
        ;;
    esac
    ;;
  *) usage ;;
esac
