//! What a device was told of a room behind a change of its user's membership.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidings_harness::{Client, ClientError, ServerFrame};

const PATIENCE: Duration = Duration::from_secs(30);
/// Content of what is for members only.
pub const FOR_MEMBERS: &str = "for members";

/// Holds what one device hears against a change at a seq of a room.
pub struct Behind<'a> {
    room: &'a str,
    changed: u64,
    /// The user became a guest; else they were removed.
    guest: bool,
    /// It was told so when it joined.
    pub joined_as_guest: bool,
    last: u64,
    /// Messages for everybody.
    pub for_all: usize,
    /// Sends of its own.
    pub accepted: usize,
    pub refused: usize,
}

impl<'a> Behind<'a> {
    pub fn new(room: &'a str, changed: u64, guest: bool) -> Self {
        Self { room, changed, guest, joined_as_guest: false, last: 0, for_all: 0, accepted: 0, refused: 0 }
    }

    /// Listens until so many sends were answered and so many messages for everybody came.
    pub async fn until(&mut self, device: &Client, sends: usize, for_all: usize) -> Result<()> {
        while self.accepted + self.refused < sends || self.for_all < for_all {
            let frame = device.next_event(PATIENCE).await;
            let told = (self.accepted, self.refused, self.for_all);
            self.hear(&frame.with_context(|| format!("accepted, refused, for all: {told:?}"))?)?;
        }
        Ok(())
    }

    /// Looks at all that is there.
    pub async fn look(&mut self, device: &Client) -> Result<()> {
        loop {
            match device.next_event(Duration::ZERO).await {
                Ok(frame) => self.hear(&frame)?,
                Err(ClientError::Silent(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn hear(&mut self, frame: &ServerFrame) -> Result<()> {
        match frame {
            ServerFrame::Ack(ack) => {
                ensure!(ack.seq < self.changed, "accepted at {}, behind {}", ack.seq, self.changed);
                self.accepted += 1;
                return Ok(());
            }
            ServerFrame::Error(error) => {
                let refusal = if self.guest { "forbidden" } else { "not_found" };
                ensure!(error.code == refusal, "{error:?}");
                self.refused += 1;
                return Ok(());
            }
            ServerFrame::Message(message) if message.room == self.room => {
                ensure!(message.seq > self.last, "{} behind {}", message.seq, self.last);
                self.last = message.seq;
                self.for_all += usize::from(message.content == "for all");
                if message.content == FOR_MEMBERS {
                    ensure!(!self.joined_as_guest, "joined as a guest, and told {message:?}");
                    ensure!(message.seq < self.changed, "behind {}: {message:?}", self.changed);
                }
            }
            _ => {}
        }
        let place = place(frame, self.room).filter(|place| *place > self.changed && !self.guest);
        ensure!(place.is_none(), "behind {}: {frame:?}", self.changed);
        Ok(())
    }
}

/// The highest place of a room that a frame tells of.
fn place(frame: &ServerFrame, of: &str) -> Option<u64> {
    match frame {
        ServerFrame::CaughtUp(at) if at.room == of => Some(at.seq),
        ServerFrame::Gap(gap) if gap.room == of => Some(gap.head.seq),
        ServerFrame::Joined(joined) => {
            joined.rooms.iter().find(|room| room.room == of).map(|room| room.head.seq)
        }
        ServerFrame::Other(value) if value["room"] == of => value["seq"].as_u64(),
        frame => frame.place().filter(|(room, _)| *room == of).map(|(_, seq)| seq),
    }
}
