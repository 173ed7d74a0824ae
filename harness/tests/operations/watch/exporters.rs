//! The exporters of Redis and PostgreSQL in front of a stack's servers: Debian's programs, with the shipped users that may
//! only read statistics. A Prometheus scrapes them as jobs of the shipped configuration.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tidings_harness::{Stack, daemon::Daemon, http, ports};

use crate::prometheus::{Prometheus, shipped_folder};

const PASSWORD: &str = "password-of-the-exporters";
const REDIS_USER: &str = "tidings-monitoring";
const POSTGRES_ROLE: &str = "tidings_monitoring";
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// Both exporters. Dropping the value ends them.
pub struct Exporters {
    pub redis: Daemon,
    _postgres: Daemon,
}

impl Exporters {
    /// Creates the users, starts the exporters, and adds them to the targets of Prometheus.
    ///
    /// # Errors
    /// When a program is missing: `./dev test` installs Debian's packages of these names.
    pub async fn start(stack: &Stack, prometheus: &Prometheus) -> Result<Exporters> {
        create_users(stack).await?;
        let user = |names: [&'static str; 2], user: &str| {
            vec![(names[0], user.to_owned()), (names[1], PASSWORD.to_owned())]
        };
        let variables = user(["REDIS_USER", "REDIS_PASSWORD"], REDIS_USER);
        let arguments = &["--redis.addr=", "--config-command=-"];
        let (redis, place) = start_exporter(stack, "prometheus-redis-exporter", arguments, variables).await?;
        let address = stack.redis().url().trim_start_matches("redis://").trim_end_matches('/').to_owned();
        prometheus.configure("targets/redis.yml", |_| format!("- targets: [\"{address}\"]\n"))?;
        prometheus.configure("prometheus.yml", |text| text.replace("redis-exporter:9121", &place))?;

        let (_, server) = stack.database().url().split_once('@').context("a URL without a user")?;
        let mut variables = user(["DATA_SOURCE_USER", "DATA_SOURCE_PASS"], POSTGRES_ROLE);
        variables.push(("DATA_SOURCE_URI", format!("{server}?sslmode=disable")));
        let (postgres, place) = start_exporter(stack, "prometheus-postgres-exporter", &[], variables).await?;
        prometheus.add_target("postgresql", &place)?;
        Ok(Exporters { redis, _postgres: postgres })
    }
}

/// The shipped users: each with a password, and with the rights that the files give. A Redis of a test forgets its user
/// when it ends.
///
/// # Errors
/// When a server cannot be reached.
pub async fn create_users(stack: &Stack) -> Result<()> {
    let users = std::fs::read_to_string(shipped_folder().with_file_name("redis").join("users.acl"))?;
    let line =
        users.lines().find_map(|line| line.strip_prefix("user ").filter(|l| l.starts_with(REDIS_USER)));
    let line = line.context("users.acl has no user for the exporter")?;
    let mut add = redis::cmd("ACL");
    let words = line.split(' ').map(|word| match word.strip_prefix('#') {
        Some(_) => format!(">{PASSWORD}"),
        None => word.to_owned(),
    });
    add.arg("SETUSER").arg(words.collect::<Vec<_>>());
    stack.redis().command::<()>(&add).await?;
    let roles = std::fs::read_to_string(shipped_folder().with_file_name("postgres").join("roles.sql"))?;
    stack.database().query(&roles).await?;
    stack.database().query(&format!("ALTER ROLE {POSTGRES_ROLE} PASSWORD '{PASSWORD}'")).await?;
    Ok(())
}

/// Starts an exporter with these arguments and variables; returns its process and its address.
async fn start_exporter(
    stack: &Stack,
    name: &'static str,
    arguments: &'static [&'static str],
    variables: Vec<(&'static str, String)>,
) -> Result<(Daemon, String)> {
    let place = format!("127.0.0.1:{}", ports::free()?);
    let listen = format!("--web.listen-address={place}");
    let daemon = Daemon::new(name, stack.folder().join(format!("{name}.log")), Signal::SIGKILL, move || {
        let mut command = Command::new(name);
        command.arg(&listen).args(arguments).envs(variables.clone());
        command
    });
    daemon.start().with_context(|| format!("{name}: ./dev test installs Debian's package of this name"))?;
    let (url, client) = (format!("http://{place}/"), http::client());
    let ready = || async { client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) };
    daemon.until_ready(READY_TIMEOUT, ready).await?;
    Ok((daemon, place))
}

/// Checks that the exporters' users can read statistics and nothing else: Redis refused them only what the file does not
/// give on purpose, and neither user reads what is stored.
///
/// # Errors
/// What a user could do and must not.
pub async fn ensure_least_rights(stack: &Stack) -> Result<()> {
    let log: Vec<std::collections::HashMap<String, redis::Value>> =
        stack.redis().command(redis::cmd("ACL").arg("LOG")).await?;
    let refused: Vec<_> = log.iter().map(|entry| entry.get("object").cloned()).collect();
    // The slow log contains messages.
    let on_purpose = Some(redis::Value::BulkString(b"slowlog|get".to_vec()));
    ensure!(
        !refused.is_empty() && refused.iter().all(|object| *object == on_purpose),
        "refused: {refused:?}"
    );
    for command in ["GET", "CONFIG GET", "KEYS", "SLOWLOG GET", "FLUSHALL"] {
        let mut may = redis::cmd("ACL");
        may.arg("DRYRUN").arg(REDIS_USER).arg(command.split(' ').collect::<Vec<_>>());
        if command != "FLUSHALL" {
            may.arg("1");
        }
        let answer: String = stack.redis().command(&may).await?;
        ensure!(answer.contains("has no permissions"), "{command}: {answer}");
    }
    let tables = format!(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND has_table_privilege('{POSTGRES_ROLE}', \
         schemaname || '.' || tablename, 'SELECT, INSERT, UPDATE, DELETE')"
    );
    ensure!(stack.database().value(&tables).await? == "0", "the exporter's role may use tables");
    Ok(())
}
