//! Sends messages when they are due, and waits for the deliveries.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::hearing::{STAMP, STAMP_DIGITS};
use super::tally::DeliveryCounts;
use super::work::{Act, Due, Gate, Work};
use super::{Load, Sent, Tally};

/// How long to wait for missing frames after the last one was sent or received.
const QUIET: Duration = Duration::from_secs(2);
/// Acts between two checks of the sockets.
const ACTS_PER_TURN: usize = 64;
/// The filling of texts.
const FILLING: &[u8; 64] = b"the quick brown fox jumps over the lazy dog and on it goes till ";

impl Load {
    /// Does the work, then waits until all expected frames have come, or no more come.
    ///
    /// # Errors
    /// When epoll fails, or a server sends malformed frames.
    pub fn run(&mut self, work: &Work) -> Result<Tally> {
        let begun = self.begin();
        self.may_rest = matches!(work, Work::Closed { .. });
        match work {
            Work::Open(due) => self.open_loop(begun, due)?,
            Work::Closed { senders, characters, window, gate, time } => {
                self.closed_loop(begun, (senders, *characters), (*window, *gate), *time)?;
            }
            Work::Listen(time) => {
                while let Some(left) = time.checked_sub(begun.elapsed()) {
                    self.turn(left)?;
                }
            }
        }
        // Later frames are counted, but not the time.
        let (wall, busy) = (begun.elapsed(), self.tally.busy);
        self.tally.in_time = DeliveryCounts { delivered: self.tally.delivered, acked: self.tally.acked };
        if !matches!(work, Work::Listen(_)) {
            self.wait_for_the_rest()?;
        }
        let tally = self.finish(begun);
        Ok(Tally { wall, busy, ..tally })
    }

    fn open_loop(&mut self, begun: Instant, acts: &[Due]) -> Result<()> {
        let zero = begun.duration_since(self.epoch).as_micros() as u64;
        let mut next = 0;
        while next < acts.len() {
            let passed = begun.elapsed();
            let mut done = 0;
            let working = Instant::now();
            while let Some(due) = acts.get(next).filter(|due| due.at <= passed && done < ACTS_PER_TURN) {
                self.act(due.client, due.act, zero + due.at.as_micros() as u64)?;
                next += 1;
                done += 1;
            }
            self.tally.busy += working.elapsed();
            let wait = acts.get(next).map_or(Duration::ZERO, |due| due.at.saturating_sub(begun.elapsed()));
            self.turn(wait)?;
        }
        Ok(())
    }

    fn closed_loop(
        &mut self,
        begun: Instant,
        (senders, characters): (&[(u32, u32)], u16),
        (window, gate): (usize, Gate),
        time: Duration,
    ) -> Result<()> {
        let mut turn = 0;
        // Deliveries that must come before the oldest unfinished message counts as delivered.
        let mut owed = std::collections::VecDeque::new();
        let mut covered = 0;
        while begun.elapsed() < time {
            let working = Instant::now();
            let under_way = match gate {
                Gate::Acked => (self.tally.sent - self.tally.acked.min(self.tally.sent)) as usize,
                Gate::Delivered => {
                    // A refused message counts as finished.
                    while let Some(&receivers) = owed.front()
                        && self.tally.delivered + self.tally.turned_away >= covered + receivers
                    {
                        covered += receivers;
                        owed.pop_front();
                    }
                    owed.len()
                }
            };
            let window = if self.is_resting() { 0 } else { window };
            for _ in under_way..window {
                let (client, room) = senders[turn % senders.len()];
                turn += 1;
                if gate == Gate::Delivered {
                    owed.push_back(u64::from(self.rooms[room as usize].hearing));
                }
                let now = self.now_us();
                self.act(client, Act::Send { room, characters }, now)?;
            }
            self.tally.busy += working.elapsed();
            self.turn(Duration::from_millis(20))?;
            if self.tally.refused > 0 {
                // A refusal is not an ack, so the window would stay closed for ever.
                break;
            }
        }
        Ok(())
    }

