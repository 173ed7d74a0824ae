//! A table for the feed: in which order the events of each partition were stored. It stays empty until an operator turns
//! the feed on (`crate::feed`).

use crate::online::Step;

/// A row of `feed` says that the events of a room above `after_seq` and up to `upto_seq` were stored at `position`. A
/// trigger writes it in the transaction that moves the head of the room, so no stored event can be missing, whichever
/// version of the service stores it. The trigger exists only while the feed is on.
///
/// A head moves only under the lock of the row of its partition, which is held until the end of the transaction. The
/// trigger runs under this lock. So the positions of a partition become visible in ascending order, and a reader that
/// has seen a position never finds a lower one later. A position is the time in microseconds, or the last position and
/// one. The time lets positions rise also after PostgreSQL was restored from an older copy.
///
/// The function is created with OR REPLACE, because it may exist: `fresh` drops only tables.
pub const UP: &[Step] = &[
    Step::Sql(
        "CREATE TABLE IF NOT EXISTS feed (\
           position  bigint NOT NULL, \
           after_seq bigint NOT NULL, \
           upto_seq  bigint NOT NULL, \
           partition smallint NOT NULL, \
           room_id   text COLLATE \"C\" NOT NULL, \
           PRIMARY KEY (partition, position))",
    ),
    Step::Sql(
        "CREATE OR REPLACE FUNCTION record_feed() RETURNS trigger LANGUAGE plpgsql AS $$ \
         DECLARE clock bigint := extract(epoch FROM clock_timestamp()) * 1000000; \
         BEGIN \
           INSERT INTO feed (position, after_seq, upto_seq, partition, room_id) \
             SELECT GREATEST(clock, (SELECT f.position FROM feed f WHERE f.partition = n.partition \
                 ORDER BY f.position DESC LIMIT 1)) + row_number() OVER (PARTITION BY n.partition ORDER BY n.id), \
               o.head_seq, n.head_seq, n.partition, n.id \
             FROM new_rooms n JOIN old_rooms o ON o.id = n.id AND o.head_seq < n.head_seq; \
           RETURN NULL; \
         END \
         $$",
    ),
];

pub const DOWN: &[Step] = &[
    Step::Sql("DROP TRIGGER IF EXISTS head_moved ON rooms"),
    Step::Sql("DROP FUNCTION IF EXISTS record_feed()"),
    Step::Sql("DROP TABLE IF EXISTS feed"),
];
