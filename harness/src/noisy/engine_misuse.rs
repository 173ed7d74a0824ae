//! Clients that break the rules of Engine.IO. Each client opens a session, breaks one rule, and begins again. Its
//! requests go to the gateways in turn, so that gateways also forward them to each other.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{Answers, RETRY_PAUSE};
use crate::engine_io::{EngineAnswer, EngineMessage, EnginePolling, EngineSocket, PACKET_SEPARATOR};

/// The server closes a session that took nothing for 10 s from its full outbox.
const NO_POLL_TIME: Duration = Duration::from_secs(11);
/// A poll of a session without a namespace waits for longer than this.
const CANCEL_AFTER: Duration = Duration::from_millis(50);
/// How long a WebSocket stays open without completing its upgrade.
const HALF_UPGRADE_TIME: Duration = Duration::from_millis(300);
/// Timeout for the close of a WebSocket that sent garbage.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The limit of a body is 64 KiB.
const HUGE_BODY_BYTES: usize = 2 * 1024 * 1024;
/// Packets that are not valid, or not allowed at the beginning of a session.
const GARBAGE: [&str; 10] =
    ["", "9", "4", "4nonsense", "b%%%", "42[", "40/elsewhere,{", "451-[\"a\"]", "0{}", "5\u{1e}6\u{1e}"];

/// A way to break the rules of Engine.IO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineMisuse {
    /// The session joins rooms, and its client does not poll.
    NeverPoll,
    /// A poll is cancelled, and the client polls again.
    CancelPolls,
    /// Two polls of a session wait at the same time.
    ParallelPolls,
    /// A WebSocket begins an upgrade and does not complete it.
    HalfUpgrades,
    /// Packets that no client may send, by POST and by WebSocket.
    Garbage,
    /// Bodies above the limit.
    HugeBodies,
    /// Session ids that no gateway has issued.
    InventedIds,
}

impl EngineMisuse {
    pub const ALL: [EngineMisuse; 7] = [
        EngineMisuse::NeverPoll,
        EngineMisuse::CancelPolls,
        EngineMisuse::ParallelPolls,
        EngineMisuse::HalfUpgrades,
        EngineMisuse::Garbage,
        EngineMisuse::HugeBodies,
        EngineMisuse::InventedIds,
    ];
}

/// What a client needs to open sessions.
#[derive(Debug, Clone)]
pub struct EngineTarget {
    /// The addresses of the gateways with the path of Socket.IO.
    pub bases: Vec<String>,
    /// The token of a member of the rooms.
    pub token: String,
    /// The rooms that [`EngineMisuse::NeverPoll`] joins.
    pub rooms: Vec<String>,
}

/// Breaks the rules of Engine.IO in one way repeatedly, and counts the answers.
pub async fn misuse_engine_io(target: EngineTarget, misuse: EngineMisuse, answers: Answers) {
    for number in 0_usize.. {
        let base = |number: usize| &target.bases[number % target.bases.len()];
        match EnginePolling::open(base(number)).await {
            Ok(session) => {
                let elsewhere = session.at(base(number + 1));
                let round = Round { number, session, elsewhere, misuse, answers: &answers };
                if round.run(&target).await.is_err() {
                    answers.count(format!("{misuse:?} without an answer"));
                }
            }
            Err(_) => answers.count("not let in"),
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// One session of a client.
struct Round<'a> {
    number: usize,
    session: EnginePolling,
    /// The same session, at the next gateway.
    elsewhere: EnginePolling,
    misuse: EngineMisuse,
    answers: &'a Answers,
}

impl Round<'_> {
    async fn run(&self, target: &EngineTarget) -> Result<()> {
        match self.misuse {
            EngineMisuse::NeverPoll => {
                let connect = json!({ "token": target.token, "rooms": target.rooms });
                self.count(&self.session.post(&format!("40{connect}")).await?);
                sleep(NO_POLL_TIME).await;
                self.count(&self.elsewhere.get().await?);
            }
            EngineMisuse::CancelPolls => {
                // The poll ends without an answer, because nothing is sent to the session.
                drop(timeout(CANCEL_AFTER, self.elsewhere.get()).await);
                self.count(&self.session.get().await?);
            }
            EngineMisuse::ParallelPolls => {
                let (one, other) = tokio::join!(self.session.get(), self.elsewhere.get());
                self.count(&one?);
                self.count(&other?);
            }
            EngineMisuse::HalfUpgrades => {
                let mut socket = EngineSocket::open(&self.elsewhere.socket_url()).await?;
                if self.number.is_multiple_of(2) {
                    socket.send("2probe").await?;
                }
                sleep(HALF_UPGRADE_TIME).await;
                drop(socket);
                // The session still takes the packets of polling.
                self.count(&self.session.post("3").await?);
            }
            EngineMisuse::Garbage => self.send_garbage(&target.bases).await?,
            EngineMisuse::HugeBodies => {
                self.count(&self.elsewhere.post(&format!("4{}", "x".repeat(HUGE_BODY_BYTES))).await?);
            }
            EngineMisuse::InventedIds => {
                let real = &self.session.sid;
                let changed = format!("{}{}", &real[..real.len() / 2], real[real.len() / 2..].to_uppercase());
                for sid in ["A".repeat(60), changed, String::new()] {
                    let invented = self.session.with_sid(sid);
                    self.count(&invented.get().await?);
                    self.count(&invented.post("3").await?);
                }
            }
        }
        Ok(())
    }

    async fn send_garbage(&self, bases: &[String]) -> Result<()> {
        let garbage = GARBAGE[self.number % GARBAGE.len()];
        let payload = format!("{garbage}{PACKET_SEPARATOR}{garbage}");
        self.count(&self.elsewhere.post(&payload).await?);
        let url = bases[self.number % bases.len()].replacen("http", "ws", 1);
        let mut socket = EngineSocket::open(&format!("{url}?EIO=4&transport=websocket")).await?;
        socket.send(garbage).await?;
        // This fails if the server has closed the connection already.
        let _ = socket.send_binary(garbage.as_bytes()).await;
        let closed = timeout(CLOSE_TIMEOUT, async {
            loop {
                if let EngineMessage::Closed(closed) = socket.next().await {
                    return closed;
                }
            }
        });
        let code = closed.await.ok().and_then(|closed| closed.code);
        let code = code.map_or("without a code".to_owned(), |code| code.to_string());
        self.answers.count(format!("{:?} closed {code}", self.misuse));
        Ok(())
    }

    /// Counts an answer by its status and the protocol's code.
    fn count(&self, answer: &EngineAnswer) {
        let (misuse, status) = (self.misuse, answer.status);
        let code = answer.code().map(|code| format!(" code {code}")).unwrap_or_default();
        self.answers.count(format!("{misuse:?} {status}{code}"));
        if answer.is_internal_error() {
            self.answers.record_internal_error(format!("{misuse:?} was answered {status}: {}", answer.body));
        }
    }
}
