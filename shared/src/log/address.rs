//! From an address to a client of Redis: over TLS with the name verified, as whichever user, and with TCP_NODELAY,
//! since a pipelined command must not wait. Connects nowhere.

use redis::{
    ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, TlsCertificates, io::tcp::TcpSettings,
};

pub use redis::Client;

/// What of an address does not do; never with a secret in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    Url(&'static str),
    Password(&'static str),
    Authorities(&'static str),
}

/// Opens a client for an address, without connecting.
///
/// # Errors
/// When the URL is malformed.
pub fn client(url: &str) -> Result<Client, RedisError> {
    Client::open(as_we_are(url.into_connection_info()?))
}

/// The same, with a password that the URL does not have, and authorities (PEM) to trust instead of the public ones.
///
/// # Errors
/// What does not do.
pub fn client_of(url: &str, password: Option<&str>, authorities: Option<&[u8]>) -> Result<Client, Unfit> {
    const URL: &str = "is not a URL that Redis clients take: redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]";
    let mut address = url.into_connection_info().map_err(|_| Unfit::Url(URL))?;
    let secured = match address.addr() {
        ConnectionAddr::TcpTls { insecure: true, .. } => {
            return Err(Unfit::Url("ends with #insecure: without a look at the name TLS is none"));
        }
        ConnectionAddr::TcpTls { .. } => true,
        _ => false,
    };
    if let Some(password) = password {
        let settings = address.redis_settings().clone();
        if settings.password().is_some() {
            return Err(Unfit::Password("is given, and the URL has one too"));
        }
        address = address.set_redis_settings(settings.set_password(password));
    }
    let address = as_we_are(address);
    match authorities {
        None => Client::open(address).map_err(|_| Unfit::Url(URL)),
        Some(_) if !secured => Err(Unfit::Authorities("is given, but the URL does not begin with rediss://")),
        Some(pem) if !pem.windows(BEGIN.len()).any(|part| part == BEGIN) => {
            Err(Unfit::Authorities("holds no certificate in PEM"))
        }
        Some(pem) => {
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.to_vec()) };
            Client::build_with_tls(address, certificates)
                .map_err(|_| Unfit::Authorities("holds a certificate that cannot be read"))
        }
    }
}

/// How a certificate begins. One that holds nothing else would trust nobody, and say so only when it connects.
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

fn as_we_are(address: ConnectionInfo) -> ConnectionInfo {
    // Nor does it tell Redis of itself: a command that not every version has, and that our user may not.
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
    fn what_cannot_work_is_told_without_the_password() {
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
    fn a_password_goes_with_the_user_of_the_url() {
        let client = client_of("rediss://tidings@x:1/2", Some("p@ss:/word"), None).unwrap();
        let settings = client.get_connection_info().redis_settings();
        assert_eq!((settings.username(), settings.password()), (Some("tidings"), Some("p@ss:/word")));
        assert!(matches!(client.get_connection_info().addr(), ConnectionAddr::TcpTls { port: 1, .. }));
    }
}
