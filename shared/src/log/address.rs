//! Creates a Redis client for an address: with TLS and verified names, with a user and a password, and with
//! TCP_NODELAY, because a pipelined command must not be delayed. It does not connect.

use redis::{
    ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, TlsCertificates, io::tcp::TcpSettings,
};

pub use redis::Client;

use crate::problem::Problem;

/// Creates a client for an address.
pub fn client(url: &str) -> Result<Client, RedisError> {
    Client::open(with_client_options(url.into_connection_info()?))
}

/// Like [`client`], with a password that is not in the URL, and with authorities (PEM) instead of the public ones. A
/// problem never contains a secret.
pub fn client_of(url: &str, password: Option<&str>, authorities: Option<&[u8]>) -> Result<Client, Problem> {
    const URL: &str = "is not a URL that Redis clients take: redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]";
    let invalid_url = |why| Problem::new("redis-url", why);
    let invalid_authorities = |why| Err(Problem::new("redis-ca-file", why));
    let mut address = url.into_connection_info().map_err(|_| invalid_url(URL))?;
    let secured = match address.addr() {
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
        None => Client::open(address).map_err(|_| invalid_url(URL)),
        Some(_) if !secured => invalid_authorities("is given, but the URL does not begin with rediss://"),
        Some(pem) if !pem.windows(CERTIFICATE_BEGIN.len()).any(|part| part == CERTIFICATE_BEGIN) => {
            invalid_authorities("contains no certificate in PEM")
        }
        Some(pem) => {
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.to_vec()) };
            Client::build_with_tls(address, certificates)
                .or_else(|_| invalid_authorities("contains a certificate that cannot be read"))
        }
    }
}

/// First line of a certificate in PEM. A file without this line is refused here, because the client would report it
/// only at the first connection.
const CERTIFICATE_BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

fn with_client_options(address: ConnectionInfo) -> ConnectionInfo {
    // Skips CLIENT SETINFO: not every version of Redis has this command, and the Redis users of the services may not
    // call it.
    let settings = address.redis_settings().clone().set_skip_set_lib_name();
    address.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(url: &str, password: Option<&str>, authorities: Option<&[u8]>) -> Problem {
        client_of(url, password, authorities).unwrap_err()
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
    fn separate_password_is_used_with_the_user_of_the_url() {
        let client = client_of("rediss://tidings@x:1/2", Some("p@ss:/word"), None).unwrap();
        let settings = client.get_connection_info().redis_settings();
        assert_eq!((settings.username(), settings.password()), (Some("tidings"), Some("p@ss:/word")));
        assert!(matches!(client.get_connection_info().addr(), ConnectionAddr::TcpTls { port: 1, .. }));
    }
}
