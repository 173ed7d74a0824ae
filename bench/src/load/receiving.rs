//! Handles frames from the server: recognises the kind of each payload by its prefix, and counts it in the [`Tally`].

use std::io::{ErrorKind, Read};
use std::time::Instant;

use anyhow::Result;

use super::client::ConnectionStage;
use super::frames::{self, opcode};
use super::{INITIAL_BACKOFF, LoadGenerator, MAX_BACKOFF, SentMessage, Tally};
use crate::dialect::payload_prefix;

/// The text before the timestamp in a message. The timestamp is when the message was due, in µs since
/// `LoadGenerator::epoch`.
pub(super) const DUE_PREFIX: &[u8] = b"due=";
pub(super) const DUE_DIGITS: usize = 12;

impl LoadGenerator {
    pub(super) fn handle_writable(&mut self, number: usize) -> Result<()> {
        let client = &mut self.clients[number];
        if !client.pending.is_empty() && client.stage != ConnectionStage::Ended && client.flush().is_err() {
            self.handle_disconnect(number, 0);
        }
        Ok(())
    }

    pub(super) fn handle_readable(&mut self, number: usize) -> Result<()> {
        if self.clients[number].stalled || self.clients[number].stage == ConnectionStage::Ended {
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let outcome = self.read_until_blocked(number, &mut buffer);
        self.buffer = buffer;
        outcome
    }

    fn read_until_blocked(&mut self, number: usize, buffer: &mut [u8]) -> Result<()> {
        loop {
            let client = &mut self.clients[number];
            let kept = client.partial.len();
            buffer[..kept].copy_from_slice(&client.partial);
            client.partial.clear();
            let read = match client.socket.read(&mut buffer[kept..]) {
                Ok(0) => {
                    self.handle_disconnect(number, 0);
                    return Ok(());
                }
                Ok(read) => read,
                Err(error) => {
                    client.partial.extend_from_slice(&buffer[..kept]);
                    match error.kind() {
                        ErrorKind::WouldBlock => return Ok(()),
                        ErrorKind::Interrupted => continue,
                        _ => self.handle_disconnect(number, 0),
                    }
                    return Ok(());
                }
            };
            self.tally.bytes += read as u64;
            let filled = kept + read;
            let used = self.handle_input(number, &buffer[..filled])?;
            let client = &mut self.clients[number];
            if client.stage == ConnectionStage::Ended {
                return Ok(());
            }
            if used < filled {
                client.partial.extend_from_slice(&buffer[used..filled]);
            } else {
                client.partial = Vec::new();
            }
            // The read did not fill the buffer, so the socket is empty. Epoll reports when more data come.
            if filled < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Handles all complete frames in `bytes`. Returns the number of bytes of these frames.
    fn handle_input(&mut self, number: usize, bytes: &[u8]) -> Result<usize> {
        let mut used = 0;
        if self.clients[number].stage == ConnectionStage::Handshake {
            match self.handle_upgrade_response(number, bytes)? {
                Some(end) => used = end,
                None => return Ok(0),
            }
        }
        while let Some((opcode, payload, end)) = frames::parse_frame(&bytes[used..]) {
            used += end;
            match opcode {
                opcode::TEXT if self.dialect.lines => self.handle_lines(number, payload)?,
                opcode::TEXT => self.handle_text(number, payload)?,
                opcode::PING => {
                    let client = &mut self.clients[number];
                    frames::append_frame(&mut client.pending, opcode::PONG, payload);
                    // Bytes that the socket did not take are written when epoll reports that it is writable.
                    if client.flush().is_err() {
                        self.handle_disconnect(number, 0);
                        return Ok(used);
                    }
                }
                opcode::CLOSE => {
                    let code = payload.first_chunk::<2>().map_or(0, |code| u16::from_be_bytes(*code));
                    self.handle_disconnect(number, code);
                    return Ok(used);
                }
                _ => {}
            }
        }
        Ok(used)
    }

    /// Splits a text frame at newlines and handles each line: some servers send several messages in one frame.
    fn handle_lines(&mut self, number: usize, mut payloads: &[u8]) -> Result<()> {
        while let Some(end) = memchr::memchr(b'\n', payloads) {
            self.handle_text(number, &payloads[..end])?;
            payloads = &payloads[end + 1..];
        }
        self.handle_text(number, payloads)
    }

    fn handle_text(&mut self, number: usize, payload: &[u8]) -> Result<()> {
        if self.dialect.delivery.matches(payload) {
            self.handle_delivery(number, payload);
            return Ok(());
        }
        if let Some((ping, pong)) = &self.dialect.ping
            && payload == ping.as_bytes()
        {
            let pong = pong.clone();
            return self.send_text(number, pong.as_bytes());
        }
        if self.dialect.errors.iter().any(|error| error.matches(payload)) {
            if self.schedule_retry(payload) || self.handle_overload_refusal(payload) {
                return Ok(());
            }
            self.tally.refused += 1;
            if self.tally.refusal.is_none() {
                self.tally.refusal = Some(String::from_utf8_lossy(payload).into_owned());
            }
            return Ok(());
        }
        if self.clients[number].stage != ConnectionStage::Connected {
            return self.handshake_frame(number, payload);
        }
        if let Some(ack) = &self.dialect.ack
            && let Some(reference) = ack.reference(payload)
        {
            self.handle_ack(reference);
            return Ok(());
        }
        self.tally.other_frames += 1;
        Ok(())
    }

    fn handle_delivery(&mut self, number: usize, payload: &[u8]) {
        self.tally.delivered += 1;
        let client = &mut self.clients[number];
        client.received += 1;
        if self.check_order || self.track_seqs {
            let seq = self.dialect.seq.as_ref().and_then(|name| {
                let at = memchr::memmem::find(payload, name.as_bytes())?;
                Some(leading_number(&payload[at + name.len()..]))
            });
            if let Some(seq) = seq {
                if self.check_order && seq <= client.last_seq {
                    self.tally.out_of_order += 1;
                }
                client.last_seq = seq;
                if let [room] = client.rooms[..] {
                    let newest = &mut self.rooms[room as usize].seq;
                    *newest = seq.max(*newest);
                }
            }
        }
        if self.clients[number].timed
            && let Some(at) = self.due_finder.find(payload)
        {
            let due = leading_number(&payload[at + DUE_PREFIX.len()..]);
            let now = self.now_us();
            // The latency of a message of an earlier phase is not recorded.
            if due >= self.phase_us {
                Tally::record_latency(&mut self.tally.delivery, now.saturating_sub(due));
            }
        }
    }

    fn handle_ack(&mut self, reference: u64) {
        // A repeated message may be acked twice; only the first ack counts.
        if self.round.as_mut().is_some_and(|round| !round.remove(reference)) {
            return;
        }
        self.tally.acked += 1;
        self.next_backoff = INITIAL_BACKOFF;
        if let Some(sent) = self.sent_message(reference).and_then(|sent| *sent) {
            let now = self.now_us();
            Tally::record_latency(&mut self.tally.ack, now.saturating_sub(sent.due_us));
        }
    }

    /// The entry in `sends` of this reference; `None` if it belongs to no message of this phase.
    fn sent_message(&mut self, reference: u64) -> Option<&mut Option<SentMessage>> {
        let at = reference.checked_sub(self.first_reference)?;
        self.sends.get_mut(usize::try_from(at).ok()?)
    }

    /// Handles a refusal by an overloaded server if sends back off. The message then counts as never sent, and sends
    /// pause, longer after each further refusal. Returns false if the payload is not such a refusal.
    fn handle_overload_refusal(&mut self, payload: &[u8]) -> bool {
        let Some(overload) = self.dialect.overload.as_ref().filter(|_| self.backs_off) else { return false };
        if memchr::memmem::find(payload, overload.sign.as_bytes()).is_none() {
            return false;
        }
        let reference = memchr::memmem::find(payload, overload.before_ref.as_bytes())
            .map(|at| leading_number(&payload[at + overload.before_ref.len()..]));
        // `take` makes sure that each refused send is subtracted from the tally only once.
        let sent = reference.and_then(|reference| self.sent_message(reference)).and_then(Option::take);
        let Some(sent) = sent else { return false };
        self.tally.sent -= 1;
        self.tally.expected -= sent.receivers;
        self.tally.cancelled_deliveries += sent.receivers;
        self.tally.overload_refusals += 1;
        // The refusals of one burst cause only one pause.
        if self.resume_at.is_none_or(|resume_at| resume_at < Instant::now()) {
            self.resume_at = Some(Instant::now() + self.next_backoff);
            self.next_backoff = (2 * self.next_backoff).min(MAX_BACKOFF);
        }
        true
    }

    /// Handles the end of a connection.
    pub(super) fn handle_disconnect(&mut self, number: usize, code: u16) {
        let client = &mut self.clients[number];
        *self.tally.closed.entry(code).or_default() += 1;
        if client.stage == ConnectionStage::Connected {
            self.connected_clients -= 1;
            if !client.stalled {
                for room in &client.rooms {
                    self.rooms[*room as usize].receivers -= 1;
                }
            }
        }
        client.stage = ConnectionStage::Ended;
        // The client stays in the list, because the numbers of the other clients must not change.
        let _ = client.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// Parses the decimal digits at the beginning of `bytes`. Returns 0 if `bytes` begins with no digit.
pub(super) fn leading_number(bytes: &[u8]) -> u64 {
    payload_prefix::parse_number(bytes).0
}
