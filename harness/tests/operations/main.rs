//! Tools of operators and developers: settings, deployment, balancer, telemetry, alerts, ./dev. One test program per
//! subject with a module per behaviour, because linking each file separately takes minutes.

#![allow(clippy::unwrap_used)]

mod balancer;
mod balancer_limits;
mod balancer_rolling;
mod closed_output;
mod companions;
mod config;
mod containers;
mod deploy;
mod dev;
mod idle;
mod listener;
mod node_names;
mod play;
mod probe;
mod proxy;
mod readme;
mod redis_cluster;
mod redis_migration;
mod redis_sentinel;
mod release;
mod release_walk;
mod servers;
mod telemetry;
mod telemetry_metrics;
mod telemetry_private;
mod telemetry_shards;
mod telemetry_socket_io;
mod telemetry_tls;
mod telemetry_untrusted;
mod telemetry_zero;
mod watch;
mod watch_blind;
mod watch_edge;
mod watch_exporters;
mod watch_faults;
mod watch_load;

#[path = "../support/base.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod base;
#[path = "../support/draining.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod draining;
#[path = "../support/erring.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod erring;
#[path = "../support/prometheus.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod prometheus;
