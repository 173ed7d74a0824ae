//! Stores the slow mode of each room.

use crate::online::Step;

/// Minimum seconds between two messages of a member; 0 means no slow mode. Because the default is a constant,
/// PostgreSQL adds the NOT NULL column without rewriting the table. The previous version can still insert rows, because
/// its inserts get the default.
pub const UP: &[Step] =
    &[Step::Sql("ALTER TABLE rooms ADD COLUMN IF NOT EXISTS slow_mode_s integer NOT NULL DEFAULT 0")];

pub const DOWN: &[Step] = &[Step::Sql("ALTER TABLE rooms DROP COLUMN IF EXISTS slow_mode_s")];
