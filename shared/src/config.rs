//! Settings that both services have, by flag and environment; secrets never appear in Debug output.

use std::net::SocketAddr;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    auth::{Given, MIN_SECRET_BYTES, Rules, Settings},
    origin::AllowedOrigins,
};

/// Redis, tokens, origins, limits.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// Redis to append to and publish through, `redis://…`.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: SecretString,
    /// Secret that the two services share for their internal listener.
    #[arg(long, env = "TIDINGS_INTERNAL_SECRET", hide_env_values = true)]
    pub internal_secret: SecretString,
    /// Secret that tokens are signed with (HMAC); at least 16 bytes.
    #[arg(long, env = "TIDINGS_JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: Option<SecretString>,
    /// Public keys that tokens are checked with: PEM, or the path of a PEM file.
    #[arg(long, env = "TIDINGS_JWT_PUBLIC_KEY")]
    pub jwt_public_key: Option<String>,
    /// File with a JWK set, read at the start.
    #[arg(long, env = "TIDINGS_JWKS_FILE")]
    pub jwks_file: Option<String>,
    /// Address of a JWK set, fetched again and again; needs an issuer or an audience.
    #[arg(long, env = "TIDINGS_JWKS_URL")]
    pub jwks_url: Option<String>,
    /// Algorithms of keys that do not name their own, comma separated.
    #[arg(long, env = "TIDINGS_JWT_ALGORITHMS", default_value = "HS256,RS256,ES256,ES384,EdDSA")]
    pub jwt_algorithms: String,
    /// Issuers whose tokens are taken, comma separated; unset: `iss` is not looked at.
    #[arg(long, env = "TIDINGS_JWT_ISSUER", default_value = "")]
    pub jwt_issuer: String,
    /// Audiences whose tokens are taken, comma separated; unset: `aud` is not looked at.
    #[arg(long, env = "TIDINGS_JWT_AUDIENCE", default_value = "")]
    pub jwt_audience: String,
    /// Seconds that a token's times may be off.
    #[arg(long, env = "TIDINGS_JWT_LEEWAY_S", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub jwt_leeway_s: u64,
    /// Claim with the user id, such as `user_id` or `user.id`.
    #[arg(long, env = "TIDINGS_JWT_USER_CLAIM", default_value = "sub")]
    pub jwt_user_claim: String,
    /// Claim with the name.
    #[arg(long, env = "TIDINGS_JWT_NAME_CLAIM", default_value = "name")]
    pub jwt_name_claim: String,
    /// Claim with the address of the picture.
    #[arg(long, env = "TIDINGS_JWT_PICTURE_CLAIM", default_value = "picture")]
    pub jwt_picture_claim: String,
    /// Claim with the scopes.
    #[arg(long, env = "TIDINGS_JWT_SCOPE_CLAIM", default_value = "scope")]
    pub jwt_scope_claim: String,
    /// Origins whose pages may connect, comma separated, `https://*.example.com` for subdomains; `*` for any; unset:
    /// pages of this machine.
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
    /// How long a stopping node goes on serving while it says that it is not ready, milliseconds: load balancers send
    /// nobody to it any more before it refuses.
    #[arg(long, env = "TIDINGS_UNREADY_MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub unready_ms: u64,
    /// What is logged, in the syntax of tracing's EnvFilter.
    #[arg(long, env = "TIDINGS_LOG", default_value = "info")]
    pub log: String,
}

impl CommonArgs {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// A sentence that names the setting.
    pub fn check(&self) -> Result<(), String> {
        if self.internal_secret.expose_secret().len() < MIN_SECRET_BYTES {
            return Err(format!("--internal-secret must have at least {MIN_SECRET_BYTES} bytes"));
        }
        if self.max_message_chars == 0 {
            return Err("--max-message-chars must be at least 1".to_owned());
        }
        self.tokens()?;
        self.origins()?;
        crate::log::client(self.redis_url.expose_secret())
            .map(drop)
            .map_err(|_| "--redis-url is not a URL that Redis clients take".to_owned())
    }

    /// How tokens are checked. Reads the files that are named.
    ///
    /// # Errors
    /// A sentence that names the setting.
    pub fn tokens(&self) -> Result<Settings, String> {
        let list = |text: &str| -> Vec<String> {
            text.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
        };
        Settings::read(Given {
            secret: self.jwt_secret.as_ref().filter(|secret| !secret.expose_secret().is_empty()),
            public_key: self.jwt_public_key.as_deref().filter(|text| !text.is_empty()),
            jwks_file: self.jwks_file.as_deref().filter(|path| !path.is_empty()),
            jwks_url: self.jwks_url.as_deref().filter(|url| !url.is_empty()),
            algorithms: &list(&self.jwt_algorithms),
            rules: Rules {
                issuers: list(&self.jwt_issuer),
                audiences: list(&self.jwt_audience),
                leeway_s: self.jwt_leeway_s,
                user: self.jwt_user_claim.clone(),
                name: self.jwt_name_claim.clone(),
                picture: self.jwt_picture_claim.clone(),
                scope: self.jwt_scope_claim.clone(),
            },
        })
    }

    /// Whose pages may connect.
    ///
    /// # Errors
    /// A sentence that names the setting.
    pub fn origins(&self) -> Result<AllowedOrigins, String> {
        AllowedOrigins::parse(&self.allowed_origins).map_err(|error| format!("--allowed-origins: {error}"))
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
