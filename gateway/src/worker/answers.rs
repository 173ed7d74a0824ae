//! Answers appended commands, at once or when their events are stored.

use std::{
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use rustc_hash::FxHashMap;
use tidings_shared::{
    ids::{ClientId, RoomId},
    log::{
        Accepted,
        stored::{Stored, StoredQueue},
    },
    message::AckStage,
    telemetry::{Span, SpanKind},
};

use super::Worker;
use crate::{
    client::{Client, SlotGuard},
    request_context::RequestContext,
};

/// A command whose event is being appended or stored, with what its answer needs.
pub(crate) struct PendingAnswer {
    pub client: Rc<Client>,
    pub room: RoomId,
    pub request: RequestContext,
    pub client_id: ClientId,
    /// The stage at which the client wants the answer.
    pub stage: AckStage,
    #[allow(dead_code, reason = "the slot is freed when the guard is dropped")]
    pub slot: SlotGuard,
    pub started: Instant,
}

impl PendingAnswer {
    /// Answers the command with `ack`, for this stage.
    pub fn acknowledge(self, worker: &Worker, accepted: &Accepted, stage: AckStage) {
        if self.request.is_send {
            worker.node.counters.count_accepted_send(accepted.duplicate);
        }
        let ack = accepted.ack(&self.room, &self.client_id, self.request.is_send, stage);
        self.client.reply(&ack.frame(self.request.reference()));
    }
}

/// Commands that are answered when their events are stored. One task per worker answers all of them.
#[derive(Default)]
pub struct StoredAnswers {
    queue: Arc<StoredQueue>,
    last_ticket: Cell<u64>,
    waiting_answers: RefCell<FxHashMap<u64, WaitingAnswer>>,
}

/// A command that waits until its event is stored.
struct WaitingAnswer {
    pending: PendingAnswer,
    accepted: Accepted,
    /// The span of the wait; `None` if the command is not traced.
    span: Option<Span>,
}

impl StoredAnswers {
    /// Keeps an accepted command, which [`answer_stored`] answers when the result of the wait arrives.
    pub(crate) fn add_waiting(&self, worker: &Worker, pending: PendingAnswer, accepted: Accepted) {
        let ticket = self.last_ticket.get() + 1;
        self.last_ticket.set(ticket);
        let span = pending.request.child_span("stored answer", SpanKind::Internal);
        worker.node.bus.log.watermarks().enqueue(&pending.room, &accepted, &self.queue, ticket);
        self.waiting_answers.borrow_mut().insert(ticket, WaitingAnswer { pending, accepted, span });
    }
}

/// Answers each command when the result of its wait arrives: stored, rejected or unavailable.
pub(super) async fn answer_stored(worker: Rc<Worker>) {
    let answers = &worker.stored_answers;
    loop {
        for (ticket, stored) in answers.queue.take_all().await {
            let waiting = answers.waiting_answers.borrow_mut().remove(&ticket);
            if let Some(WaitingAnswer { pending, accepted, span }) = waiting {
                drop(span);
                // A panic in one answer must not end this task, which sends the answers of all other commands.
                let answering = AssertUnwindSafe(|| answer_command(&worker, pending, accepted, stored));
                if catch_unwind(answering).is_err() {
                    tracing::error!("an answer panicked");
                }
            }
        }
    }
}

fn answer_command(worker: &Worker, pending: PendingAnswer, accepted: Accepted, stored: Stored) {
    match accepted.as_stored(stored) {
        Ok(accepted) => {
            if !accepted.duplicate {
                let waited = pending.started.elapsed().as_secs_f64();
                worker.node.metrics.stored_seconds.observe(waited);
            }
            pending.acknowledge(worker, &accepted, AckStage::Stored);
        }
        Err(refusal) => {
            let PendingAnswer { client, room, request, .. } = &pending;
            worker.refuse(client, request, Some(room), &refusal);
        }
    }
}
