//! A Redis and a PostgreSQL as production should have them: TLS with certificates of an authority of their own, the users
//! of `deploy/redis/users.acl`, the roles of `deploy/postgres/roles.sql`. For the tests' own questions each also has
//! somebody who may everything.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use nix::sys::signal::Signal;
use tidings_harness::daemon::Daemon;
use tidings_harness::folder::Folder;
use tidings_harness::postgres::{Database, Postgres};
use tidings_harness::tls::Authority;
use tidings_harness::{ports, stack};

/// The name in the certificates. The servers also answer at 127.0.0.1, which is not.
pub const HOST: &str = "localhost";
const PASSWORD: &str = "correct horse battery staple";
/// As it stands in an address.
const PASSWORD_IN_URL: &str = "correct%20horse%20battery%20staple";
const ADMIN: &str = "user admin on >admin ~* &* +@all\n";
/// What no password has, in the file that is shipped.
const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const PATIENCE: Duration = Duration::from_secs(20);

/// The users of Redis: of gateways, of persistence and its jobs.
pub const GATEWAY: &str = "tidings-gateway";
pub const PERSISTENCE: &str = "tidings-persistence";

/// Both servers, and their authority.
pub struct Secured {
    redis: Daemon,
    redis_port: u16,
    pub database: Database,
    /// The certificate of who signed those of the servers, and of somebody else.
    pub authority: PathBuf,
    pub stranger: PathBuf,
    folder: Folder,
}

impl Secured {
    /// Starts them; the tables are there, made by the owner.
    pub async fn start() -> Result<Secured> {
        tidings_shared::tls::prepare();
        let folder = Folder::new()?;
        let path = folder.path();
        let authority = certificates(path)?;
        let stranger = path.join("stranger.pem");
        fs::write(&stranger, Authority::new("somebody else")?.pem())?;
        let (redis, redis_port) = redis(path)?;
        let database = postgres(path).await?;
        database.query(&project("deploy/postgres/roles.sql")?).await?;
        for role in ["tidings_owner", "tidings_service"] {
            database.query(&format!("ALTER ROLE {role} PASSWORD '{PASSWORD}'")).await?;
        }
        let secured = Secured { redis, redis_port, database, authority, stranger, folder };
        stack::migrate(&secured.database_url("tidings_owner", HOST)).await?;
        let ready = || async { secured.as_admin::<String>(&::redis::cmd("PING")).await.is_ok() };
        secured.redis.until_ready(PATIENCE, ready).await?;
        Ok(secured)
    }

    /// Where logs may be put.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn redis_port(&self) -> u16 {
        self.redis_port
    }

    /// Without the password.
    pub fn redis_url(&self, user: &str, host: &str) -> String {
        format!("rediss://{user}@{host}:{}", self.redis_port)
    }

    pub fn redis_password(&self) -> &'static str {
        PASSWORD
    }

    pub fn database_url(&self, role: &str, host: &str) -> String {
        let (port, ca) = (self.database.server().port(), self.authority.display());
        let name = self.database.url().rsplit('/').next().unwrap_or_default();
        format!(
            "postgres://{role}:{PASSWORD_IN_URL}@{host}:{port}/{name}?sslmode=verify-full&sslrootcert={ca}"
        )
    }

    /// Has Redis do something as the user of a service.
    pub async fn as_user<T: ::redis::FromRedisValue>(&self, user: &str, command: &::redis::Cmd) -> Result<T> {
        self.ask(&format!("rediss://{user}:{PASSWORD_IN_URL}@{HOST}:{}", self.redis_port), command).await
    }

    /// Has Redis do something as somebody who may everything.
    pub async fn as_admin<T: ::redis::FromRedisValue>(&self, command: &::redis::Cmd) -> Result<T> {
        self.ask(&format!("rediss://admin:admin@{HOST}:{}", self.redis_port), command).await
    }

    async fn ask<T: ::redis::FromRedisValue>(&self, url: &str, command: &::redis::Cmd) -> Result<T> {
        let root_cert = Some(fs::read(&self.authority)?);
        let certificates = ::redis::TlsCertificates { client_tls: None, root_cert };
        let address = ::redis::IntoConnectionInfo::into_connection_info(url)?;
        let settings = address.redis_settings().clone().set_skip_set_lib_name();
        let client = ::redis::Client::build_with_tls(address.set_redis_settings(settings), certificates)?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        Ok(command.query_async(&mut connection).await?)
    }
}

/// A file of the project.
fn project(path: &str) -> Result<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).context(path.to_owned())
}

/// Puts `ca.pem`, `server.pem` and `server.key` into a folder.
fn certificates(folder: &Path) -> Result<PathBuf> {
    let authority = Authority::new("Tidings tests")?;
    let server = authority.identity(&[HOST])?;
    let ca = folder.join("ca.pem");
    fs::write(&ca, authority.pem())?;
    fs::write(folder.join("server.pem"), server.certificate)?;
    fs::write(folder.join("server.key"), server.key)?;
    // PostgreSQL takes no key that others may read.
    fs::set_permissions(folder.join("server.key"), fs::Permissions::from_mode(0o600))?;
    Ok(ca)
}

/// Only over TLS, and with the users that are shipped.
fn redis(folder: &Path) -> Result<(Daemon, u16)> {
    let hash: String =
        digest(&SHA256, PASSWORD.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let users = project("deploy/redis/users.acl")?;
    assert!(users.contains(NO_HASH), "no password is shipped");
    fs::write(folder.join("users.acl"), format!("{}{ADMIN}", users.replace(NO_HASH, &hash)))?;
    let (port, data) = (ports::free()?, folder.to_owned());
    let daemon = Daemon::new("redis-server", folder.join("redis.log"), Signal::SIGKILL, move || {
        let mut command = Command::new("redis-server");
        command.current_dir(&data).args([
            "--port",
            "0",
            "--bind",
            "127.0.0.1",
            "--tls-port",
            &port.to_string(),
        ]);
        command.args([
            "--tls-cert-file",
            "server.pem",
            "--tls-key-file",
            "server.key",
            "--tls-ca-cert-file",
            "ca.pem",
        ]);
        command.args([
            "--tls-auth-clients",
            "no",
            "--aclfile",
            "users.acl",
            "--save",
            "",
            "--appendonly",
            "yes",
        ]);
        command.args(["--maxmemory-policy", "noeviction"]);
        command
    });
    daemon.start()?;
    Ok((daemon, port))
}

/// Whoever is not the tests' own role comes over TLS and with a password, or not at all.
async fn postgres(folder: &Path) -> Result<Database> {
    let hba = folder.join("hba.conf");
    fs::write(&hba, "host all tidings 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n")?;
    let settings = format!(
        "ssl = on\nssl_cert_file = '{0}/server.pem'\nssl_key_file = '{0}/server.key'\nhba_file = '{1}'\n",
        folder.display(),
        hba.display()
    );
    Arc::new(Postgres::start_durable_in(folder, &settings).await?).database().await
}
