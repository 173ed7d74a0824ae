//! Adds an index of messages by sender, and makes autovacuum of frequently updated tables start earlier.

use crate::online::Step;

/// The sender becomes the first column of the unique index of client ids. The index serves the same look-ups, because
/// they give room, sender and client id, and it also finds the rooms in which a user has written. So `messages` needs
/// no further index: docs/decisions/0046-client-ids-by-sender.md.
///
/// Each batch updates rows of `rooms`, and until `m0011` also rows of `partitions`. With PostgreSQL's default scale
/// factor, a vacuum of `rooms` begins only after a fifth of the rows were updated.
///
/// The old constraint is dropped only when the new index is complete, so that client ids are unique at any time.
pub const UP: &[Step] = &[
    Step::Sql("ALTER TABLE rooms SET (autovacuum_vacuum_scale_factor = 0.02)"),
    Step::Sql("ALTER TABLE partitions SET (autovacuum_vacuum_scale_factor = 0.02)"),
    Step::Index {
        name: "messages_by_sender",
        create: "CREATE UNIQUE INDEX CONCURRENTLY messages_by_sender ON messages (sender_id, room_id, client_id)",
    },
    Step::Sql("ALTER TABLE messages DROP CONSTRAINT IF EXISTS messages_room_id_sender_id_client_id_key"),
];

pub const DOWN: &[Step] = &[
    Step::Index {
        name: "messages_room_id_sender_id_client_id_key",
        create: "CREATE UNIQUE INDEX CONCURRENTLY messages_room_id_sender_id_client_id_key \
                 ON messages (room_id, sender_id, client_id)",
    },
    Step::Sql(
        "DO $$ BEGIN \
           IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'messages_room_id_sender_id_client_id_key') THEN \
             ALTER TABLE messages ADD CONSTRAINT messages_room_id_sender_id_client_id_key \
               UNIQUE USING INDEX messages_room_id_sender_id_client_id_key; \
           END IF; \
         END $$",
    ),
    Step::Sql("DROP INDEX CONCURRENTLY IF EXISTS messages_by_sender"),
    Step::Sql("ALTER TABLE partitions RESET (autovacuum_vacuum_scale_factor)"),
    Step::Sql("ALTER TABLE rooms RESET (autovacuum_vacuum_scale_factor)"),
];
