//! Runs the commands of README and the hints of `./dev up` exactly as written, against a separate system: the real
//! script with debug builds, on other ports. Needs bash and curl, as the reader does.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::base::free_base;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tidings_harness::dev::status::Status;
use tidings_harness::folder::Folder;
use tokio_tungstenite::tungstenite::Message;

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes curl fail on an error status. Otherwise curl would print the problem document and succeed.
const STRICT_SHELL: &str =
    "set -euo pipefail\ncurl() { command curl --fail-with-body --noproxy '*' \"$@\"; }\n";

/// Commands that would build, test or stop everything. They run elsewhere or by hand.
const SKIPPED_COMMANDS: [&str; 4] = ["./dev test", "./dev lint", "./dev idle", "./dev down"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A reader's separate system, removed when the value is dropped.
struct ReaderSystem {
    folder: Folder,
    base: u16,
}

impl ReaderSystem {
    fn new() -> ReaderSystem {
        ReaderSystem { folder: Folder::new().unwrap(), base: free_base() }
    }

    fn run(&self, script: &str) -> Output {
        let programs = Path::new(env!("CARGO_BIN_EXE_tidings-dev")).parent().unwrap();
        let mut bash = Command::new("bash");
        bash.args(["-c", &format!("{STRICT_SHELL}{script}")]).current_dir(root()).stdin(Stdio::null());
        bash.env("TIDINGS_BIN_DIR", programs).env("TIDINGS_DEV_DIR", self.folder.path().join(".dev"));
        bash.env_remove("REDIS_URL").env_remove("DATABASE_URL");
        bash.output().unwrap()
    }

    /// Runs a script that must succeed; returns its output.
    fn run_successfully(&self, script: &str) -> String {
        let output = self.run(script);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{script}\n--- stdout\n{printed}\n--- stderr\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        printed
    }

    /// Changes a command to use the ports of this system. A wscat command becomes one that prints the URL.
    fn with_own_ports(&self, line: &str) -> String {
        line.replace("./dev up", &format!("./dev up --port {}", self.base))
            .replace("127.0.0.1:8081", &format!("127.0.0.1:{}", self.base + 1))
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{}", self.base))
            .replace("npx wscat -c ", "printf '\\nWS=%s\\n' ")
    }
}

impl Drop for ReaderSystem {
    fn drop(&mut self) {
        self.run("./dev reset");
    }
}

/// The lines of all fenced shell blocks.
fn shell_commands(page: &str) -> Vec<String> {
    let blocks = page.split("```").skip(1).step_by(2);
    let shell = blocks.filter_map(|block| block.strip_prefix("sh\n").or(block.strip_prefix("bash\n")));
    shell.flat_map(str::lines).map(ToOwned::to_owned).collect()
}

/// The frames that a page shows: code spans that are objects with a type.
fn shown_frames(page: &str, room: &str) -> Vec<String> {
    let outside = page.split("```").step_by(2);
    let code = outside.flat_map(|part| part.split('`').skip(1).step_by(2));
    code.filter(|code| code.starts_with("{\"type\"")).map(|code| code.replace('…', room)).collect()
}

fn printed_value<'a>(printed: &'a str, name: &str) -> &'a str {
    printed
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("{printed}"))
}

/// Sends the frames over a WebSocket; returns the received frames once all expected types have come.
async fn send_and_receive(url: &str, frames: Vec<String>, expected_types: &[&str]) -> Vec<Value> {
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    for frame in frames {
        socket.send(Message::text(frame)).await.unwrap();
    }
    let mut received: Vec<Value> = Vec::new();
    let all = async {
        while !expected_types.iter().all(|kind| received.iter().any(|frame| frame["type"] == **kind)) {
            if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
                received.push(serde_json::from_str(&text).unwrap());
            }
        }
    };
    let came = tokio::time::timeout(WAIT_TIMEOUT, all).await;
    assert!(came.is_ok(), "{expected_types:?} are not all among {received:#?}");
    received
}

