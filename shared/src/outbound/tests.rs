//! Tests of the addresses that the client refuses.

use std::future::{Ready, ready};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[test]
fn url_of_a_private_address_is_refused() {
    for refused in [
        "http://example.com/",
        "ftp://example.com/",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://example.com/#part",
        "/path",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[fd00::1]:8443/",
    ] {
        assert!(parse_url(refused, false).is_err(), "{refused}");
    }
    for allowed in ["https://example.com/hook?x=1", "https://1.1.1.1:8443/", "https://[2606:4700::1111]/"] {
        assert!(parse_url(allowed, false).is_ok(), "{allowed}");
    }
    assert!(parse_url("http://127.0.0.1:8080/", true).is_ok());
    assert!(parse_url("ftp://127.0.0.1/", true).is_err());
}

fn client_with<F>(lookup: Lookup<F>, allow_private: bool) -> Client
where
    F: Future<Output = std::io::Result<Vec<SocketAddr>>> + Send + 'static,
{
    let resolver = Arc::new(PublicResolver { allow_private, lookup });
    http_client::builder().dns_resolver(resolver).timeout(Duration::from_secs(2)).build().unwrap()
}

/// A name that has a public address when it is first looked up, and a loopback address from then on.
fn rebinding_lookup(_: String) -> Ready<std::io::Result<Vec<SocketAddr>>> {
    static LOOKUPS: AtomicUsize = AtomicUsize::new(0);
    let first = LOOKUPS.fetch_add(1, Ordering::Relaxed) == 0;
    let address = if first { "203.0.114.1:0" } else { "127.0.0.1:0" };
    ready(Ok(vec![address.parse().unwrap()]))
}

fn mixed_lookup(_: String) -> Ready<std::io::Result<Vec<SocketAddr>>> {
    ready(Ok(vec!["[::ffff:127.0.0.1]:0".parse().unwrap(), "10.0.0.1:0".parse().unwrap()]))
}

fn loopback_lookup(_: String) -> Ready<std::io::Result<Vec<SocketAddr>>> {
    ready(Ok(vec!["127.0.0.1:0".parse().unwrap()]))
}

#[tokio::test]
async fn rebound_name_is_not_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://rebound.test:{}/", listener.local_addr().unwrap().port());
    let client = client_with(rebinding_lookup, false);
    // The first lookup is the check that an attacker passes.
    assert!(!rebinding_lookup(String::new()).await.unwrap()[0].ip().is_loopback());
    let error = client.get(&url).send().await.unwrap_err();
    assert!(is_refused_address(&error), "{error:?}");
    assert!(listener.accept().is_err(), "the loopback address was connected to");
    // The listener notices a connection.
    let _ = client_with(loopback_lookup, true).get(&url).timeout(Duration::from_secs(5)).send().await;
    assert!(listener.accept().is_ok());
}

#[tokio::test]
async fn mapped_and_private_addresses_of_a_name_are_refused() {
    let error = client_with(mixed_lookup, false).get("http://mixed.test/").send().await.unwrap_err();
    assert!(is_refused_address(&error), "{error:?}");
}
