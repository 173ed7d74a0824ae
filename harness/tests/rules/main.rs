//! Mutation tests for the rules of the core. Each test replays a sequence of steps twice: with the rule every promise
//! holds, and without the rule a promise breaks. docs/RULES.md lists the rules.

#![allow(clippy::unwrap_used)]

mod rules_cluster;
mod rules_epochs;
mod rules_feed;
mod rules_members;
mod rules_processes;
mod rules_reads;
mod rules_restore;
mod rules_seeds;
mod rules_seeds_late;
mod rules_sends;
mod rules_stored;
mod rules_stored_crash;
mod rules_writer;

mod processes;
#[path = "../support/restored_postgres.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod restored_postgres;

mod replay;
mod replay_system;
mod row_lock;
