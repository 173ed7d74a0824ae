//! The load generator with a server that puts several payloads into a frame, as Centrifuge does: each is counted.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tidings_bench::dialect::Dialect;
use tidings_bench::load::{Load, Person, Tally, paced};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

/// How many messages the client sends.
const MESSAGES: u32 = 3;

async fn next(socket: &mut WebSocketStream<TcpStream>) -> String {
    socket.next().await.unwrap().unwrap().into_text().unwrap().to_string()
}

async fn say(socket: &mut WebSocketStream<TcpStream>, lines: &[String]) {
    socket.send(Message::text(lines.join("\n"))).await.unwrap();
}

/// The number after `"id":`.
fn id_of(command: &str) -> String {
    command.trim_start_matches(r#"{"id":"#).chars().take_while(char::is_ascii_digit).collect()
}

fn push(kind: &str, seq: u32) -> String {
    format!(r#"{{"push":{{"channel":"room","pub":{{"data":{{"type":"{kind}","seq":{seq}}}}}}}}}"#)
}

/// A server with one client: joins, takes the messages, and answers all of them in frames of the given lines.
async fn serve(listener: TcpListener, frames: impl FnOnce(&[String]) -> Vec<Vec<String>>) -> Vec<String> {
    let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
    let connect = next(&mut socket).await;
    // The ping comes in one frame with the reply.
    say(&mut socket, &[format!(r#"{{"id":{},"connect":{{}}}}"#, id_of(&connect)), "{}".to_owned()]).await;
    let (mut heard, mut sends) = (Vec::new(), Vec::new());
    while sends.len() < MESSAGES as usize {
        let command = next(&mut socket).await;
        if command.contains("subscribe") {
            say(&mut socket, &[format!(r#"{{"id":{},"subscribe":{{}}}}"#, id_of(&command))]).await;
        } else if command.contains("rpc") {
            sends.push(id_of(&command));
        }
        heard.push(command);
    }
    for lines in frames(&sends) {
        say(&mut socket, &lines).await;
    }
    // The client leaves when it has counted everything.
    while let Some(Ok(message)) = socket.next().await {
        heard.push(message.into_text().unwrap().to_string());
    }
    heard
}

/// What the generator counts, and what the server heard.
async fn counted(
    frames: impl FnOnce(&[String]) -> Vec<Vec<String>> + Send + 'static,
) -> (Tally, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, frames));
    let dialect: Dialect = serde_json::from_str(include_str!("../peers/centrifuge.json")).unwrap();
    let tally = tokio::task::spawn_blocking(move || {
        let mut load = Load::new(dialect, vec!["room".to_owned()]).unwrap();
        load.check_order();
        let (user, token) = ("ann".to_owned(), "a.b.c".to_owned());
        let ann =
            Person { node, user, token, rooms: vec![0], joins: None, timed: false, receive_buffer: None };
        load.enter(vec![ann], 1, Duration::from_secs(10)).unwrap();
        let work = paced(&[(0, 0)], 20, f64::from(MESSAGES) * 10.0, Duration::from_millis(100));
        load.run(&work).unwrap()
    });
    (tally.await.unwrap(), server.await.unwrap())
}

fn rpc(id: &str) -> String {
    format!(r#"{{"id":{id},"rpc":{{"data":{{"seq":1}}}}}}"#)
}

#[tokio::test]
async fn each_line_of_a_frame_is_counted() {
    let (tally, heard) = counted(|ids| {
        let (one, two, three) = (rpc(&ids[0]), rpc(&ids[1]), rpc(&ids[2]));
        let (typing, ping) = (push("typing:start", 0), "{}".to_owned());
        let first = vec![one, push("message:new", 1), typing, push("message:new", 2), ping];
        vec![first, vec![two], vec![push("message:new", 3), three]]
    })
    .await;
    assert_eq!((tally.sent, tally.acked, tally.refused), (3, 3, 0));
    assert_eq!((tally.delivered, tally.expected, tally.disordered), (3, 3, 0));
    assert_eq!(tally.others, 1, "typing is no message");
    assert_eq!(tally.ack.len(), 3, "each ack belongs to its send");
    assert_eq!(
        heard.iter().filter(|payload| *payload == "{}").count(),
        2,
        "each ping has an answer: {heard:?}"
    );
}

#[tokio::test]
async fn refusal_and_repetition_within_a_frame_are_counted() {
    let (tally, _) = counted(|ids| {
        let refusal = format!(r#"{{"id":{},"error":{{"code":103,"message":"no"}}}}"#, ids[1]);
        let (one, three) = (rpc(&ids[0]), rpc(&ids[2]));
        vec![vec![one, push("message:new", 1), refusal.clone(), push("message:new", 1), three]]
    })
    .await;
    assert_eq!((tally.sent, tally.acked, tally.refused), (3, 2, 1));
    assert!(tally.refusal.unwrap().contains(r#""code":103"#));
    assert_eq!((tally.delivered, tally.expected, tally.disordered), (2, 3, 1));
}
