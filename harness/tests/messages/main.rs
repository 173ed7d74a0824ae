//! Messages: the log, sending, changing, joining, replay, polling, search, frames. All these modules are one test
//! program, because linking each file separately takes minutes.

#![allow(clippy::unwrap_used)]

mod changes;
mod changes_late;
mod changes_model;
mod changes_seen;
mod conversation;
mod conversation_order;
mod deflate;
mod dialect_rooms;
mod engine_io;
mod engine_io_gateway;
mod engine_io_nodes;
mod engine_io_sessions;
mod epochs;
mod flow_history_and_presence;
mod flow_http_and_private;
mod flow_inbox;
mod flow_join_and_send;
mod flow_outbox;
mod gateway_frames;
mod gateway_input;
mod log;
mod log_backlog;
mod log_client_ids;
mod log_cluster;
mod log_decided;
mod log_many;
mod log_mentions;
mod log_partitions;
mod log_reads;
mod mentions;
mod poll;
mod poll_ends;
mod poll_kept;
mod poll_limits;
mod replay_storm;
mod rules_log;
mod search;
mod search_blocks;
mod search_folding;
mod search_hidden;
mod search_look;
mod socket_io;
mod socket_io_ends;
mod socket_io_gateway;
mod socket_io_polling;
mod socket_io_recovery;
mod stock_conversations;
mod stock_dialects;
mod stock_recovery;
mod too_few_replicas;
mod wire;

#[path = "../support/example_server.rs"]
mod example_server;
#[path = "../support/load_balancer.rs"]
mod load_balancer;
#[path = "../support/log_world.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod log_world;
#[path = "../support/room_log.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod room_log;
#[path = "../support/search_index.rs"]
mod search_index;
#[path = "../support/stock_clients.rs"]
mod stock_clients;
#[path = "../support/ways.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod ways;
