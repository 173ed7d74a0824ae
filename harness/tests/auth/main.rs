//! Access: tokens, revocation, hostile clients, visibility, TLS. All these modules are one test program, because
//! linking each file separately takes minutes.

#![allow(clippy::unwrap_used)]

mod auth_key_server;
mod auth_keys;
mod auth_origins;
mod auth_settings;
mod auth_token_route;
mod auth_users;
mod cluster_rights;
mod internal_tls;
mod revocation;
mod revocation_faults;
mod rotation;
mod security_frames;
mod security_handshake;
mod security_http;
mod security_reads;
mod security_rooms;
mod tls;
mod tls_rights;
mod visibility;

#[path = "../support/behind.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod behind;
#[path = "../support/hostile.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod hostile;
#[path = "../support/room_log.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod room_log;
#[path = "../support/secret_volume.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod secret_volume;
#[path = "../support/secured.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod secured;
