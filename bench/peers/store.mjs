// Stores messages and read marks in PostgreSQL. Each operation is one or two statements without a transaction block, so
// its effect is committed when it returns.

import pg from 'pg';

/** Column types are those of Tidings' own tables. */
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS messages (
    seq       bigint GENERATED ALWAYS AS IDENTITY,
    id        uuid PRIMARY KEY,
    room_id   text COLLATE "C" NOT NULL,
    sender_id text COLLATE "C" NOT NULL,
    client_id text COLLATE "C" NOT NULL,
    kind      text NOT NULL,
    content   text NOT NULL,
    at        timestamptz NOT NULL,
    UNIQUE (room_id, sender_id, client_id)
  );
  CREATE INDEX IF NOT EXISTS messages_by_room ON messages (room_id, seq);
  CREATE TABLE IF NOT EXISTS receipts (
    room_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    seq     bigint NOT NULL,
    at      timestamptz NOT NULL,
    PRIMARY KEY (room_id, user_id)
  );
`;

/** The key of the advisory lock with which nodes that start together create the tables one after the other. */
const SCHEMA_LOCK_KEY = 715_301;

// The names let each connection prepare the statements once.
const INSERT_MESSAGE = {
  name: 'message-insert',
  text: `INSERT INTO messages (id, room_id, sender_id, client_id, kind, content, at)
         VALUES ($1, $2, $3, $4, 'text', $5, $6)
         ON CONFLICT (room_id, sender_id, client_id) DO NOTHING RETURNING seq`,
};
const SELECT_FIRST_MESSAGE = {
  name: 'message-first',
  text: 'SELECT seq, id, at FROM messages WHERE room_id = $1 AND sender_id = $2 AND client_id = $3',
};
const UPSERT_RECEIPT = {
  name: 'receipt-upsert',
  text: `INSERT INTO receipts (room_id, user_id, seq, at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (room_id, user_id) DO UPDATE SET seq = excluded.seq, at = excluded.at
         WHERE receipts.seq < excluded.seq RETURNING seq`,
};

/** Connects, and creates the tables that are missing. */
export async function openStore(url) {
  const pool = new pg.Pool({ connectionString: url, max: 20, idleTimeoutMillis: 0 });
  // The pool replaces a connection that breaks while it is idle.
  pool.on('error', (error) => console.error(error));
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await client.query('SELECT pg_advisory_xact_lock($1)', [SCHEMA_LOCK_KEY]);
    await client.query(SCHEMA);
    await client.query('COMMIT');
  } finally {
    client.release();
  }
  return {
    /** Stores a message. If it was stored before, returns the stored message as a duplicate. */
    async add({ id, room, senderId, clientId, content, at }) {
      const { rows } = await pool.query({ ...INSERT_MESSAGE, values: [id, room, senderId, clientId, content, at] });
      if (rows.length === 1) return { seq: Number(rows[0].seq), id, at, duplicate: false };
      const { rows: [first] } = await pool.query({ ...SELECT_FIRST_MESSAGE, values: [room, senderId, clientId] });
      return { seq: Number(first.seq), id: first.id, at: first.at.toISOString(), duplicate: true };
    },

    /** Moves a read mark forward. Returns whether it has moved. */
    async moveReadMark({ room, user, seq, at }) {
      const { rowCount } = await pool.query({ ...UPSERT_RECEIPT, values: [room, user, seq, at] });
      return rowCount === 1;
    },
  };
}

/** A store without a database: keeps nothing, and recognises no duplicate. */
export function nullStore() {
  let seq = 0;
  return {
    async add({ id, at }) {
      seq += 1;
      return { seq, id, at, duplicate: false };
    },
    async moveReadMark() {
      return true;
    },
  };
}
