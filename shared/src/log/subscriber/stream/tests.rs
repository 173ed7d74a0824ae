//! Tests which bytes the stream passes to the event handler as messages, and which it leaves for the Redis client.

use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt as _;

use super::*;

type Batches = Arc<Mutex<Vec<Vec<(String, Vec<u8>)>>>>;

/// Returns a stream, the other end of its socket, and the batches of messages that the event handler has received.
fn stream() -> (HintStream<tokio::io::DuplexStream>, tokio::io::DuplexStream, Batches) {
    let (socket, server) = tokio::io::duplex(8 * MAX_VALUE_BYTES);
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
        message("a", b""),
        b":7\r\n".to_vec(),
    ];
    server.write_all(&parts.concat()).await.unwrap();
    let mut replies = [0; 11];
    stream.read_exact(&mut replies).await.unwrap();
    assert_eq!(&replies, b"+PONG\r\n:7\r\n");
    assert_eq!(*batches.lock().unwrap(), [[received("a", b"1"), received("b", b"2"), received("a", b"")]]);
}

#[tokio::test]
async fn values_cut_at_any_byte_arrive_complete_and_in_order() {
    let bytes = [message("a", b"first"), b"$2\r\nok\r\n".to_vec(), message("b", b"second")].concat();
    for cut in 1..bytes.len() {
        let (mut stream, mut server, batches) = stream();
        let read = tokio::spawn(async move {
            let mut replies = Vec::new();
            stream.read_to_end(&mut replies).await.unwrap();
            replies
        });
        for part in [&bytes[..cut], &bytes[cut..]] {
            server.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        drop(server);
        assert_eq!(read.await.unwrap(), b"$2\r\nok\r\n", "cut at {cut}");
        let batches = batches.lock().unwrap().concat();
        assert_eq!(batches, [received("a", b"first"), received("b", b"second")], "cut at {cut}");
    }
}

#[tokio::test]
async fn large_payload_is_read_and_its_buffer_is_freed() {
    let (mut stream, mut server, batches) = stream();
    let payload = vec![b'x'; 3 * 1024 * 1024];
    server.write_all(&[message("a", &payload), b"+OK\r\n".to_vec()].concat()).await.unwrap();
    let mut reply = [0; 5];
    stream.read_exact(&mut reply).await.unwrap();
    assert_eq!(*batches.lock().unwrap(), [[received("a", &payload)]]);
    assert!(stream.input.capacity() <= 2 * READ_BYTES, "{}", stream.input.capacity());
    for _ in 0..10_000 {
        server.write_all(&message("a", b"small")).await.unwrap();
    }
    server.write_all(b"+OK\r\n").await.unwrap();
    stream.read_exact(&mut reply).await.unwrap();
    assert_eq!(batches.lock().unwrap().concat().len(), 10_001);
    assert!(stream.input.capacity() <= 4 * READ_BYTES, "{}", stream.input.capacity());
}

#[tokio::test]
async fn malformed_or_endless_value_ends_the_stream_with_an_error() {
    for bytes in [b"$x\r\n".to_vec(), b"hello\r\n".to_vec(), vec![b'+'; MAX_VALUE_BYTES + 1]] {
        let (mut stream, mut server, _) = stream();
        server.write_all(&message("a", b"1")).await.unwrap();
        server.write_all(&bytes).await.unwrap();
        assert!(stream.read_u8().await.is_err());
    }
}

#[tokio::test]
async fn end_of_socket_is_end_of_stream() {
    let (mut stream, server, _) = stream();
    drop(server);
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
}
