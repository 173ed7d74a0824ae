//! Rooms and their members: membership, presence, typing, receipts, limits. All these modules are one test program,
//! because linking each file separately takes minutes.

#![allow(clippy::unwrap_used)]

mod away_shard;
mod common_limits;
mod direct_rooms;
mod lagging;
mod large_room;
mod limits;
mod many_rooms;
mod membership;
mod membership_behind;
mod membership_concurrency;
mod membership_limits;
mod membership_live;
mod membership_telling;
mod notice_order;
mod notify_level;
mod people;
mod presence;
mod presence_faults;
mod presence_rooms;
mod presence_store;
mod receipts;
mod receipts_marks;
mod rejoining;
mod room_activity;
mod rooms_version;
mod signals;
mod slow_mode;
mod typing;
mod user_channel;

#[path = "../support/channel.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod channel;
#[path = "../support/hearing.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod hearing;
#[path = "../support/room_log.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod room_log;
#[path = "../support/watching.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod watching;
