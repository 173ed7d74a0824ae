//! `tidings-migrations up|down|status|fresh`: brings the schema of a database to where it shall be.
//! Prints one line per migration. Run it as one job before the services start.

use clap::{Parser, Subcommand};
use tidings_migrations::schema::Schema;

#[derive(Parser)]
#[command(name = "tidings-migrations", version, about = "Schema of the Tidings database")]
struct Arguments {
    /// PostgreSQL URL, e.g. postgres://tidings@localhost/tidings
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true, default_value = "")]
    database_url: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Apply what is not applied yet
    Up,
    /// Take migrations back, with their data (all of them unless --steps is given)
    Down {
        /// How many of the last ones
        #[arg(long)]
        steps: Option<u32>,
    },
    /// List the migrations
    Status,
    /// Drop every table and apply all migrations
    Fresh,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    anyhow::ensure!(!arguments.database_url.is_empty(), "give --database-url or set DATABASE_URL");
    tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::WARN).init();
    let schema = Schema::open(&arguments.database_url).await?;
    match arguments.command {
        Command::Up => print("applied", &schema.up().await?),
        Command::Down { steps } => print("taken back", &schema.down(steps).await?),
        Command::Fresh => print("applied", &schema.fresh().await?),
        Command::Status => {
            for (name, applied) in schema.status().await? {
                println!("{name}: {}", if applied { "applied" } else { "pending" });
            }
        }
    }
    Ok(())
}

fn print(what: &str, names: &[String]) {
    if names.is_empty() {
        println!("nothing to do");
    }
    for name in names {
        println!("{name}: {what}");
    }
}
