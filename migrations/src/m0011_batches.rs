//! Records each batch by its number, so that a batch no longer updates the rows of its partitions.

use crate::online::Step;

/// `batches` has a row for each batch that was committed recently. PostgreSQL cannot remove old versions of a row while
/// a snapshot is open, and each update of the row reads all of them. So a batch only locks the rows of `partitions`,
/// and inserts a row here: docs/decisions/0051-batches-are-numbered.md.
///
/// `partitions.last_id` is written by the previous version only. A later migration drops it.
///
/// When the row of a replica is deleted, by this version or the previous one, the trigger deletes the replica's rows in
/// `batches`. The function is created with OR REPLACE, because it may exist: `fresh` drops only tables.
pub const UP: &[Step] = &[
    Step::Sql(
        "CREATE TABLE IF NOT EXISTS batches (\
           replica text COLLATE \"C\" NOT NULL, \
           number  bigint NOT NULL, \
           PRIMARY KEY (replica, number))",
    ),
    Step::Sql(
        "CREATE OR REPLACE FUNCTION delete_batches() RETURNS trigger LANGUAGE plpgsql AS $$ \
         BEGIN \
           DELETE FROM batches WHERE replica = OLD.id; \
           RETURN NULL; \
         END $$",
    ),
    Step::Sql(
        "CREATE OR REPLACE TRIGGER replica_gone AFTER DELETE ON replicas \
         FOR EACH ROW EXECUTE FUNCTION delete_batches()",
    ),
];

pub const DOWN: &[Step] = &[
    Step::Sql("DROP TRIGGER IF EXISTS replica_gone ON replicas"),
    Step::Sql("DROP FUNCTION IF EXISTS delete_batches()"),
    Step::Sql("DROP TABLE IF EXISTS batches"),
];
