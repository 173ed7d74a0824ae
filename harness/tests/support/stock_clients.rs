//! Stock Socket.IO clients: installs those of npm once, runs a conversation of two clients in one process of Node or
//! Python, and compares what they received with the history.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tidings_harness::play::history;
use tidings_harness::recorder::Received;
use tidings_harness::{Http, Stack, folder};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/stock-clients");
/// The files of an installation, each with its path from `SOURCE`.
const FILES: [(&str, &str); 5] = [
    (".npmrc", "../npmrc"),
    ("package.json", "package.json"),
    ("converse.mjs", "converse.mjs"),
    ("dialects.mjs", "dialects.mjs"),
    ("recover.mjs", "recover.mjs"),
];
/// The file that marks a complete installation. It contains the installed files.
const COMPLETE_MARK: &str = "installed";

/// The variable with the path of the Python that has python-socketio; `./dev test --long` sets it.
const PYTHON_VARIABLE: &str = "TIDINGS_PYTHON_SOCKETIO";

/// A client library.
#[derive(Debug, Clone, Copy)]
pub enum StockClient {
    /// A version of socket.io-client in `harness/stock-clients/package.json`.
    JavaScript(&'static str),
    /// python-socketio.
    Python,
}

pub const STOCK_CLIENTS: [StockClient; 4] = [
    StockClient::JavaScript("4.0"),
    StockClient::JavaScript("4.5"),
    StockClient::JavaScript("4.8"),
    StockClient::Python,
];
/// Values for the option `transports` of a client.
pub const WEBSOCKET: &[&str] = &["websocket"];
pub const POLLING: &[&str] = &["polling"];
pub const UPGRADE: &[&str] = &["polling", "websocket"];

/// Installs the clients below the target folder unless they are installed already. Returns their folder.
fn install() -> Result<PathBuf> {
    let build = folder::build_folder()?;
    let target = build.parent().context("the build folder has no parent")?;
    let folder = target.join("tools/stock-clients");
    fs::create_dir_all(&folder)?;
    // Other tests may be installing. Closing the file releases the lock.
    let lock = File::create(folder.join("lock"))?;
    lock.lock().context("wait for another installation")?;
    let texts = FILES.map(|(_, path)| fs::read_to_string(Path::new(SOURCE).join(path)));
    let texts = texts.into_iter().collect::<Result<Vec<_>, _>>()?;
    let (wanted, mark) = (texts.concat(), folder.join(COMPLETE_MARK));
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    for ((name, _), text) in FILES.iter().zip(&texts) {
        fs::write(folder.join(name), text)?;
    }
    // npm would keep versions of an earlier installation.
    let _ = fs::remove_dir_all(folder.join("node_modules"));
    let output = std::process::Command::new("npm").arg("install").current_dir(&folder).output();
    let output = output.context("npm, which ./dev test makes available")?;
    ensure!(output.status.success(), "npm install: {}", String::from_utf8_lossy(&output.stderr));
    fs::write(&mark, wanted)?;
    Ok(folder)
}

impl StockClient {
    /// The command of a conversation, without its argument.
    async fn command(self) -> Result<Command> {
        if let StockClient::JavaScript(_) = self {
            let folder = tokio::task::spawn_blocking(install).await??;
            let mut command = Command::new("node");
            command.arg(folder.join("converse.mjs"));
            return Ok(command);
        }
        let python = std::env::var_os(PYTHON_VARIABLE).with_context(|| {
            format!(
                "{PYTHON_VARIABLE} is not set: `./dev test --long stock_conversations` installs the client"
            )
        })?;
        let mut command = Command::new(python);
        command.arg(Path::new(SOURCE).join("converse.py")).env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(command)
    }

    fn version(self) -> Option<&'static str> {
        match self {
            StockClient::JavaScript(version) => Some(version),
            StockClient::Python => None,
        }
    }
}

