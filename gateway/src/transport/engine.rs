//! Engine.IO 4 (the transport of Socket.IO): sessions over HTTP long polling, and their upgrade to WebSockets. Sessions
//! that begin as a WebSocket use only the ids and the open packet of this module. A session belongs to one worker.
//! Requests that reach another worker are handed over to it.
//!
//! The path of a request: `route` (HTTP) → `query` → `worker` (finds the worker of the session) → `sessions` (the state
//! of one session) → `polling_task` (the session's future: takes posted packets, answers polls) → `body` (frames to
//! packets). `probe` moves a session to a WebSocket. `forward` and `tunnel` pass requests of other nodes' sessions on.

mod body;
mod error;
mod forward;
mod polling_task;
mod probe;
mod query;
mod route;
mod session_id;
mod sessions;
mod tunnel;
mod worker;
mod workers;

pub(super) use body::take_packets;
pub(super) use forward::FORWARDED_HEADER;
pub(super) use route::configure;
pub(super) use tunnel::{TunnelSocket, marked_head};
pub(super) use worker::{EngineWorker, RequestTarget};
pub(super) use workers::{EngineJob, EngineWorkers, UpgradeSocket};
