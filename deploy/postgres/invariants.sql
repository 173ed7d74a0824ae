-- Checks the data of a restored database; fails at the first rule that does not hold. Reads the tables, and not their
-- indexes, because a damaged index would hide what is wrong. It reads everything, so run it on a copy.
SET enable_indexscan = off;
SET enable_indexonlyscan = off;
SET enable_bitmapscan = off;

DO $$
DECLARE
  wrong record;
BEGIN
  -- The prefix invariant: the log of a room has each seq from 1 to the head once, in `messages` or in `events`.
  SELECT room_id, r.head_seq, l.rows, l.seqs, l.first, l.last INTO wrong
  FROM rooms r
  FULL JOIN (
    SELECT room_id, count(*) AS rows, count(DISTINCT seq) AS seqs, min(seq) AS first, max(seq) AS last
    FROM (SELECT room_id, seq FROM messages UNION ALL SELECT room_id, seq FROM events) log
    GROUP BY room_id
  ) l ON l.room_id = r.id
  WHERE r.head_seq IS NULL
    OR r.head_seq <> coalesce(l.last, 0)
    OR coalesce(l.rows, 0) <> r.head_seq
    OR coalesce(l.seqs, 0) <> r.head_seq
    OR l.first <> 1
  LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'the log of a room has holes, or its head is wrong: %', wrong;
  END IF;

  -- A message that is sent twice exists once.
  SELECT room_id, sender_id, client_id, count(*) INTO wrong
  FROM messages GROUP BY room_id, sender_id, client_id HAVING count(*) > 1 LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'a message exists twice: %', wrong;
  END IF;

  -- Clients know every epoch that was opened, so the counter may not be behind one of them.
  SELECT max(epoch) AS opened, (SELECT last_value FROM epochs_opened_epoch_seq) AS counter INTO wrong FROM epochs_opened;
  IF wrong.opened > wrong.counter THEN
    RAISE EXCEPTION 'the counter of epochs is behind: %', wrong;
  END IF;

  IF NOT EXISTS (SELECT FROM seaql_migrations) THEN
    RAISE EXCEPTION 'no migration is recorded';
  END IF;
END
$$;
