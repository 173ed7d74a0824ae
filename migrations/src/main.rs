//! The program `tidings-migrations up|down|status|feed|fresh`: changes the schema of a database before the services start.

use clap::Parser;
use tidings_migrations::command::{self, MigrateArgs};
use tidings_shared::config::load::parse_task;
use tidings_shared::config::problem::{Check, Problem};

/// Schema of the Tidings database
#[derive(Debug, Parser)]
#[command(
    name = "tidings-migrations",
    version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("TIDINGS_COMMIT"), ")"),
)]
struct Program {
    #[command(flatten)]
    arguments: MigrateArgs,
}

impl Check for Program {
    fn check(&self) -> Vec<Problem> {
        self.arguments.check()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tidings_shared::tls::install_provider();
    let program: Program = parse_task();
    tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::WARN).init();
    command::run(&program.arguments).await
}
