//! Sends messages when they are due, and waits for the deliveries.

use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::receiving::{DUE_DIGITS, DUE_PREFIX};
use super::tally::DeliveryCounts;
use super::work::{Act, Completion, DueAct, Work, fixed_rate_acts};
use super::{LoadGenerator, SentMessage, Tally};

/// The wait for missing frames ends when no new frame has come for this long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// Limit of the acts between two polls of the sockets.
pub(super) const MAX_ACTS_PER_POLL: usize = 64;
/// The text that fills messages up to their length.
const FILLER_TEXT: &[u8; 64] = b"the quick brown fox jumps over the lazy dog and on it goes till ";

impl LoadGenerator {
    /// Does the work. Then waits until all expected frames have come, or no more frames come.
    ///
    /// # Errors
    /// When epoll fails, or a server sends malformed frames.
    pub fn run(&mut self, work: &Work) -> Result<Tally> {
        let begun = self.begin_phase();
        self.backs_off = matches!(work, Work::Closed { .. });
        match work {
            Work::Open(due) => self.run_open_loop(begun, due.iter().copied())?,
            Work::Until { senders, characters, per_second, stop } => {
                let due = fixed_rate_acts(senders, *characters, *per_second);
                self.run_open_loop(begun, due.take_while(|_| !stop.load(Ordering::Relaxed)))?;
            }
            Work::Closed { senders, characters, window, completion, time } => {
                self.run_closed_loop(begun, (senders, *characters), (*window, *completion), *time)?;
            }
            Work::Listen(time) => {
                while let Some(left) = time.checked_sub(begun.elapsed()) {
                    self.poll_sockets(left)?;
                }
            }
        }
        // Frames that come later are counted in all fields of the tally except `in_time`. `wall` and `busy` do not
        // include the wait for them.
        let (wall, busy) = (begun.elapsed(), self.tally.busy);
        self.tally.in_time = DeliveryCounts { delivered: self.tally.delivered, acked: self.tally.acked };
        if !matches!(work, Work::Listen(_)) {
            self.wait_for_missing_frames()?;
        }
        let tally = self.finish_phase(begun);
        Ok(Tally { wall, busy, ..tally })
    }

    fn run_open_loop(&mut self, begun: Instant, acts: impl Iterator<Item = DueAct>) -> Result<()> {
        let zero = begun.duration_since(self.epoch).as_micros() as u64;
        let mut acts = acts.peekable();
        while acts.peek().is_some() {
            let passed = begun.elapsed();
            let mut done = 0;
            let working = Instant::now();
            while let Some(due) = acts.next_if(|due| due.at <= passed && done < MAX_ACTS_PER_POLL) {
                self.perform_act(due.client, due.act, zero + due.at.as_micros() as u64)?;
                done += 1;
            }
            self.tally.busy += working.elapsed();
            let wait = acts.peek().map_or(Duration::ZERO, |due| due.at.saturating_sub(begun.elapsed()));
            self.poll_sockets(wait)?;
        }
        Ok(())
    }

    fn run_closed_loop(
        &mut self,
        begun: Instant,
        (senders, characters): (&[(u32, u32)], u16),
        (window, completion): (usize, Completion),
        time: Duration,
    ) -> Result<()> {
        let mut turn = 0;
        // The number of expected deliveries of each unfinished message.
        let mut unfinished = std::collections::VecDeque::new();
        let mut covered = 0;
        while begun.elapsed() < time {
            let working = Instant::now();
            let under_way = match completion {
                Completion::Acked => (self.tally.sent - self.tally.acked.min(self.tally.sent)) as usize,
                Completion::Delivered => {
                    // A refused message counts as finished.
                    while let Some(&receivers) = unfinished.front()
                        && self.tally.delivered + self.tally.cancelled_deliveries >= covered + receivers
                    {
                        covered += receivers;
                        unfinished.pop_front();
                    }
                    unfinished.len()
                }
            };
            let window = if self.is_backing_off() { 0 } else { window };
            for _ in under_way..window {
                let (client, room) = senders[turn % senders.len()];
                turn += 1;
                if completion == Completion::Delivered {
                    unfinished.push_back(u64::from(self.rooms[room as usize].receivers));
                }
                let now = self.now_us();
                self.perform_act(client, Act::Send { room, characters }, now)?;
            }
            self.tally.busy += working.elapsed();
            self.poll_sockets(Duration::from_millis(20))?;
            if self.tally.refused > 0 {
                // A refused message is never acked, so the window would stay full and nothing more would be sent.
                break;
            }
        }
        Ok(())
    }

