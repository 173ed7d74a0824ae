//! Dry runs of `./dev test` and `./dev lint`: which checks they run in which order, what they count, and what they
//! report about checks that cannot run. The script is the real one; cargo, npm and all other programs are stubs that
//! log their calls. Long because each stub of a tool is a script.

mod help;

use std::path::Path;
use std::process::Command;

use tidings_harness::folder::Folder;

/// Stub of `tidings-guard`; fails as `FAILING` says.
const GUARD_STUB: &str = r#"#!/bin/sh
echo guard >>"$ASKED"
case " $FAILING " in *" guard "*) exit 1 ;; *" valgrind "*) exit 3 ;; esac
"#;

const WATCH_STUB: &str = r#"#!/bin/sh
echo watch >>"$ASKED"
case " $FAILING " in *" watch "*) exit 1 ;; esac
"#;

/// Stub of two deployment checks, of which one may fail.
const DEPLOY_STUB: &str = r#"#!/bin/sh
echo "deploy-$1" >>"$ASKED"
case " $FAILING " in *" deploy "*) echo 1 passed, 1 failed; exit 1 ;; esac
echo 2 passed, 0 failed
"#;

/// Stub of npm: logs its calls, and writes the test results given in `FIGURES`.
const NPM_STUB: &str = r#"#!/bin/sh
[ "$3" = run ] && asked=$4 || asked=$3
echo "npm-$asked" >>"$ASKED"
for word; do case $word in --outputFile.json=*) [ -z "$FIGURES" ] || echo "$FIGURES" >"${word#*=}" ;; esac; done
case " $FAILING " in *" npm-$asked "*) exit 1 ;; esac
"#;

/// Stub of node: prints its version, or the test results.
const NODE_STUB: &str = r#"#!/bin/sh
case " $FAILING " in *" node "*) exit 127 ;; esac
if [ "$1" = -p ]; then echo 20.19.0; else cat "$3"; fi
"#;

/// Stub of nextest: prints the results given in `RESULTS`, or lists the long tests.
const NEXTEST_STUB: &str = r#"#!/bin/sh
[ "$2" = list ] && { printf 'harness::faults a::one\nharness::auth b::two\nharness::auth c::three\n'; exit; }
case "$*" in *--run-ignored*) for last; do :; done; echo "long:$last" | tr -d ' ' >>"$ASKED" ;; *) echo nextest >>"$ASKED" ;; esac
printf '%s\n' "$RESULTS"
case " $FAILING " in *" nextest "*) exit 100 ;; esac
"#;

/// Stub of `tidings-stack`: runs until its input is closed.
const STACK_STUB: &str = "#!/bin/sh\necho 5432\ncat >/dev/null\n";

/// The script in a separate folder with the stubs.
struct DryRun(Folder);

impl DryRun {
    fn new() -> DryRun {
        let folder = Folder::new().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dev");
        std::fs::copy(script, folder.path().join("dev")).unwrap();
        let bin = folder.path().join("cargo/bin");
        std::fs::create_dir_all(&bin).unwrap();
        let cargo = r#"#!/bin/sh
# What is built ahead of its step comes at no certain time.
[ "$2" != --quiet ] || exit 0
[ "$1" != --color ] || shift 2
echo "$1" >>"$ASKED"
case " $FAILING " in *" $1 "*) exit 101 ;; esac
case "$1 $RUSTC_WORKSPACE_WRAPPER $FAILING " in "build clippy-driver clippy "*)
  echo 'warning: `tidings-shared` (lib) generated 1 warning' >&2 ;;
