//! `tidings-dev`, which `./dev` calls: it starts everything, starts again what died where it was, and
//! stops all it started.

#![allow(clippy::unwrap_used)]

#[path = "support/base.rs"]
mod base;

use std::path::Path;
use std::process::{Command, Output};

use base::free_base;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tidings_harness::dev::status::Status;
use tidings_harness::folder::Folder;

/// A developer's system of its own, gone with the value.
struct Dev(Folder);

impl Dev {
    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tidings-dev"))
            .arg("--folder")
            .arg(self.0.path().join(".dev"))
            .args(arguments)
            .env_remove("REDIS_URL")
            .env_remove("DATABASE_URL")
            .output()
            .unwrap()
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn status(&self) -> Status {
        serde_json::from_str(&self.succeeds(&["status", "--json"])).unwrap()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.run(&["reset"]);
    }
}

fn kill_now(pid: u32) {
    kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
    // On a busy machine it takes a moment until it is gone.
    for _ in 0..1000 {
        if !is_alive(pid) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{pid} is still there");
}

fn is_alive(pid: u32) -> bool {
    std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).is_ok_and(|line| !line.is_empty())
}

#[test]
fn up_starts_again_what_died_on_the_same_ports_and_down_stops_all() {
    let dev = Dev(Folder::new().unwrap());
    let base = free_base().to_string();
    let told = dev.succeeds(&["up", "--detach", "--gateways", "2", "--port", &base]);
    assert!(told.contains("curl") && told.contains("TOKEN="), "{told}");

    let before = dev.status();
    assert_eq!((before.gateways.len(), before.persistence.len()), (2, 1));
    assert_eq!(before.gateways[0].ws, format!("ws://127.0.0.1:{base}/v1/ws"));
    kill_now(before.gateways[0].pid.unwrap());
    kill_now(before.redis_pid.unwrap());
    let between = dev.status();
    assert_eq!((between.gateways[0].pid, between.redis_pid), (None, None));

    dev.succeeds(&["up", "--detach"]);
    let after = dev.status();
    assert_eq!(after.redis_url, before.redis_url);
    assert_eq!(after.gateways[0].url, before.gateways[0].url);
    assert!(after.gateways[0].pid.is_some() && after.gateways[0].pid != before.gateways[0].pid);
    assert_eq!(after.gateways[1], before.gateways[1]);
    assert_eq!(after.postgres_pid, before.postgres_pid);

    dev.succeeds(&["down"]);
    let pids =
        after.gateways.iter().map(|node| node.pid).chain(after.persistence.iter().map(|node| node.pid));
    for pid in pids.chain([after.redis_pid, after.postgres_pid]) {
        assert!(!is_alive(pid.unwrap()));
    }
    assert_eq!(dev.status().gateways.len(), 2, "numbers are remembered");
}

#[test]
fn a_taken_port_is_told_with_its_number() {
    let dev = Dev(Folder::new().unwrap());
    let base = free_base();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", base + 1)).unwrap();
    let output = dev.run(&["up", "--detach", "--port", &base.to_string()]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("port {} of 127.0.0.1 is taken", base + 1)), "{said}");
}

#[test]
fn a_token_is_good_for_whom_it_names() {
    let dev = Dev(Folder::new().unwrap());
    let token =
        dev.succeeds(&["token", "alice", "--name", "Alice", "--ttl", "60", "--scope", "tidings.admin"]);
    let state = std::fs::read_to_string(dev.0.path().join(".dev/state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let key = jsonwebtoken::DecodingKey::from_secret(state["jwt_secret"].as_str().unwrap().as_bytes());
    let rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
    let claims = jsonwebtoken::decode::<serde_json::Value>(token.trim(), &key, &rules).unwrap().claims;
    assert_eq!((&claims["sub"], &claims["name"]), (&"alice".into(), &"Alice".into()));
    assert_eq!(claims["scope"], "tidings.admin");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
}

/// The script in a folder of its own, with a `cargo` that only says what it was asked.
struct Rehearsal(Folder);

impl Rehearsal {
    fn new() -> Rehearsal {
        let folder = Folder::new().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dev");
        std::fs::copy(script, folder.path().join("dev")).unwrap();
        let bin = folder.path().join("cargo/bin");
        std::fs::create_dir_all(&bin).unwrap();
        let cargo = r#"#!/bin/sh
echo "$1" >>"$ASKED"
[ "$1" != test ] || printf '%s\n' "$RESULTS"
case " $FAILING " in *" $1 "*) exit 101 ;; esac
[ "$1 $5" != "install --root" ] || { mkdir -p "$6/bin" && cp "$CARGO_HOME/bin/cargo-deny" "$6/bin/"; }
"#;
        let deny = r#"#!/bin/sh
if [ "$1" = --version ]; then
  case " $FAILING " in *" deny-version "*) echo cargo-deny 0.9.30 ;; *) echo cargo-deny 1000.0.0 ;; esac
  exit
fi
of=
for word; do
  case $word in fuzz/Cargo.toml) of=-fuzz ;; check | fetch) break ;; esac
