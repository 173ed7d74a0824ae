//! Engine.IO on one worker: opens polling sessions, makes the open packets, and passes each request to its session or
//! to the worker of its session.

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::spawn_local,
};

use super::{
    error::EngineError,
    forward::Forwarder,
    polling_task::PollingTask,
    probe::{close_unused, probe},
    query::{self, RequestKey},
    sessions::{PollingSession, SessionTable},
    workers::{EngineAnswer, EngineJob, EngineWorkers, UpgradeSocket},
};
use crate::transport::{
    Connection, Session,
    frame::Frame,
    kind::TransportKind,
    refuse::send_refusal,
    session_id::{SessionId, SessionIdKeys},
    worker::{Link, TransportWorker},
};

/// What a request is for.
pub(crate) enum RequestTarget {
    /// Opens a session.
    Handshake,
    /// A session of this process.
    Session(SessionId),
    /// A session of the process with this number.
    OtherNode(Rc<Forwarder>, u64),
}

/// The state of Engine.IO on one worker.
pub(crate) struct EngineWorker {
    pub worker: Rc<TransportWorker>,
    pub workers: Arc<EngineWorkers>,
    signer: SessionIdKeys,
    /// `None` if there are no other nodes.
    forwarder: Option<Rc<Forwarder>>,
    number: u16,
    table: Rc<SessionTable>,
}

impl EngineWorker {
    /// Starts to take the requests that other workers hand over. Must be called on the worker's thread.
    pub(crate) fn start(worker: &Rc<TransportWorker>, workers: &Arc<EngineWorkers>) -> Rc<EngineWorker> {
        let jobs = workers.add_worker(worker.number);
        let config = &workers.config;
        let forwarder = config.nodes.as_ref().map(|nodes| Rc::new(Forwarder::new(nodes, config, worker)));
        let engine = Rc::new(EngineWorker {
            worker: Rc::clone(worker),
            workers: Arc::clone(workers),
            signer: config.keys.clone(),
            forwarder,
            number: u16::try_from(worker.number).unwrap_or(u16::MAX),
            table: Rc::new(SessionTable::new(FxHashMap::default())),
        });
        spawn_local(run_jobs(Rc::clone(&engine), jobs));
        engine
    }

    /// Whether requests for this path belong to Engine.IO.
    pub(crate) fn has_path(&self, path: &str) -> bool {
        let engine_path = &self.workers.config.path;
        path == engine_path || engine_path.strip_suffix('/') == Some(path)
    }

    /// Checks the query of a request, and returns what the request is for. A forwarded request can only be for a
    /// session of this process.
    pub(crate) fn target_of(
        &self,
        query: &str,
        is_websocket: bool,
        is_forwarded: bool,
    ) -> Result<RequestTarget, EngineError> {
        let Some(text) = query::session_of(query, is_websocket)? else {
            return Ok(RequestTarget::Handshake);
        };
        let session = self.signer.decode(text).ok_or(EngineError::UnknownSession)?;
        if session.instance == self.workers.instance {
            return Ok(RequestTarget::Session(session));
        }
        match &self.forwarder {
            Some(forwarder) if !is_forwarded => {
                Ok(RequestTarget::OtherNode(Rc::clone(forwarder), session.instance))
            }
            _ => Err(EngineError::UnknownSession),
        }
    }

