//! What README and `./dev up` tell people to type is typed here, as it stands, against a system of the test's
//! own: the real script with the debug builds, on other ports. Needs bash and curl, as the reader does.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::base::free_base;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tidings_harness::dev::status::Status;
use tidings_harness::folder::Folder;
use tokio_tungstenite::tungstenite::Message;

const PATIENCE: Duration = Duration::from_secs(10);

/// Fails where curl alone would print the problem document and be content.
const STRICT: &str = "set -euo pipefail\ncurl() { command curl --fail-with-body --noproxy '*' \"$@\"; }\n";

/// Commands that would build, test or end everything; each is run elsewhere or by hand.
const NOT_HERE: [&str; 4] = ["./dev test", "./dev lint", "./dev idle", "./dev down"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A reader's own system, gone with the value.
struct Reader {
    folder: Folder,
    base: u16,
}

impl Reader {
    fn new() -> Reader {
        Reader { folder: Folder::new().unwrap(), base: free_base() }
    }

    fn types(&self, script: &str) -> Output {
        let programs = Path::new(env!("CARGO_BIN_EXE_tidings-dev")).parent().unwrap();
        let mut bash = Command::new("bash");
        bash.args(["-c", &format!("{STRICT}{script}")]).current_dir(root()).stdin(Stdio::null());
        bash.env("TIDINGS_BIN_DIR", programs).env("TIDINGS_DEV_DIR", self.folder.path().join(".dev"));
        bash.env_remove("REDIS_URL").env_remove("DATABASE_URL");
        bash.output().unwrap()
    }

    /// What the script prints; it must succeed.
    fn reads(&self, script: &str) -> String {
        let output = self.types(script);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{script}\n--- said\n{said}\n--- and\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said
    }

    /// The same command on this system's ports; what listens with wscat tells where instead.
    fn here(&self, line: &str) -> String {
        line.replace("./dev up", &format!("./dev up --port {}", self.base))
            .replace("127.0.0.1:8081", &format!("127.0.0.1:{}", self.base + 1))
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{}", self.base))
            .replace("npx wscat -c ", "printf '\\nWS=%s\\n' ")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.types("./dev reset");
    }
}

/// The lines of all fenced shell blocks.
fn commands(page: &str) -> Vec<String> {
    let blocks = page.split("```").skip(1).step_by(2);
    let shell = blocks.filter_map(|block| block.strip_prefix("sh\n").or(block.strip_prefix("bash\n")));
    shell.flat_map(str::lines).map(ToOwned::to_owned).collect()
}

/// The frames a page tells to type: code between backticks that is an object with a type.
fn frames(page: &str, room: &str) -> Vec<String> {
    let outside = page.split("```").step_by(2);
    let code = outside.flat_map(|part| part.split('`').skip(1).step_by(2));
    code.filter(|code| code.starts_with("{\"type\"")).map(|code| code.replace('…', room)).collect()
}

fn told<'a>(said: &'a str, name: &str) -> &'a str {
    said.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("{said}"))
}

/// Types the frames at a WebSocket and returns the types of what came, until `enough`.
async fn converse(url: &str, frames: Vec<String>, enough: &[&str]) -> Vec<Value> {
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    for frame in frames {
        socket.send(Message::text(frame)).await.unwrap();
    }
    let mut heard: Vec<Value> = Vec::new();
    let all = async {
        while !enough.iter().all(|kind| heard.iter().any(|frame| frame["type"] == **kind)) {
            if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
                heard.push(serde_json::from_str(&text).unwrap());
            }
        }
    };
    let came = tokio::time::timeout(PATIENCE, all).await;
    assert!(came.is_ok(), "{enough:?} are not all among {heard:#?}");
    heard
}

#[tokio::test]
async fn readme_and_the_hints_of_up_can_be_typed_as_they_stand() {
    let reader = Reader::new();
    let page = std::fs::read_to_string(root().join("README.md")).unwrap();
    let commands: Vec<String> = commands(&page)
        .iter()
        .filter(|line| !NOT_HERE.iter().any(|command| line.starts_with(command)))
        .map(|line| reader.here(line))
        .collect();
    for told in ["./dev up", "./dev play", "./dev token", "curl", "WS="] {
        assert!(
            commands.iter().any(|line| line.contains(told)),
            "README does not tell {told}: {commands:#?}"
        );
    }
    let said = reader.reads(&format!("{}\necho \"ROOM=$ROOM\"", commands.join("\n")));
    assert!(said.contains("\"missing\":0") && said.contains("\"stage\":\"stored\""), "{said}");

    let (room, url) = (told(&said, "ROOM"), told(&said, "WS"));
    let enough = ["connected", "room:joined", "room:caught_up", "ack", "message:new"];
    let heard = converse(url, frames(&page, room), &enough).await;
    assert!(heard.iter().all(|frame| frame["type"] != "error"), "{heard:#?}");

    // The hints stand on the right ports by themselves; `up` again changes nothing and tells them again.
    let said = reader.reads("./dev up --detach");
    let (_, hints) = said.split_once("Ready.").unwrap();
    let hints: Vec<&str> = hints.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    let (typed, typed_there) = hints.split_at(hints.iter().position(|line| line.starts_with("npx")).unwrap());
    let connect = typed_there[0].replace("npx wscat -c ", "printf '\\nWS=%s\\n' ");
    let said = reader.reads(&format!("{}\n{connect}\necho \"ROOM=$ROOM\"", typed.join("\n")));
    assert!(said.contains("\"stage\":\"stored\""), "{said}");
    let frame = typed_there[1].replace('…', told(&said, "ROOM"));
    converse(told(&said, "WS"), vec![frame], &["room:caught_up"]).await;

    let status: Status = serde_json::from_str(&reader.reads("./dev status --json")).unwrap();
    assert_eq!((status.gateways.len(), status.persistence.len()), (2, 1));
    for node in reader.reads("./dev status").lines() {
        assert!(node.contains("127.0.0.1:"), "{node}");
    }
    reader.reads("./dev down");
    assert!(reader.reads("./dev status").contains("down"));
}

#[test]
fn the_script_explains_itself_and_refuses_what_it_does_not_know() {
    let reader = Reader::new();
    let usage = reader.reads("./dev help");
    assert_eq!(reader.reads("./dev"), usage);
    let script = std::fs::read_to_string(root().join("dev")).unwrap();
    for command in ["up", "down", "reset", "status", "token", "play", "idle", "test", "e2e", "lint"] {
        assert!(usage.contains(&format!("./dev {command}")), "{usage}");
        assert!(script.contains(command), "{command}");
    }
    let unknown = reader.types("./dev nonsense");
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("unknown command: nonsense"));
}

#[test]
fn before_the_first_up_there_is_nothing_to_tell_or_to_stop() {
    let reader = Reader::new();
    let status = reader.types("./dev status");
    assert!(!status.status.success());
    assert!(String::from_utf8_lossy(&status.stderr).contains("./dev up"), "{status:?}");
    reader.reads("./dev down");
    reader.reads("./dev reset");
    // A token can be had before: the secret is made once and kept.
    assert_eq!(reader.reads("./dev token alice").trim().split('.').count(), 3);
}
