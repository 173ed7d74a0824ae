//! Tests which bytes the stream passes to the event handler as messages, which it returns as replies, and that it
//! writes while it reads.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncWriteExt as _, DuplexStream};

use super::*;

type Batches = Arc<Mutex<Vec<Vec<(String, Vec<u8>)>>>>;

/// Returns a stream, the other end of its socket, and the batches of messages that the event handler has received.
fn stream() -> (HintStream<DuplexStream>, DuplexStream, Batches) {
    stream_with_buffer(8 * MAX_VALUE_BYTES)
}

fn stream_with_buffer(bytes: usize) -> (HintStream<DuplexStream>, DuplexStream, Batches) {
    let (socket, server) = tokio::io::duplex(bytes);
    let batches = Batches::default();
    let received_batches = batches.clone();
    let handler = move |event: Event<'_>| {
        if let Event::Messages(messages) = event {
            let batch = messages.map(|(channel, payload)| (channel.to_owned(), payload.to_vec())).collect();
            received_batches.lock().unwrap().push(batch);
        }
    };
    (HintStream::new(socket, Arc::new(handler)), server, batches)
}

fn message(channel: &str, payload: &[u8]) -> Vec<u8> {
    let mut value = format!(">3\r\n$7\r\nmessage\r\n${}\r\n{channel}\r\n", channel.len()).into_bytes();
    value.extend_from_slice(format!("${}\r\n", payload.len()).as_bytes());
    value.extend_from_slice(payload);
    value.extend_from_slice(b"\r\n");
    value
}

fn text(text: &str) -> Reply {
    Reply::Text(text.to_owned())
}

fn received(channel: &str, payload: &[u8]) -> (String, Vec<u8>) {
    (channel.to_owned(), payload.to_vec())
}

#[tokio::test]
async fn messages_of_one_read_are_one_batch() {
    let (mut stream, mut server, batches) = stream();
    let parts = [
        message("a", b"1"),
        b"+PONG\r\n".to_vec(),
        message("b", b"2"),
        b"-ERR no\r\n".to_vec(),
        b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n".to_vec(),
        b">3\r\n$12\r\nsunsubscribe\r\n$1\r\nd\r\n:0\r\n".to_vec(),
        message("a", b""),
        b"$1\r\n7\r\n".to_vec(),
    ];
    server.write_all(&parts.concat()).await.unwrap();
    let mut replies = Vec::new();
    for _ in 0..4 {
        replies.push(stream.next_reply().await.unwrap());
    }
    let (subscribed, unsubscribed) = ("c".to_owned(), "d".to_owned());
    let expected = [
        Reply::Error("ERR no".to_owned()),
        Reply::Subscribed(subscribed),
        Reply::Unsubscribed(unsubscribed),
        text("7"),
    ];
    assert_eq!(replies, expected);
    assert_eq!(*batches.lock().unwrap(), [[received("a", b"1"), received("b", b"2"), received("a", b"")]]);
}

#[tokio::test]
async fn values_cut_at_any_byte_arrive_complete_and_in_order() {
    let bytes = [message("a", b"first"), b"$2\r\nok\r\n".to_vec(), message("b", b"second")].concat();
    for cut in 1..bytes.len() {
        let (mut stream, mut server, batches) = stream();
        let read = tokio::spawn(async move {
            let mut replies = Vec::new();
            while let Ok(reply) = stream.next_reply().await {
                replies.push(reply);
            }
            replies
        });
        for part in [&bytes[..cut], &bytes[cut..]] {
            server.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        drop(server);
        assert_eq!(read.await.unwrap(), [text("ok")], "cut at {cut}");
        let batches = batches.lock().unwrap().concat();
        assert_eq!(batches, [received("a", b"first"), received("b", b"second")], "cut at {cut}");
    }
}

#[tokio::test]
async fn large_payload_is_read_and_its_buffer_is_freed() {
    let (mut stream, mut server, batches) = stream();
    let payload = vec![b'x'; 3 * 1024 * 1024];
    server.write_all(&[message("a", &payload), b"$2\r\nok\r\n".to_vec()].concat()).await.unwrap();
    assert_eq!(stream.next_reply().await.unwrap(), text("ok"));
    assert_eq!(*batches.lock().unwrap(), [[received("a", &payload)]]);
    assert!(stream.input.capacity() <= 2 * READ_BYTES, "{}", stream.input.capacity());
    for _ in 0..10_000 {
        server.write_all(&message("a", b"small")).await.unwrap();
    }
    server.write_all(b"$2\r\nok\r\n").await.unwrap();
    assert_eq!(stream.next_reply().await.unwrap(), text("ok"));
    assert_eq!(batches.lock().unwrap().concat().len(), 10_001);
    assert!(stream.input.capacity() <= 4 * READ_BYTES, "{}", stream.input.capacity());
}

#[tokio::test]
async fn malformed_or_endless_value_ends_the_stream_with_an_error() {
    for bytes in [b"$x\r\n".to_vec(), b"hello\r\n".to_vec(), vec![b'+'; MAX_VALUE_BYTES + 1]] {
        let (mut stream, mut server, _) = stream();
        server.write_all(&message("a", b"1")).await.unwrap();
        server.write_all(&bytes).await.unwrap();
        assert!(stream.next_reply().await.is_err());
    }
}

#[tokio::test]
async fn end_of_socket_is_an_error() {
    let (mut stream, server, _) = stream();
    drop(server);
    let error = stream.next_reply().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn output_is_written_before_the_reply_is_awaited() {
    let (mut stream, mut server, _) = stream();
    stream.output.extend_from_slice(b"command");
    let server = tokio::spawn(async move {
        let mut command = [0; 7];
        server.read_exact(&mut command).await.unwrap();
        server.write_all(b"$2\r\nok\r\n").await.unwrap();
        command
    });
    assert_eq!(stream.next_reply().await.unwrap(), text("ok"));
    assert_eq!(&server.await.unwrap(), b"command");
    assert!(stream.output.is_empty());
}

#[tokio::test]
async fn messages_are_read_while_output_is_blocked() {
    let (mut stream, mut server, batches) = stream_with_buffer(64);
    let output = vec![b'x'; 10_000];
    stream.output.extend_from_slice(&output);
    // The server reads nothing before it has written everything, which is also more than the socket holds.
    let server = tokio::spawn(async move {
        for _ in 0..1000 {
            server.write_all(&message("a", b"1")).await.unwrap();
        }
        let mut input = vec![0; 10_000];
        server.read_exact(&mut input).await.unwrap();
        server.write_all(b"$2\r\nok\r\n").await.unwrap();
        input
    });
    assert_eq!(stream.next_reply().await.unwrap(), text("ok"));
    assert_eq!(server.await.unwrap(), output);
    assert_eq!(batches.lock().unwrap().concat().len(), 1000);
}
