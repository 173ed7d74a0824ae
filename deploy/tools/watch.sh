#!/usr/bin/env bash
# Builds and checks the monitoring of Tidings: rules of Prometheus and their tests, the runbook, dashboards, the
# collector. It starts nothing. When a tool is missing, its checks are reported as NOT CHECKED.
#
# watch.sh           run all checks; exits with 1 when one fails, and with 3 when one is not checked and none fails
# watch.sh build     build what k8s/ and the Helm chart need and the repository does not contain: the dashboards from
#                    deploy/grafana/source, the PrometheusRule from deploy/prometheus/rules, and the AlertmanagerConfig
#                    from deploy/alertmanager/routes.yml. Needs Python, and PyYAML or pip. With RUNBOOK_BASE, links of
#                    alerts begin with this address (rules.py)
# watch.sh panels URL FOLDER [MINUTES]
#                    ask the Prometheus at URL for every query of the dashboards: FOLDER/panels.md is a table of the
#                    values, FOLDER/*.svg are the dashboards over the last MINUTES (15). Exits with 1 when a query has no
#                    value and no reason for that
# watch.sh install   only install the tools
#
# promtool and amtool are in Debian's packages `prometheus` and `prometheus-alertmanager`, which ./dev installs.
# TIDINGS_TOOLS: the folder of the other tools, by version. ./dev runs this script.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=${TIDINGS_TOOLS:-${TIDINGS_DEV_DIR:-$root/.dev}/tools}
# The folder also has PyYAML, which the builds and the other checks need.
yamllint=$tools/watch-yamllint-1.38.0
export PYTHONDONTWRITEBYTECODE=1
# Packages may be unpacked here instead of installed.
if [[ -d $tools/usr/bin ]]; then PATH=$PATH:$tools/usr/bin; fi

say() { printf '%s\n' "$*" >&2; }

run_pip() {
  PYTHONPATH=$tools/usr/lib/python3/dist-packages${PYTHONPATH:+:$PYTHONPATH} PIP_ROOT_USER_ACTION=ignore \
    PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip "$@"
}

install_yamllint() {
  [[ ! -e $yamllint/complete ]] || return 0
  rm -rf "$yamllint" &&
    run_pip install -q --no-deps --target "$yamllint" yamllint==1.38.0 pathspec==0.12.1 PyYAML==6.0.3 >&2 &&
    touch "$yamllint/complete"
}

python() { PYTHONPATH=$yamllint:$here/watch${PYTHONPATH:+:$PYTHONPATH} python3 "$@"; }

# Builds one at a time: tests that run at the same time build too.
build() (
  if command -v flock >/dev/null; then
    mkdir -p "$tools"
    exec 9>"$tools/watch-build.lock"
    flock 9
  fi
  python -c 'import yaml' 2>/dev/null || install_yamllint || { say "please install PyYAML, or pip"; exit 1; }
  python "$here/watch/dashboards.py" build && python "$here/rules.py" && python "$here/routes.py"
)

failed=() unchecked=no
step() {
  local name=$1 log
  shift
  if log=$(cd "$root" && "$@" 2>&1); then
    say "watch: $name: ok"
  else
    failed+=("$name")
    say "watch: $name: FAILED"
    say "$log"
  fi
}

check_yaml() {
  python -m yamllint -s -c "$here/watch/yamllint.yml" deploy/alertmanager deploy/prometheus deploy/grafana deploy/otel "$here/watch"
}

# Checks each expression of the dashboards as a recording rule.
check_expressions() {
  local rules outcome=0
  rules=$(mktemp)
  python "$here/watch/dashboards.py" expressions >"$rules" && promtool check rules "$rules" || outcome=1
  rm -f "$rules"
  return "$outcome"
}

# Runs one test per core in parallel.
check_rule_tests() {
  printf '%s\0' deploy/prometheus/tests/*.yml | xargs -0 -n 1 -P "$(nproc)" promtool test rules
}

# Alertmanager itself accepts the routes with each file of receivers, and routes each alert as routes.py says.
check_routes() {
  local joined file receiver labels got outcome=0
  joined=$(mktemp)
  for file in deploy/alertmanager/receivers/*.yml; do
    cat deploy/alertmanager/routes.yml "$file" >"$joined"
    amtool check-config "$joined" || outcome=1
  done
  while read -r receiver labels; do
    # shellcheck disable=SC2086 # the labels are words
    got=$(amtool config routes test --config.file="$joined" $labels) || outcome=1
    [[ $got == "$receiver" ]] || { echo "$labels goes to $got, not to $receiver"; outcome=1; }
  done < <(python "$here/watch/routes.py" alerts)
  rm -f "$joined"
  return "$outcome"
}

check_all() {
  local by_yaml=no by_promtool=no
  if install_yamllint; then by_yaml=yes; fi
  if command -v promtool >/dev/null; then by_promtool=yes; fi
  if [[ $by_yaml == yes ]]; then
    step "build" build
    step "format of the YAML" check_yaml
    step "alerts, their tests and the runbook" python "$here/watch/rules.py"
    step "dashboards" python "$here/watch/dashboards.py" check
    step "collector (by its structure)" python "$here/watch/collector.py"
    step "numbers of the pages against the rules" python "$here/watch/bounds.py"
    step "routes of alerts (by their structure)" python "$here/watch/routes.py"
    step "what Prometheus reads" python "$here/watch/scraping.py"
  else
    say "watch: format, alerts against tests and runbook, dashboards, collector: NOT CHECKED (yamllint is not available)"
    unchecked=yes
  fi
  if [[ $by_promtool == yes ]]; then
    step "scrape configuration and rules" promtool check config deploy/prometheus/prometheus.yml
    step "tests of rules" check_rule_tests
    [[ $by_yaml == no ]] || step "expressions of the dashboards" check_expressions
  else
    say "watch: rules, their tests, expressions of the dashboards: NOT CHECKED (promtool is not available)"
    unchecked=yes
  fi
  if command -v amtool >/dev/null && [[ $by_yaml == yes ]]; then
    step "routes of alerts (amtool)" check_routes
  else
    say "watch: routes of alerts by amtool: NOT CHECKED (amtool or yamllint is not available)"
    unchecked=yes
  fi
  if ((${#failed[@]})); then
    printf 'failed: %s\n' "${failed[@]}"
    return 1
  fi
  [[ $unchecked == no ]] || return 3
}

case ${1:-check} in
  check) check_all ;;
  build) build ;;
  panels)
    (($# == 3 || $# == 4)) || { say "watch.sh panels URL FOLDER [MINUTES]"; exit 2; }
    install_yamllint && python "$here/watch/panels.py" "${@:2}"
    ;;
  install) install_yamllint ;;
  *)
    sed -n '2,/^set/{s/^# \{0,1\}//;/^set/d;p}' "$0" >&2
    exit 2
    ;;
esac
