#!/usr/bin/env bash
# Makes a release of the checked-out commit, with the version in Cargo.toml and the changes in CHANGELOG.md. Runs all
# checks, builds, writes the archive, its checksum and a list of components (SBOM, CycloneDX) of each program to dist/,
# and sets the tag. It does not push the tag. With a registry it also builds, pushes and signs the images, and signs the
# archive.
set -euo pipefail

usage() {
  cat <<'TEXT'
deploy/release.sh [--dry-run] [--no-gate] [--registry REGISTRY]
  --dry-run   check whether a release is possible, and print what it would do
  --no-gate   skip ./dev test, if it has just passed
  --registry  push the images there, such as registry.example.com, and sign them and the archive (deploy/images.sh)
TEXT
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
programs=(tidings-gateway tidings-persistence tidings-migrations tidings-probe tidings-webhooks tidings-files
  tidings-push)
dry=no gate=yes registry=
while (($#)); do
  case $1 in
    --dry-run) dry=yes ;;
    --no-gate) gate=no ;;
    --registry)
      registry=${2:-}
      [[ -n $registry ]] || { usage >&2; exit 2; }
      shift
      ;;
    -h | --help)
      usage
      exit
      ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
  shift
done

problems=0
problem() {
  printf 'cannot be released: %s\n' "$*" >&2
  problems=$((problems + 1))
}

# The version of the workspace, which all crates inherit.
version=$(awk '/^\[/ { here = $0 == "[workspace.package]" } here && $1 == "version" { gsub(/"/, "", $3); print $3; exit }' Cargo.toml)
tag=v$version

[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$ ]] || problem "Cargo.toml has no version, but \"$version\""
[[ -z $(git status --porcelain) ]] || problem "there are changes that are not committed"
heading=$(grep -m 1 -E "^## \[?${version//./\\.}\]?( |$)" CHANGELOG.md || true)
if [[ -z $heading ]]; then
  problem "CHANGELOG.md has no heading \"## $version\""
elif ! awk -v heading="$heading" '$0 == heading { here = 1; next } /^## / { here = 0 } here && /^- / { found = 1 } END { exit !found }' CHANGELOG.md; then
  problem "CHANGELOG.md says nothing below \"$heading\""
fi
# Takes a file and the text before the version in it. Images and manifests must have the version of the workspace.
names_version() {
  local found
  found=$({ sed -n "s/^[- ]*$2 *//p" "$1" || true; } 2>/dev/null | tr -d '"' | sort -u)
  [[ $found == "$version" ]] || problem "$1 is of version \"${found//$'\n'/\", \"}\", Cargo.toml of $version"
}
names_version deploy/Dockerfile 'ARG TIDINGS_VERSION='
names_version k8s/overlays/production/version/kustomization.yaml 'newTag:'
! git rev-parse -q --verify "refs/tags/$tag" >/dev/null || problem "there is a tag $tag already"
# cargo-auditable writes the list of crates into each program; auditable2cdx reads it from there. The Dockerfile installs
# the same version.
auditable=$(sed -n 's/^.* cargo-auditable@\([0-9.]*\).*/\1/p' deploy/Dockerfile)
for tool in cargo-auditable auditable2cdx ${registry:+docker cosign}; do
  command -v "$tool" >/dev/null || case $tool in
    docker | cosign) problem "$tool is missing" ;;
    *) problem "$tool is missing: cargo install --locked cargo-auditable@$auditable auditable2cdx@0.1.0" ;;
  esac
done
((problems == 0)) || exit 1

commit=$(git rev-parse --short=12 HEAD)
name=tidings-$version-$(uname -m)-linux
if [[ $dry == yes ]]; then
  [[ $gate == no ]] || echo "would run ./dev test"
  echo "would build dist/$name.tar.gz from $commit, with ${programs[*]}"
  for program in "${programs[@]}"; do echo "would list its components in dist/$program-$version.cdx.json"; done
  if [[ -n $registry ]]; then
    deploy/images.sh --dry-run "$registry" "$version" "$commit"
    echo "would sign dist/$name.tar.gz with cosign"
  fi
  echo "would set the tag $tag"
  exit
fi

[[ $gate == no ]] || ./dev test

target=${CARGO_TARGET_DIR:-$root/target}
packages=()
for program in "${programs[@]}"; do packages+=(-p "$program"); done
TIDINGS_COMMIT=$commit cargo auditable build --release --locked --bins "${packages[@]}"

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir -p "$stage/$name/bin" "$stage/$name/completions" dist
for program in "${programs[@]}"; do
  install -m 755 "$target/release/$program" "$stage/$name/bin/"
done
for program in tidings-gateway tidings-persistence; do
  for shell in bash zsh fish; do
    "$target/release/$program" completions "$shell" >"$stage/$name/completions/$program.$shell"
  done
done
# The archive contains committed files, and what these build: dashboards, rules and routes of alerts.
git archive HEAD CHANGELOG.md LICENSE README.md deploy docs k8s | tar -x -C "$stage/$name"
TIDINGS_TOOLS=$target/tools "$stage/$name/deploy/tools/watch.sh" build
# The options make the archive reproducible: the same files give the same bytes.
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git log -1 --format=%ct)" \
  -C "$stage" -c "$name" | gzip -n -9 >"dist/$name.tar.gz"
(cd dist && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
# The time makes the lists reproducible.
for program in "${programs[@]}"; do
  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) auditable2cdx "$target/release/$program" >"dist/$program-$version.cdx.json"
done
if [[ -n $registry ]]; then
  deploy/images.sh "$registry" "$version" "$commit"
  cosign sign-blob --yes --bundle "dist/$name.tar.gz.sigstore.json" "dist/$name.tar.gz"
fi
git tag -a "$tag" -m "Tidings $version"
echo "dist/$name.tar.gz"
echo "git push origin $tag"
