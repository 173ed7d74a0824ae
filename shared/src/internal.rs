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
mod combining;
mod derived_key;
mod epochs;
mod memberships;
mod pools;
pub mod presence;
pub mod tls;
pub mod users;

use std::collections::HashMap;

use crate::{
    error::Refusal,
    ids::{ClientId, RoomId, Seq, UserId},
    log::{KnownClientId, SeedOutcome, StoredMarks, Target},
    membership::{Account, Membership},
};

pub use client::{InternalClient, check_url};
pub use derived_key::derive_key;
pub use epochs::{EpochOfPartitions, OpenEpochAnswer, OpenEpochRequest};

/// The header that contains the secret which gateways and persistence share.
pub const SECRET_HEADER: &str = "x-tidings-internal-secret";

pub const OPEN_EPOCH_PATH: &str = "/internal/v1/epoch";
pub const SEED_PATH: &str = "/internal/v1/seed";
pub const LOOK_UP_PATH: &str = "/internal/v1/look-up";
pub const TARGET_PATH: &str = "/internal/v1/target";
pub const MARKS_PATH: &str = "/internal/v1/marks";
pub const ROOMS_PATH: &str = "/internal/v1/rooms";
pub const ROLES_PATH: &str = "/internal/v1/roles";
pub const ACCOUNTS_PATH: &str = "/internal/v1/accounts";
pub const CONNECT_USER_PATH: &str = "/internal/v1/connect-user";
pub const ENTER_ROOM_PATH: &str = "/internal/v1/enter-room";

/// Maximum number of rooms in one request.
pub const MAX_ROOMS: usize = 1000;
/// Maximum number of users in one request. Even with the longest ids, the body stays below the server's limit.
pub const MAX_USERS: usize = 150;
/// Maximum number of users whose memberships one request asks for. An answer may have thousands of rooms for each.
pub const MAX_USERS_WITH_ROOMS: usize = 20;
/// Maximum number of client ids in one request. With more, the body could exceed the server's limit.
pub const MAX_LOOK_UPS: usize = 100;

json_types! {
    /// Asks persistence to write the heads of rooms into Redis for this epoch.
    pub struct SeedRequest { pub epoch: u64, pub rooms: Vec<RoomId> }

    /// The outcomes of a [`SeedRequest`], one per room in the same order, or `None` if the requested epoch has ended.
    pub struct SeedAnswer { pub outcomes: Option<Vec<SeedOutcome>> }

    /// A client id with its room and sender, which together identify a message.
    #[derive(Clone)]
    pub struct MessageKey { pub room: RoomId, pub sender: UserId, pub client_id: ClientId }

    /// Looks up the stored outcomes of messages, at most [`MAX_LOOK_UPS`].
    pub struct LookUpRequest {
        #[serde(flatten)]
        pub first: MessageKey,
        #[serde(default)]
        pub more: Vec<MessageKey>,
    }

    /// The stored outcome of each message, in the order of the request, or `None` if PostgreSQL does not know the
    /// message. Earlier versions of persistence answer only the first.
    pub struct LookUpAnswer {
        pub known: Option<KnownClientId>,
        #[serde(default)]
        pub more: Vec<Option<KnownClientId>>,
    }

    /// Some users of a room, who need not be members.
    #[derive(Clone)]
    pub struct UsersOfRoom { pub room: RoomId, pub users: Vec<UserId> }

    /// Asks for the message that a client wants to edit, delete or react to.
    pub struct TargetRequest {
        pub room: RoomId,
        pub seq: Seq,
        /// Whether the caller understands [`TargetAnswer::not_stored`]. If not, persistence answers with an error if
        /// the event is missing.
        #[serde(default)]
        pub waits_itself: bool,
    }

    /// The properties of the message, or `None` if the event at this seq is not a message.
    pub struct TargetAnswer {
        pub target: Option<Target>,
        /// Whether the seq is above the stored head. Then the caller must ask again later.
        #[serde(default)]
        pub not_stored: bool,
    }

    /// Asks for the stored read and delivered marks of users in a room.
    pub struct MarksRequest { pub room: RoomId, pub users: Vec<UserId> }

    /// Asks for a user's memberships. Persistence reads them from PostgreSQL, and usually also fills the membership
    /// cache.
    pub struct RoomsRequest {
        pub user: UserId,
        /// The epoch in which the caller uses the answer. Only persistence of the previous version reads it, to wait for
        /// the writers of earlier epochs. This version waits for the writers of all epochs but the newest of each
        /// partition.
        #[serde(default)]
        pub epoch: u64,
        /// Whether the caller needs only [`UserRooms::recent`]. Then the memberships are left out and not cached.
        #[serde(default)]
        pub recent_only: bool,
        /// More users, at most [`MAX_USERS_WITH_ROOMS`] in all. If present, persistence does not wait for writers of
        /// an earlier epoch, but answers `None` for users who may be affected by them, or who have very many rooms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub more: Option<Vec<UserId>>,
    }

    /// The memberships of a user, by room.
    #[derive(Clone, Default)]
    pub struct UserRooms {
        pub rooms: HashMap<RoomId, Membership>,
        /// The user's 200 most recently active rooms, newest first.
        pub recent: Vec<RoomId>,
    }

    /// The memberships of the users of a [`RoomsRequest`].
    pub struct RoomsAnswer {
        /// The memberships of [`RoomsRequest::user`].
        #[serde(flatten)]
        pub first: UserRooms,
        /// Whether the memberships of the first user are missing in `first`. See [`RoomsRequest::more`].
        #[serde(default)]
        pub is_first_missing: bool,
        /// The memberships of [`RoomsRequest::more`], in the same order. Earlier versions of persistence answer only
        /// the first user.
        #[serde(default)]
        pub more: Vec<Option<UserRooms>>,
    }

    /// Asks persistence to update a user from the claims of a token, or to create the user if that is allowed.
    pub struct ConnectUserRequest { pub user: UserId, pub name: Option<String>, pub picture: Option<String> }

    /// Asks persistence to make a user a member of a public room. If the room does not exist, persistence creates it
    /// with this name, and the user becomes its owner.
    pub struct EnterRoomRequest {
        pub user: UserId,
        pub room: RoomId,
        pub name: Option<String>,
        /// Whether the user has the scope `tidings.admin`, and so no daily limits. Gateways of the previous version do
        /// not say it.
        #[serde(default)]
        pub is_admin: bool,
    }

    /// Why the user is not a member, or `None` if the user is a member and the membership is stored.
    pub struct EnterRoomAnswer { pub refused: Option<Refusal> }
}

/// The stored head of the room, and one pair of marks per user in the order of the request.
pub type MarksAnswer = StoredMarks;
/// The user's account, or `None` if the user is unknown and may not be created.
pub type ConnectUserAnswer = Option<Account>;
