# shellcheck shell=bash
# The functions of ./dev for the TypeScript packages: install, build, check, and test in a browser. ./dev sources this
# file, and the functions here call functions of ./dev. Writes to clients/ (node_modules, dist, artefacts) and to the
# log folder of ./dev.
# shellcheck disable=SC2154 # root, target, tools and build_wanted are set by ./dev

clients=$root/clients

npm_in_clients() {
  npm --prefix "$clients" "$@"
}

# Installs the packages of the lock file, unless they are installed already. `flock` prevents two installs at once.
install_clients() {
  local stamp=$clients/node_modules/.tidings-lock lock
  lock=$(sha256sum <"$clients/package-lock.json")
  [[ $(cat "$stamp" 2>/dev/null) != "$lock" ]] || return 0
  mkdir -p "$tools"
  (
    exec 9>"$tools/clients.lock"
    flock 9
    [[ $(cat "$stamp" 2>/dev/null) != "$lock" ]] || exit 0
    npm_in_clients ci --no-audit --no-fund && printf '%s\n' "$lock" >"$stamp"
  )
}

# Succeeds when the builds of kit, bindings and demo are newer than all their sources. Folders count as sources, because a
# folder changes when a file in it is deleted.
clients_are_built() {
  local stamp=$clients/node_modules/.tidings-built file
  for file in "$stamp" "$clients"/{ts,react,react-ui,react-native,vue,svelte,solid}/dist/index.js "$clients/web/dist/index.html"; do
    [[ -e $file ]] || return 1
  done
  local sources=("$clients"/{ts,react,react-ui,react-native,vue,svelte,solid,web}/src "$clients"/web/{public,pwa}
    "$clients/react-ui/scripts"
    "$clients"/{ts,react,react-ui,react-native,vue,svelte,solid,web}/*.json
    "$clients"/web/*.{html,ts} "$clients"/*.json)
  [[ -z $(find "${sources[@]}" -newer "$stamp" -print -quit) ]]
}

# Builds kit, bindings and demo, in this order, because each package needs the package before it.
build_clients() {
  ! clients_are_built || return 0
  # Removes outputs of source files that were deleted.
  rm -rf "$clients"/{ts,react,react-ui,react-native,vue,svelte,solid,web}/dist
  npm_in_clients run build && touch "$clients/node_modules/.tidings-built"
}

# Sets $demo to the program of the demo's server. If the demo is not available, empties $demo and prints the reason.
# Builds the demo only when the argument is `yes`.
find_demo() {
  local log=$TIDINGS_DEV_DIR/logs/clients.log
  demo=
  mkdir -p "$TIDINGS_DEV_DIR/logs"
  if [[ $1 != yes ]]; then
    if ! has_node; then
      say "demo: NOT STARTED (Node 20.19 or later is not installed)"
    elif [[ ! -e $clients/web/dist/index.html ]]; then
      say "demo: NOT STARTED (the demo is not built, and --no-build is set)"
    else
      demo=$clients/web/serve.mjs
    fi
  elif ! use_npm >"$log" 2>&1; then
    say "demo: NOT STARTED (Node 20.19 or later with npm is not available: see $log)"
  elif clients_are_built || say "building the demo"; ! { install_clients && build_clients; } >"$log" 2>&1; then
    say "demo: NOT STARTED (the build failed: see $log)"
  else
    demo=$clients/web/serve.mjs
  fi
}

# Builds the TypeScript packages for `play` and `e2e`.
build_kit() {
  use_npm || fail "Node.js 20.19 or later with npm is missing and cannot be installed"
  { install_clients && build_clients; } >&2 || fail "the build of the TypeScript kit failed"
}

# Checks format, build and types. Returns 1 when the packages cannot be used at all.
lint_clients() {
  if ! use_npm 2>/dev/null; then
    say "clients: NOT CHECKED (Node 20.19 or later with npm is not available)"
    return 1
  fi
  step "clients: npm ci" install_clients
  [[ ${failed_steps[*]+${failed_steps[*]}} != *"clients: npm ci"* ]] || return 1
  step "clients: biome ci" npm_in_clients run lint
  step "clients: build" build_clients
  step "clients: types" npm_in_clients run types
}

# Finds a browser for the tests of the demo and sets $TIDINGS_CHROMIUM. Prefers the headless shell: it is the same
# engine without windows and profiles, and it creates a new browser context in a third of the time.
find_chromium() {
  local name
  # Debian's wrapper script of the headless shell works only for an installed package, not for an unpacked one.
  for name in "${TIDINGS_CHROMIUM:-}" "$tools/usr/lib/chromium/chromium-headless-shell" chromium-headless-shell \
    chromium chromium-browser google-chrome "$tools/usr/lib/chromium/chromium"; do
    if [[ -n $name ]] && command -v "$name" >/dev/null; then
      TIDINGS_CHROMIUM=$(command -v "$name")
      export TIDINGS_CHROMIUM
      return
    fi
  done
  return 1
}

# Finds or installs a browser. An older Debian has no headless shell; then any Chromium is good enough.
has_chromium() {
  if [[ -z ${TIDINGS_CHROMIUM:-} && ! -x $tools/usr/lib/chromium/chromium-headless-shell ]] &&
    ! command -v chromium-headless-shell >/dev/null; then
    (provide chromium-headless-shell) || true
    use_unpacked_tools
  fi
  find_chromium || { (provide chromium) && use_unpacked_tools && find_chromium; }
}

# Finds or installs a Firefox for the tests of the demo and sets $TIDINGS_FIREFOX.
has_firefox() {
  if [[ -z ${TIDINGS_FIREFOX:-} ]]; then
    command -v firefox-esr >/dev/null || { (provide firefox-esr) && use_unpacked_tools; } || return 1
    TIDINGS_FIREFOX=$(command -v firefox-esr) || return 1
  fi
  export TIDINGS_FIREFOX
}

# Runs vitest, which writes its results as JSON to a file and starts the system's programs from the given folder.
vitest_clients() {
  local folder=$1 figures=$2 package=$3
  shift 3
  rm -f "$figures"
  TIDINGS_BIN_DIR=$folder npm_in_clients run "$package" -- --reporter=default --reporter=json \
    --outputFile.json="$figures" "$@"
}

# Prints the numbers of passed and failed tests in a result file of Vitest, or `0 0` when the file does not exist.
vitest_figures() {
  node -e 'const f = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
    console.log(f.numPassedTests, f.numFailedTests)' "$1" 2>/dev/null || echo 0 0
}

# Runs all tests. With a filter, runs only the tests whose names contain it, without the checks of the packages and
# without the browser.
test_clients() {
  local figures=$TIDINGS_DEV_DIR filter=()
  # Vitest takes a regular expression, so special characters of the name are escaped.
  if (($#)); then filter=(--passWithNoTests -t "$(sed 's/[][\.*^$(){}?+|/]/\\&/g' <<<"$1")"); fi
  counted_step "clients: vitest" vitest_figures "$figures/vitest.json" \
    vitest_clients "$target/debug" "$figures/vitest.json" test ${filter[@]+"${filter[@]}"}
  (($# == 0)) || return 0
  step "clients: packages" npm_in_clients run check-packages
  if has_chromium; then
    counted_step "clients: e2e" vitest_figures "$figures/e2e.json" \
      vitest_clients "$target/debug" "$figures/e2e.json" e2e
  else
    say "e2e: NOT CHECKED (chromium is not available)"
  fi
}

# Runs the tests in files named `*.long.test.ts`, which are not part of the usual gate because they take long.
test_clients_long() {
  local figures=$TIDINGS_DEV_DIR
  counted_step "clients: vitest (long)" vitest_figures "$figures/vitest-long.json" \
    vitest_clients "$target/debug" "$figures/vitest-long.json" test:long
  if has_chromium; then
    counted_step "clients: e2e (long)" vitest_figures "$figures/e2e-long.json" \
      vitest_clients "$target/debug" "$figures/e2e-long.json" e2e:long
  else
    say "e2e (long): NOT CHECKED (chromium is not available)"
  fi
}

# Prints one line for each test in the result files that exist: the seconds, a tab, the name.
client_test_times() {
  local file
  for file in "$TIDINGS_DEV_DIR"/{vitest,e2e}.json; do
    [[ ! -e $file ]] || node "$clients/tools/slowest.mjs" "$file"
  done
}

# Runs only the tests of the demo in a browser.
e2e() {
  local filter=() browser=chromium
  while (($#)); do
    case $1 in
      --browser)
        browser=${2:-}
        [[ $browser == chromium || $browser == firefox ]] || fail "--browser needs chromium or firefox"
        shift
        ;;
      --*) fail "unknown option: $1" ;;
      *) filter=(-t "$1") ;;
    esac
    shift
  done
  if [[ $build_wanted == yes ]]; then build_kit; else use_npm || fail "Node.js 20.19 or later with npm is missing"; fi
  if [[ $browser == firefox ]]; then
    has_firefox || fail "please install: firefox-esr"
  else
    has_chromium || fail "please install: chromium"
  fi
  mkdir -p "$TIDINGS_DEV_DIR"
  TIDINGS_BROWSER=$browser vitest_clients "${TIDINGS_BIN_DIR:-$target/quick}" "$TIDINGS_DEV_DIR/e2e.json" e2e ${filter[@]+"${filter[@]}"}
}
