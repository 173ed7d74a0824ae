//! Creates a Redis client for a URL, without connecting. The URL may ask for TLS and contain a user and a password. The
//! client sets TCP_NODELAY, so that the network does not delay pipelined commands.

use std::{ops::Deref, sync::Arc};

use redis::{
    ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, TlsCertificates, io::tcp::TcpSettings,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::shard_map::NodeAddress;
use crate::{problem::Problem, tls};

/// A Redis client with its TLS settings. The pub/sub connection is opened without the Redis crate, so it needs the
/// settings, and the crate does not expose its own.
#[derive(Debug, Clone)]
pub struct RedisClient {
    redis: redis::Client,
    tls: Option<Arc<ClientConfig>>,
}

impl RedisClient {
    fn new(redis: redis::Client, roots: impl FnOnce() -> RootCertStore) -> Self {
        let with_tls = matches!(redis.get_connection_info().addr(), ConnectionAddr::TcpTls { .. });
        let tls = with_tls.then(|| {
            tls::install_provider();
            ClientConfig::builder().with_root_certificates(roots()).with_no_client_auth().into()
        });
        Self { redis, tls }
    }

    /// The address to which the client connects. A Unix socket has its path as host, and port 0.
    pub fn address(&self) -> NodeAddress {
        match self.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                NodeAddress { host: host.as_str().into(), port: *port }
            }
            other => NodeAddress { host: other.to_string().into(), port: 0 },
        }
    }

    /// A client for another node of the same cluster: with the same TLS settings, user and password.
    #[must_use]
    pub fn at(&self, address: &NodeAddress) -> Self {
        if self.address() == *address {
            return self.clone();
        }
        let info = self.get_connection_info().clone();
        let mut addr = info.addr().clone();
        match &mut addr {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                (*host, *port) = (address.host.to_string(), address.port);
            }
            // A cluster has no nodes behind Unix sockets, so the address can only be that of a port.
            other => *other = ConnectionAddr::Tcp(address.host.to_string(), address.port),
        }
        // Fails only for a text that is not a URL, and this is not a text.
        let redis = redis::Client::open(info.set_addr(addr)).unwrap_or_else(|_| self.redis.clone());
        Self { redis, tls: self.tls.clone() }
    }

    /// The settings of a TLS connection to the client's address, or `None` if the address does not use TLS.
    pub(super) fn tls(&self) -> Option<&Arc<ClientConfig>> {
        self.tls.as_ref()
    }
}

impl Deref for RedisClient {
    type Target = redis::Client;
    fn deref(&self) -> &redis::Client {
        &self.redis
    }
}

/// The certificate authorities that browsers trust.
fn public_roots() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

/// Creates a client for a Redis URL. With TLS the client trusts the public certificate authorities. Fails if the URL is
/// malformed.
pub fn client(url: &str) -> Result<RedisClient, RedisError> {
    let redis = redis::Client::open(with_client_options(url.into_connection_info()?))?;
    Ok(RedisClient::new(redis, public_roots))
}

