//! The answers of commands that wait: for their append, for PostgreSQL, or for a change that the node publishes later.

use std::{rc::Rc, time::Instant};

use tidings_shared::{
    error::Refusal,
    ids::{ClientId, RoomId},
    log::Accepted,
    message::AckStage,
    telemetry::SpanKind,
};

use super::ConnectionHandle;
use crate::{
    client::SlotGuard,
    request_context::RequestContext,
    worker::{PendingAnswer, Worker},
};

/// Takes a slot for the answer of a command that appends. If no slot is free, refuses the command and returns `None`.
pub(super) fn begin(
    caller: &ConnectionHandle,
    room: &RoomId,
    mut request: RequestContext,
    client_id: &ClientId,
    stage: AckStage,
    started: Instant,
) -> Option<PendingAnswer> {
    let (client, room) = (caller.client.clone(), room.clone());
    match client.take_answer_slot() {
        Ok(slot) => {
            let client_id = client_id.clone();
            Some(PendingAnswer { client, room, request, client_id, stage, slot, started })
        }
        Err(refusal) => {
            // The counter `too_many` counts this refusal. `is_send` is cleared, so that `refuse` does not count the
            // send again under the error code.
            if std::mem::take(&mut request.is_send) {
                caller.worker.node.counters.too_many.inc();
            }
            caller.refuse(&request, Some(&room), &refusal);
            None
        }
    }
}

/// Logs a debug line within the trace when the event was appended.
pub(super) async fn log_appended<E>(
    append: impl Future<Output = Result<Accepted, E>>,
) -> Result<Accepted, E> {
    let appended = append.await;
    if let Ok(accepted) = &appended {
        tracing::debug!(seq = accepted.seq.0, duplicate = accepted.duplicate, "the event is in the log");
    }
    appended
}

/// Answers a command, at once or when its event reaches the ack stage that the client requested.
pub(super) fn finish(worker: &Rc<Worker>, pending: PendingAnswer, appended: Result<Accepted, Refusal>) {
    let accepted = match appended {
        Ok(accepted) => accepted,
        Err(refusal) => {
            return worker.refuse(&pending.client, &pending.request, Some(&pending.room), &refusal);
        }
    };
    worker.node.metrics.append_seconds.observe(pending.started.elapsed().as_secs_f64());
    let stage = pending.stage;
    if accepted.may_ack_at_once(stage) {
        return pending.acknowledge(worker, &accepted, AckStage::Accepted);
    }
    if stage == AckStage::Stored {
        return worker.stored_answers.add_waiting(worker, pending, accepted);
    }
    // A duplicate whose sender wants only `accepted` waits up to 250 ms for the outcome of the first event.
    let (worker, wait_span) =
        (worker.clone(), pending.request.child_span("stored answer", SpanKind::Internal));
    tokio::task::spawn_local(async move {
        let _wait_span = wait_span;
        match worker.node.bus.log.wait_for_stage(&pending.room, stage, accepted).await {
            Ok((accepted, stage)) => pending.acknowledge(&worker, &accepted, stage),
            Err(refusal) => worker.refuse(&pending.client, &pending.request, Some(&pending.room), &refusal),
        }
    });
}

/// Waits for the outcome of a command and answers it, in a separate task, so that the lane's next commands need not
/// wait.
pub(super) fn answer_later(
    caller: &ConnectionHandle,
    room: &RoomId,
    request: RequestContext,
    submitted: Result<(SlotGuard, impl Future<Output = Result<(), Refusal>> + 'static), Refusal>,
) {
    let (slot, outcome) = match submitted {
        Ok(submitted) => submitted,
        Err(refusal) => return caller.refuse(&request, Some(room), &refusal),
    };
    let (caller, room) = (caller.clone(), room.clone());
    tokio::task::spawn_local(async move {
        let _slot = slot;
        let outcome = outcome.await;
        caller.answer(&request, &room, outcome);
    });
}
