//! The answers of appended commands: at once, or when the event is stored.

use std::{
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use rustc_hash::FxHashMap;
use tidings_shared::{
    ids::RoomId,
    log::{
        Accepted,
        stored::{Stored, StoredQueue},
    },
    message::AckStage,
    protocol::server::Ack,
    telemetry::{Span, SpanKind},
};

use super::Worker;
use crate::{
    client::{Client, SlotGuard},
    command::AppendCommand,
    request_context::RequestContext,
};

/// A command that is not answered yet.
pub(crate) struct Unanswered {
    pub client: Rc<Client>,
    pub room: RoomId,
    pub request: RequestContext,
    pub command: AppendCommand,
    #[allow(dead_code, reason = "it is released when the command is answered")]
    pub slot: SlotGuard,
    pub started: Instant,
}

impl Unanswered {
    /// The stage at which the client wants the answer.
    pub fn stage(&self) -> AckStage {
        match &self.command {
            AppendCommand::Send(draft) => draft.ack,
            AppendCommand::Change(change) => change.ack,
        }
    }

    fn ack(&self, accepted: &Accepted, stage: AckStage) -> Ack {
        match &self.command {
            AppendCommand::Send(draft) => draft.ack(&self.room, accepted, stage),
            AppendCommand::Change(change) => change.ack(&self.room, accepted, stage),
        }
    }

    /// Answers the command with `ack`.
    pub fn acknowledge(self, worker: &Worker, accepted: &Accepted, stage: AckStage) {
        if matches!(self.command, AppendCommand::Send(_)) {
            worker.node.counters.count_accepted_send(accepted.duplicate);
        }
        self.client.reply(&self.ack(accepted, stage).frame(self.request.reference()));
    }
}

/// Commands that are answered when their events are stored. One task per worker answers all of them.
#[derive(Default)]
pub struct StoredAnswers {
    queue: Arc<StoredQueue>,
    last_ticket: Cell<u64>,
    waiting: RefCell<FxHashMap<u64, Waiting>>,
}

struct Waiting {
    unanswered: Unanswered,
    accepted: Accepted,
    /// The span of the wait; `None` if the command is not traced.
    span: Option<Span>,
}

impl StoredAnswers {
    /// Keeps an accepted command, which [`answer_stored`] answers when the result of the wait arrives.
    pub(crate) fn add_waiting(&self, worker: &Worker, unanswered: Unanswered, accepted: Accepted) {
        let ticket = self.last_ticket.get() + 1;
        self.last_ticket.set(ticket);
        let span = unanswered.request.child_span("stored answer", SpanKind::Internal);
        worker.node.bus.log.watermarks().enqueue(&unanswered.room, &accepted, &self.queue, ticket);
        self.waiting.borrow_mut().insert(ticket, Waiting { unanswered, accepted, span });
    }
}

/// Answers each command when the result of its wait arrives: stored, rejected or unavailable.
pub(super) async fn answer_stored(worker: Rc<Worker>) {
    let answers = &worker.stored_answers;
    loop {
        for (ticket, stored) in answers.queue.take_all().await {
            let waiting = answers.waiting.borrow_mut().remove(&ticket);
            if let Some(Waiting { unanswered, accepted, span }) = waiting {
                drop(span);
                // A panic in one answer must not end this task, which sends the answers of all other commands.
                let answering = AssertUnwindSafe(|| answer(&worker, unanswered, accepted, stored));
                if catch_unwind(answering).is_err() {
                    tracing::error!("an answer panicked");
                }
            }
        }
    }
}

fn answer(worker: &Worker, unanswered: Unanswered, accepted: Accepted, stored: Stored) {
    match accepted.as_stored(stored) {
        Ok(accepted) => {
            if !accepted.duplicate {
                let waited = unanswered.started.elapsed().as_secs_f64();
                worker.node.metrics.stored_seconds.observe(waited);
            }
            unanswered.acknowledge(worker, &accepted, AckStage::Stored);
        }
        Err(refusal) => {
            let Unanswered { client, room, request, .. } = &unanswered;
            worker.refuse(client, request, Some(room), &refusal);
        }
    }
}