done
echo "deny$of-$word" >>"$ASKED"
case " $FAILING " in *" deny$of-$word "*) exit 1 ;; esac
"#;
        // Installs nothing, but makes the folders that it is asked for.
        let python = "#!/bin/sh\nfor last; do :; done\n[ \"$2\" != venv ] || mkdir -p \"$last\"\n";
        let pins = folder.path().join("harness/tests/openapi");
        std::fs::create_dir_all(&pins).unwrap();
        std::fs::write(pins.join("requirements.txt"), "").unwrap();
        let programs =
            [("cargo", cargo), ("cargo-deny", deny), ("python3", python), ("shellcheck", "#!/bin/sh\n")];
        for (name, text) in programs {
            std::fs::write(bin.join(name), text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(bin.join(name), mode).unwrap();
        }
        Rehearsal(folder)
    }

    /// Exit code and last line of `./dev test` (or `lint`), and what cargo was asked in which order.
    fn dev(&self, command: &str, results: &str, failing: &str) -> (i32, String, String) {
        let folder = self.0.path();
        let output = Command::new(folder.join("dev"))
            .arg(command)
            .current_dir(folder)
            .env("CARGO_HOME", folder.join("cargo"))
            .env("TIDINGS_DEV_DIR", folder.join(".dev"))
            .env("CI", "true")
            .env("ASKED", folder.join("asked"))
            .env("RESULTS", results)
            .env("FAILING", failing)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        std::fs::write(folder.join("told"), &output.stderr).unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let asked = std::fs::read_to_string(folder.join("asked")).unwrap();
        let last = said.lines().last().unwrap_or_default().to_owned();
        (output.status.code().unwrap(), last, asked.replace('\n', " ").trim().to_owned())
    }
}

impl Rehearsal {
    /// What the last run told beside its results.
    fn told(&self) -> String {
        std::fs::read_to_string(self.0.path().join("told")).unwrap()
    }
}

const GOOD: &str =
    "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s";
const BAD: &str =
    "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s";

#[rstest::rstest]
#[case::all_is_well(&[GOOD, GOOD], "", 0, "6 passed, 0 failed")]
#[case::a_test_fails(&[GOOD, BAD], "test", 1, "5 passed, 1 failed")]
#[case::clippy_complains(&[GOOD], "clippy", 1, "3 passed, 1 failed")]
#[case::a_test_program_crashes(&[GOOD], "test", 1, "3 passed, 1 failed")]
#[case::clippy_complains_and_a_test_fails(&[BAD], "clippy test", 1, "2 passed, 2 failed")]
#[case::nothing_builds(&[], "clippy build test", 1, "0 passed, 3 failed")]
#[case::advisories_cannot_be_had(&[GOOD], "deny-fetch", 0, "3 passed, 0 failed")]
fn test_says_in_its_last_line_and_its_exit_code_how_it_went(
    #[case] results: &[&str],
    #[case] failing: &str,
    #[case] code: i32,
    #[case] last: &str,
) {
    let (exited, said, asked) = Rehearsal::new().dev("test", &results.join("\n"), failing);
    assert_eq!((exited, said.as_str()), (code, last));
    let asked: Vec<&str> = asked.split(' ').filter(|asked| !asked.starts_with("deny")).collect();
    assert_eq!(
        asked.join(" "),
        "fmt clippy fetch build test",
        "the programs are built before the tests run them"
    );
}

#[rstest::rstest]
#[case("", 0)]
#[case("fmt", 1)]
#[case("clippy", 1)]
#[case("deny-check", 1)]
#[case("deny-fuzz-check", 1)]
fn lint_exits_with_1_after_a_complaint_but_runs_every_check(#[case] failing: &str, #[case] code: i32) {
    let (exited, _, asked) = Rehearsal::new().dev("lint", "", failing);
    let all = "fmt clippy deny-check fetch deny-fuzz-check deny-fetch deny-check deny-fuzz-check";
    assert_eq!((exited, asked.as_str()), (code, all));
}

#[rstest::rstest]
#[case::too_old_here("deny-version", 0, "info install deny-check fetch deny-fuzz-check", None)]
#[case::and_crates_cannot_be_had("deny-version info", 0, "info", Some("dependencies"))]
#[case::and_it_does_not_build("deny-version install", 1, "info install", None)]
#[case::fuzz_was_never_fetched("fetch info", 0, "deny-check fetch info", Some("dependencies of fuzz/"))]
#[case::the_lock_of_fuzz_does_not_fit("fetch", 0, "deny-check fetch info deny-fuzz-check", None)]
fn dependencies_go_unchecked_only_for_want_of_network_and_lint_says_so(
    #[case] failing: &str,
    #[case] code: i32,
    #[case] expected: &str,
    #[case] unchecked: Option<&str>,
) {
    let rehearsal = Rehearsal::new();
    let (exited, _, asked) = rehearsal.dev("lint", "", &format!("deny-fetch {failing}"));
    let asked = asked.strip_prefix("fmt clippy ").unwrap().trim_end_matches(" deny-fetch");
    assert_eq!((exited, asked), (code, expected));
    let told = rehearsal.told();
    let mut lines = told.lines().filter(|line| !line.starts_with("advisories"));
    let told = lines.find_map(|line| line.split_once(": NOT CHECKED")).map(|(what, _)| what);
    assert_eq!(told, unchecked);
}

#[test]
fn without_the_database_of_advisories_lint_says_so_and_checks_the_rest() {
    let rehearsal = Rehearsal::new();
    let (exited, _, asked) = rehearsal.dev("lint", "", "deny-fetch");
    assert_eq!((exited, asked.as_str()), (0, "fmt clippy deny-check fetch deny-fuzz-check deny-fetch"));
    assert!(rehearsal.told().contains("advisories: NOT CHECKED"), "{}", rehearsal.told());
}
