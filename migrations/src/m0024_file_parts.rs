//! Parts of uploads that pass through `tidings-files` to a bucket (docs/OPERATIONS.md, "Files").

use crate::online::Step;

/// `file_parts` has the parts that the bucket of an upload has received, because not every bucket lists them. A row is
/// removed with its upload. `content_etag` identifies the checked content in the bucket.
pub const UP: &[Step] = &[
    Step::Sql("ALTER TABLE files ADD COLUMN IF NOT EXISTS content_etag text"),
    Step::Sql(
        "CREATE TABLE IF NOT EXISTS file_parts (\
           file_id text COLLATE \"C\" NOT NULL REFERENCES files (id) ON DELETE CASCADE, \
           number integer NOT NULL, \
           etag text NOT NULL, \
           PRIMARY KEY (file_id, number))",
    ),
];

pub const DOWN: &[Step] = &[
    Step::Sql("DROP TABLE IF EXISTS file_parts"),
    Step::Sql("ALTER TABLE files DROP COLUMN IF EXISTS content_etag"),
];
