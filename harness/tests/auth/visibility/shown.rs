//! Reads a room from a cursor on, by WebSocket and by poll. The reader fills gaps over HTTP, as clients do.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::{
    Cursor, Http, ServerFrame, Stack,
    frames::Gap,
    raw::{RawSocket, opcode},
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// A user who reads a room from a cursor on.
pub struct RoomReader<'a> {
    pub stack: &'a Stack,
    pub user: &'a str,
    pub room: &'a str,
    /// The seq of the cursor.
    pub from: u64,
}

pub struct ReadEvents {
    /// The seqs of log events, in the order in which the reader applies them.
    pub seqs: Vec<u64>,
    /// The raw text of everything received.
    pub text: String,
    /// How many of the seqs arrived before any gap.
    pub replayed: usize,
    pub has_gap: bool,
}

impl ReadEvents {
    fn new() -> Self {
        Self { seqs: Vec::new(), text: String::new(), replayed: 0, has_gap: false }
    }

    fn add(&mut self, room: &str, frame: &ServerFrame) -> Result<()> {
        if let Some((of, seq)) = frame.log_position() {
            ensure!(of == room, "a frame of {of}");
            self.seqs.push(seq);
        }
        Ok(())
    }
}

impl RoomReader<'_> {
    /// Joins after the cursor and reads until the replay ends.
    pub async fn read_by_socket(&self, gateway: usize) -> Result<ReadEvents> {
        let port = self.stack.gateway(gateway).ports().public;
        let mut socket = RawSocket::open(port, &self.stack.token(self.user)).await?;
        let after = json!({"epoch": "1", "seq": self.from});
        let join = json!({"type": "room:join", "room": self.room, "after": after}).to_string();
        socket.send(opcode::TEXT, join.as_bytes()).await?;
        let mut shown = ReadEvents::new();
        loop {
            let frame =
                tokio::time::timeout(WAIT_TIMEOUT, socket.next()).await.context("no frame arrived")??;
            let frame = frame.context("the connection closed")?;
            if frame.opcode == opcode::PING {
                socket.send(opcode::PONG, &frame.payload).await?;
                continue;
            }
            ensure!(frame.opcode == opcode::TEXT, "{frame:?}");
            shown.text.push_str(frame.text());
            match ServerFrame::parse(frame.text())? {
                ServerFrame::CaughtUp(_) => {
                    shown.replayed = shown.seqs.len();
                    return Ok(shown);
                }
                ServerFrame::Gap(gap) => {
                    self.fill_gap(&mut shown, &gap).await?;
                    return Ok(shown);
                }
                ServerFrame::Error(error) => anyhow::bail!("{error:?}"),
                frame => shown.add(self.room, &frame)?,
            }
        }
    }

    /// Polls once from the cursor.
    pub async fn read_by_poll(&self, gateway: usize) -> Result<ReadEvents> {
        let http = Http::new(&self.stack.gateway(gateway).url(), &self.stack.token(self.user));
        let cursors = json!({"cursors": {self.room: {"epoch": "1", "seq": self.from}}, "timeout_ms": 300});
        let answer = http.post("/poll", cursors).await?.expect(200).body;
        ensure!(answer["failed"] == json!([]), "{answer}");
        let mut shown = ReadEvents::new();
        shown.text.push_str(&answer.to_string());
        let mut gap = None;
        for event in answer["events"].as_array().context("no events")? {
            match ServerFrame::from_value(event.clone()) {
                ServerFrame::Gap(found) => gap = Some(found),
                frame => {
                    // No message is sent meanwhile, so nothing can follow a gap.
                    ensure!(gap.is_none(), "an event after a gap: {answer}");
                    shown.add(self.room, &frame)?;
                }
            }
        }
        let head = match &gap {
            Some(gap) => {
                self.fill_gap(&mut shown, gap).await?;
                gap.head.seq
            }
            None => {
                shown.replayed = shown.seqs.len();
                self.fetch_head().await?
            }
        };
        ensure!(answer["cursors"][self.room]["seq"] == head, "{answer}");
        Ok(shown)
    }

    async fn fetch_head(&self) -> Result<u64> {
        let page = self.stack.http(self.user).events(self.room, "limit=1").await?.expect(200).body;
        page["head"]["seq"].as_u64().context("no head")
    }

    /// Drops the events above the gap's start and reads the gap page by page, up to its head.
    async fn fill_gap(&self, shown: &mut ReadEvents, gap: &Gap) -> Result<()> {
        ensure!(gap.room == self.room, "{gap:?}");
        shown.has_gap = true;
        shown.seqs.retain(|seq| *seq <= gap.after);
        shown.replayed = shown.seqs.len();
        let mut cursor = Cursor { epoch: gap.head.epoch.clone(), seq: self.from.min(gap.after) };
        if let Some(last) = shown.seqs.last() {
            cursor.seq = (*last).max(cursor.seq);
        }
        while cursor.seq < gap.head.seq {
            let Cursor { epoch, seq } = &cursor;
            // A small limit, so that there are several pages.
            let query = format!("after={seq}&epoch={epoch}&upto={}&limit=20", gap.head.seq);
            let page = self.stack.http(self.user).events(self.room, &query).await?.expect(200).body;
            shown.text.push_str(&page.to_string());
            for event in page["events"].as_array().context("no events")? {
                shown.seqs.push(event["seq"].as_u64().context("an event without a seq")?);
            }
            let next: Cursor = serde_json::from_value(page["next"].clone())?;
            ensure!(next.seq > cursor.seq, "the page does not advance: {page}");
            cursor = next;
        }
        ensure!(cursor.seq == gap.head.seq, "read up to {cursor:?}: {gap:?}");
        Ok(())
    }
}