esac
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
        // Stub of Python: installs nothing, but creates the requested folders.
        let python = "#!/bin/sh\nfor last; do :; done\n[ \"$2\" != venv ] || { mkdir -p \"$last/lib\" && touch \"$last/lib/valkey-server\"; }\n";
        let clients = folder.path().join("clients");
        std::fs::create_dir_all(clients.join("tools")).unwrap();
        std::fs::create_dir_all(clients.join("node_modules")).unwrap();
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients/tools/clients.sh");
        std::fs::copy(tools, clients.join("tools/clients.sh")).unwrap();
        std::fs::write(clients.join("package-lock.json"), "{}").unwrap();
        let checks = folder.path().join("deploy/tools");
        std::fs::create_dir_all(&checks).unwrap();
        for pins in ["harness/tests/http/openapi", "harness/stock-clients", "harness/valkey"] {
            let pins = folder.path().join(pins);
            std::fs::create_dir_all(&pins).unwrap();
            std::fs::write(pins.join("requirements.txt"), "").unwrap();
        }
        // An installation whose pins are the wanted ones.
        for azurite in ["harness/azurite/package-lock.json", "target/tools/azurite/complete"] {
            let path = folder.path().join(azurite);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "{}").unwrap();
        }
        let built = folder.path().join("target/debug");
        for dependencies in [".fingerprint", "build", "deps"] {
            std::fs::create_dir_all(built.join(dependencies)).unwrap();
        }
        let dev = std::fs::read_to_string(folder.path().join("dev")).unwrap();
        let version = |name: &str| dev.split(name).nth(1).and_then(|rest| rest.lines().next()).unwrap();
        let tools = folder.path().join("target/tools");
        let nextest = tools.join(format!("cargo-nextest-{}/bin", version("nextest_version=")));
        let s3_server = tools.join(format!("versitygw-{}", version("s3_server_version=")));
        [&nextest, &s3_server].into_iter().for_each(|place| std::fs::create_dir_all(place).unwrap());
        let programs = [
            (&bin, "cargo", cargo),
            (&bin, "cargo-deny", deny),
            (&bin, "python3", python),
            (&bin, "shellcheck", "#!/bin/sh\n"),
            (&bin, "valgrind", "#!/bin/sh\n"),
            (&bin, "chromium", "#!/bin/sh\n"),
            (&bin, "npm", NPM_STUB),
            (&bin, "node", NODE_STUB),
            (&built, "tidings-guard", GUARD_STUB),
            (&built, "tidings-stack", STACK_STUB),
            (&nextest, "cargo-nextest", NEXTEST_STUB),
            (&s3_server, "versitygw", "#!/bin/sh\n"),
            (&checks, "watch.sh", WATCH_STUB),
            (&checks, "deploy.sh", DEPLOY_STUB),
        ];
        for (place, name, text) in programs {
            std::fs::write(place.join(name), text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(place.join(name), mode).unwrap();
        }
        DryRun(folder)
    }

    /// Runs `./dev test` (or `lint`); returns its exit code, its last line, and the logged calls of the stubs in order.
    fn run_dev(&self, command: &str, results: &str, failing: &str) -> (i32, String, String) {
        self.run_dev_with_results(&[command], results, "", failing)
    }

    /// Like `run_dev`, with the test results that each run of vitest writes.
    fn run_dev_with_results(
        &self,
        command: &[&str],
        results: &str,
        figures: &str,
        failing: &str,
    ) -> (i32, String, String) {
        let folder = self.0.path();
        let output = Command::new(folder.join("dev"))
            .args(command)
            .current_dir(folder)
            .env("CARGO_HOME", folder.join("cargo"))
            .env("TIDINGS_DEV_DIR", folder.join(".dev"))
            .env("CI", "true")
            .env("ASKED", folder.join("asked"))
            .env("RESULTS", results)
            .env("FIGURES", figures)
            .env("FAILING", failing)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        std::fs::write(folder.join("stderr"), &output.stderr).unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        std::fs::write(folder.join("stdout"), &stdout).unwrap();
        let asked = std::fs::read_to_string(folder.join("asked")).unwrap();
        let last = stdout.lines().last().unwrap_or_default().to_owned();
        (output.status.code().unwrap(), last, asked.replace('\n', " ").trim().to_owned())
    }
}

impl DryRun {
    fn stderr(&self) -> String {
        std::fs::read_to_string(self.0.path().join("stderr")).unwrap()
    }

    fn stdout(&self) -> String {
        std::fs::read_to_string(self.0.path().join("stdout")).unwrap()
    }
}

const PASSED_SUMMARY: &str = "     Summary [   1.234s] 3 tests run: 3 passed (1 slow), 0 skipped";
const FAILED_SUMMARY: &str = "     Summary [   1.234s] 3 tests run: 2 passed, 1 failed, 4 skipped";
const TIMED_OUT_SUMMARY: &str = "     Summary [   1.234s] 2/3 tests run: 1 passed, 1 timed out, 4 skipped";

