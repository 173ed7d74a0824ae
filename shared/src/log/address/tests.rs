//! URLs with one host, several nodes and Sentinels; passwords and certificates. Problems contain no secret.

use super::*;

const NO_ACCESS: SentinelAccess<'static> = SentinelAccess { user: None, password: None, authorities: None };

fn open_url(url: &str) -> RedisClient {
    client_with(url, None, None, NO_ACCESS).unwrap()
}

fn problem(url: &str, password: Option<&str>, authorities: Option<&[u8]>) -> Problem {
    client_with(url, password, authorities, NO_ACCESS).unwrap_err()
}

#[test]
fn invalid_settings_are_reported_without_the_password() {
    for url in [
        "nonsense",
        "http://:hunter2@x",
        "redis://:hunter2@x:port",
        "redis://:hunter2@x/db",
        "redis://:hunter2@x,y:port",
        "redis://:hunter2@x,",
        "redis+cluster://:hunter2@x/1",
        "redis+other://:hunter2@x",
        "redis+sentinel://:hunter2@x",
        "redis+sentinel://:hunter2@x:port/chat",
    ] {
        let problem = problem(url, None, None);
        assert_eq!(problem.setting, "redis-url", "{url}");
        assert!(!problem.why.contains("hunter2"));
    }
    assert_eq!(problem("rediss://x#insecure", None, None).setting, "redis-url");
    assert_eq!(problem("rediss+sentinel://x/chat#insecure", None, None).setting, "redis-url");
    assert_eq!(problem("redis://:a@x", Some("b"), None).setting, "redis-password");
    assert_eq!(problem("redis://:a@x,y", Some("b"), None).setting, "redis-password");
    assert_eq!(problem("redis://x", None, Some(CERTIFICATE_BEGIN)).setting, "redis-ca-file");
    assert_eq!(problem("rediss://x", None, Some(b"hello")).setting, "redis-ca-file");
    assert_eq!(problem("rediss://x", None, Some(CERTIFICATE_BEGIN)).setting, "redis-ca-file");
}

#[test]
fn client_of_another_node_keeps_the_settings() {
    for url in ["rediss://tidings@x:1", "rediss+cluster://tidings@x:1,z:3"] {
        let client = client_with(url, Some("secret"), None, NO_ACCESS).unwrap();
        let other = NodeAddress { host: "y".into(), port: 2 };
        let of_node = client.at(&other);
        assert_eq!((client.address().to_string(), of_node.address()), ("x:1".to_owned(), other));
        let settings = of_node.get_connection_info().redis_settings();
        assert_eq!((settings.username(), settings.password()), (Some("tidings"), Some("secret")));
        assert!(matches!(of_node.get_connection_info().addr(), ConnectionAddr::TcpTls { .. }));
        assert!(of_node.tls().is_some());
    }
}

#[test]
fn connections_to_all_nodes_have_the_name_of_program_and_node() {
    let client = open_url("redis+cluster://x:1,y:2").named("tidings-gateway", "a b\n7");
    let other = client.at(&NodeAddress { host: "y".into(), port: 2 });
    assert_eq!([client.name(), other.name()], [Some("tidings-gateway:a_b_7"); 2]);
    assert_eq!(open_url("redis://x").name(), None);
}

#[test]
fn separate_password_is_used_with_the_user_of_the_url() {
    for url in ["rediss://tidings@x:1/2", "rediss+cluster://tidings@x:1,y:2"] {
        let client = client_with(url, Some("p@ss:/word"), None, NO_ACCESS).unwrap();
        let settings = client.get_connection_info().redis_settings();
        assert_eq!((settings.username(), settings.password()), (Some("tidings"), Some("p@ss:/word")));
        assert!(matches!(client.get_connection_info().addr(), ConnectionAddr::TcpTls { port: 1, .. }));
    }
}

#[test]
fn several_hosts_are_nodes_of_one_cluster() {
    for url in ["redis://x:1,[::1]", "redis+cluster://x:1,[::1]"] {
        let client = open_url(url);
        let MasterSource::Cluster(nodes) = client.source() else { panic!("{url}: {client:?}") };
        let nodes: Vec<(&str, u16)> = nodes.iter().map(|node| (&*node.host, node.port)).collect();
        assert_eq!(nodes, [("x", 1), ("::1", 6379)]);
        assert_eq!(*client.get_connection_info().addr(), ConnectionAddr::Tcp("x".to_owned(), 1));
    }
    assert!(matches!(open_url("redis://x").source(), MasterSource::OwnAddress));
    assert!(
        matches!(open_url("redis+cluster://x").source(), MasterSource::Cluster(nodes) if nodes.len() == 1)
    );
}

#[test]
fn sentinels_get_their_own_user_and_password_only() {
    let access = SentinelAccess { user: Some("watcher"), password: Some("of-sentinels"), authorities: None };
    let client = client_with("redis+sentinel://u:of-redis@x,y:1/chat/2", None, None, access).unwrap();
    let info = client.get_connection_info();
    assert_eq!(*info.addr(), ConnectionAddr::Tcp(UNKNOWN_MASTER.to_owned(), 26_379));
    let settings = info.redis_settings();
    let of_redis = (settings.username(), settings.password(), settings.db());
    assert_eq!(of_redis, (Some("u"), Some("of-redis"), 2));
    let MasterSource::Sentinels(sentinels) = client.source() else { panic!("{client:?}") };
    assert_eq!(sentinels.master_name, "chat");
    for (sentinel, (host, port)) in sentinels.clients.iter().zip([("x", 26_379), ("y", 1)]) {
        let info = sentinel.get_connection_info();
        assert_eq!(*info.addr(), ConnectionAddr::Tcp(host.to_owned(), port));
        let settings = info.redis_settings();
        let of_sentinel = (settings.username(), settings.password(), settings.db());
        assert_eq!(of_sentinel, (Some("watcher"), Some("of-sentinels"), 0));
    }
    for (access, setting) in [
        (access, "redis-sentinel-user"),
        (SentinelAccess { user: None, ..access }, "redis-sentinel-password"),
        (SentinelAccess { authorities: Some(CERTIFICATE_BEGIN), ..NO_ACCESS }, "redis-sentinel-ca-file"),
    ] {
        assert_eq!(client_with("redis://x", None, None, access).unwrap_err().setting, setting);
    }
}

#[test]
fn sentinels_use_tls_like_redis_or_with_authorities() {
    let client = open_url("rediss+sentinel://x/chat");
    let MasterSource::Sentinels(sentinels) = client.source() else { panic!("{client:?}") };
    assert!(client.tls().is_some() && sentinels.clients.iter().all(|sentinel| sentinel.tls().is_some()));
    let plain = open_url("redis+sentinel://x/chat");
    let MasterSource::Sentinels(sentinels) = plain.source() else { panic!("{plain:?}") };
    assert!(plain.tls().is_none() && sentinels.clients.iter().all(|sentinel| sentinel.tls().is_none()));
    // The file is read as one of Sentinels, although the connection to Redis uses no TLS.
    let access = SentinelAccess { authorities: Some(b"hello"), ..NO_ACCESS };
    let problem = client_with("redis+sentinel://x/chat", None, None, access).unwrap_err();
    assert_eq!(
        (problem.setting.as_str(), problem.why.as_str()),
        ("redis-sentinel-ca-file", "contains no certificate in PEM")
    );
}
