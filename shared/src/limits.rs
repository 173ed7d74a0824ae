//! The limits of the protocol that no setting changes. docs/PROTOCOL.md lists them for clients.

/// Longest room id, in characters. Room ids are ASCII, so this also counts bytes.
pub const MAX_ROOM_ID_CHARS: usize = 64;
/// Longest user id, in Unicode scalar values.
pub const MAX_USER_ID_CHARS: usize = 128;
/// Longest client id, in characters. Client ids are ASCII, so this also counts bytes.
pub const MAX_CLIENT_ID_CHARS: usize = 64;
/// Longest name of a message kind or of a role, in characters.
pub const MAX_LABEL_CHARS: usize = 32;
/// Longest emoji, in bytes. The longest of Unicode's recommended emoji has 35.
pub const MAX_EMOJI_BYTES: usize = 64;
/// Highest seq, 2^53 − 1, the largest integer that every JSON parser represents exactly. No room reaches it.
pub const MAX_SEQ: i64 = (1 << 53) - 1;

/// Longest metadata of a message or a room, in bytes of the JSON text as sent.
pub const MAX_METADATA_BYTES: usize = 4 * 1024;
/// Maximum number of attachments of a message.
pub const MAX_ATTACHMENTS: usize = 10;
/// Longest name and longest media type of an attachment, in Unicode scalar values.
pub const MAX_ATTACHMENT_NAME_CHARS: usize = 255;
/// Longest URL of an attachment, in Unicode scalar values. Presigned URLs fit into this limit.
pub const MAX_ATTACHMENT_URL_CHARS: usize = 2048;
/// Largest width and largest height of an attachment, in pixels.
pub const MAX_ATTACHMENT_PIXELS: i64 = u16::MAX as i64;
/// Shortest and longest blurhash of an attachment, in characters. A blurhash of 4 × 3 components has 28.
pub const MIN_BLURHASH_CHARS: usize = 6;
pub const MAX_BLURHASH_CHARS: usize = 100;
/// Maximum number of users, and of roles, in `visible_to`. The limit is low because every delivery checks the lists.
pub const MAX_VISIBLE_TO: usize = 100;
/// Maximum number of users whom one message mentions. The limit is low because each of them is looked up.
pub const MAX_MENTIONS: usize = 20;
/// Longest `data` of a `signal`, in bytes.
pub const MAX_SIGNAL_BYTES: usize = 16 * 1024;

/// Maximum number of rooms in one `room:join`.
pub const MAX_ROOMS_PER_JOIN: usize = 200;
/// Maximum number of users in one request for presence.
pub const MAX_PRESENCE_USERS: usize = 100;
/// Maximum number of members in the request that creates a room. Clients add further members one by one afterwards.
pub const MAX_FIRST_MEMBERS: usize = 1000;

/// Longest name of a room, in Unicode scalar values.
pub const MAX_ROOM_NAME_CHARS: usize = 200;
/// Longest time between two messages of a member in a room with slow mode, in seconds. append.lua has it too, because
/// Redis remembers for this time when a member last sent to such a room.
pub const MAX_SLOW_MODE_S: u16 = 3600;
/// Longest name of a user and longest URL of a user's picture, in Unicode scalar values.
pub const MAX_PERSON_TEXT_CHARS: usize = 512;
/// Maximum number of people in one answer of the directory of people.
pub const MAX_PEOPLE: usize = 20;
/// Longest query of a search, in Unicode scalar values.
pub const MAX_QUERY_CHARS: usize = 200;

/// Number of entries of a page if the request has no `limit`.
pub const DEFAULT_PAGE_ENTRIES: i64 = 50;
/// Maximum number of entries of a page; a higher `limit` is reduced to this number.
pub const MAX_PAGE_ENTRIES: i64 = 200;
/// Bytes of JSON at which a page ends, even if it has fewer entries than its `limit`. A page has at least one entry.
pub const MAX_PAGE_BYTES: usize = 1024 * 1024;
/// Number of events that a page of the feed spans if the request has no `limit`, and the maximum. A page of the maximum
/// is also limited in bytes.
pub const DEFAULT_FEED_ENTRIES: i64 = 200;
pub const MAX_FEED_ENTRIES: i64 = 1000;
/// How long a request for the feed may wait for events. Less than the deadline of an answer.
pub const MAX_FEED_WAIT_MS: i64 = 10_000;