/// Creates a client for a Redis URL. `password` is used if the URL contains none. With TLS, `authorities` (PEM) are the
/// certificate authorities to trust instead of the public ones. A returned problem contains no secret.
pub fn client_with(
    url: &str,
    password: Option<&str>,
    authorities: Option<&[u8]>,
) -> Result<RedisClient, Problem> {
    const URL: &str = "is not a URL that Redis clients take: redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]";
    let invalid_url = |why| Problem::new("redis-url", why);
    let invalid_authorities = |why| Err(Problem::new("redis-ca-file", why));
    let mut address = url.into_connection_info().map_err(|_| invalid_url(URL))?;
    let uses_tls = match address.addr() {
        ConnectionAddr::TcpTls { insecure: true, .. } => {
            return Err(invalid_url("ends with #insecure: TLS does not protect if the name is not verified"));
        }
        ConnectionAddr::TcpTls { .. } => true,
        _ => false,
    };
    if let Some(password) = password {
        let settings = address.redis_settings().clone();
        if settings.password().is_some() {
            return Err(Problem::new("redis-password", "is given, but the URL contains one too"));
        }
        address = address.set_redis_settings(settings.set_password(password));
    }
    let address = with_client_options(address);
    match authorities {
        None => {
            let redis = redis::Client::open(address).map_err(|_| invalid_url(URL))?;
            Ok(RedisClient::new(redis, public_roots))
        }
        Some(_) if !uses_tls => invalid_authorities("is given, but the URL does not begin with rediss://"),
        Some(pem) if !pem.windows(CERTIFICATE_BEGIN.len()).any(|part| part == CERTIFICATE_BEGIN) => {
            invalid_authorities("contains no certificate in PEM")
        }
        Some(pem) => {
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.to_vec()) };
            let redis = redis::Client::build_with_tls(address, certificates);
            match (redis, parse_root_certificates(pem)) {
                (Ok(redis), Some(roots)) => Ok(RedisClient::new(redis, || roots)),
                _ => invalid_authorities("contains a certificate that cannot be read"),
            }
        }
    }
}

/// Parses the certificate authorities in a PEM file. Returns `None` if a certificate cannot be parsed.
fn parse_root_certificates(pem: &[u8]) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.ok()?).ok()?;
    }
    Some(roots)
}

/// First line of a certificate in PEM. A file without this line is refused at the start of the program, because the
/// Redis client would report the error only at the first connection.
const CERTIFICATE_BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

fn with_client_options(address: ConnectionInfo) -> ConnectionInfo {
    // CLIENT SETINFO is not sent, because older versions of Redis do not have this command, and because the Redis users
    // of the services may not call it.
    let settings = address.redis_settings().clone().set_skip_set_lib_name();
    address.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(url: &str, password: Option<&str>, authorities: Option<&[u8]>) -> Problem {
        client_with(url, password, authorities).unwrap_err()
    }

    #[test]
    fn invalid_settings_are_reported_without_the_password() {
        for url in ["nonsense", "http://:hunter2@x", "redis://:hunter2@x:port", "redis://:hunter2@x/db"] {
            let problem = problem(url, None, None);
            assert_eq!(problem.setting, "redis-url", "{url}");
            assert!(!problem.why.contains("hunter2"));
        }
        assert_eq!(problem("rediss://x#insecure", None, None).setting, "redis-url");
        assert_eq!(problem("redis://:a@x", Some("b"), None).setting, "redis-password");
        assert_eq!(problem("redis://x", None, Some(CERTIFICATE_BEGIN)).setting, "redis-ca-file");
        assert_eq!(problem("rediss://x", None, Some(b"hello")).setting, "redis-ca-file");
        assert_eq!(problem("rediss://x", None, Some(CERTIFICATE_BEGIN)).setting, "redis-ca-file");
    }

    #[test]
    fn client_of_another_node_keeps_the_settings() {
        let client = client_with("rediss://tidings@x:1", Some("secret"), None).unwrap();
        let other = NodeAddress { host: "y".into(), port: 2 };
        let of_node = client.at(&other);
        assert_eq!((client.address().to_string(), of_node.address()), ("x:1".to_owned(), other));
        let settings = of_node.get_connection_info().redis_settings();
        assert_eq!((settings.username(), settings.password()), (Some("tidings"), Some("secret")));
        assert!(matches!(of_node.get_connection_info().addr(), ConnectionAddr::TcpTls { .. }));
        assert!(of_node.tls().is_some());
    }

    #[test]
    fn separate_password_is_used_with_the_user_of_the_url() {
        let client = client_with("rediss://tidings@x:1/2", Some("p@ss:/word"), None).unwrap();
        let settings = client.get_connection_info().redis_settings();
        assert_eq!((settings.username(), settings.password()), (Some("tidings"), Some("p@ss:/word")));
        assert!(matches!(client.get_connection_info().addr(), ConnectionAddr::TcpTls { port: 1, .. }));
    }
}
