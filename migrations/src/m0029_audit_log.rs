//! The audit log (docs/AUDIT.md).

use crate::online::Step;

/// A row of `audit_log` is an action of an admin, or an action of a member on somebody else. It has no foreign keys,
/// because it outlives rooms and users. `actor` is NULL for an operator who used a job.
pub const UP: &[Step] = &[
    Step::Sql(
        "CREATE TABLE IF NOT EXISTS audit_log (\
           id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
           at      timestamptz NOT NULL DEFAULT now(), \
           actor   text COLLATE \"C\", \
           action  text NOT NULL, \
           target  text COLLATE \"C\", \
           room_id text COLLATE \"C\", \
           seq     bigint, \
           detail  text)",
    ),
    Step::Index {
        name: "audit_log_actor",
        create: "CREATE INDEX CONCURRENTLY audit_log_actor ON audit_log (actor, id)",
    },
    Step::Index {
        name: "audit_log_target",
        create: "CREATE INDEX CONCURRENTLY audit_log_target ON audit_log (target, id)",
    },
    Step::Index {
        name: "audit_log_room",
        create: "CREATE INDEX CONCURRENTLY audit_log_room ON audit_log (room_id, id)",
    },
    Step::Index { name: "audit_log_at", create: "CREATE INDEX CONCURRENTLY audit_log_at ON audit_log (at)" },
];

pub const DOWN: &[Step] = &[Step::Sql("DROP TABLE IF EXISTS audit_log")];
