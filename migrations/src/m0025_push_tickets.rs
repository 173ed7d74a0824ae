//! The tickets of Expo (docs/decisions/0077-push.md). The table stays empty while no app of Expo is registered.

use crate::online::Step;

/// A row of `push_tickets` is a message that Expo has accepted, and whose receipt was not read yet. `check_at` is when
/// the receipt is asked for.
pub const UP: &[Step] = &[
    Step::Sql(
        "CREATE TABLE IF NOT EXISTS push_tickets (\
           id         text COLLATE \"C\" PRIMARY KEY, \
           device_id  text COLLATE \"C\" NOT NULL REFERENCES push_devices ON DELETE CASCADE, \
           sent_at    timestamptz NOT NULL DEFAULT now(), \
           check_at   timestamptz NOT NULL)",
    ),
    Step::Index {
        name: "push_tickets_device",
        create: "CREATE INDEX CONCURRENTLY push_tickets_device ON push_tickets (device_id)",
    },
    Step::Index {
        name: "push_tickets_check",
        create: "CREATE INDEX CONCURRENTLY push_tickets_check ON push_tickets (check_at)",
    },
];

pub const DOWN: &[Step] = &[Step::Sql("DROP TABLE IF EXISTS push_tickets")];
