# shellcheck shell=bash
# What ./dev does with the TypeScript side: packages, builds, checks, tests in a browser. Sourced by it, and uses its
# functions. Touches clients/ (node_modules, dist, artefacts) and logs in the folder of ./dev.
# shellcheck disable=SC2154 # root, target, tools and build_wanted are set by ./dev

clients=$root/clients

npm_in_clients() {
  npm --prefix "$clients" "$@"
}

# The packages that the lock file names, unless they lie there already. Only one at a time.
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

# Whether kit, hooks and demo were built since anything of them changed. Folders count, since files may have gone.
clients_are_built() {
  local stamp=$clients/node_modules/.tidings-built file
  for file in "$stamp" "$clients"/{ts,react}/dist/index.js "$clients/web/dist/index.html"; do
    [[ -e $file ]] || return 1
  done
  local sources=("$clients"/{ts,react,web}/src "$clients/web/public" "$clients"/{ts,react,web}/*.json
    "$clients"/web/*.{html,ts} "$clients"/*.json)
  [[ -z $(find "${sources[@]}" -newer "$stamp" -print -quit) ]]
}

# Kit, hooks and demo, in this order: each needs the one before.
build_clients() {
  ! clients_are_built || return 0
  # What was built from files that are gone must not stay.
  rm -rf "$clients"/{ts,react,web}/dist
  npm_in_clients run build && touch "$clients/node_modules/.tidings-built"
}

# Sets $demo to the program of the demo's server, or to nothing and tells why. Builds only when told `yes`.
find_demo() {
  local log=$TIDINGS_DEV_DIR/logs/clients.log
  demo=
  mkdir -p "$TIDINGS_DEV_DIR/logs"
  if [[ $1 != yes ]]; then
    if ! has_node; then
      say "demo: NOT STARTED (there is no Node 20.19 or later)"
    elif [[ ! -e $clients/web/dist/index.html ]]; then
      say "demo: NOT STARTED (it is not built, and --no-build was given)"
    else
      demo=$clients/web/serve.mjs
    fi
  elif ! use_npm >"$log" 2>&1; then
    say "demo: NOT STARTED (Node 20.19 or later with npm is not to be had: see $log)"
  elif clients_are_built || say "building the demo"; ! { install_clients && build_clients; } >"$log" 2>&1; then
    say "demo: NOT STARTED (it cannot be built: see $log)"
  else
    demo=$clients/web/serve.mjs
  fi
}

# What play needs of the TypeScript kit.
build_kit() {
  use_npm || fail "Node.js 20.19 or later with npm is missing and cannot be installed"
  { install_clients && build_clients; } >&2 || fail "the TypeScript kit cannot be built"
}

# Their form, their types, their build. 1: nothing more can be done with them.
lint_clients() {
  if ! use_npm 2>/dev/null; then
    say "clients: NOT CHECKED (Node 20.19 or later with npm is not to be had)"
    return 1
  fi
  step "clients: npm ci" install_clients
  [[ ${failed_steps[*]+${failed_steps[*]}} != *"clients: npm ci"* ]] || return 1
  step "clients: biome ci" npm_in_clients run lint
  step "clients: build" build_clients
  step "clients: types" npm_in_clients run types
}

# A browser for the demo's tests: Debian's, or one that is there. Sets $TIDINGS_CHROMIUM. The headless shell comes first:
# it is the same engine without windows and profiles, and a new person in it takes a third of the time.
find_chromium() {
  local name
  # The script that Debian puts before the headless shell finds only an installed one.
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

# An older Debian has no headless shell, and a browser that is there will do.
has_chromium() {
  if [[ -z ${TIDINGS_CHROMIUM:-} && ! -x $tools/usr/lib/chromium/chromium-headless-shell ]] &&
    ! command -v chromium-headless-shell >/dev/null; then
    (provide chromium-headless-shell) || true
    use_unpacked_tools
  fi
  find_chromium || { (provide chromium) && use_unpacked_tools && find_chromium; }
}

# Vitest, its figures as JSON in a file. Starts the system's programs from this folder.
vitest_clients() {
  local folder=$1 figures=$2 package=$3
  shift 3
  rm -f "$figures"
  TIDINGS_BIN_DIR=$folder npm_in_clients run "$package" -- --reporter=default --reporter=json \
    --outputFile.json="$figures" "$@"
}

# Passed and failed of such a file; of one that was never written, none.
vitest_figures() {
  node -e 'const f = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
    console.log(f.numPassedTests, f.numFailedTests)' "$1" 2>/dev/null || echo 0 0
}

# With a filter only the tests whose names hold it, and nothing of the packages, nor in the browser.
test_clients() {
  local figures=$TIDINGS_DEV_DIR filter=()
  # What is a name to cargo is a pattern to vitest.
  if (($#)); then filter=(--passWithNoTests -t "$(sed 's/[][\.*^$(){}?+|/]/\\&/g' <<<"$1")"); fi
  counted_step "clients: vitest" vitest_figures "$figures/vitest.json" \
    vitest_clients "$target/debug" "$figures/vitest.json" test ${filter[@]+"${filter[@]}"}
  (($# == 0)) || return 0
  step "clients: packages" npm_in_clients run check-packages
  if has_chromium; then
    counted_step "clients: e2e" vitest_figures "$figures/e2e.json" \
      vitest_clients "$target/debug" "$figures/e2e.json" e2e
  else
    say "e2e: NOT CHECKED (chromium is not to be had)"
  fi
}

# Tests of files named `*.long.test.ts`, whose proof grows with their length. They are no part of the usual gate.
test_clients_long() {
  local figures=$TIDINGS_DEV_DIR
  counted_step "clients: vitest (long)" vitest_figures "$figures/vitest-long.json" \
    vitest_clients "$target/debug" "$figures/vitest-long.json" test:long
  if has_chromium; then
    counted_step "clients: e2e (long)" vitest_figures "$figures/e2e-long.json" \
      vitest_clients "$target/debug" "$figures/e2e-long.json" e2e:long
  else
    say "e2e (long): NOT CHECKED (chromium is not to be had)"
  fi
}

# One line for each test of these files: its seconds, a tab, its name. Files that are not there have none.
client_test_times() {
  local file
  for file in "$TIDINGS_DEV_DIR"/{vitest,e2e}.json; do
    [[ ! -e $file ]] || node "$clients/tools/slowest.mjs" "$file"
  done
}

# The demo in a browser, alone.
e2e() {
  if [[ $build_wanted == yes ]]; then build_kit; else use_npm || fail "Node.js 20.19 or later with npm is missing"; fi
  has_chromium || fail "please install: chromium"
  mkdir -p "$TIDINGS_DEV_DIR"
  local filter=()
  if (($#)); then filter=(-t "$1"); fi
  vitest_clients "${TIDINGS_BIN_DIR:-$target/quick}" "$TIDINGS_DEV_DIR/e2e.json" e2e ${filter[@]+"${filter[@]}"}
}
