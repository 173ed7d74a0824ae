//! What push needs to take notifications back (docs/decisions/0077-push.md). It stays empty while no app is registered.

use crate::online::Step;

/// A row of `push_told` is a notification that an app may still show. `check_at` is when it is looked at again.
///
/// `clear_seq` of a waiting notification is the seq up to which the app should remove what it shows.
pub const UP: &[Step] = &[
    Step::Sql(
        "CREATE TABLE IF NOT EXISTS push_told (\
           device_id  text COLLATE \"C\" NOT NULL REFERENCES push_devices ON DELETE CASCADE, \
           room_id    text COLLATE \"C\" NOT NULL, \
           seq        bigint NOT NULL, \
           told_at    timestamptz NOT NULL DEFAULT now(), \
           check_at   timestamptz NOT NULL, \
           PRIMARY KEY (device_id, room_id))",
    ),
    Step::Sql("ALTER TABLE push_pending ADD COLUMN IF NOT EXISTS clear_seq bigint"),
    Step::Index {
        name: "push_told_check",
        create: "CREATE INDEX CONCURRENTLY push_told_check ON push_told (check_at)",
    },
];

pub const DOWN: &[Step] = &[
    Step::Sql("ALTER TABLE push_pending DROP COLUMN IF EXISTS clear_seq"),
    Step::Sql("DROP TABLE IF EXISTS push_told"),
];