    fn wait_for_the_rest(&mut self) -> Result<()> {
        let mut quiet_since = Instant::now();
        let progress = |tally: &Tally| (tally.delivered, tally.acked, tally.refused, tally.overloads);
        let mut seen = progress(&self.tally);
        while quiet_since.elapsed() < QUIET {
            let answered =
                self.dialect.ack.is_none() || self.tally.acked + self.tally.refused >= self.tally.sent;
            if answered && self.tally.delivered >= self.tally.expected {
                break;
            }
            self.turn(Duration::from_millis(50))?;
            let now = progress(&self.tally);
            if now != seen {
                (seen, quiet_since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// Whether sends pause because the server is overloaded.
    fn is_resting(&self) -> bool {
        self.resume.is_some_and(|resume| Instant::now() < resume)
    }

    fn act(&mut self, client: u32, act: Act, due_us: u64) -> Result<()> {
        let number = client as usize;
        if !self.clients[number].is_standing() {
            return Ok(());
        }
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        let said = match act {
            Act::Send { room, characters } => {
                self.message(&mut text, room, characters, due_us);
                self.tally.sent += 1;
                self.tally.expected += u64::from(self.rooms[room as usize].hearing);
                true
            }
            Act::Typing { room } => self.other(&mut text, self.dialect.typing.as_deref(), room, ""),
            Act::Read { room } => self.other(&mut text, self.dialect.read.as_deref(), room, ""),
            Act::Online => self.other(&mut text, self.dialect.presence.as_deref(), u32::MAX, "online"),
            Act::Away => self.other(&mut text, self.dialect.presence.as_deref(), u32::MAX, "away"),
        };
        let outcome = if said { self.say(number, &text) } else { Ok(()) };
        self.scratch = text;
        if outcome.is_err() {
            self.ended(number, 0);
        }
        Ok(())
    }

    /// Writes a message with the template's pieces.
    fn message(&mut self, into: &mut Vec<u8>, room: u32, characters: u16, due_us: u64) {
        let reference = self.next_reference;
        self.next_reference += 1;
        // The references of joins are between those of two phases.
        let receivers = u64::from(self.rooms[room as usize].hearing);
        self.sends.resize((reference - self.first_reference) as usize, None);
        self.sends.push(Some(Sent { due_us, receivers }));
        for piece in &self.send {
            match piece {
                Piece::Text(text) => into.extend_from_slice(text),
                Piece::Reference => write!(into, "{reference}").expect("a Vec takes everything"),
                Piece::Room => into.extend_from_slice(self.rooms[room as usize].id.as_bytes()),
                Piece::ClientId => {
                    write!(into, "{}", uuid::Uuid::now_v7().as_hyphenated()).expect("a Vec takes everything");
                }
                Piece::Content => {
                    into.extend_from_slice(STAMP);
                    write!(into, "{due_us:0STAMP_DIGITS$} ").expect("a Vec takes everything");
                    let mut left = usize::from(characters).saturating_sub(STAMP.len() + STAMP_DIGITS + 1);
                    while left > 0 {
                        let some = left.min(FILLING.len());
                        into.extend_from_slice(&FILLING[..some]);
                        left -= some;
                    }
                }
            }
        }
    }

    fn other(&self, into: &mut Vec<u8>, template: Option<&str>, room: u32, status: &str) -> bool {
        let Some(template) = template else { return false };
        let known = self.rooms.get(room as usize);
        let seq = known.map_or(0, |room| room.seq).to_string();
        let room = known.map_or("", |room| room.id.as_str());
        let reference = self.next_reference.to_string();
        let values = [("room", room), ("seq", &seq), ("status", status), ("ref", &reference)];
        into.extend_from_slice(crate::dialect::fill(template, &values).as_bytes());
        // There is nothing to mark as read yet.
        !(template.contains("{seq}") && seq == "0")
    }
}

/// A piece of the template of messages.
pub(super) enum Piece {
    Text(Vec<u8>),
    Reference,
    Room,
    ClientId,
    Content,
}

/// Cuts the template of messages into pieces, so that sending does not have to search in it.
pub(super) fn pieces(template: &str) -> Vec<Piece> {
    let names = ["{ref}", "{room}", "{client_id}", "{text}"];
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((at, name)) =
        names.iter().filter_map(|name| rest.find(name).map(|at| (at, *name))).min_by_key(|(at, _)| *at)
    {
        pieces.push(Piece::Text(rest.as_bytes()[..at].to_vec()));
        pieces.push(match name {
            "{ref}" => Piece::Reference,
            "{room}" => Piece::Room,
            "{client_id}" => Piece::ClientId,
            _ => Piece::Content,
        });
        rest = &rest[at + name.len()..];
    }
    pieces.push(Piece::Text(rest.as_bytes().to_vec()));
    pieces
}