    /// The first packet of a session. Only a session that begins with polling can be upgraded.
    pub(crate) fn open_packet(&self, link: &Link) -> Frame {
        let config = &self.workers.config;
        let session =
            SessionId { instance: self.workers.instance, worker: self.number, key: link.key, id: link.id };
        let is_polling = link.kind.get() == TransportKind::EnginePolling;
        let upgrades = if is_polling { r#"["websocket"]"# } else { "[]" };
        Frame::text_for_one(format!(
            r#"0{{"sid":"{}","upgrades":{upgrades},"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
            self.signer.encode(&session),
            config.ping_interval.as_millis(),
            config.ping_timeout.as_millis(),
            config.max_payload
        ))
    }

    /// Opens a polling session. `open` creates the application's session. Returns the body of the answer to the
    /// handshake: the open packet, and the packets that `open` has sent.
    pub(super) fn open_polling<S: Session>(&self, open: impl FnOnce(Connection) -> S) -> Vec<u8> {
        let link = self.worker.open_link(TransportKind::EnginePolling);
        link.queue(self.open_packet(&link).into_bytes());
        let config = &self.workers.config;
        let polling = PollingSession::new(Rc::clone(&link), config.silence());
        // The task exists before the session: if `open` panics, dropping the task cleans up.
        let mut task = PollingTask::new(polling, Rc::clone(&self.table), config.max_payload);
        task.session = Some(open(Connection(link)));
        let body = task.take_body();
        spawn_local(task);
        body
    }

    /// Waits until the session has packets for its client.
    pub(super) async fn poll(self: &Rc<Self>, session: SessionId, key: RequestKey) -> EngineAnswer {
        let (answer, receiver) = oneshot::channel();
        self.submit(EngineJob::Poll(session, key, answer));
        receiver.await.unwrap_or(EngineAnswer::Failed(EngineError::UnknownSession))
    }

    /// Passes the packets of a POST to the session.
    pub(super) async fn post(
        self: &Rc<Self>,
        session: SessionId,
        key: RequestKey,
        body: Bytes,
    ) -> EngineAnswer {
        let (answer, receiver) = oneshot::channel();
        self.submit(EngineJob::Post(session, key, body, answer));
        receiver.await.unwrap_or(EngineAnswer::Failed(EngineError::UnknownSession))
    }

    /// Carries a request out, or hands it over to the worker of its session.
    pub(crate) fn submit(self: &Rc<Self>, job: EngineJob) {
        if job.session().worker == self.number {
            self.run(job);
        } else {
            self.workers.hand_over(job);
        }
    }

    fn run(self: &Rc<Self>, job: EngineJob) {
        let polling = self.usable_session(job.session());
        let unknown = EngineAnswer::Failed(EngineError::UnknownSession);
        match (job, polling) {
            (EngineJob::Poll(_, key, answer), Some(polling)) => polling.start_poll(key, answer),
            (EngineJob::Post(_, key, body, answer), Some(polling)) => polling.start_post(key, body, answer),
            (EngineJob::Poll(_, _, answer) | EngineJob::Post(_, _, _, answer), None) => {
                // Sending fails if the client has cancelled its request. It needs no answer then.
                let _ = answer.send(unknown);
            }
            (EngineJob::Upgrade(session, upgrade), polling) => {
                spawn_local(run_upgrade(Rc::clone(self), session, polling, *upgrade));
            }
        }
    }

    /// The polling session with this id, if requests may use it.
    fn usable_session(&self, session: &SessionId) -> Option<Rc<PollingSession>> {
        let polling = self.table.borrow().get(&session.id).map(Rc::clone);
        polling.filter(|polling| polling.is_usable())
    }
}

/// Runs the requests that other workers hand over.
async fn run_jobs(engine: Rc<EngineWorker>, mut jobs: mpsc::Receiver<EngineJob>) {
    while let Some(job) = jobs.recv().await {
        engine.run(job);
    }
}

/// Answers the handshake of a WebSocket that wants to continue a polling session, and moves the session to it.
async fn run_upgrade(
    engine: Rc<EngineWorker>,
    session: SessionId,
    polling: Option<Rc<PollingSession>>,
    upgrade: UpgradeSocket,
) {
    let UpgradeSocket { socket, read, unsent, handshake } = upgrade;
    let Ok(socket) = TcpStream::from_std(socket) else { return };
    match polling {
        Some(polling) if polling.begin_upgrade() => {
            let answer = [unsent, handshake.answer].concat();
            let timeout = engine.workers.config.ping_timeout;
            probe(&polling, socket, &answer, read, handshake.window, timeout).await;
        }
        // The session exists, and another WebSocket carries it or is about to.
        _ if engine.worker.has_link(session.key, session.id) => {
            close_unused(socket, &[unsent, handshake.answer].concat()).await;
        }
        _ => send_refusal(socket, &unsent, &EngineError::UnknownSession.refusal()).await,
    }
}
