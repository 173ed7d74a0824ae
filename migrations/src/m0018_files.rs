//! The table of files (docs/decisions/0076-files.md). It stays empty while `tidings-files` does not run.

use crate::online::Step;

/// A row is one file of a user in a room; its bytes are in the storage of `tidings-files`. `after_seq` is the head of the room before the file had an id, so messages that
/// name the file are above it. `message_seq` is the message that was last seen to name the file. `unused_since` is the
/// time since when no stored message names a complete file. `due_at` is when the sweep looks at the row next.
///
/// The index on `messages` finds the messages that name a file. It has only messages with attachments, so messages
/// without are stored as before.
pub const UP: &[Step] = &[
    Step::Sql(
        "CREATE TABLE IF NOT EXISTS files (\
           id            text COLLATE \"C\" PRIMARY KEY, \
           room_id       text COLLATE \"C\" NOT NULL, \
           uploader      text COLLATE \"C\" NOT NULL, \
           name          text NOT NULL, \
           media_type    text NOT NULL, \
           sniffed_type  text, \
           size          bigint NOT NULL, \
           sha256        text NOT NULL, \
           state         text NOT NULL CHECK (state IN ('uploading', 'ready', 'held', 'rejected', 'removed')), \
           after_seq     bigint NOT NULL, \
           message_seq   bigint, \
           unused_since  timestamptz, \
           due_at        timestamptz NOT NULL, \
           created_at    timestamptz NOT NULL DEFAULT now(), \
           completed_at  timestamptz)",
    ),
    Step::Index { name: "files_due", create: "CREATE INDEX CONCURRENTLY files_due ON files (state, due_at)" },
    Step::Index {
        name: "files_by_uploader",
        create: "CREATE INDEX CONCURRENTLY files_by_uploader ON files (uploader) INCLUDE (state, size)",
    },
    Step::Index {
        name: "files_by_room",
        create: "CREATE INDEX CONCURRENTLY files_by_room ON files (room_id) INCLUDE (state, size)",
    },
    Step::Index {
        name: "messages_with_attachments",
        create: "CREATE INDEX CONCURRENTLY messages_with_attachments ON messages (room_id, sender_id, seq) \
           WHERE attachments IS NOT NULL",
    },
];

pub const DOWN: &[Step] = &[
    Step::Sql("DROP INDEX CONCURRENTLY IF EXISTS messages_with_attachments"),
    Step::Sql("DROP TABLE IF EXISTS files"),
];
