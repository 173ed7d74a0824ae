//! Files in a bucket (docs/decisions/0079-files-in-a-bucket.md): their multipart uploads, and which object has the
//! content. The columns keep their defaults while the contents are in a folder.

use crate::online::Step;

/// `upload_id` is the id that the bucket gave to the upload of a file that is not complete. `is_cleaned` tells that the
/// content is an object of its own, without the metadata of the upload. Its default is constant, so the table is not
/// rewritten.
pub const UP: &[Step] = &[
    Step::Sql("ALTER TABLE files ADD COLUMN IF NOT EXISTS upload_id text"),
    Step::Sql("ALTER TABLE files ADD COLUMN IF NOT EXISTS is_cleaned boolean NOT NULL DEFAULT false"),
];

pub const DOWN: &[Step] = &[
    Step::Sql("ALTER TABLE files DROP COLUMN IF EXISTS is_cleaned"),
    Step::Sql("ALTER TABLE files DROP COLUMN IF EXISTS upload_id"),
];