/// Runs a script of `stock-clients` with these options until it ends. Returns the line that it prints.
///
/// # Errors
/// When the script fails: with what it wrote.
pub async fn run_script(script: &str, options: &Value) -> Result<Value> {
    let folder = tokio::task::spawn_blocking(install).await??;
    let mut command = Command::new("node");
    command.arg(folder.join(script)).arg(options.to_string()).kill_on_drop(true);
    let output = command.output().await.context("node, which ./dev test makes available")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Everything that one user has received.
#[derive(Debug, Deserialize)]
struct UserReport {
    user: usize,
    messages: Vec<ReportedMessage>,
    violations: Vec<String>,
    connects: u64,
    transport: String,
}

#[derive(Debug, Deserialize)]
struct ReportedMessage {
    seq: u64,
    id: String,
    client_id: String,
    sender: String,
    content: String,
}

/// A running conversation of `ann` and `ben`.
pub struct StockConversation {
    room: String,
    history: Vec<Http>,
    count: usize,
    lines: Lines<BufReader<ChildStdout>>,
    process: Child,
}

/// The connections of a conversation that ended without errors.
#[derive(Debug)]
pub struct ConversationReport {
    /// How often both users connected.
    pub connects: u64,
    /// The last transport of each user.
    pub transports: Vec<String>,
}

impl StockConversation {
    /// Starts two of these clients, each at one of the two URLs, and waits until both have joined a new room.
    /// Each sends `count` messages.
    pub async fn start(
        stack: &Stack,
        client: StockClient,
        transports: &[&str],
        urls: [String; 2],
        count: usize,
    ) -> Result<StockConversation> {
        let mut command = client.command().await?;
        let answer = stack.http("ann").create_room("private", &["ben"]).await?.expect(201).body;
        let room = answer["room"].as_str().context("the room has no id")?.to_owned();
        let options = json!({
            "version": client.version(), "transports": transports, "urls": urls, "count": count, "room": room,
            "head": answer["head"], "persistence": stack.persistence(0).url(),
            "tokens": [stack.token("ann"), stack.token("ben")],
        });
        command.arg(options.to_string()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().context("node or Python, which ./dev test makes available")?;
        let lines = BufReader::new(process.stdout.take().context("no stdout")?).lines();
        let history = vec![stack.http("ann")];
        let mut conversation = StockConversation { room, history, count, lines, process };
        let first = conversation.next_line().await?;
        ensure!(first["ready"] == true, "{first}");
        Ok(conversation)
    }

    async fn next_line(&mut self) -> Result<Value> {
        let line = self.lines.next_line().await?.context("the process with the clients has ended")?;
        serde_json::from_str(&line).with_context(|| line.clone())
    }

    /// Whether all messages are stored.
    pub async fn is_stored(&self) -> Result<bool> {
        let stored = history::read_messages(&self.history, &self.room).await?;
        Ok(stored.len() >= 2 * self.count)
    }

    /// Waits for the end, and compares what both users received with the history: nothing is missing, doubled, out of
    /// order or different.
    ///
    /// # Errors
    /// When something differs.
    pub async fn finish(mut self) -> Result<ConversationReport> {
        let mut reports = Vec::new();
        for _ in 0..2 {
            reports.push(serde_json::from_value::<UserReport>(self.next_line().await?)?);
        }
        ensure!(self.process.wait().await?.success(), "the process with the clients failed");
        let stored = history::read_messages(&self.history, &self.room).await?;
        ensure!(stored.len() == 2 * self.count, "{} messages are stored", stored.len());
        for (sender, name) in ["ann", "ben"].into_iter().enumerate() {
            let texts = stored.iter().filter(|message| message.sender == name).map(|message| &message.text);
            let sent: Vec<String> = (0..self.count).map(|number| format!("{sender} says {number}")).collect();
            ensure!(texts.eq(&sent), "the messages of {name} differ from what was sent");
        }
        for report in &reports {
            ensure!(report.violations.is_empty(), "user {}: {:?}", report.user, report.violations);
            let received = report.messages.iter().map(ReportedMessage::to_received);
            ensure!(
                received.eq(stored.iter().cloned()),
                "user {} received {:?}",
                report.user,
                report.messages
            );
        }
        Ok(ConversationReport {
            connects: reports.iter().map(|report| report.connects).sum(),
            transports: reports.into_iter().map(|report| report.transport).collect(),
        })
    }
}

impl ReportedMessage {
    fn to_received(&self) -> Received {
        Received {
            seq: self.seq,
            id: self.id.clone(),
            client_id: self.client_id.clone(),
            sender: self.sender.clone(),
            text: self.content.clone(),
        }
    }
}
