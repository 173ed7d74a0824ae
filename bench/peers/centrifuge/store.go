// Messages and read marks in PostgreSQL: the tables and statements of store.mjs, one statement each. Each statement is a
// transaction, so its effect is committed when it returns.
package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Column types are those of Tidings' own tables.
const schema = `
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
`

// Any number that all nodes share: of nodes that start together one makes the tables.
const schemaLock = 715_301

// The same number of connections as in store.mjs.
const maxConnections = 20

// pgx prepares these once per connection.
const (
	insertMessage = `INSERT INTO messages (id, room_id, sender_id, client_id, kind, content, at)
         VALUES ($1, $2, $3, $4, 'text', $5, $6)
         ON CONFLICT (room_id, sender_id, client_id) DO NOTHING RETURNING seq`
	firstMessage  = `SELECT seq, id, at FROM messages WHERE room_id = $1 AND sender_id = $2 AND client_id = $3`
	upsertReceipt = `INSERT INTO receipts (room_id, user_id, seq, at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (room_id, user_id) DO UPDATE SET seq = excluded.seq, at = excluded.at
         WHERE receipts.seq < excluded.seq`
)

type draft struct {
	id                                uuid.UUID
	room, senderID, clientID, content string
	at                                time.Time
}

type stored struct {
	seq       int64
	id        uuid.UUID
	at        time.Time
	duplicate bool
}

type store interface {
	// Stores a message once; a repetition finds the first.
	add(ctx context.Context, message draft) (stored, error)
	// Moves a read mark forward; whether it moved.
	read(ctx context.Context, room, user string, seq int64, at time.Time) (bool, error)
}

type pgStore struct {
	pool *pgxpool.Pool
}

// Connects, and makes the tables that are missing.
func openStore(ctx context.Context, url string) (store, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = maxConnections
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", schemaLock); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, schema)
		return err
	})
	return &pgStore{pool}, err
}

func (s *pgStore) add(ctx context.Context, m draft) (stored, error) {
	made := stored{id: m.id, at: m.at}
	err := s.pool.QueryRow(ctx, insertMessage, m.id, m.room, m.senderID, m.clientID, m.content, m.at).Scan(&made.seq)
	if !errors.Is(err, pgx.ErrNoRows) {
		return made, err
	}
	first := stored{duplicate: true}
	err = s.pool.QueryRow(ctx, firstMessage, m.room, m.senderID, m.clientID).Scan(&first.seq, &first.id, &first.at)
	return first, err
}

func (s *pgStore) read(ctx context.Context, room, user string, seq int64, at time.Time) (bool, error) {
	tag, err := s.pool.Exec(ctx, upsertReceipt, room, user, seq, at)
	return tag.RowsAffected() == 1, err
}

// The same without a database: nothing is kept, repetitions are not noticed.
type noStore struct {
	seq atomic.Int64
}

func (s *noStore) add(_ context.Context, m draft) (stored, error) {
	return stored{seq: s.seq.Add(1), id: m.id, at: m.at}, nil
}

func (*noStore) read(context.Context, string, string, int64, time.Time) (bool, error) {
	return true, nil
}
