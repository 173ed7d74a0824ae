//! Contents of removed files are removed twice (docs/OPERATIONS.md, "Files").

use crate::online::Step;

/// `emptied_at` is when the content of a removed file was removed for the first time.
pub const UP: &[Step] = &[Step::Sql("ALTER TABLE files ADD COLUMN IF NOT EXISTS emptied_at timestamptz")];

pub const DOWN: &[Step] = &[Step::Sql("ALTER TABLE files DROP COLUMN IF EXISTS emptied_at")];
