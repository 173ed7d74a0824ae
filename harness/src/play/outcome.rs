//! The result of a run: the users with everything they received, and the outcome of every line.
//! Compares it with the history over HTTP; this can be repeated at any time.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use super::cast::{self, Cast, CastMember, Stage};
use super::history;
use super::report::Report;
use super::verdict::{self, Expected, Verdict};
use crate::http::Http;
use crate::listener::Sent;
use crate::recorder::Received;

/// One message and its outcome.
pub(super) struct Outcome {
    pub(super) text: String,
    pub(super) sent: Result<Sent, String>,
}

/// A finished run.
pub struct Played {
    cast: Cast,
    pub(super) host: Vec<Http>,
    names: usize,
    expected: Vec<Expected>,
    acks: Histogram<u64>,
    /// Errors of the sends.
    unsent: Verdict,
    took: Duration,
}

impl Played {
    pub(super) fn new(cast: Cast, host: Vec<Http>, names: usize, outcomes: Vec<Vec<Vec<Outcome>>>) -> Played {
        let (mut acks, mut unsent) = (cast::histogram(), Verdict::default());
        let stages = cast.stages.iter().zip(outcomes);
        let expected =
            stages.map(|(stage, outcomes)| gather(stage, outcomes, &mut acks, &mut unsent)).collect();
        Played { cast, host, names, expected, acks, unsent, took: Duration::ZERO }
    }

    pub(super) fn took(&mut self, took: Duration) {
        self.took = took;
    }

    /// Each room with the messages sent to it.
    pub(super) fn rooms(&self) -> impl Iterator<Item = (&Stage, &Expected)> {
        self.cast.stages.iter().zip(&self.expected)
    }

    /// The ids of the rooms.
    pub fn room_ids(&self) -> impl Iterator<Item = &str> {
        self.cast.stages.iter().map(|stage| stage.room.as_str())
    }

    /// The number of reconnects of all users.
    pub fn reconnects(&self) -> u64 {
        let people = self.cast.stages.iter().flat_map(|stage| &stage.people);
        people.map(|person| person.player.connections().saturating_sub(1)).sum()
    }

    /// Compares sent messages, received copies and the history.
    pub async fn judged(&self) -> (Report, Verdict) {
        let mut verdict = Verdict::default();
        verdict.add(self.unsent.clone());
        for (stage, expected) in self.rooms() {
            for person in &stage.people {
                verdict.add(of_person(stage, person, expected).await);
            }
            let messages = history::messages(&self.host, &stage.room).await;
            verdict.add(of_pages(&format!("messages of {}", stage.name), expected, messages));
            let events = history::events(&self.host, &stage.room).await;
            verdict.add(of_pages(&format!("events of {}", stage.name), expected, events));
        }
        let messages = self.expected.iter().map(Expected::count).sum();
        let counts = (messages, self.expected.len(), self.names);
        let delays = self.cast.delays.total();
        (Report::new(counts, &verdict, &self.acks, &delays, self.took.as_secs_f64()), verdict)
    }
}

/// The stored messages; messages that are not stored count as missing.
fn gather(
    stage: &Stage,
    outcomes: Vec<Vec<Outcome>>,
    acks: &mut Histogram<u64>,
    verdict: &mut Verdict,
) -> Expected {
    let mut expected = Expected::default();
    for (person, outcomes) in stage.people.iter().zip(outcomes) {
        let unanswered = person.says().saturating_sub(outcomes.len()) as u64;
        if unanswered > 0 {
            verdict.missing += unanswered;
            verdict
                .tell(format!("{unanswered} lines of {} to {} were never stored", person.user, stage.name));
        }
        for Outcome { text, sent } in outcomes {
            match sent {
                Ok(sent) => {
                    acks.saturating_record(u64::try_from(sent.took.as_micros()).unwrap_or(u64::MAX).max(1));
                    expected.add(Received {
                        seq: sent.seq,
                        id: sent.id,
                        client_id: sent.client_id,
                        sender: person.user.clone(),
                        text,
                    });
                }
                Err(why) => {
                    verdict.missing += 1;
                    verdict.tell(format!("{} could not send {text:?} to {}: {why}", person.user, stage.name));
                }
            }
        }
    }
    expected
}

async fn of_person(stage: &Stage, person: &CastMember, expected: &Expected) -> Verdict {
    let mut verdict = Verdict::default();
    let who = format!("{} in {}", person.user, stage.name);
    let (heard, broken) = person.player.heard(&stage.room, &stage.interner).await;
    if let Some(heard) = heard {
        verdict.add(verdict::of_listener(&who, expected, &heard));
        let seq = heard.cursor.unwrap_or_default();
        if person.player.is_here() && seq < expected.last_seq() {
            verdict.missing += expected.count_above(seq);
            verdict.tell(format!("{who} stayed behind at {seq} of {}", expected.last_seq()));
        }
    }
    for broken in broken {
        verdict.others += 1;
        verdict.tell(format!("{who}: {broken}"));
    }
    verdict
}

/// Compares a history; one that cannot be read matches nothing.
fn of_pages(what: &str, expected: &Expected, pages: Result<Vec<Received>>) -> Verdict {
    match pages {
        Ok(messages) => verdict::of_history(what, expected, &messages),
        Err(error) => {
            let mut verdict = Verdict { history_mismatch: expected.count().max(1), ..Verdict::default() };
            verdict.tell(format!("{what} cannot be read: {error:#}"));
            verdict
        }
    }
}
