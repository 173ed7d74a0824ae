//! Engine.IO 4 (the transport of Socket.IO): sessions over HTTP long polling, and their upgrade to WebSockets. Sessions
//! that begin as a WebSocket use only the ids and the open packet of this module. A session belongs to one worker. If a
//! request reaches another worker, that worker hands it over.
//!
//! The path of a request: `route` (HTTP) → `query` → `worker` (finds the worker of the session) → `sessions` (the state
//! of one session) → `polling_task` (the session's future: takes posted packets, answers polls) → `body` (frames to
//! packets). `probe` moves a session to a WebSocket. `forward` and `tunnel` forward requests to other nodes.

mod body;
mod error;
mod forward;
mod polling_task;
mod probe;
mod query;
mod route;
mod sessions;
mod tunnel;
mod worker;
mod workers;

pub(super) use body::take_packets;
pub(super) use forward::FORWARDED_HEADER;
pub(super) use route::configure;
pub(super) use tunnel::{TunnelSocket, forwarded_head};
pub(super) use worker::{EngineWorker, RequestTarget};
pub(super) use workers::{EngineJob, EngineWorkers, UpgradeSocket};
