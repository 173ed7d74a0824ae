//! Records what one listener received in one room, and checks it against PROTOCOL.md.

use std::collections::HashSet;
use std::sync::Arc;

use crate::frames::{CaughtUp, Cursor, Gap, JoinedRoom, ServerFrame};
use crate::http::{EventsPage, MessagesPage};

mod held;
mod violations;

pub use held::{Interner, Received, RecordedEvent};
pub use violations::Violations;

/// The state of the listener in the room.
#[derive(Debug)]
enum Phase {
    /// The room is not joined on this connection, so no event may come.
    Away,
    /// The room is joined again on this connection. Events that come before the answer are dropped.
    Rejoining,
    /// `room:joined` came. Replayed or live events follow.
    Joined,
    /// A gap is being filled over HTTP up to `head`. Live events and `room:caught_up` wait in `held`.
    Filling { head: u64, held: Vec<ServerFrame> },
}

/// The next page of a fill: `GET events?after=…&epoch=…&upto=…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {
    /// Events above this seq are read.
    pub after: u64,
    /// The epoch of the gap.
    pub epoch: String,
    /// Events up to this seq are read.
    pub upto: u64,
    /// The number of the fill. After a later gap, the pages of earlier fills are ignored.
    pub number: u64,
}

/// The record of one listener of one room.
#[derive(Debug)]
pub struct Recorder {
    room: String,
    interner: Arc<Interner>,
    cursor: Option<Cursor>,
    joined_head: Option<Cursor>,
    start: Option<u64>,
    phase: Phase,
    fills: u64,
    held: Vec<RecordedEvent>,
    violations: Violations,
    dropped: u64,
}

impl Recorder {
    /// An empty record. `interner` stores equal messages of several listeners once.
    pub fn new(room: &str, interner: Arc<Interner>) -> Recorder {
        Recorder {
            room: room.to_owned(),
            interner,
            cursor: None,
            joined_head: None,
            start: None,
            phase: Phase::Away,
            fills: 0,
            held: Vec::new(),
            violations: Violations::default(),
            dropped: 0,
        }
    }

    /// Starts at a cursor. All events above the cursor must come.
    pub fn begin(&mut self, cursor: Cursor) {
        self.start = Some(cursor.seq);
        self.cursor = Some(cursor);
    }

    /// Loads the latest page of history; the join continues after its head.
    pub fn load(&mut self, page: &MessagesPage) {
        let first = page.messages.first().filter(|_| page.has_before).map_or(0, |message| message.seq - 1);
        self.begin(page.head.clone());
        self.start = Some(first);
        for message in &page.messages {
            let received = message.clone().into();
            self.held.push(RecordedEvent::Message(self.interner.intern(received)));
        }
    }

    /// Handles the end of the connection. The cursor and the received events remain.
    pub fn disconnected(&mut self) {
        self.phase = Phase::Away;
        self.joined_head = None;
    }

    /// Prepares for a `room:join`, which may be a repeated one on the same connection.
    pub fn joining(&mut self) {
        if !matches!(self.phase, Phase::Away) {
            self.phase = Phase::Rejoining;
        }
    }

    /// Handles `room:joined`.
    pub fn joined(&mut self, room: &JoinedRoom) {
        self.phase = Phase::Joined;
        self.joined_head = Some(room.head.clone());
    }

    /// Handles a log event from the connection.
    pub fn event(&mut self, frame: ServerFrame) {
        match &mut self.phase {
            Phase::Filling { held, .. } => held.push(frame),
            Phase::Rejoining => self.dropped += 1,
            Phase::Away => {
                self.violations.other(format!("{} came to {} without a join", frame.kind(), self.room));
            }
            Phase::Joined => {
                // The first event after a join shows that the cursor is valid in the epoch of `room:joined`.
                if let Some(head) = self.joined_head.take() {
                    let seq = self.cursor.as_ref().map_or(head.seq, |cursor| cursor.seq);
                    self.start.get_or_insert(seq);
                    self.cursor = Some(Cursor { epoch: head.epoch, seq });
                }
                self.record_event(frame);
            }
        }
    }

    /// Handles `room:caught_up`.
    pub fn caught_up(&mut self, frame: CaughtUp) {
        match &mut self.phase {
            Phase::Rejoining => {
                self.dropped += 1;
                return;
            }
            Phase::Away => {
                self.violations.other(format!("room:caught_up of {} came out of place", self.room));
                return;
            }
            Phase::Filling { held, .. } => return held.push(ServerFrame::CaughtUp(frame)),
            Phase::Joined => {}
        }
        if let Some(cursor) = self.cursor.as_ref().filter(|cursor| cursor.seq > frame.seq) {
            let at = cursor.seq;
            self.violations.other(format!("{} caught up at {}, below {at}", self.room, frame.seq));
            return;
        }
        self.joined_head = None;
        self.start.get_or_insert(frame.seq);
        self.cursor = Some(Cursor { epoch: frame.epoch, seq: frame.seq });
    }

