//! Checks the frames that a device receives from a room around a change of its user's membership.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidings_harness::{Client, ClientError, ServerFrame};

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Content of messages that only members may see.
pub const FOR_MEMBERS: &str = "for members";

/// Checks that one device receives nothing forbidden after the change of its user's membership at `change_seq`.
pub struct MembershipChangeCheck<'a> {
    room: &'a str,
    change_seq: u64,
    /// True: the user became a guest. False: the user was removed.
    is_guest: bool,
    /// The answer to the device's join already named the role `guest`.
    pub joined_as_guest: bool,
    last: u64,
    /// Received messages that everybody may see.
    pub for_all: usize,
    /// The device's own sends.
    pub accepted: usize,
    pub refused: usize,
}

impl<'a> MembershipChangeCheck<'a> {
    pub fn new(room: &'a str, change_seq: u64, is_guest: bool) -> Self {
        Self {
            room,
            change_seq,
            is_guest,
            joined_as_guest: false,
            last: 0,
            for_all: 0,
            accepted: 0,
            refused: 0,
        }
    }

    /// Receives until this many own sends were answered and this many public messages arrived.
    pub async fn receive_until(&mut self, device: &Client, sends: usize, for_all: usize) -> Result<()> {
        while self.accepted + self.refused < sends || self.for_all < for_all {
            let frame = device.next_event(WAIT_TIMEOUT).await;
            let counts = (self.accepted, self.refused, self.for_all);
            self.check_frame(&frame.with_context(|| format!("accepted, refused, public: {counts:?}"))?)?;
        }
        Ok(())
    }

    /// Checks all frames that have already arrived.
    pub async fn check_arrived(&mut self, device: &Client) -> Result<()> {
        loop {
            match device.next_event(Duration::ZERO).await {
                Ok(frame) => self.check_frame(&frame)?,
                Err(ClientError::Silent(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn check_frame(&mut self, frame: &ServerFrame) -> Result<()> {
        match frame {
            ServerFrame::Ack(ack) => {
                ensure!(
                    ack.seq < self.change_seq,
                    "a send was accepted at {}, after the change at {}",
                    ack.seq,
                    self.change_seq
                );
                self.accepted += 1;
                return Ok(());
            }
            ServerFrame::Error(error) => {
                let refusal = if self.is_guest { "forbidden" } else { "not_found" };
                ensure!(error.code == refusal, "{error:?}");
                self.refused += 1;
                return Ok(());
            }
            ServerFrame::Message(message) if message.room == self.room => {
                ensure!(message.seq > self.last, "seq {} arrived after {}", message.seq, self.last);
                self.last = message.seq;
                self.for_all += usize::from(message.content == "for all");
                if message.content == FOR_MEMBERS {
                    ensure!(!self.joined_as_guest, "joined as a guest, but received {message:?}");
                    ensure!(
                        message.seq < self.change_seq,
                        "received after the change at {}: {message:?}",
                        self.change_seq
                    );
                }
            }
            _ => {}
        }
        let seq = highest_seq(frame, self.room).filter(|seq| *seq > self.change_seq && !self.is_guest);
        ensure!(seq.is_none(), "received after the change at {}: {frame:?}", self.change_seq);
        Ok(())
    }
}

/// The highest seq of a room that a frame reveals.
fn highest_seq(frame: &ServerFrame, of: &str) -> Option<u64> {
    match frame {
        ServerFrame::CaughtUp(at) if at.room == of => Some(at.seq),
        ServerFrame::Gap(gap) if gap.room == of => Some(gap.head.seq),
        ServerFrame::Joined(joined) => {
            joined.rooms.iter().find(|room| room.room == of).map(|room| room.head.seq)
        }
        ServerFrame::Other(value) if value["room"] == of => value["seq"].as_u64(),
        frame => frame.log_position().filter(|(room, _)| *room == of).map(|(_, seq)| seq),
    }
}
