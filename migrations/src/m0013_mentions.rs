//! Stores the users whom messages mention, and for which messages each member wants notifications.

use crate::online::Step;

/// The new columns are NULL or have a constant default, so PostgreSQL adds them without rewriting a table, and the
/// previous version can still insert rows. The index has only messages with mentions, so the insert of any other message
/// does not touch it. It finds the unread messages that mention a member. `messages_archive` keeps what retention
/// removes from `messages`.
pub const UP: &[Step] = &[
    Step::Sql("ALTER TABLE messages ADD COLUMN IF NOT EXISTS mentions text[] COLLATE \"C\""),
    Step::Sql("ALTER TABLE messages_archive ADD COLUMN IF NOT EXISTS mentions text[] COLLATE \"C\""),
    Step::Sql("ALTER TABLE members ADD COLUMN IF NOT EXISTS notify text NOT NULL DEFAULT 'all'"),
    Step::Index {
        name: "messages_mentions",
        create: "CREATE INDEX CONCURRENTLY messages_mentions ON messages (room_id, seq) WHERE mentions IS NOT NULL",
    },
];

pub const DOWN: &[Step] = &[
    Step::Sql("DROP INDEX CONCURRENTLY IF EXISTS messages_mentions"),
    Step::Sql("ALTER TABLE members DROP COLUMN IF EXISTS notify"),
    Step::Sql("ALTER TABLE messages_archive DROP COLUMN IF EXISTS mentions"),
    Step::Sql("ALTER TABLE messages DROP COLUMN IF EXISTS mentions"),
];
