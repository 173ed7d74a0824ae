//! Tests the handshake and the batches of one connection. The test plays the server: it writes the answers in advance,
//! because the tokens are known.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::log::{keys::Partition, subscriber::Event};

/// Returns a connection, and the other end of its socket.
fn connection() -> (PubSubConnection<DuplexStream>, DuplexStream) {
    connection_to(Layout::Single)
}

fn connection_to(layout: Layout) -> (PubSubConnection<DuplexStream>, DuplexStream) {
    let (socket, server) = tokio::io::duplex(64 * 1024);
    (PubSubConnection::new(socket, layout, Arc::new(|_: Event<'_>| ())), server)
}

/// A confirmation, or the report that a subscription has ended.
fn push(kind: &str, channel: &str) -> String {
    format!(">3\r\n${}\r\n{kind}\r\n${}\r\n{channel}\r\n:1\r\n", kind.len(), channel.len())
}

fn text(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

#[tokio::test]
async fn handshake_sends_password_and_returns_run_id() {
    let (mut connection, mut server) = connection();
    let info = "txt:# Server\r\nrun_id:abc\r\ntcp_port:1\r\n";
    let answers = [
        "%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n".to_owned(),
        format!("={}\r\n{info}\r\n", info.len()),
        text("1"),
    ];
    server.write_all(answers.concat().as_bytes()).await.unwrap();
    assert_eq!(&*connection.introduce(Some("me"), Some("secret"), None).await.unwrap(), "abc");
    let sent = "*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$6\r\nsecret\r\n\
                *2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n*2\r\n$4\r\nPING\r\n$1\r\n1\r\n";
    let mut received = vec![0; sent.len()];
    server.read_exact(&mut received).await.unwrap();
    assert_eq!(String::from_utf8(received).unwrap(), sent);
}

#[tokio::test]
async fn refused_handshake_fails_without_telling_the_password() {
    for (error, reason) in [
        ("WRONGPASS invalid username-password pair", "WRONGPASS"),
        ("ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `me`, `secret`", "HELLO"),
    ] {
        let (mut connection, mut server) = connection();
        server.write_all(format!("-{error}\r\n-NOAUTH\r\n-NOAUTH\r\n").as_bytes()).await.unwrap();
        let failed = connection.introduce(Some("me"), Some("secret"), None).await.unwrap_err().to_string();
        assert!(failed.contains(reason) && !failed.contains("secret"), "{failed}");
    }
    let (mut connection, mut server) = connection();
    server.write_all([text("# Server\r\n"), text("1")].concat().as_bytes()).await.unwrap();
    let failed = connection.introduce(None, None, None).await;
    assert!(matches!(failed, Err(PubSubError::NoRunId)), "{failed:?}");
}

#[tokio::test(start_paused = true)]
async fn batch_ends_with_the_answer_to_its_own_ping() {
    let (mut connection, mut server) = connection();
    let answers = [push("unsubscribe", "old"), push("subscribe", "b"), push("subscribe", "a"), text("1")];
    server.write_all(answers.concat().as_bytes()).await.unwrap();
    connection.change(&["a", "b"], &["old"]).await.unwrap();
    // The answer to an earlier PING does not end the next batch.
    server.write_all(text("1").as_bytes()).await.unwrap();
    let failed = connection.ping().await;
    let is_timeout =
        matches!(&failed, Err(PubSubError::Io(error)) if error.kind() == io::ErrorKind::TimedOut);
    assert!(is_timeout, "{failed:?}");
}

#[tokio::test]
async fn unrequested_unsubscribe_during_change_reports_lost_channel() {
    for kind in ["unsubscribe", "sunsubscribe"] {
        let (mut connection, mut server) = connection();
        let answers = [push(kind, "other"), push("subscribe", "new"), push("unsubscribe", "old"), text("1")];
        server.write_all(answers.concat().as_bytes()).await.unwrap();
        let changed = connection.change(&["new"], &["old"]).await;
        assert!(matches!(&changed, Err(PubSubError::Lost(channel)) if channel == "other"), "{changed:?}");
        // All answers of the batch were read, so the next batch does not get any of them.
        server.write_all([push("subscribe", "next"), text("2")].concat().as_bytes()).await.unwrap();
        connection.change(&["next"], &[]).await.unwrap();
    }
}

#[tokio::test]
async fn refused_channel_is_not_confirmed() {
    let (mut connection, mut server) = connection();
    let answers = [push("subscribe", "a"), "-NOPERM no\r\n".to_owned(), text("1")];
    server.write_all(answers.concat().as_bytes()).await.unwrap();
    let changed = connection.change(&["a", "b"], &[]).await;
    assert!(matches!(&changed, Err(PubSubError::Refused(error)) if error == "NOPERM no"), "{changed:?}");
    // An unconfirmed channel was refused even if Redis sent no error.
    server.write_all([push("subscribe", "a"), text("2")].concat().as_bytes()).await.unwrap();
    let changed = connection.change(&["a", "b"], &[]).await;
    assert!(matches!(&changed, Err(PubSubError::Unconfirmed(channel)) if channel == "b"), "{changed:?}");
}

#[tokio::test]
async fn subscription_ended_between_batches_is_lost() {
    let (mut connection, mut server) = connection();
    server.write_all(push("unsubscribe", "a").as_bytes()).await.unwrap();
    let lost = connection.until_lost().await;
    assert!(matches!(&lost, PubSubError::Lost(channel) if channel == "a"), "{lost:?}");
}

#[tokio::test]
async fn shard_that_refuses_a_slot_keeps_the_connection() {
    let (mut connection, mut server) = connection_to(Layout::Cluster);
    let answers = [
        "-MOVED 1 127.0.0.1:1\r\n".to_owned(),
        push("ssubscribe", "{02}:b"),
        push("sunsubscribe", "{03}:c"),
        text("1"),
    ];
    server.write_all(answers.concat().as_bytes()).await.unwrap();
    let lost = connection.change(&["{01}:a", "{02}:b"], &[]).await.unwrap();
    assert_eq!(lost, [1, 3].into_iter().map(Partition).collect::<PartitionSet>());
    server.write_all([push("ssubscribe", "{01}:a"), text("2")].concat().as_bytes()).await.unwrap();
    assert!(connection.change(&["{01}:a"], &[]).await.unwrap().is_empty());
}
