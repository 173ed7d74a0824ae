//! Tables of push notifications (docs/decisions/0077-push.md). They stay empty while no device is registered.

use crate::online::Step;

/// A row of `push_devices` is a device of a user. After a failed attempt the device gets nothing before `not_before`.
///
/// A row of `push_pending` is a notification that waits: the newest message of the seqs from `first_seq` to `seq` that the
/// user may be told of when it is sent. It names the messages and does not contain them, so that edits, deletions and
/// erasures also reach notifications that wait. `due_at` is also the lease of a sender, and `claims` its fencing token.
pub const UP: &[Step] = &[
    Step::Sql(
        "CREATE TABLE IF NOT EXISTS push_devices (\
           id          text COLLATE \"C\" PRIMARY KEY, \
           user_id     text COLLATE \"C\" NOT NULL, \
           kind        text NOT NULL, \
           address     text COLLATE \"C\" NOT NULL, \
           p256dh      text, \
           auth        text, \
           failures    integer NOT NULL DEFAULT 0, \
           not_before  timestamptz NOT NULL DEFAULT now(), \
           created_at  timestamptz NOT NULL DEFAULT now(), \
           UNIQUE (kind, address))",
    ),
    Step::Sql(
        "CREATE TABLE IF NOT EXISTS push_pending (\
           device_id  text COLLATE \"C\" NOT NULL REFERENCES push_devices ON DELETE CASCADE, \
           room_id    text COLLATE \"C\" NOT NULL, \
           first_seq  bigint NOT NULL, \
           seq        bigint NOT NULL, \
           due_at     timestamptz NOT NULL, \
           queued_at  timestamptz NOT NULL DEFAULT now(), \
           claims     integer NOT NULL DEFAULT 0, \
           PRIMARY KEY (device_id, room_id))",
    ),
    Step::Sql(
        "CREATE TABLE IF NOT EXISTS push_mutes (\
           user_id  text COLLATE \"C\" NOT NULL, \
           room_id  text COLLATE \"C\" NOT NULL, \
           until    timestamptz, \
           PRIMARY KEY (user_id, room_id))",
    ),
    Step::Sql(
        "CREATE TABLE IF NOT EXISTS push_cursor (\
           single_row  boolean PRIMARY KEY DEFAULT true CHECK (single_row), \
           cursor      text NOT NULL)",
    ),
    Step::Index {
        name: "push_devices_user",
        create: "CREATE INDEX CONCURRENTLY push_devices_user ON push_devices (user_id)",
    },
    Step::Index {
        name: "push_pending_due",
        create: "CREATE INDEX CONCURRENTLY push_pending_due ON push_pending (due_at)",
    },
];

pub const DOWN: &[Step] = &[
    Step::Sql("DROP TABLE IF EXISTS push_cursor"),
    Step::Sql("DROP TABLE IF EXISTS push_mutes"),
    Step::Sql("DROP TABLE IF EXISTS push_pending"),
    Step::Sql("DROP TABLE IF EXISTS push_devices"),
];