#[rstest::rstest]
#[case::all_is_well(PASSED_SUMMARY, "", 0, "8 passed, 0 failed")]
#[case::a_test_fails(FAILED_SUMMARY, "nextest", 1, "6 passed, 2 failed")]
#[case::a_test_times_out(TIMED_OUT_SUMMARY, "nextest", 1, "4 passed, 4 failed")]
#[case::clippy_complains(PASSED_SUMMARY, "clippy", 1, "8 passed, 1 failed")]
#[case::a_manifest_is_refused(PASSED_SUMMARY, "deploy", 1, "7 passed, 1 failed")]
#[case::an_alert_test_fails(PASSED_SUMMARY, "watch", 1, "8 passed, 1 failed")]
#[case::the_runner_crashes(PASSED_SUMMARY, "nextest", 1, "8 passed, 2 failed")]
#[case::clippy_complains_and_a_test_fails(FAILED_SUMMARY, "clippy nextest", 1, "6 passed, 3 failed")]
#[case::nothing_builds("", "build nextest", 1, "2 passed, 4 failed")]
#[case::a_hot_path_costs_more(PASSED_SUMMARY, "guard", 1, "8 passed, 1 failed")]
#[case::instructions_cannot_be_counted(PASSED_SUMMARY, "valgrind", 0, "8 passed, 0 failed")]
#[case::advisories_cannot_be_fetched(PASSED_SUMMARY, "deny-fetch", 0, "8 passed, 0 failed")]
fn test_reports_result_in_last_line_and_exit_code(
    #[case] results: &str,
    #[case] failing: &str,
    #[case] code: i32,
    #[case] last: &str,
) {
    let (exited, last_line, asked) = DryRun::new().run_dev("test", results, failing);
    assert_eq!((exited, last_line.as_str()), (code, last));
    let asked: Vec<&str> = asked.split(' ').filter(|asked| !asked.starts_with("deny")).collect();
    assert_eq!(
        asked.join(" "),
        "fmt fetch watch npm-ci npm-lint npm-build npm-types build deploy-check nextest nextest npm-test \
         npm-check-packages npm-e2e build guard",
        "the programs are built before the tests run them"
    );
}

#[rstest::rstest]
#[case::all_is_well("4 0", "", 0, "16 passed, 0 failed")]
#[case::a_test_fails("3 1", "npm-test npm-e2e", 1, "14 passed, 2 failed")]
#[case::vitest_itself_fails("", "npm-test", 1, "8 passed, 1 failed")]
#[case::a_type_is_wrong("4 0", "npm-types", 1, "16 passed, 1 failed")]
#[case::a_package_has_extra_files("4 0", "npm-check-packages", 1, "16 passed, 1 failed")]
#[case::packages_cannot_be_fetched("4 0", "npm-ci", 1, "8 passed, 1 failed")]
fn client_tests_are_counted_like_service_tests(
    #[case] figures: &str,
    #[case] failing: &str,
    #[case] code: i32,
    #[case] last: &str,
) {
    let (exited, last_line, _) =
        DryRun::new().run_dev_with_results(&["test"], PASSED_SUMMARY, figures, failing);
    assert_eq!((exited, last_line.as_str()), (code, last));
}

#[test]
fn test_with_name_runs_matching_tests_and_no_lint() {
    let (exited, last_line, asked) =
        DryRun::new().run_dev_with_results(&["test", "a_name"], PASSED_SUMMARY, "1 0", "");
    assert_eq!((exited, last_line.as_str(), asked.as_str()), (0, "3 passed, 0 failed", "build nextest"));

    let dry_run = DryRun::new();
    let tests = dry_run.0.path().join("clients/ts/test");
    std::fs::create_dir_all(&tests).unwrap();
    std::fs::write(tests.join("a.test.ts"), "it('has a_name', () => {})").unwrap();
    let (exited, last_line, asked) =
        dry_run.run_dev_with_results(&["test", "a_name"], PASSED_SUMMARY, "1 0", "");
    assert_eq!((exited, last_line.as_str()), (0, "4 passed, 0 failed"));
    assert_eq!(asked, "build nextest npm-ci npm-build npm-test");
}

#[test]
fn long_tests_run_until_time_is_over_and_are_counted() {
    let dry_run = DryRun::new();
    let (exited, last_line, asked) =
        dry_run.run_dev_with_results(&["test", "--long"], PASSED_SUMMARY, "", "");
    assert_eq!((exited, last_line.as_str()), (0, "15 passed, 0 failed"));
    let mut long: Vec<&str> = asked.split(' ').filter(|asked| asked.starts_with("long:")).collect();
    long.sort_unstable();
    let of = |binary: &str, test: &str| format!("long:binary_id({binary})&test(={test})");
    let all =
        [of("harness::auth", "b::two"), of("harness::auth", "c::three"), of("harness::faults", "a::one")];
    assert_eq!(long, all);
    assert!(dry_run.stdout().contains("long: 5 of 5 run"), "{}", dry_run.stdout());
    assert!(asked.contains("npm-test:long npm-e2e:long"), "{asked}");

    let dry_run = DryRun::new();
    let (exited, last_line, _) =
        dry_run.run_dev_with_results(&["test", "--long", "--seconds", "0"], PASSED_SUMMARY, "", "");
    assert_eq!((exited, last_line.as_str()), (0, "0 passed, 0 failed"));
    assert!(dry_run.stdout().contains("long: 0 of 5 run"), "{}", dry_run.stdout());

    let (exited, last_line, _) =
        DryRun::new().run_dev_with_results(&["test", "--long"], FAILED_SUMMARY, "", "nextest");
    assert_eq!((exited, last_line.as_str()), (1, "10 passed, 5 failed"));
}

