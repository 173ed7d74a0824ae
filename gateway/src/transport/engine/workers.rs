//! The workers of a server that serve Engine.IO, and the requests that they hand over to each other. The requests of a
//! session may arrive on several HTTP connections, and each connection belongs to one worker.

use std::{net::TcpStream, sync::Mutex};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, oneshot};

use super::{error::EngineError, query::RequestKey};
use crate::{
    lock::lock,
    transport::{config::EngineConfig, handshake::Handshake, session_id::SessionId},
};

/// Capacity of a worker's queue of requests from other workers. If the queue is full, the request is answered as one of
/// an unknown session, and the client opens a new session.
const QUEUE_CAPACITY: usize = 4096;

/// The answer to a poll or POST of a session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EngineAnswer {
    /// The packets for the client.
    Packets(Vec<u8>),
    /// The packets of a POST were taken.
    Taken,
    Failed(EngineError),
}

/// A WebSocket that wants to continue a polling session. The handshake is valid, and not yet answered.
pub(crate) struct UpgradeSocket {
    pub socket: TcpStream,
    /// Bytes that followed the handshake.
    pub read: Vec<u8>,
    /// Bytes that must be sent before the answer to the handshake.
    pub unsent: Bytes,
    pub handshake: Handshake,
}

/// A request for a session, which the session's worker carries out.
pub(crate) enum EngineJob {
    Poll(SessionId, RequestKey, oneshot::Sender<EngineAnswer>),
    Post(SessionId, RequestKey, Bytes, oneshot::Sender<EngineAnswer>),
    Upgrade(SessionId, Box<UpgradeSocket>),
}

impl EngineJob {
    pub(crate) fn session(&self) -> &SessionId {
        match self {
            EngineJob::Poll(session, ..) | EngineJob::Post(session, ..) | EngineJob::Upgrade(session, _) => {
                session
            }
        }
    }
}

/// State that the workers of a server share.
pub(crate) struct EngineWorkers {
    pub config: EngineConfig,
    /// A random number that distinguishes this process from earlier processes of the node.
    pub instance: u64,
    queues: Mutex<FxHashMap<usize, mpsc::Sender<EngineJob>>>,
}

impl EngineWorkers {
    pub(crate) fn new(config: EngineConfig) -> EngineWorkers {
        let mut instance = [0; 8];
        aws_lc_rs::rand::fill(&mut instance).expect("the system has random numbers");
        EngineWorkers { config, instance: u64::from_ne_bytes(instance), queues: Mutex::default() }
    }

    /// Adds a worker, and returns the receiver of requests from other workers.
    pub(super) fn add_worker(&self, worker: usize) -> mpsc::Receiver<EngineJob> {
        let (queue, jobs) = mpsc::channel(QUEUE_CAPACITY);
        lock(&self.queues).insert(worker, queue);
        jobs
    }

    /// Hands a request over to the worker of its session. Drops the request if that worker has ended or its queue is
    /// full. The receiver of the answer then fails, and a socket is closed.
    pub(super) fn hand_over(&self, job: EngineJob) {
        let queue = lock(&self.queues).get(&usize::from(job.session().worker)).cloned();
        if let Some(queue) = queue
            && queue.try_send(job).is_err()
        {
            // Any client can cause this, so it is no warning.
            tracing::debug!(
                "an Engine.IO request was dropped: the worker of its session is overloaded or has ended"
            );
        }
    }
}
