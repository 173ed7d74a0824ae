//! The result of a run: the users with everything that they received, and the outcome of every sent message.
//! Compares the result with the history over HTTP. The comparison can be repeated.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use super::history;
use super::report::Report;
use super::users::{self, RoomUser, RunRoom, RunUsers};
use super::verdict::{self, ExpectedMessages, Verdict};
use crate::http::Http;
use crate::listener::Sent;
use crate::recorder::Received;

/// One message and its outcome.
pub(super) struct SendOutcome {
    pub(super) text: String,
    pub(super) sent: Result<Sent, String>,
}

/// A finished run.
pub struct FinishedRun {
    users: RunUsers,
    pub(super) host: Vec<Http>,
    names: usize,
    expected: Vec<ExpectedMessages>,
    acks: Histogram<u64>,
    /// Errors of the sends.
    unsent: Verdict,
    took: Duration,
}

impl FinishedRun {
    pub(super) fn new(
        users: RunUsers,
        host: Vec<Http>,
        names: usize,
        outcomes: Vec<Vec<Vec<SendOutcome>>>,
    ) -> FinishedRun {
        let (mut acks, mut unsent) = (users::histogram(), Verdict::default());
        let stages = users.stages.iter().zip(outcomes);
        let expected = stages
            .map(|(stage, outcomes)| collect_expected(stage, outcomes, &mut acks, &mut unsent))
            .collect();
        FinishedRun { users, host, names, expected, acks, unsent, took: Duration::ZERO }
    }

    pub(super) fn set_duration(&mut self, took: Duration) {
        self.took = took;
    }

    /// Each room with the messages sent to it.
    pub(super) fn rooms(&self) -> impl Iterator<Item = (&RunRoom, &ExpectedMessages)> {
        self.users.stages.iter().zip(&self.expected)
    }

    pub fn room_ids(&self) -> impl Iterator<Item = &str> {
        self.users.stages.iter().map(|stage| stage.room.as_str())
    }

    /// The number of reconnects, summed over all users.
    pub fn reconnects(&self) -> u64 {
        let people = self.users.stages.iter().flat_map(|stage| &stage.people);
        people.map(|person| person.player.connections().saturating_sub(1)).sum()
    }

    /// The longest time from the first attempt of a message to its answer `stored`.
    pub fn longest_send(&self) -> Duration {
        Duration::from_micros(self.acks.max())
    }

    /// Compares the sent messages with the received copies and with the history. Can be repeated.
    pub async fn evaluate(&self) -> (Report, Verdict) {
        let mut verdict = Verdict::default();
        verdict.add(self.unsent.clone());
        for (stage, expected) in self.rooms() {
            for person in &stage.people {
                verdict.add(check_user(stage, person, expected).await);
            }
            let messages = history::read_messages(&self.host, &stage.room).await;
            verdict.add(check_pages(&format!("messages of {}", stage.name), expected, messages));
            let events = history::read_events(&self.host, &stage.room).await;
            verdict.add(check_pages(&format!("events of {}", stage.name), expected, events));
        }
        let messages = self.expected.iter().map(ExpectedMessages::count).sum();
        let counts = (messages, self.expected.len(), self.names);
        let delays = self.users.delays.merged();
        (Report::new(counts, &verdict, &self.acks, &delays, self.took.as_secs_f64()), verdict)
    }
}

/// Collects the messages of a room that were answered `stored`. Every other message counts as missing.
fn collect_expected(
    stage: &RunRoom,
    outcomes: Vec<Vec<SendOutcome>>,
    acks: &mut Histogram<u64>,
    verdict: &mut Verdict,
) -> ExpectedMessages {
    let mut expected = ExpectedMessages::default();
    for (person, outcomes) in stage.people.iter().zip(outcomes) {
        let unanswered = person.message_count().saturating_sub(outcomes.len()) as u64;
        if unanswered > 0 {
            verdict.missing += unanswered;
            verdict.describe(format!(
                "{unanswered} lines of {} to {} were never stored",
                person.user, stage.name
            ));
        }
        for SendOutcome { text, sent } in outcomes {
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
                    verdict.describe(format!(
                        "{} could not send {text:?} to {}: {why}",
                        person.user, stage.name
                    ));
                }
            }
        }
    }
    expected
}

async fn check_user(stage: &RunRoom, person: &RoomUser, expected: &ExpectedMessages) -> Verdict {
    let mut verdict = Verdict::default();
    let who = format!("{} in {}", person.user, stage.name);
    let (view, broken_rules) = person.player.room_view(&stage.room, &stage.interner).await;
    if let Some(view) = view {
        verdict.add(verdict::check_listener(&who, expected, &view));
        let seq = view.cursor.unwrap_or_default();
        if person.player.is_online() && seq < expected.last_seq() {
            verdict.missing += expected.count_above(seq);
            verdict.describe(format!("{who} stayed behind at {seq} of {}", expected.last_seq()));
        }
    }
    for broken_rule in broken_rules {
        verdict.others += 1;
        verdict.describe(format!("{who}: {broken_rule}"));
    }
    verdict
}

/// Compares a history with the expected messages. A history that cannot be read counts every message as a mismatch.
fn check_pages(what: &str, expected: &ExpectedMessages, pages: Result<Vec<Received>>) -> Verdict {
    match pages {
        Ok(messages) => verdict::check_history(what, expected, &messages),
        Err(error) => {
            let mut verdict = Verdict { history_mismatch: expected.count().max(1), ..Verdict::default() };
            verdict.describe(format!("{what} cannot be read: {error:#}"));
            verdict
        }
    }
}
