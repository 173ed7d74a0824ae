//! Tables of the webhooks (docs/decisions/0075-webhooks.md). They stay empty while no endpoint is registered.

use crate::online::Step;

/// A row of `webhooks` is an endpoint with its own cursor of the feed. A row of `webhook_deliveries` is an event that is
/// on the way to an endpoint, or a dead letter. It names the event and does not contain it, so that edits and erasures
/// also reach events that wait.
///
/// `next_attempt_at` is also the lease of a sender: a claim moves it beyond the time limit of its attempts. `claims`
/// counts the claims, as the fencing token of a sender.
pub const UP: &[Step] = &[
    Step::Sql(
        "CREATE TABLE IF NOT EXISTS webhooks (\
           id                text COLLATE \"C\" PRIMARY KEY, \
           url               text NOT NULL, \
           description       text NOT NULL, \
           rooms             text[] NOT NULL, \
           types             text[] NOT NULL, \
           ordered           boolean NOT NULL, \
           disabled_because  text, \
           secret            text NOT NULL, \
           previous_secret   text, \
           previous_until    timestamptz, \
           cursor            text NOT NULL, \
           created_at        timestamptz NOT NULL DEFAULT now(), \
           updated_at        timestamptz NOT NULL DEFAULT now())",
    ),
    Step::Sql(
        "CREATE TABLE IF NOT EXISTS webhook_deliveries (\
           webhook_id       text COLLATE \"C\" NOT NULL REFERENCES webhooks ON DELETE CASCADE, \
           room_id          text COLLATE \"C\" NOT NULL, \
           after_seq        bigint NOT NULL, \
           upto_seq         bigint NOT NULL, \
           claims           integer NOT NULL DEFAULT 0, \
           attempts         integer NOT NULL DEFAULT 0, \
           next_attempt_at  timestamptz NOT NULL DEFAULT now(), \
           dead_at          timestamptz, \
           last_status      integer, \
           last_error       text, \
           queued_at        timestamptz NOT NULL DEFAULT now(), \
           PRIMARY KEY (webhook_id, room_id, upto_seq))",
    ),
    Step::Index {
        name: "webhook_deliveries_waiting",
        create: "CREATE INDEX CONCURRENTLY webhook_deliveries_waiting ON webhook_deliveries \
           (webhook_id, room_id, upto_seq) WHERE dead_at IS NULL",
    },
    Step::Index {
        name: "webhook_deliveries_due",
        create: "CREATE INDEX CONCURRENTLY webhook_deliveries_due ON webhook_deliveries \
           (webhook_id, next_attempt_at) WHERE dead_at IS NULL",
    },
];

pub const DOWN: &[Step] =
    &[Step::Sql("DROP TABLE IF EXISTS webhook_deliveries"), Step::Sql("DROP TABLE IF EXISTS webhooks")];
