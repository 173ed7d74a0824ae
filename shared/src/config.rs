//! Settings that both services have, by flag and environment; secrets never appear in Debug output.

use std::net::SocketAddr;

use clap::Args;
use secrecy::SecretString;

/// Redis, tokens, origins, limits.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// Redis to append to and publish through, `redis://…`.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: SecretString,
    /// Secret that the two services share for their internal listener.
    #[arg(long, env = "TIDINGS_INTERNAL_SECRET", hide_env_values = true)]
    pub internal_secret: SecretString,
    /// Secret that tokens are signed with (HS256); at least 16 bytes.
    #[arg(long, env = "TIDINGS_JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: SecretString,
    /// Seconds that a token's times may be off.
    #[arg(long, env = "TIDINGS_JWT_LEEWAY_S", default_value_t = 0)]
    pub jwt_leeway_s: u64,
    /// Origins whose pages may connect, comma separated; `*` for any; unset: pages of this machine.
    #[arg(long, env = "TIDINGS_ALLOWED_ORIGINS", default_value = "")]
    pub allowed_origins: String,
    /// Longest message text, Unicode scalar values.
    #[arg(long, env = "TIDINGS_MAX_MESSAGE_CHARS", default_value_t = 1000)]
    pub max_message_chars: usize,
    /// Records of one partition that may wait to be stored; above it senders are told `overloaded`.
    #[arg(long, env = "TIDINGS_MAX_BACKLOG_RECORDS", default_value_t = 10_000)]
    pub max_backlog_records: u64,
    /// Where operators ask for health and metrics; default: the public port + 10000.
    #[arg(long, env = "TIDINGS_ADMIN_LISTEN")]
    pub admin_listen: Option<SocketAddr>,
    /// What is logged, in the syntax of tracing's EnvFilter.
    #[arg(long, env = "TIDINGS_LOG", default_value = "info")]
    pub log: String,
}

/// Shortest signing secret that is accepted (RFC 7518, 3.2 asks for 32 bytes; development tokens get by on less).
const MIN_SECRET_BYTES: usize = 16;

impl CommonArgs {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// A sentence that names the setting.
    pub fn check(&self) -> Result<(), String> {
        use secrecy::ExposeSecret;
        for (name, secret) in
            [("--jwt-secret", &self.jwt_secret), ("--internal-secret", &self.internal_secret)]
        {
            if secret.expose_secret().len() < MIN_SECRET_BYTES {
                return Err(format!("{name} must have at least {MIN_SECRET_BYTES} bytes"));
            }
        }
        if self.max_message_chars == 0 {
            return Err("--max-message-chars must be at least 1".to_owned());
        }
        crate::log::client(self.redis_url.expose_secret())
            .map(drop)
            .map_err(|_| "--redis-url is not a URL that Redis clients take".to_owned())
    }
}

/// The address on the same host whose port is `offset` higher.
///
/// # Errors
/// A sentence, when there is no such port.
pub fn with_port_offset(address: SocketAddr, offset: u16) -> Result<SocketAddr, String> {
    let port = address.port().checked_add(offset).filter(|_| address.port() != 0);
    let port = port.ok_or_else(|| {
        format!("port {} + {offset} is no port: name the listener's address", address.port())
    })?;
    Ok(SocketAddr::new(address.ip(), port))
}
