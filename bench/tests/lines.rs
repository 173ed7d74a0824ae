//! The load generator with a server that puts several payloads into a frame, as Centrifuge does. The generator counts
//! each payload.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tidings_bench::dialect::Dialect;
use tidings_bench::load::{ClientSpec, LoadGenerator, Tally, fixed_rate_work};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

/// Number of messages that the client sends.
const MESSAGES: u32 = 3;

async fn next_text(socket: &mut WebSocketStream<TcpStream>) -> String {
    socket.next().await.unwrap().unwrap().into_text().unwrap().to_string()
}

async fn send_lines(socket: &mut WebSocketStream<TcpStream>, lines: &[String]) {
    socket.send(Message::text(lines.join("\n"))).await.unwrap();
}

/// The id of a command: the digits after `{"id":`.
fn id_of(command: &str) -> String {
    command.trim_start_matches(r#"{"id":"#).chars().take_while(char::is_ascii_digit).collect()
}

fn push_payload(kind: &str, seq: u32) -> String {
    format!(r#"{{"push":{{"channel":"room","pub":{{"data":{{"type":"{kind}","seq":{seq}}}}}}}}}"#)
}

/// Serves one client: answers the join, receives the messages, and sends the frames that `frames` makes of the
/// messages' ids. Returns the frames that it received.
async fn serve(listener: TcpListener, frames: impl FnOnce(&[String]) -> Vec<Vec<String>>) -> Vec<String> {
    let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
    let connect = next_text(&mut socket).await;
    // A ping is in the same frame as the reply.
    send_lines(&mut socket, &[format!(r#"{{"id":{},"connect":{{}}}}"#, id_of(&connect)), "{}".to_owned()])
        .await;
    let (mut received, mut sends) = (Vec::new(), Vec::new());
    while sends.len() < MESSAGES as usize {
        let command = next_text(&mut socket).await;
        if command.contains("subscribe") {
            send_lines(&mut socket, &[format!(r#"{{"id":{},"subscribe":{{}}}}"#, id_of(&command))]).await;
        } else if command.contains("rpc") {
            sends.push(id_of(&command));
        }
        received.push(command);
    }
    for lines in frames(&sends) {
        send_lines(&mut socket, &lines).await;
    }
    // The client disconnects when it has counted everything.
    while let Some(Ok(message)) = socket.next().await {
        received.push(message.into_text().unwrap().to_string());
    }
    received
}

/// Runs the generator against the server. Returns the generator's tally, and the frames that the server received.
async fn run_against(
    frames: impl FnOnce(&[String]) -> Vec<Vec<String>> + Send + 'static,
) -> (Tally, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, frames));
    let dialect: Dialect = serde_json::from_str(include_str!("../peers/centrifuge.json")).unwrap();
    let tally = tokio::task::spawn_blocking(move || {
        let mut load = LoadGenerator::new(dialect, vec!["room".to_owned()]).unwrap();
        load.check_order();
        let (user, token) = ("ann".to_owned(), "a.b.c".to_owned());
        let ann =
            ClientSpec { node, user, token, rooms: vec![0], joins: None, timed: false, receive_buffer: None };
        load.connect_all(vec![ann], 1, Duration::from_secs(10)).unwrap();
        let work = fixed_rate_work(&[(0, 0)], 20, f64::from(MESSAGES) * 10.0, Duration::from_millis(100));
        load.run(&work).unwrap()
    });
    (tally.await.unwrap(), server.await.unwrap())
}

fn rpc_reply(id: &str) -> String {
    format!(r#"{{"id":{id},"rpc":{{"data":{{"seq":1}}}}}}"#)
}

#[tokio::test]
async fn each_line_of_a_frame_is_counted() {
    let (tally, received) = run_against(|ids| {
        let (one, two, three) = (rpc_reply(&ids[0]), rpc_reply(&ids[1]), rpc_reply(&ids[2]));
        let (typing, ping) = (push_payload("typing:start", 0), "{}".to_owned());
        let first = vec![one, push_payload("message:new", 1), typing, push_payload("message:new", 2), ping];
        vec![first, vec![two], vec![push_payload("message:new", 3), three]]
    })
    .await;
    assert_eq!((tally.sent, tally.acked, tally.refused), (3, 3, 0));
    assert_eq!((tally.delivered, tally.expected, tally.out_of_order), (3, 3, 0));
    assert_eq!(tally.other_frames, 1, "typing is no message");
    assert_eq!(tally.ack.len(), 3, "each ack belongs to its send");
    assert_eq!(
        received.iter().filter(|payload| *payload == "{}").count(),
        2,
        "each ping has an answer: {received:?}"
    );
}

#[tokio::test]
async fn refusal_and_repetition_within_a_frame_are_counted() {
    let (tally, _) = run_against(|ids| {
        let refusal = format!(r#"{{"id":{},"error":{{"code":103,"message":"no"}}}}"#, ids[1]);
        let (one, three) = (rpc_reply(&ids[0]), rpc_reply(&ids[2]));
        vec![vec![
            one,
            push_payload("message:new", 1),
            refusal.clone(),
            push_payload("message:new", 1),
            three,
        ]]
    })
    .await;
    assert_eq!((tally.sent, tally.acked, tally.refused), (3, 2, 1));
    assert!(tally.refusal.unwrap().contains(r#""code":103"#));
    assert_eq!((tally.delivered, tally.expected, tally.out_of_order), (2, 3, 1));
}
