//! Requests that gateways make to persistence's internal listener: JSON over HTTP/1.1, `POST`, with the shared
//! secret in the header [`SECRET_HEADER`]. Both sides read these types.

mod client;
pub mod people;
pub mod presence;
mod rest;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{ClientId, RoomId, Seq, UserId},
    log::{Known, SeedOutcome, StoredMarks, Target},
    membership::{Account, Membership},
};

pub use client::{InternalClient, check_url};

pub const SECRET_HEADER: &str = "x-tidings-internal-secret";

pub const OPEN_EPOCH: &str = "/internal/v1/epoch";
pub const SEED: &str = "/internal/v1/seed";
pub const LOOK_UP: &str = "/internal/v1/look-up";
pub const TARGET: &str = "/internal/v1/target";
pub const MARKS: &str = "/internal/v1/marks";
pub const ROOMS: &str = "/internal/v1/rooms";
pub const CONNECT_USER: &str = "/internal/v1/connect-user";

/// Rooms in one request, at most.
pub const MAX_ROOMS: usize = 1000;
/// Users in one request, at most: the longest ids of so many stay below what is read of a body.
pub const MAX_USERS: usize = 150;

#[derive(Debug, Serialize, Deserialize)]
pub struct OpenEpochRequest {
    pub run_id: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct OpenEpochAnswer {
    pub epoch: u64,
    pub age_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct SeedRequest {
    pub epoch: u64,
    pub rooms: Vec<RoomId>,
}

/// `outcomes` has one entry per room, in order; `None`: the epoch asked for is past.
#[derive(Debug, Serialize, Deserialize)]
pub struct SeedAnswer {
    pub outcomes: Option<Vec<SeedOutcome>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct LookUpRequest {
    pub room: RoomId,
    pub sender: UserId,
    pub client_id: ClientId,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct LookUpAnswer {
    pub known: Option<Known>,
}

/// Asks for the message that a change is aimed at.
#[derive(Debug, Serialize, Deserialize)]
pub struct TargetRequest {
    pub room: RoomId,
    pub seq: Seq,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct TargetAnswer {
    pub target: Option<Target>,
}

/// Asks how far users have come in a room.
#[derive(Debug, Serialize, Deserialize)]
pub struct MarksRequest {
    pub room: RoomId,
    pub users: Vec<UserId>,
}

pub type MarksAnswer = StoredMarks;

/// Loads a user's memberships; the answer is put into the cache as well.
#[derive(Debug, Serialize, Deserialize)]
pub struct RoomsRequest {
    pub user: UserId,
    /// The epoch in which the answer will be used: nothing that a writer of an earlier one may still commit is
    /// missing in it.
    #[serde(default)]
    pub epoch: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct RoomsAnswer {
    pub rooms: HashMap<RoomId, Membership>,
    /// The 200 most recently active, newest first.
    pub recent: Vec<RoomId>,
}

/// Creates the user from their claims where that is allowed, or brings name and picture up to date.
#[derive(Debug, Serialize, Deserialize)]
pub struct ConnectUserRequest {
    pub user: UserId,
    pub name: Option<String>,
    pub picture: Option<String>,
}

/// `None`: the user is not known, and is not created by connecting.
pub type ConnectUserAnswer = Option<Account>;
