#!/usr/bin/env bash
# Builds the images without Docker. It runs the build stage of deploy/Dockerfile in a folder, creates the root file
# systems of the final stages, and starts their programs: read-only, as an unprivileged user.
#
# build-in-folder.sh build FOLDER                     build, and create FOLDER/images/{gateway,persistence,migrations,probe,webhooks,files,push}
# build-in-folder.sh run FOLDER IMAGE [ARGUMENT...]   start an image by its own settings, with this environment
# build-in-folder.sh health FOLDER IMAGE              run its health check as Docker would
# build-in-folder.sh exec FOLDER IMAGE PROGRAM [ARGUMENT...]
#                                                     run the program of this name in the image; its path is ignored
#
# TIDINGS_BIN_DIR: a folder with built programs. Cargo then only checks that the sources are complete.
# TIDINGS_MOUNT=FROM:TO  mounts a file or folder in the image at TO, read-only.
# Exit code 3: this machine does not permit a private root file system.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
dockerfile=$root/deploy/Dockerfile
images=(gateway persistence migrations probe webhooks files push)

usage() {
  sed -n '2,/^set -euo/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

# Creates a cargo that builds nothing, because the programs are in target/release already. It still reads every member
# of the workspace, as the real cargo does first.
pretend_to_build() {
  mkdir -p "$1"
  cat >"$1/cargo" <<CARGO
#!/bin/sh
case " \$* " in *" --locked "*) ;; *) echo "cargo runs without --locked" >&2; exit 1 ;; esac
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
    # Replaces Docker's cache. Only the project's crates are built again, because their path differs.
    ln -s "${CARGO_TARGET_DIR:-$root/target}" "$folder/src/target"
    command -v cargo-auditable >/dev/null || { grep -o 'cargo install --locked .*auditable.*' "$dockerfile" >&2 && exit 1; }
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

# Replaces this process with the command, in the image and as its user, so that signals reach the program.
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
    echo "this machine does not permit a private root file system (neither root nor user namespaces)" >&2
    exit 3
  fi
  # shellcheck disable=SC2016 # the inner shell expands the variables
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

# Reads the settings of the image: user, entrypoint, command, health check and environment. Variables that are set
# already keep their values.
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
