//! The requests from gateways to the internal listener of persistence, and their answers: `POST` with JSON over
//! HTTP/1.1, and the shared secret in the header [`SECRET_HEADER`]. Gateway and persistence both use these types.

/// Declares the types of requests and answers, which are sent as JSON.
macro_rules! json_types {
    ($($(#[$meta:meta])* pub struct $name:ident $fields:tt)+) => {
        $($(#[$meta])*
        #[derive(Debug, serde::Serialize, serde::Deserialize)]
        pub struct $name $fields)+
    };
}

mod circuit_breaker;
mod client;
pub mod people;
pub mod presence;

use std::collections::HashMap;

use crate::{
    ids::{ClientId, RoomId, Seq, UserId},
    log::{KnownClientId, SeedOutcome, StoredMarks, Target},
    membership::{Account, Membership},
};

pub use client::{InternalClient, check_url};

/// The header that contains the secret which gateways and persistence share.
pub const SECRET_HEADER: &str = "x-tidings-internal-secret";

/// Path of an [`OpenEpochRequest`].
pub const OPEN_EPOCH: &str = "/internal/v1/epoch";
/// Path of a [`SeedRequest`].
pub const SEED: &str = "/internal/v1/seed";
/// Path of a [`LookUpRequest`].
pub const LOOK_UP: &str = "/internal/v1/look-up";
/// Path of a [`TargetRequest`].
pub const TARGET: &str = "/internal/v1/target";
/// Path of a [`MarksRequest`].
pub const MARKS: &str = "/internal/v1/marks";
/// Path of a [`RoomsRequest`].
pub const ROOMS: &str = "/internal/v1/rooms";
/// Path of a [`people::RolesRequest`].
pub const ROLES: &str = "/internal/v1/roles";
/// Path of a [`people::AccountsRequest`].
pub const ACCOUNTS: &str = "/internal/v1/accounts";
/// Path of a [`ConnectUserRequest`].
pub const CONNECT_USER: &str = "/internal/v1/connect-user";

/// Largest number of rooms in one request.
pub const MAX_ROOMS: usize = 1000;
/// Largest number of users in one request. Even with the longest ids, the body stays below the server's limit.
pub const MAX_USERS: usize = 150;

json_types! {
    /// Asks for the epoch of the Redis process `run_id`; opens a new epoch if another process was opened last.
    pub struct OpenEpochRequest { pub run_id: String }

    /// The open epoch, and the time since it was opened.
    pub struct OpenEpochAnswer { pub epoch: u64, pub age_ms: u64 }

    /// Asks persistence to write the heads of rooms into Redis for this epoch.
    pub struct SeedRequest { pub epoch: u64, pub rooms: Vec<RoomId> }

    /// The outcomes of a [`SeedRequest`], one per room in the same order; `None` if the requested epoch has ended.
    pub struct SeedAnswer { pub outcomes: Option<Vec<SeedOutcome>> }

    /// Asks whether PostgreSQL knows a message with this room, sender and client id.
    pub struct LookUpRequest { pub room: RoomId, pub sender: UserId, pub client_id: ClientId }

    /// What PostgreSQL knows of the message; `None` if it knows none.
    pub struct LookUpAnswer { pub known: Option<KnownClientId> }

    /// Asks for the message that a client wants to edit, delete or react to.
    pub struct TargetRequest { pub room: RoomId, pub seq: Seq }

    /// The properties of the message; `None` if the event at this seq is not a message.
    pub struct TargetAnswer { pub target: Option<Target> }

    /// Asks for the stored read and delivered marks of users in a room.
    pub struct MarksRequest { pub room: RoomId, pub users: Vec<UserId> }

    /// Asks for a user's memberships. Persistence reads them from PostgreSQL, and also fills the membership cache.
    pub struct RoomsRequest {
        pub user: UserId,
        /// The epoch in which the caller uses the answer. Persistence waits until no writer of an earlier epoch can
        /// commit, so that the answer contains all changes of earlier epochs.
        #[serde(default)]
        pub epoch: u64,
    }

    /// The memberships of a user, by room.
    pub struct RoomsAnswer {
        pub rooms: HashMap<RoomId, Membership>,
        /// The user's 200 most recently active rooms, newest first.
        pub recent: Vec<RoomId>,
    }

    /// Asks persistence to update a user from the claims of a token, or to create the user if that is allowed.
    pub struct ConnectUserRequest { pub user: UserId, pub name: Option<String>, pub picture: Option<String> }
}

/// The stored head of the room, and one pair of marks per user in the order of the request.
pub type MarksAnswer = StoredMarks;
/// The user's account; `None` if the user is unknown, and users are not created when they connect.
pub type ConnectUserAnswer = Option<Account>;
