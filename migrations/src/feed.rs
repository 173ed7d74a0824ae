//! Turns the feed on and off. While it is off, the trigger does not exist, so storing costs nothing for it.

/// Creates the trigger, and one row for each room that has events. One statement, so both are committed together. Events
/// are not stored while it runs, because the trigger locks the table of rooms until the commit. So every later row of a
/// partition gets a higher position. The positions begin at the present time, so that a cursor from before an earlier
/// `off` reads everything again.
pub(crate) const TURN_ON: &str = "DO $$ BEGIN \
      IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'rooms'::regclass AND tgname = 'head_moved') THEN RETURN; END IF; \
      CREATE TRIGGER head_moved AFTER UPDATE ON rooms REFERENCING OLD TABLE AS old_rooms NEW TABLE AS new_rooms \
        FOR EACH STATEMENT EXECUTE FUNCTION record_feed(); \
      DELETE FROM feed; \
      INSERT INTO feed (position, after_seq, upto_seq, partition, room_id) \
        SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint \
          + row_number() OVER (PARTITION BY partition ORDER BY updated_at, id), 0, head_seq, partition, id \
        FROM rooms WHERE head_seq > 0; \
    END $$";

/// Drops the trigger and removes the rows.
pub(crate) const TURN_OFF: &str = "DO $$ BEGIN \
      DROP TRIGGER IF EXISTS head_moved ON rooms; \
      TRUNCATE feed; \
    END $$";
