//! Stores what the files service finds out about images (docs/decisions/0080-previews.md).

use crate::online::Step;

/// `content_size` is the size of the stored content, if it differs from that of the upload because metadata was
/// removed. The other columns are NULL for a file without a preview. The columns have no defaults, so the table is not
/// rewritten, and the previous version can still insert rows.
pub const UP: &[Step] = &[
    Step::Sql("ALTER TABLE files ADD COLUMN IF NOT EXISTS content_size bigint"),
    Step::Sql("ALTER TABLE files ADD COLUMN IF NOT EXISTS preview_type text"),
    Step::Sql("ALTER TABLE files ADD COLUMN IF NOT EXISTS width integer"),
    Step::Sql("ALTER TABLE files ADD COLUMN IF NOT EXISTS height integer"),
    Step::Sql("ALTER TABLE files ADD COLUMN IF NOT EXISTS blurhash text"),
];

pub const DOWN: &[Step] = &[
    Step::Sql("ALTER TABLE files DROP COLUMN IF EXISTS blurhash"),
    Step::Sql("ALTER TABLE files DROP COLUMN IF EXISTS height"),
    Step::Sql("ALTER TABLE files DROP COLUMN IF EXISTS width"),
    Step::Sql("ALTER TABLE files DROP COLUMN IF EXISTS preview_type"),
    Step::Sql("ALTER TABLE files DROP COLUMN IF EXISTS content_size"),
];
