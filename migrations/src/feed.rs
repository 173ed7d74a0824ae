//! Turns the feed on and off. While it is off, the trigger does not exist, so storing costs nothing for it.

/// Creates the trigger, and one row for each room that has events. One statement, so both are committed together.
/// Events are not stored while it runs, because the trigger locks the table of rooms until the commit. So every later
/// row of a partition gets a higher position. The positions begin at the present time, or above the last position if
/// the clock was ahead then. So a cursor from before an earlier `off` reads everything again. Earlier rows stay
/// and lead to no events, so that positions only grow.
pub(crate) const TURN_ON: &str = "DO $$ BEGIN \
      IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'rooms'::regclass AND tgname = 'head_moved') THEN RETURN; END IF; \
      CREATE TRIGGER head_moved AFTER UPDATE ON rooms REFERENCING OLD TABLE AS old_rooms NEW TABLE AS new_rooms \
        FOR EACH STATEMENT EXECUTE FUNCTION record_feed(); \
      UPDATE feed SET after_seq = upto_seq; \
      INSERT INTO feed (position, after_seq, upto_seq, partition, room_id) \
        SELECT GREATEST((extract(epoch FROM clock_timestamp()) * 1000000)::bigint, l.position) \
          + row_number() OVER (PARTITION BY r.partition ORDER BY r.updated_at, r.id), 0, r.head_seq, r.partition, r.id \
        FROM rooms r LEFT JOIN (SELECT partition, max(position) AS position FROM feed GROUP BY partition) l \
          ON l.partition = r.partition WHERE r.head_seq > 0; \
    END $$";

/// Drops the trigger, and removes all rows except the last one of each partition: [`TURN_ON`] begins above it.
pub(crate) const TURN_OFF: &str = "DO $$ DECLARE kept feed[]; BEGIN \
      DROP TRIGGER IF EXISTS head_moved ON rooms; \
      kept := ARRAY(SELECT l.f FROM generate_series(0, 63) p CROSS JOIN LATERAL \
        (SELECT f FROM feed f WHERE f.partition = p ORDER BY f.position DESC LIMIT 1) l); \
      TRUNCATE feed; \
      INSERT INTO feed SELECT * FROM unnest(kept); \
    END $$";
