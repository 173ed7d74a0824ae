#!/usr/bin/env bash
# Builds the images with buildah and runs them with runc, as containers with the limits of deploy/compose.yaml: read-only,
# as their user, without capabilities. Needs root, and Debian's packages buildah and runc.
#
# containers.sh build FOLDER                     build the images and unpack them into FOLDER/bundles
# containers.sh exec FOLDER CONTAINER PROGRAM [ARGUMENT...]
#                                                run the program of this name; its path is ignored. CONTAINER is the name
#                                                of an image, and a number if it has several: `gateway`, `gateway-2`
# containers.sh health FOLDER CONTAINER          run the image's health check in the running container
#
# build-in-folder.sh does the build stage of the Dockerfile on this machine, which must be a Debian of the version that the
# stage's image has. buildah does the last stages. No registry is used. Containers use the network of this machine.
# TIDINGS_BIN_DIR: a folder with built programs. TIDINGS_PYTHON: the folder of deploy.sh's Python packages.
# Exit code 3: this machine cannot do it, and the last line says why.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
images=(gateway persistence migrations probe webhooks files push)
export PYTHONDONTWRITEBYTECODE=1

not_here() {
  echo "containers.sh: $*" >&2
  exit 3
}

# Without a configuration of its own, buildah reads those of the machine.
buildah() {
  command buildah --storage-driver vfs --root "$folder/store" --runroot "$folder/storage-run" "$@"
}

build() {
  local image container
  ((EUID == 0)) || not_here "runc needs root for the limits of containers"
  command -v buildah >/dev/null || not_here "buildah is missing: install Debian's package of this name"
  command -v runc >/dev/null || not_here "runc is missing: install Debian's package of this name"
  mkdir -p "$1"
  folder=$(cd "$1" && pwd)
  "$here/build-in-folder.sh" build "$folder"
  # buildah 1.28 would also build the first stages, although the folder stands for their result.
  sed -n '/^FROM scratch/,$p' "$root/deploy/Dockerfile" >"$folder/Dockerfile"
  mkdir -p "$folder/context" "$folder/bundles"
  for image in "${images[@]}"; do
    buildah build --isolation chroot --format docker --build-context "build=$folder" --target "$image" \
      --build-arg "TIDINGS_COMMIT=${TIDINGS_COMMIT:-unknown}" --file "$folder/Dockerfile" --tag "tidings/$image" \
      "$folder/context" >"$folder/$image.log" 2>&1 || { cat "$folder/$image.log" >&2; exit 1; }
    container=$(buildah from --pull=never "localhost/tidings/$image")
    rm -rf "$folder/bundles/$image"
    mkdir -p "$folder/bundles/$image"
    cp -a "$(buildah mount "$container")" "$folder/bundles/$image/rootfs"
    buildah inspect --type image "localhost/tidings/$image" >"$folder/bundles/$image/image.json"
    buildah rm "$container" >/dev/null
    (cd "$folder/bundles/$image" && rm -f config.json && runc spec)
    PYTHONPATH=${TIDINGS_PYTHON:-} python3 "$here/bundle.py" settings "$root/deploy/compose.yaml" "$folder/bundles/$image"
    echo "$folder/bundles/$image: $(du -sh "$folder/bundles/$image/rootfs" | cut -f 1)" >&2
  done
}

run() {
  local container=$1 program=$2 image=${1%-[0-9]}
  shift 2
  local place=$folder/containers/$container id=$container-$$
  mkdir -p "$place"
  echo "$id" >"$place/id"
  python3 "$here/bundle.py" container "$folder/bundles/$image" "$place" "/$(basename "$program")" "$@"
  # Removes the container when this process is killed, which runc could not notice.
  setsid sh -c "while kill -0 $$ 2>/dev/null; do sleep 0.5; done; runc --root '$folder/runc' delete --force '$id'" \
    >/dev/null 2>&1 </dev/null &
  exec runc --root "$folder/runc" run --bundle "$place" --pid-file "$place/pid" "$id"
}

action=${1:-}
case $action in
  build) build "${2:?"a folder"}" ;;
  exec)
    (($# >= 4)) || { "$0"; exit 2; }
    folder=$(cd "$2" && pwd)
    run "${@:3}"
    ;;
  health)
    folder=$(cd "$2" && pwd)
    mapfile -t check < <(python3 "$here/bundle.py" health "$folder/bundles/${3%-[0-9]}")
    exec runc --root "$folder/runc" exec "$(cat "$folder/containers/$3/id")" "${check[@]}"
    ;;
  *)
    sed -n '2,/^set -euo/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
