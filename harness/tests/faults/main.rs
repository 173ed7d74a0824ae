//! Faults of processes, links, disks and clocks under load; drains and rolling restarts. One test program per subject
//! with a module per behaviour, because linking each file separately takes minutes.

#![allow(clippy::unwrap_used)]

mod drain;
mod drain_persistence;
mod faults;
mod faults_clients;
mod faults_clock;
mod faults_cluster;
mod faults_noisy;
mod faults_socket_io;
mod kills;
mod lost_commits;
mod postgres_away;
mod postgres_faults;
mod postgres_gone;
mod rolling;
mod sabotage;

#[path = "../support/crowd.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod crowd;
#[path = "../support/draining.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod draining;
#[path = "../support/restored_postgres.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod restored_postgres;
#[path = "../support/room_log.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod room_log;
#[path = "../support/show.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod show;
#[path = "../support/steady.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod steady;
