//! The commands `up`, `down`, `status`, `feed` and `fresh` of the program of this crate and of `tidings-persistence migrate`.
//! `status` prints one line per migration; the others print one line per migration that they applied or reverted.

use anyhow::{Context, ensure};
use clap::{ArgGroup, Args, Subcommand};
use sea_orm_migration::sea_orm::{ConnectOptions, ConnectionTrait, Database, DbBackend, Statement};
use secrecy::{ExposeSecret, SecretString};
use tidings_shared::config::problem::{Check, Problem};

use crate::{address, reachable, schema::LockedSchema};

/// The problem that is reported if no address is given. The check is in code, because clap cannot require an option
/// that is allowed both before and after a subcommand.
const MISSING_URL_PROBLEM: &str = "must be given, directly or by a file (DATABASE_URL_FILE)";

/// The command to run, and the database on which it runs.
#[derive(Debug, Clone, Args)]
pub struct MigrateArgs {
    /// Address of PostgreSQL, `postgres://…`, with a role that may create tables
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true, value_name = "URL")]
    database_url: Option<SecretString>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Apply all migrations that are not applied yet
    Up,
    /// Revert migrations together with their data: the last ones, or all of them
    #[command(group = ArgGroup::new("which").required(true).args(["steps", "all"]))]
    Down {
        /// Number of migrations to revert, counted from the last one
        #[arg(long)]
        steps: Option<u32>,
        /// Revert all migrations. To confirm, give the name of the database whose data will be deleted
        #[arg(long, value_name = "DATABASE_NAME")]
        all: Option<String>,
    },
    /// List all migrations, and whether each is applied
    Status,
    /// Turn the feed (`GET /v1/feed`) on or off. While it is on, each stored batch also writes a row for each of its rooms
    Feed {
        /// `on` or `off`
        #[arg(value_parser = ["on", "off"])]
        state: String,
    },
    /// Drop every table with all of its data, then apply all migrations
    Fresh {
        /// To confirm, give the name of the database whose tables will be dropped
        #[arg(long, value_name = "DATABASE_NAME")]
        drop_everything: String,
    },
}

impl Command {
    /// The database name that the operator gave to confirm a destructive command.
    fn confirmed_database(&self) -> Option<&str> {
        match self {
            Self::Down { all, .. } => all.as_deref(),
            Self::Fresh { drop_everything } => Some(drop_everything),
            Self::Up | Self::Status | Self::Feed { .. } => None,
        }
    }
}

impl MigrateArgs {
    fn url(&self) -> &str {
        self.database_url.as_ref().map_or("", ExposeSecret::expose_secret)
    }
}

impl Check for MigrateArgs {
    fn check(&self) -> Vec<Problem> {
        let url = self.database_url.as_ref().ok_or_else(|| MISSING_URL_PROBLEM.to_owned());
        let why = url.and_then(|url| address::check_address(url.expose_secret())).err();
        why.map(|why| Problem::new("database-url", why)).into_iter().collect()
    }
}

/// Runs the command and prints what it did. A destructive command changes nothing if the confirmed name is wrong.
pub async fn run(arguments: &MigrateArgs) -> anyhow::Result<()> {
    reachable::check_reachable(arguments.url()).await?;
    if let Some(confirmed) = arguments.command.confirmed_database() {
        let name = database_name(arguments.url()).await?;
        ensure!(confirmed == name, "this is the database {name:?}, not {confirmed:?}: nothing was dropped");
    }
    let schema = LockedSchema::open(arguments.url()).await?;
    match &arguments.command {
        Command::Up => print_migrations("applied", &schema.up().await?),
        Command::Down { steps, .. } => print_migrations("taken back", &schema.down(*steps).await?),
        Command::Feed { state } => {
            schema.set_feed(state == "on").await?;
            println!("the feed is {state}");
        }
        Command::Fresh { .. } => print_migrations("applied", &schema.recreate().await?),
        Command::Status => {
            for (name, applied) in schema.status().await? {
                println!("{name}: {}", if applied { "applied" } else { "pending" });
            }
        }
    }
    Ok(())
}

/// Asks the server for the name of its database, because the address may omit the name.
async fn database_name(url: &str) -> anyhow::Result<String> {
    let mut options = ConnectOptions::new(url);
    options.min_connections(1).max_connections(1).sqlx_logging(false);
    let db = Database::connect(options).await.context("cannot connect to the database")?;
    let query = Statement::from_string(DbBackend::Postgres, "SELECT current_database()::text");
    let row = db.query_one_raw(query).await?.context("the database did not return its name")?;
    let name = row.try_get_by_index(0)?;
    db.close().await?;
    Ok(name)
}

fn print_migrations(outcome: &str, names: &[String]) {
    if names.is_empty() {
        println!("nothing to do");
    }
    for name in names {
        println!("{name}: {outcome}");
    }
}
