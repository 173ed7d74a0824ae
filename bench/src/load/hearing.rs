//! Handles frames from the servers: counts them, and distinguishes them by their beginning.

use std::io::{ErrorKind, Read};
use std::time::Instant;

use anyhow::Result;

use super::client::Stage;
use super::frames::{self, opcode};
use super::{FIRST_PAUSE, LONGEST_PAUSE, Load, Sent, Tally};
use crate::dialect::beginning;

/// The text before the timestamp in a message: when it was due, in microseconds since the generator's zero.
pub(super) const STAMP: &[u8] = b"due=";
pub(super) const STAMP_DIGITS: usize = 12;

impl Load {
    pub(super) fn writable(&mut self, number: usize) -> Result<()> {
        let client = &mut self.clients[number];
        if !client.pending.is_empty() && client.stage != Stage::Ended && client.flush().is_err() {
            self.ended(number, 0);
        }
        Ok(())
    }

    pub(super) fn readable(&mut self, number: usize) -> Result<()> {
        if self.clients[number].stalled || self.clients[number].stage == Stage::Ended {
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let outcome = self.read_all(number, &mut buffer);
        self.buffer = buffer;
        outcome
    }

    fn read_all(&mut self, number: usize, buffer: &mut [u8]) -> Result<()> {
        loop {
            let client = &mut self.clients[number];
            let kept = client.partial.len();
            buffer[..kept].copy_from_slice(&client.partial);
            client.partial.clear();
            let read = match client.socket.read(&mut buffer[kept..]) {
                Ok(0) => {
                    self.ended(number, 0);
                    return Ok(());
                }
                Ok(read) => read,
                Err(error) => {
                    client.partial.extend_from_slice(&buffer[..kept]);
                    match error.kind() {
                        ErrorKind::WouldBlock => return Ok(()),
                        ErrorKind::Interrupted => continue,
                        _ => self.ended(number, 0),
                    }
                    return Ok(());
                }
            };
            self.tally.bytes += read as u64;
            let filled = kept + read;
            let used = self.take(number, &buffer[..filled])?;
            let client = &mut self.clients[number];
            if client.stage == Stage::Ended {
                return Ok(());
            }
            if used < filled {
                client.partial.extend_from_slice(&buffer[used..filled]);
            } else {
                client.partial = Vec::new();
            }
            // The buffer was not filled, so the socket is empty, and epoll will report more data.
            if filled < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Handles all complete frames; returns their length.
    fn take(&mut self, number: usize, bytes: &[u8]) -> Result<usize> {
        let mut used = 0;
        if self.clients[number].stage == Stage::Handshake {
            match self.upgraded(number, bytes)? {
                Some(end) => used = end,
                None => return Ok(0),
            }
        }
        while let Some((opcode, payload, end)) = frames::read(&bytes[used..]) {
            used += end;
            match opcode {
                opcode::TEXT if self.dialect.lines => self.lines(number, payload)?,
                opcode::TEXT => self.text(number, payload)?,
                opcode::PING => {
                    let client = &mut self.clients[number];
                    frames::write(&mut client.pending, opcode::PONG, payload);
                    // The rest is written when the socket is writable.
                    if client.flush().is_err() {
                        self.ended(number, 0);
                        return Ok(used);
                    }
                }
                opcode::CLOSE => {
                    let code = payload.first_chunk::<2>().map_or(0, |code| u16::from_be_bytes(*code));
                    self.ended(number, code);
                    return Ok(used);
                }
                _ => {}
            }
        }
        Ok(used)
    }

    /// Handles each payload of a frame.
    fn lines(&mut self, number: usize, mut payloads: &[u8]) -> Result<()> {
        while let Some(end) = memchr::memchr(b'\n', payloads) {
            self.text(number, &payloads[..end])?;
            payloads = &payloads[end + 1..];
        }
        self.text(number, payloads)
    }

    fn text(&mut self, number: usize, payload: &[u8]) -> Result<()> {
        if self.dialect.delivery.matches(payload) {
            self.delivered(number, payload);
            return Ok(());
        }
        if let Some((ping, pong)) = &self.dialect.ping
            && payload == ping.as_bytes()
        {
            let pong = pong.clone();
            return self.say(number, pong.as_bytes());
        }
        if self.dialect.errors.iter().any(|error| error.matches(payload)) {
            if self.backs_off(payload) {
                return Ok(());
            }
            self.tally.refused += 1;
            if self.tally.refusal.is_none() {
                self.tally.refusal = Some(String::from_utf8_lossy(payload).into_owned());
            }
            return Ok(());
        }
        if self.clients[number].stage != Stage::Standing {
            return self.entering(number, payload);
        }
        if let Some(ack) = &self.dialect.ack
            && let Some(reference) = ack.reference(payload)
        {
            self.acked(reference);
            return Ok(());
        }
        self.tally.others += 1;
        Ok(())
    }

    fn delivered(&mut self, number: usize, payload: &[u8]) {
        self.tally.delivered += 1;
        let client = &mut self.clients[number];
        client.received += 1;
        if self.check_order || self.follow_seq {
            let seq = self.dialect.seq.as_ref().and_then(|name| {
                let at = memchr::memmem::find(payload, name.as_bytes())?;
                Some(number_at(&payload[at + name.len()..]))
            });
            if let Some(seq) = seq {
                if self.check_order && seq <= client.last_seq {
                    self.tally.disordered += 1;
                }
                client.last_seq = seq;
                if let [room] = client.rooms[..] {
                    let newest = &mut self.rooms[room as usize].seq;
                    *newest = seq.max(*newest);
                }
            }
        }
        if self.clients[number].timed
            && let Some(at) = self.stamp.find(payload)
        {
            let due = number_at(&payload[at + STAMP.len()..]);
            let now = self.now_us();
            // A message of an earlier phase is not counted.
            if due >= self.phase_us {
                Tally::record(&mut self.tally.delivery, now.saturating_sub(due));
            }
        }
    }

    fn acked(&mut self, reference: u64) {
        self.tally.acked += 1;
        self.pause = FIRST_PAUSE;
        if let Some(sent) = self.sent(reference).and_then(|sent| *sent) {
            let now = self.now_us();
            Tally::record(&mut self.tally.ack, now.saturating_sub(sent.due_us));
        }
    }

    /// The sent message with this reference, in this phase.
    fn sent(&mut self, reference: u64) -> Option<&mut Option<Sent>> {
        let at = reference.checked_sub(self.first_reference)?;
        self.sends.get_mut(usize::try_from(at).ok()?)
    }

    /// Whether the server refused a send of this phase because it is overloaded, and there is no schedule. Then the
    /// message counts as never sent, and sends pause for a while, longer after each further refusal.
    fn backs_off(&mut self, payload: &[u8]) -> bool {
        let Some(overload) = self.dialect.overload.as_ref().filter(|_| self.may_rest) else { return false };
        if memchr::memmem::find(payload, overload.sign.as_bytes()).is_none() {
            return false;
        }
        let reference = memchr::memmem::find(payload, overload.before_ref.as_bytes())
            .map(|at| number_at(&payload[at + overload.before_ref.len()..]));
        // Each send is taken back only once.
        let sent = reference.and_then(|reference| self.sent(reference)).and_then(Option::take);
        let Some(sent) = sent else { return false };
        self.tally.sent -= 1;
        self.tally.expected -= sent.receivers;
        self.tally.turned_away += sent.receivers;
        self.tally.overloads += 1;
        // The refusals of one burst cause only one pause.
        if self.resume.is_none_or(|resume| resume < Instant::now()) {
            self.resume = Some(Instant::now() + self.pause);
            self.pause = (2 * self.pause).min(LONGEST_PAUSE);
        }
        true
    }

    /// Handles the end of a connection.
    pub(super) fn ended(&mut self, number: usize, code: u16) {
        let client = &mut self.clients[number];
        *self.tally.closed.entry(code).or_default() += 1;
        if client.stage == Stage::Standing {
            self.clients_standing -= 1;
            if !client.stalled {
                for room in &client.rooms {
                    self.rooms[*room as usize].hearing -= 1;
                }
            }
        }
        client.stage = Stage::Ended;
        // The closed socket stays in the list, so that the numbers of clients do not change.
        let _ = client.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// The number at the beginning.
fn number_at(bytes: &[u8]) -> u64 {
    beginning::number(bytes).0
}