    /// Handles `room:gap`: discards all events above `after`. Returns the first page to read, if any, and whether the
    /// epoch changed. After a change of the epoch the caller must send unstored messages again.
    pub fn gap(&mut self, gap: Gap) -> (Option<Fill>, bool) {
        match self.phase {
            Phase::Rejoining => {
                self.dropped += 1;
                return (None, false);
            }
            Phase::Away => {
                self.violations.other(format!("room:gap of {} came without a join", self.room));
                return (None, false);
            }
            Phase::Joined | Phase::Filling { .. } => {}
        }
        let seq = self.cursor.as_ref().map_or(gap.after, |cursor| cursor.seq.min(gap.after));
        let new_epoch = self.cursor.as_ref().is_some_and(|cursor| cursor.epoch != gap.head.epoch);
        self.held.retain(|held| held.seq() <= seq);
        self.start = Some(self.start.map_or(seq, |start| start.min(seq)));
        self.joined_head = None;
        self.cursor = Some(Cursor { epoch: gap.head.epoch, seq });
        self.fills += 1;
        self.phase = Phase::Filling { head: gap.head.seq, held: Vec::new() };
        (self.next_fill(), new_epoch)
    }

    /// Whether this fill still waits for a page.
    pub fn wants(&self, fill: &Fill) -> bool {
        fill.number == self.fills && matches!(self.phase, Phase::Filling { .. })
    }

    /// Handles a page of a fill. Returns the next page to read, if any.
    pub fn page(&mut self, fill: &Fill, page: EventsPage) -> Option<Fill> {
        if !self.wants(fill) {
            return None;
        }
        let next = page.next.seq;
        for frame in page.frames() {
            let seq = frame.log_position().map_or(0, |(_, seq)| seq);
            if seq > next {
                self.violations.other(format!("a page of {} goes beyond its next", self.room));
            }
            // A page may contain events above the gap's head. They also come live, so they are skipped here.
            if seq <= fill.upto {
                self.record_event(frame);
            }
        }
        match self.cursor.as_mut() {
            Some(cursor) if cursor.seq <= next => cursor.seq = next.min(fill.upto),
            _ => self.violations.other(format!("next of {} goes back to {next}", self.room)),
        }
        self.next_fill()
    }

    /// Ends the fill, because the server does not know its epoch any more. The caller must join again at the cursor.
    pub fn abandon_fill(&mut self) {
        self.fills += 1;
        self.joining();
    }

    fn next_fill(&mut self) -> Option<Fill> {
        let Phase::Filling { head, held } = &mut self.phase else { return None };
        let cursor = self.cursor.as_ref()?;
        if cursor.seq < *head {
            let (after, epoch, upto) = (cursor.seq, cursor.epoch.clone(), *head);
            return Some(Fill { after, epoch, upto, number: self.fills });
        }
        let held = std::mem::take(held);
        let filled = cursor.seq;
        self.phase = Phase::Joined;
        for frame in held {
            match frame {
                ServerFrame::CaughtUp(caught_up) => self.caught_up(caught_up),
                frame if frame.log_position().is_some_and(|(_, seq)| seq <= filled) => self.dropped += 1,
                frame => self.record_event(frame),
            }
        }
        None
    }

    /// Records an event. Its seq must be above the cursor.
    fn record_event(&mut self, frame: ServerFrame) {
        let Some((room, seq)) = frame.log_position() else {
            self.violations.other(format!("{} is no log event: {frame:?}", frame.kind()));
            return;
        };
        if room != self.room {
            self.violations.other(format!("an event of {room} among those of {}", self.room));
            return;
        }
        let new = match frame {
            ServerFrame::Message(message) => RecordedEvent::Message(self.interner.intern(message.into())),
            ServerFrame::Void(void) => RecordedEvent::Void(seq, void.target),
            _ => RecordedEvent::Event(seq),
        };
        let Some(cursor) = self.cursor.as_mut() else {
            self.violations.other(format!("an event of {} before the answer to the join", self.room));
            return;
        };
        if seq > cursor.seq {
            cursor.seq = seq;
            self.held.push(new);
        } else if self.held.contains(&new) {
            self.violations.duplicated(format!("{} of {} came again below {}", seq, self.room, cursor.seq));
        } else {
            self.violations.reordered(format!("{} of {} came after {}", seq, self.room, cursor.seq));
        }
    }

    pub fn room(&self) -> &str {
        &self.room
    }

    /// The listener's cursor.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// The seq above which all events up to the cursor must have been received. `None` requires none.
    pub fn start(&self) -> Option<u64> {
        self.start
    }

    /// The received events, in the order of the log.
    pub fn held(&self) -> &[RecordedEvent] {
        &self.held
    }

    /// The messages without voids.
    pub fn messages(&self) -> impl Iterator<Item = &Arc<Received>> {
        let void: HashSet<u64> = self
            .held
            .iter()
            .filter_map(|held| match held {
                RecordedEvent::Void(_, target) => Some(*target),
                _ => None,
            })
            .collect();
        self.held.iter().filter_map(move |held| match held {
            RecordedEvent::Message(received) if !void.contains(&received.seq) => Some(received),
            _ => None,
        })
    }

    /// Violations of the protocol by the server.
    pub fn violations(&self) -> &Violations {
        &self.violations
    }

    /// Number of events that were dropped as the rules for gaps require.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests;
