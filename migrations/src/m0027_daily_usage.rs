//! What accounts may do per day, and which memberships others gave (docs/PROTOCOL.md, "Limits").

use crate::online::Step;

/// `daily_usage` has a row for each user and kind of limit. `used` shrinks with time: see
/// `persistence::writer::daily_limits`. The rows are replaced in place, so nothing has to delete old ones.
///
/// `members.by_others` tells whether somebody else added the user. Memberships from before this migration, and those
/// that nodes of the previous version write, count as the user's own. The default is a constant, so PostgreSQL adds the
/// column without rewriting the table.
pub const UP: &[Step] = &[
    Step::Sql(
        "CREATE TABLE IF NOT EXISTS daily_usage (\
           user_id text COLLATE \"C\" NOT NULL, \
           kind    text NOT NULL, \
           used    double precision NOT NULL, \
           at      timestamptz NOT NULL, \
           PRIMARY KEY (user_id, kind))",
    ),
    Step::Sql("ALTER TABLE members ADD COLUMN IF NOT EXISTS by_others boolean NOT NULL DEFAULT false"),
];

pub const DOWN: &[Step] = &[
    Step::Sql("ALTER TABLE members DROP COLUMN IF EXISTS by_others"),
    Step::Sql("DROP TABLE IF EXISTS daily_usage"),
];
