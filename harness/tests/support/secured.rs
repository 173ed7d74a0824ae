//! A Redis and a PostgreSQL as production should run them: TLS with certificates of a private authority, the users of
//! `deploy/redis/users.acl`, the roles of `deploy/postgres/roles.sql`. Each also has an administrator for the tests.

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

/// The name in the certificates. The servers also listen on 127.0.0.1, which the certificates do not contain.
pub const HOST: &str = "localhost";
const PASSWORD: &str = "correct horse battery staple";
/// The password, URL-encoded.
const PASSWORD_IN_URL: &str = "correct%20horse%20battery%20staple";
const ADMIN_ACL: &str = "user admin on >admin ~* &* +@all\n";
/// The placeholder hash in the shipped file. No password has this hash.
pub const PLACEHOLDER_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// The Redis user of gateways.
pub const GATEWAY_USER: &str = "tidings-gateway";
/// The Redis user of persistence and its jobs.
pub const PERSISTENCE_USER: &str = "tidings-persistence";
/// The Redis user of push.
pub const PUSH_USER: &str = "tidings-push";

pub struct SecuredServers {
    redis: Daemon,
    redis_port: u16,
    pub database: Database,
    /// The file with the certificate of the authority that signed the servers' certificates.
    pub authority: PathBuf,
    /// The file with the certificate of another authority.
    pub other_authority: PathBuf,
    folder: Folder,
}

impl SecuredServers {
    /// Starts both servers, and creates the tables as the owner role.
    pub async fn start() -> Result<SecuredServers> {
        tidings_shared::tls::install_provider();
        let folder = Folder::new()?;
        let path = folder.path();
        let authority = write_certificates(path)?;
        let other_authority = path.join("other_authority.pem");
        fs::write(&other_authority, Authority::new("somebody else")?.pem())?;
        let (redis, redis_port) = start_redis(path)?;
        let database = start_postgres(path).await?;
        database.query(&project_file("deploy/postgres/roles.sql")?).await?;
        for role in ["tidings_owner", "tidings_service"] {
            database.query(&format!("ALTER ROLE {role} PASSWORD '{PASSWORD}'")).await?;
        }
        let secured = SecuredServers { redis, redis_port, database, authority, other_authority, folder };
        stack::migrate(&secured.database_url("tidings_owner", HOST)).await?;
        let ready = || async { secured.command_as_admin::<String>(&::redis::cmd("PING")).await.is_ok() };
        secured.redis.until_ready(WAIT_TIMEOUT, ready).await?;
        Ok(secured)
    }

    /// A folder for logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn redis_port(&self) -> u16 {
        self.redis_port
    }

    /// The URL of Redis for a user, without the password.
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

    pub async fn command_as_user<T: ::redis::FromRedisValue>(
        &self,
        user: &str,
        command: &::redis::Cmd,
    ) -> Result<T> {
        self.run_command(&format!("rediss://{user}:{PASSWORD_IN_URL}@{HOST}:{}", self.redis_port), command)
            .await
    }

    pub async fn command_as_admin<T: ::redis::FromRedisValue>(&self, command: &::redis::Cmd) -> Result<T> {
        self.run_command(&format!("rediss://admin:admin@{HOST}:{}", self.redis_port), command).await
    }

    async fn run_command<T: ::redis::FromRedisValue>(&self, url: &str, command: &::redis::Cmd) -> Result<T> {
        let root_cert = Some(fs::read(&self.authority)?);
        let certificates = ::redis::TlsCertificates { client_tls: None, root_cert };
        let address = ::redis::IntoConnectionInfo::into_connection_info(url)?;
        let settings = address.redis_settings().clone().set_skip_set_lib_name();
        let client = ::redis::Client::build_with_tls(address.set_redis_settings(settings), certificates)?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        Ok(command.query_async(&mut connection).await?)
    }
}

/// The text of a file of this repository.
pub fn project_file(path: &str) -> Result<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).context(path.to_owned())
}

/// Writes `ca.pem`, `server.pem` and `server.key` into a folder; returns the path of `ca.pem`.
fn write_certificates(folder: &Path) -> Result<PathBuf> {
    let authority = Authority::new("Tidings tests")?;
    let server = authority.identity(&[HOST])?;
    let ca = folder.join("ca.pem");
    fs::write(&ca, authority.pem())?;
    fs::write(folder.join("server.pem"), server.certificate)?;
    fs::write(folder.join("server.key"), server.key)?;
    // PostgreSQL refuses a key that other users may read.
    fs::set_permissions(folder.join("server.key"), fs::Permissions::from_mode(0o600))?;
    Ok(ca)
}

/// Starts Redis with TLS only and with the shipped users.
fn start_redis(folder: &Path) -> Result<(Daemon, u16)> {
    let hash: String =
        digest(&SHA256, PASSWORD.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let users = project_file("deploy/redis/users.acl")?;
    assert!(users.contains(PLACEHOLDER_HASH), "users.acl lacks the placeholder hash");
    fs::write(folder.join("users.acl"), format!("{}{ADMIN_ACL}", users.replace(PLACEHOLDER_HASH, &hash)))?;
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

/// Starts PostgreSQL. All roles except the tests' own role need TLS and a password.
async fn start_postgres(folder: &Path) -> Result<Database> {
    let hba = folder.join("hba.conf");
    fs::write(&hba, "host all tidings 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n")?;
    let settings = format!(
        "ssl = on\nssl_cert_file = '{0}/server.pem'\nssl_key_file = '{0}/server.key'\nhba_file = '{1}'\n",
        folder.display(),
        hba.display()
    );
    Arc::new(Postgres::start_durable_in(folder, &settings).await?).database().await
}
