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

// The key of the advisory lock with which nodes that start together create the tables one after the other.
const schemaLockKey = 715_301

// The same number of connections as in store.mjs.
const maxConnections = 20

// pgx prepares these once per connection.
const (
	insertMessage = `INSERT INTO messages (id, room_id, sender_id, client_id, kind, content, at)
         VALUES ($1, $2, $3, $4, 'text', $5, $6)
         ON CONFLICT (room_id, sender_id, client_id) DO NOTHING RETURNING seq`
	selectFirstMessage = `SELECT seq, id, at FROM messages WHERE room_id = $1 AND sender_id = $2 AND client_id = $3`
	upsertReceipt      = `INSERT INTO receipts (room_id, user_id, seq, at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (room_id, user_id) DO UPDATE SET seq = excluded.seq, at = excluded.at
         WHERE receipts.seq < excluded.seq`
)

type draft struct {
	id                                uuid.UUID
	room, senderID, clientID, content string
	at                                time.Time
}

type storedMessage struct {
	seq       int64
	id        uuid.UUID
	at        time.Time
	duplicate bool
}

type store interface {
	// Stores a message. If it was stored before, returns the stored message as a duplicate.
	add(ctx context.Context, message draft) (storedMessage, error)
	// Moves a read mark forward. Returns whether it has moved.
	moveReadMark(ctx context.Context, room, user string, seq int64, at time.Time) (bool, error)
}

type pgStore struct {
	pool *pgxpool.Pool
}

// Connects, and creates the tables that are missing.
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
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", schemaLockKey); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, schema)
		return err
	})
	return &pgStore{pool}, err
}

func (s *pgStore) add(ctx context.Context, m draft) (storedMessage, error) {
	inserted := storedMessage{id: m.id, at: m.at}
	err := s.pool.QueryRow(ctx, insertMessage, m.id, m.room, m.senderID, m.clientID, m.content, m.at).Scan(&inserted.seq)
	if !errors.Is(err, pgx.ErrNoRows) {
		return inserted, err
	}
	first := storedMessage{duplicate: true}
	err = s.pool.QueryRow(ctx, selectFirstMessage, m.room, m.senderID, m.clientID).Scan(&first.seq, &first.id, &first.at)
	return first, err
}

func (s *pgStore) moveReadMark(ctx context.Context, room, user string, seq int64, at time.Time) (bool, error) {
	tag, err := s.pool.Exec(ctx, upsertReceipt, room, user, seq, at)
	return tag.RowsAffected() == 1, err
}

// A store without a database: keeps nothing, and recognises no duplicate.
type nullStore struct {
	seq atomic.Int64
}

func (s *nullStore) add(_ context.Context, m draft) (storedMessage, error) {
	return storedMessage{seq: s.seq.Add(1), id: m.id, at: m.at}, nil
}

func (*nullStore) moveReadMark(context.Context, string, string, int64, time.Time) (bool, error) {
	return true, nil
}
