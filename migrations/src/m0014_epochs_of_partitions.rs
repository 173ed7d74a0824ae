//! Stores for which partitions, and since which promotion of the Redis process, an epoch was opened.

use crate::online::Step;

/// `partitions` is NULL for an epoch of all partitions, and `replid` is NULL if any matches. The previous version writes
/// and means NULL, so it can still open epochs. `epochs_opened` is small, and adding the columns does not rewrite it.
pub const UP: &[Step] = &[
    Step::Sql("ALTER TABLE epochs_opened ADD COLUMN IF NOT EXISTS partitions smallint[]"),
    Step::Sql("ALTER TABLE epochs_opened ADD COLUMN IF NOT EXISTS replid text COLLATE \"C\""),
];

pub const DOWN: &[Step] = &[
    Step::Sql("ALTER TABLE epochs_opened DROP COLUMN IF EXISTS replid"),
    Step::Sql("ALTER TABLE epochs_opened DROP COLUMN IF EXISTS partitions"),
];
