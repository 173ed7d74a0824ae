#!/usr/bin/env bash
# images.sh [--dry-run] REGISTRY VERSION COMMIT: builds the images for all platforms, pushes them to REGISTRY/tidings/, and
# signs them by digest. Each image carries its list of components (SBOM) and its provenance as attestations. Needs Docker
# with buildx, and cosign. With --dry-run it prints the commands and runs none.
#
# TIDINGS_PLATFORMS: linux/amd64,linux/arm64 by default. A builder without a node of a platform emulates it, slowly.
# COSIGN_KEY: the key that signs. Without it cosign asks for an identity (OIDC) and signs without a key.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
images=(gateway persistence migrations probe webhooks files push)
builder=tidings-release
dry=no
if [[ ${1:-} == --dry-run ]]; then
  dry=yes
  shift
fi
(($# == 3)) || { sed -n '2,/^set -euo/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
registry=${1%/} version=$2 commit=$3
platforms=${TIDINGS_PLATFORMS:-linux/amd64,linux/arm64}

run() {
  if [[ $dry == yes ]]; then
    printf 'would run:'
    printf ' %q' "$@"
    printf '\n'
  else
    "$@"
  fi
}

# Only this driver builds for several platforms and writes attestations.
if [[ $dry == yes ]] || ! docker buildx inspect "$builder" >/dev/null 2>&1; then
  run docker buildx create --name "$builder" --driver docker-container
fi
for image in "${images[@]}"; do
  run docker buildx build --builder "$builder" --platform "$platforms" --file deploy/Dockerfile --target "$image" \
    --build-arg "TIDINGS_COMMIT=$commit" --build-arg "TIDINGS_VERSION=$version" \
    --sbom=true --provenance=mode=max --tag "$registry/tidings/$image:$version" --push .
done
# A tag can be moved, so the signature is of the digest.
for image in "${images[@]}"; do
  name=$registry/tidings/$image
  if [[ $dry == yes ]]; then
    digest=DIGEST
  else
    digest=$(docker buildx imagetools inspect "$name:$version" --format '{{.Manifest.Digest}}')
    [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "$name:$version has no digest, but \"$digest\"" >&2; exit 1; }
    echo "$name:$version@$digest"
  fi
  run cosign sign --yes --recursive ${COSIGN_KEY:+--key "$COSIGN_KEY"} "$name@$digest"
done
