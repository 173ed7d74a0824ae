//! A handle to a connection, with the worker that serves it. Every command gets one.

use std::rc::Rc;

use tidings_shared::{error::Refusal, ids::RoomId};

use crate::{client::Client, request_context::RequestContext, worker::Worker};

/// A connection or poll, and its worker.
#[derive(Clone)]
pub struct ConnectionHandle {
    pub(crate) worker: Rc<Worker>,
    pub(crate) client: Rc<Client>,
}

impl ConnectionHandle {
    /// Answers a command with an error.
    pub(crate) fn refuse(&self, request: &RequestContext, room: Option<&RoomId>, refusal: &Refusal) {
        self.worker.refuse(&self.client, request, room, refusal);
    }

    /// Answers a command with `ok` or an error.
    pub(crate) fn answer(&self, request: &RequestContext, room: &RoomId, outcome: Result<(), Refusal>) {
        match outcome {
            Ok(()) => self.client.reply_ok(request),
            Err(refusal) => self.refuse(request, Some(room), &refusal),
        }
    }

    /// Does `work` in its own task. The connection reads no frame meanwhile.
    pub(crate) fn spawn_paused(&self, work: impl Future<Output = ()> + 'static) {
        let client = self.client.clone();
        client.pause_reading();
        tokio::task::spawn_local(async move {
            work.await;
            client.resume_reading();
            client.close_if_overdue();
        });
    }
}
