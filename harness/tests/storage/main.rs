//! Storage: ingest, retention, migrations, dead letters, backups, query plans. One test program per subject with a
//! module per behaviour, because linking each file separately takes minutes.

#![allow(clippy::unwrap_used)]

mod backups;
mod before_tables;
mod dead_letters;
mod epoch_cleanup;
mod epochs_sql;
mod explain;
mod ingest_faults;
mod ingest_leases;
mod ingest_once;
mod ingest_shards;
mod ingest_silence;
mod ingest_statement;
mod locked_partition;
mod migrations;
mod migrations_beside_others;
mod open_snapshot;
mod outage_causes;
mod restore;
mod retention;
mod retention_stream;

#[path = "../support/letters.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod letters;
#[path = "../support/restored_postgres.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod restored_postgres;
#[path = "../support/room_log.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod room_log;
#[path = "../support/search_index.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod search_index;