#[tokio::test]
async fn readme_commands_and_up_hints_work_when_typed() {
    let reader = ReaderSystem::new();
    let page = std::fs::read_to_string(root().join("README.md")).unwrap();
    let commands: Vec<String> = shell_commands(&page)
        .iter()
        .filter(|line| !SKIPPED_COMMANDS.iter().any(|command| line.starts_with(command)))
        .map(|line| reader.with_own_ports(line))
        .collect();
    for command in ["./dev up", "./dev play", "./dev token", "curl", "WS="] {
        assert!(
            commands.iter().any(|line| line.contains(command)),
            "README does not show {command}: {commands:#?}"
        );
    }
    let printed = reader.run_successfully(&format!("{}\necho \"ROOM=$ROOM\"", commands.join("\n")));
    assert!(printed.contains("\"missing\":0") && printed.contains("\"stage\":\"stored\""), "{printed}");

    let (room, url) = (printed_value(&printed, "ROOM"), printed_value(&printed, "WS"));
    let expected_types = ["connected", "room:joined", "room:caught_up", "ack", "message:new"];
    let received = send_and_receive(url, shown_frames(&page, room), &expected_types).await;
    assert!(received.iter().all(|frame| frame["type"] != "error"), "{received:#?}");

    // The hints have the right ports. A second `up` changes nothing and prints them again.
    let printed = reader.run_successfully("./dev up --detach");
    let (_, hints) = printed.split_once("Ready.").unwrap();
    let hints: Vec<&str> = hints.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    let (typed, typed_there) = hints.split_at(hints.iter().position(|line| line.starts_with("npx")).unwrap());
    let connect = typed_there[0].replace("npx wscat -c ", "printf '\\nWS=%s\\n' ");
    let printed = reader.run_successfully(&format!("{}\n{connect}\necho \"ROOM=$ROOM\"", typed.join("\n")));
    assert!(printed.contains("\"stage\":\"stored\""), "{printed}");
    let frame = typed_there[1].replace('…', printed_value(&printed, "ROOM"));
    send_and_receive(printed_value(&printed, "WS"), vec![frame], &["room:caught_up"]).await;

    let status: Status = serde_json::from_str(&reader.run_successfully("./dev status --json")).unwrap();
    assert_eq!((status.gateways.len(), status.persistence.len()), (2, 1));
    for node in reader.run_successfully("./dev status").lines() {
        assert!(node.contains("127.0.0.1:"), "{node}");
    }
    reader.run_successfully("./dev down");
    assert!(reader.run_successfully("./dev status").contains("down"));
}

#[test]
fn dev_script_prints_usage_and_refuses_unknown_commands() {
    let reader = ReaderSystem::new();
    let usage = reader.run_successfully("./dev help");
    assert_eq!(reader.run_successfully("./dev"), usage);
    for command in ["up", "down", "reset", "status", "token", "play", "idle", "test", "e2e", "lint"] {
        assert!(usage.contains(&format!("./dev {command}")), "{usage}");
    }
    for command in ["up", "e2e", "bench", "faults", "test"] {
        let one = reader.run_successfully(&format!("./dev {command} --quick --help"));
        assert!(one.starts_with(&format!("./dev {command} ")) && usage.contains(&one), "{one}");
    }
    let up = reader.run_successfully("./dev up --help");
    assert_eq!(reader.run_successfully("./dev help up"), up);
    let unknown = reader.run("./dev nonsense");
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("unknown command: nonsense"));
}

#[test]
fn status_fails_and_down_succeeds_before_first_up() {
    let reader = ReaderSystem::new();
    let status = reader.run("./dev status");
    assert!(!status.status.success());
    assert!(String::from_utf8_lossy(&status.stderr).contains("./dev up"), "{status:?}");
    reader.run_successfully("./dev down");
    reader.run_successfully("./dev reset");
    // `./dev token` works before the first `up`, because the secret is created once and kept.
    assert_eq!(reader.run_successfully("./dev token alice").trim().split('.').count(), 3);
}
