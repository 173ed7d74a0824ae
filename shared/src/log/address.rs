//! Creates a Redis client for an address: with TLS and verified names, with a user and a password, and with
//! TCP_NODELAY, because a pipelined command must not be delayed. It does not connect.

use redis::{
    ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, TlsCertificates, io::tcp::TcpSettings,
};

pub use redis::Client;

/// Which part of the settings is invalid, and why. Never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    Url(&'static str),
    Password(&'static str),
    Authorities(&'static str),
}

/// Creates a client for an address.
pub fn client(url: &str) -> Result<Client, RedisError> {
    Client::open(with_client_options(url.into_connection_info()?))
}

/// Like [`client`], with a password that is not in the URL, and with authorities (PEM) instead of the public ones.
///
/// # Errors
/// Which setting is invalid, and why.
pub fn client_of(url: &str, password: Option<&str>, authorities: Option<&[u8]>) -> Result<Client, Unfit> {
    const URL: &str = "is not a URL that Redis clients take: redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]";
    let mut address = url.into_connection_info().map_err(|_| Unfit::Url(URL))?;
    let secured = match address.addr() {
        ConnectionAddr::TcpTls { insecure: true, .. } => {
            return Err(Unfit::Url("ends with #insecure: TLS does not protect if the name is not verified"));
        }
        ConnectionAddr::TcpTls { .. } => true,
        _ => false,
    };
    if let Some(password) = password {
        let settings = address.redis_settings().clone();
        if settings.password().is_some() {
            return Err(Unfit::Password("is given, but the URL contains one too"));
        }
        address = address.set_redis_settings(settings.set_password(password));
    }
    let address = with_client_options(address);
    match authorities {
        None => Client::open(address).map_err(|_| Unfit::Url(URL)),
        Some(_) if !secured => Err(Unfit::Authorities("is given, but the URL does not begin with rediss://")),
        Some(pem) if !pem.windows(BEGIN.len()).any(|part| part == BEGIN) => {
            Err(Unfit::Authorities("contains no certificate in PEM"))
        }
        Some(pem) => {
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.to_vec()) };
            Client::build_with_tls(address, certificates)
                .map_err(|_| Unfit::Authorities("contains a certificate that cannot be read"))
        }
    }
}

/// First line of a certificate in PEM. A file without this line is refused here, because the client would report it
/// only at the first connection.
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

fn with_client_options(address: ConnectionInfo) -> ConnectionInfo {
    // Skips CLIENT SETINFO: not every version of Redis has this command, and the Redis users of the services may not
    // call it.
    let settings = address.redis_settings().clone().set_skip_set_lib_name();
    address.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unfit(url: &str, password: Option<&str>, authorities: Option<&[u8]>) -> Unfit {
        client_of(url, password, authorities).unwrap_err()
    }

    #[test]
    fn invalid_settings_are_reported_without_the_password() {
        for url in ["nonsense", "http://:hunter2@x", "redis://:hunter2@x:port", "redis://:hunter2@x/db"] {
            let Unfit::Url(why) = unfit(url, None, None) else { panic!("{url}") };
            assert!(!why.contains("hunter2"));
        }
        assert!(matches!(unfit("rediss://x#insecure", None, None), Unfit::Url(_)));
        assert!(matches!(unfit("redis://:a@x", Some("b"), None), Unfit::Password(_)));
        assert!(matches!(unfit("redis://x", None, Some(BEGIN)), Unfit::Authorities(_)));
        assert!(matches!(unfit("rediss://x", None, Some(b"hello")), Unfit::Authorities(_)));
        assert!(matches!(unfit("rediss://x", None, Some(BEGIN)), Unfit::Authorities(_)));
    }

    #[test]
    fn separate_password_is_used_with_the_user_of_the_url() {
        let client = client_of("rediss://tidings@x:1/2", Some("p@ss:/word"), None).unwrap();
        let settings = client.get_connection_info().redis_settings();
        assert_eq!((settings.username(), settings.password()), (Some("tidings"), Some("p@ss:/word")));
        assert!(matches!(client.get_connection_info().addr(), ConnectionAddr::TcpTls { port: 1, .. }));
    }
}