#[test]
fn test_ends_with_a_table_of_durations() {
    let dry_run = DryRun::new();
    let junit = dry_run.0.path().join("target/nextest/default");
    std::fs::create_dir_all(&junit).unwrap();
    let case =
        r#"<testcase name="slow::one" classname="harness::auth" timestamp="2026-01-01" time="12.345">"#;
    // More test cases than a pipe can hold.
    let quick =
        r#"<testcase name="quick::one" classname="harness::rooms" timestamp="2026-01-01" time="0.001">"#;
    let cases = std::iter::once(case).chain(std::iter::repeat_n(quick, 5_000)).collect::<Vec<_>>();
    std::fs::write(junit.join("junit.xml"), cases.join("\n")).unwrap();
    let (exited, last, _) = dry_run.run_dev("test", PASSED_SUMMARY, "");
    assert_eq!((exited, last.as_str()), (0, "8 passed, 0 failed"));
    let stdout = dry_run.stdout();
    for line in [
        "seconds  step",
        "cargo build with clippy",
        "instruction counts",
        "     12  harness::auth",
        "   12.3  harness::auth slow::one",
    ] {
        assert!(stdout.contains(line), "{line:?} is missing:\n{stdout}");
    }
}

#[rstest::rstest]
#[case("", 0)]
#[case("fmt", 1)]
#[case("clippy", 1)]
#[case("deny-check", 1)]
#[case("deny-fuzz-check", 1)]
#[case("watch", 1)]
#[case("npm-lint", 1)]
#[case("npm-build", 1)]
#[case("npm-types", 1)]
fn failed_lint_exits_with_1_after_running_every_check(#[case] failing: &str, #[case] code: i32) {
    let (exited, _, asked) = DryRun::new().run_dev("lint", "", failing);
    let all = "fmt clippy deny-check fetch deny-fuzz-check deny-fetch deny-check deny-fuzz-check \
        watch npm-ci npm-lint npm-build npm-types";
    assert_eq!((exited, asked.as_str()), (code, all));
}

/// The calls of lint for the watch files and for the clients.
const WATCH_AND_CLIENT_CALLS: &str = " watch npm-ci npm-lint npm-build npm-types";

#[rstest::rstest]
#[case::the_tool_is_too_old("deny-version", 0, "info install deny-check fetch deny-fuzz-check", None)]
#[case::crates_cannot_be_fetched("deny-version info", 0, "info", Some("dependencies"))]
#[case::the_tool_does_not_build("deny-version install", 1, "info install", None)]
#[case::fuzz_was_never_fetched("fetch info", 0, "deny-check fetch info", Some("dependencies of fuzz/"))]
#[case::the_lock_of_fuzz_is_outdated("fetch", 0, "deny-check fetch info deny-fuzz-check", None)]
fn unchecked_dependencies_are_reported_without_network(
    #[case] failing: &str,
    #[case] code: i32,
    #[case] expected: &str,
    #[case] unchecked: Option<&str>,
) {
    let dry_run = DryRun::new();
    let (exited, _, asked) = dry_run.run_dev("lint", "", &format!("deny-fetch {failing}"));
    let asked = asked.strip_prefix("fmt clippy ").unwrap();
    let asked = asked.trim_end_matches(WATCH_AND_CLIENT_CALLS).trim_end_matches(" deny-fetch");
    assert_eq!((exited, asked), (code, expected));
    let stderr = dry_run.stderr();
    let mut lines = stderr.lines().filter(|line| !line.starts_with("advisories"));
    let reported = lines.find_map(|line| line.split_once(": NOT CHECKED")).map(|(what, _)| what);
    assert_eq!(reported, unchecked);
}

#[test]
fn missing_advisory_database_is_reported_and_rest_is_checked() {
    let dry_run = DryRun::new();
    let (exited, _, asked) = dry_run.run_dev("lint", "", "deny-fetch");
    let asked = asked.trim_end_matches(WATCH_AND_CLIENT_CALLS);
    assert_eq!((exited, asked), (0, "fmt clippy deny-check fetch deny-fuzz-check deny-fetch"));
    assert!(dry_run.stderr().contains("advisories: NOT CHECKED"), "{}", dry_run.stderr());
}