    fn wait_for_missing_frames(&mut self) -> Result<()> {
        let mut quiet_since = Instant::now();
        let progress = |tally: &Tally| (tally.delivered, tally.acked, tally.refused, tally.overload_refusals);
        let mut seen = progress(&self.tally);
        while quiet_since.elapsed() < IDLE_TIMEOUT {
            let answered =
                self.dialect.ack.is_none() || self.tally.acked + self.tally.refused >= self.tally.sent;
            if answered && self.tally.delivered >= self.tally.expected {
                break;
            }
            self.poll_sockets(Duration::from_millis(50))?;
            let now = progress(&self.tally);
            if now != seen {
                (seen, quiet_since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// Whether sends still pause because the server is overloaded.
    fn is_backing_off(&self) -> bool {
        self.resume_at.is_some_and(|resume| Instant::now() < resume)
    }

    pub(super) fn perform_act(&mut self, client: u32, act: Act, due_us: u64) -> Result<()> {
        let number = client as usize;
        if !self.clients[number].is_connected() {
            return Ok(());
        }
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        let has_frame = match act {
            Act::Send { room, characters } => {
                self.write_message(&mut text, room, characters, due_us);
                if let Some(round) = &mut self.round {
                    round.add(self.next_reference - 1, number, &text);
                }
                self.tally.sent += 1;
                self.tally.expected += u64::from(self.rooms[room as usize].receivers);
                true
            }
            Act::Typing { room } => self.write_activity(&mut text, self.dialect.typing.as_deref(), room, ""),
            Act::Read { room } => self.write_activity(&mut text, self.dialect.read.as_deref(), room, ""),
            Act::Online => {
                self.write_activity(&mut text, self.dialect.presence.as_deref(), u32::MAX, "online")
            }
            Act::Away => self.write_activity(&mut text, self.dialect.presence.as_deref(), u32::MAX, "away"),
        };
        let outcome = if has_frame { self.send_text(number, &text) } else { Ok(()) };
        self.scratch = text;
        if outcome.is_err() {
            self.handle_disconnect(number, 0);
        }
        Ok(())
    }

    /// Writes the frame of a new message, and adds the message to `sends`.
    fn write_message(&mut self, into: &mut Vec<u8>, room: u32, characters: u16, due_us: u64) {
        let reference = self.next_reference;
        self.next_reference += 1;
        // Joins use references too. They get empty entries in `sends`.
        let receivers = u64::from(self.rooms[room as usize].receivers);
        self.sends.resize((reference - self.first_reference) as usize, None);
        self.sends.push(Some(SentMessage { due_us, receivers }));
        for piece in &self.send {
            match piece {
                TemplatePiece::Text(text) => into.extend_from_slice(text),
                TemplatePiece::Reference => write!(into, "{reference}").expect("a Vec takes everything"),
                TemplatePiece::Room => into.extend_from_slice(self.rooms[room as usize].id.as_bytes()),
                TemplatePiece::ClientId => {
                    write!(into, "{}", uuid::Uuid::now_v7().as_hyphenated()).expect("a Vec takes everything");
                }
                TemplatePiece::Content => {
                    into.extend_from_slice(DUE_PREFIX);
                    write!(into, "{due_us:0DUE_DIGITS$} ").expect("a Vec takes everything");
                    let mut left = usize::from(characters).saturating_sub(DUE_PREFIX.len() + DUE_DIGITS + 1);
                    while left > 0 {
                        let some = left.min(FILLER_TEXT.len());
                        into.extend_from_slice(&FILLER_TEXT[..some]);
                        left -= some;
                    }
                }
            }
        }
    }

    /// Writes the frame of typing, a read mark or presence. Returns false if there is nothing to send: the dialect has
    /// no such frame, or there is no message to mark as read.
    fn write_activity(&self, into: &mut Vec<u8>, template: Option<&str>, room: u32, status: &str) -> bool {
        let Some(template) = template else { return false };
        let known = self.rooms.get(room as usize);
        let seq = known.map_or(0, |room| room.seq).to_string();
        let room = known.map_or("", |room| room.id.as_str());
        let reference = self.next_reference.to_string();
        let values = [("room", room), ("seq", &seq), ("status", status), ("ref", &reference)];
        into.extend_from_slice(crate::dialect::fill_template(template, &values).as_bytes());
        !(template.contains("{seq}") && seq == "0")
    }
}

/// A piece of the template of the `send` frame: text, or the place of a value.
pub(super) enum TemplatePiece {
    Text(Vec<u8>),
    Reference,
    Room,
    ClientId,
    Content,
}

/// Parses the template of the `send` frame into pieces, so that no search is needed for each message.
pub(super) fn parse_template(template: &str) -> Vec<TemplatePiece> {
    let names = ["{ref}", "{room}", "{client_id}", "{text}"];
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((at, name)) =
        names.iter().filter_map(|name| rest.find(name).map(|at| (at, *name))).min_by_key(|(at, _)| *at)
    {
        pieces.push(TemplatePiece::Text(rest.as_bytes()[..at].to_vec()));
        pieces.push(match name {
            "{ref}" => TemplatePiece::Reference,
            "{room}" => TemplatePiece::Room,
            "{client_id}" => TemplatePiece::ClientId,
            _ => TemplatePiece::Content,
        });
        rest = &rest[at + name.len()..];
    }
    pieces.push(TemplatePiece::Text(rest.as_bytes().to_vec()));
    pieces
}
