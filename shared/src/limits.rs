//! The limits of the protocol that no setting changes; docs/PROTOCOL.md states them for clients.

/// Longest ids, in characters. Room ids and client ids are ASCII, so their characters are bytes.
pub const MAX_ROOM_ID_CHARS: usize = 64;
pub const MAX_USER_ID_CHARS: usize = 128;
pub const MAX_CLIENT_ID_CHARS: usize = 64;
/// Longest kind of a message and longest name of a role, in characters.
pub const MAX_LABEL_CHARS: usize = 32;
/// Longest emoji, in bytes.
pub const MAX_EMOJI_BYTES: usize = 32;
/// Highest position that is exact in every JSON implementation (2^53 − 1); no room reaches it.
pub const MAX_SEQ: i64 = (1 << 53) - 1;

/// Longest metadata of a message or a room, in bytes as sent.
pub const MAX_METADATA_BYTES: usize = 4 * 1024;
pub const MAX_ATTACHMENTS: usize = 10;
/// Limits of an attachment's name and URL; long enough for presigned URLs.
pub const MAX_ATTACHMENT_NAME_CHARS: usize = 255;
pub const MAX_ATTACHMENT_URL_CHARS: usize = 2048;
/// Most users, and most roles, in `visible_to`. The limit is low because every delivery checks the lists.
pub const MAX_VISIBLE_TO: usize = 100;
/// Longest `data` of a `signal`, in bytes.
pub const MAX_SIGNAL_BYTES: usize = 16 * 1024;

/// Most rooms in one `room:join`.
pub const MAX_ROOMS_PER_JOIN: usize = 200;
/// Most users in one request for presence.
pub const MAX_PRESENCE_USERS: usize = 100;
/// Most members that the creation of a room may name. Clients add further members one by one afterwards.
pub const MAX_FIRST_MEMBERS: usize = 1000;

/// Longest name of a room, in Unicode scalar values.
pub const MAX_ROOM_NAME_CHARS: usize = 200;
/// Longest name of a user and longest address of their picture, in Unicode scalar values.
pub const MAX_PERSON_TEXT_CHARS: usize = 512;
/// Longest query of a search, in Unicode scalar values.
pub const MAX_QUERY_CHARS: usize = 200;

/// Entries of a page by default.
pub const DEFAULT_PAGE_ENTRIES: i64 = 50;
/// Most entries of a page; a higher `limit` is reduced to this.
pub const MAX_PAGE_ENTRIES: i64 = 200;
