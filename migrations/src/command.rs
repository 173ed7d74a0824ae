//! `migrate up|down|status|fresh`, of this program and of persistence's. Prints one line per migration.

use anyhow::{Context, ensure};
use clap::{ArgGroup, Args, Subcommand};
use sea_orm_migration::sea_orm::{ConnectOptions, ConnectionTrait, Database, DbBackend, Statement};
use secrecy::{ExposeSecret, SecretString};
use tidings_shared::config::problem::{Check, Problem};

use crate::{address, schema::Schema};

/// Clap requires nothing that may stand before and behind a subcommand.
const MISSING: &str = "must be given, by itself or by a file (DATABASE_URL_FILE)";

/// What to do to which database.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// PostgreSQL, `postgres://…`, as a role that may create tables
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true, value_name = "URL")]
    database_url: Option<SecretString>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Apply what is not applied yet
    Up,
    /// Take migrations back, with their data: the last ones, or all
    #[command(group = ArgGroup::new("which").required(true).args(["steps", "all"]))]
    Down {
        /// How many of the last ones
        #[arg(long)]
        steps: Option<u32>,
        /// All of them. To say that it is meant: the name of the database whose data is to go
        #[arg(long, value_name = "DATABASE_NAME")]
        all: Option<String>,
    },
    /// List the migrations
    Status,
    /// Drop every table, with all that there is, and apply all migrations
    Fresh {
        /// To say that it is meant: the name of the database whose tables are to go
        #[arg(long, value_name = "DATABASE_NAME")]
        drop_everything: String,
    },
}

impl Command {
    /// The name of the database that is to lose everything by this.
    fn meant(&self) -> Option<&str> {
        match self {
            Self::Down { all, .. } => all.as_deref(),
            Self::Fresh { drop_everything } => Some(drop_everything),
            Self::Up | Self::Status => None,
        }
    }
}

impl Arguments {
    fn url(&self) -> &str {
        self.database_url.as_ref().map_or("", ExposeSecret::expose_secret)
    }
}

impl Check for Arguments {
    fn check(&self) -> Vec<Problem> {
        let given = self.database_url.as_ref().ok_or_else(|| MISSING.to_owned());
        let why = given.and_then(|url| address::check(url.expose_secret())).err();
        why.map(|why| Problem::new("database-url", why)).into_iter().collect()
    }
}

/// Does it.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(meant) = arguments.command.meant() {
        let name = database_name(arguments.url()).await?;
        ensure!(meant == name, "this is the database {name:?}, not {meant:?}: nothing was dropped");
    }
    let schema = Schema::open(arguments.url()).await?;
    match arguments.command {
        Command::Up => print("applied", &schema.up().await?),
        Command::Down { steps, .. } => print("taken back", &schema.down(steps).await?),
        Command::Fresh { .. } => print("applied", &schema.fresh().await?),
        Command::Status => {
            for (name, applied) in schema.status().await? {
                println!("{name}: {}", if applied { "applied" } else { "pending" });
            }
        }
    }
    Ok(())
}

/// As the server has it, whatever the address leaves out.
async fn database_name(url: &str) -> anyhow::Result<String> {
    let mut options = ConnectOptions::new(url);
    options.min_connections(1).max_connections(1).sqlx_logging(false);
    let db = Database::connect(options).await.context("cannot connect to the database")?;
    let asking = Statement::from_string(DbBackend::Postgres, "SELECT current_database()::text");
    let row = db.query_one_raw(asking).await?.context("the database does not tell its name")?;
    let name = row.try_get_by_index(0)?;
    db.close().await?;
    Ok(name)
}

fn print(what: &str, names: &[String]) {
    if names.is_empty() {
        println!("nothing to do");
    }
    for name in names {
        println!("{name}: {what}");
    }
}
