//! The HTTP side: rooms, history, sending, the OpenAPI document, import, export, erasure. One test program per subject
//! with a module per behaviour, because linking each file separately takes minutes.

#![allow(clippy::unwrap_used)]

mod audit;
mod callers;
mod erase;
mod erase_for_good;
mod erase_late;
mod export;
mod export_job;
mod feed;
mod files_bulk;
mod files_cloud;
mod files_cloud_faults;
mod files_downloads;
mod files_limits;
mod files_previews;
mod files_review;
mod files_s3;
mod files_s3_faults;
mod files_s3_images;
mod files_s3_sweep;
mod files_sweep;
mod files_uploads;
mod history_events;
mod http_answers;
mod http_bounds;
mod http_history;
mod http_rooms;
mod http_send;
mod import;
mod import_history;
mod internal_listener;
mod internal_memberships;
mod internal_seeds;
mod one_contract;
mod openapi;
mod page_bytes;
mod push;
mod push_api;
mod push_devices;
mod push_native;
mod push_races;
mod push_receipts;
mod push_services;
mod silent_postgres;
mod webhooks;
mod webhooks_api;
mod webhooks_receivers;

#[path = "../support/importing.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod importing;
#[path = "../support/marked.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod marked;
#[path = "../support/room_log.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod room_log;
#[path = "../support/search_index.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod search_index;
#[path = "../support/traces.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod traces;
