//! Tests the task of the connection with a server that speaks the protocol as Redis does, and breaks one rule of it.

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::{TcpListener, tcp::OwnedReadHalf},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};

use super::*;

/// Much longer than a reconnect takes.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// Starts a server, and a subscriber whose task connects to it. Also returns the names of the subscriber's events.
async fn start() -> (TcpListener, Subscriber, UnboundedReceiver<&'static str>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = crate::log::client(&format!("redis://{}", listener.local_addr().unwrap())).unwrap();
    let (events, received) = unbounded_channel();
    let subscriber = Subscriber::start(client, move |event| {
        let _ = events.send(match event {
            Event::Messages(_) => "messages",
            Event::Online { .. } => "online",
            Event::Offline => "offline",
        });
    });
    (listener, subscriber, received)
}

async fn next_command(lines: &mut Lines<BufReader<OwnedReadHalf>>) -> Option<Vec<String>> {
    let count: usize = lines.next_line().await.ok()??.strip_prefix('*')?.parse().ok()?;
    let mut words = Vec::new();
    for _ in 0..count {
        let _length = lines.next_line().await.ok()??;
        words.push(lines.next_line().await.ok()??);
    }
    Some(words)
}

/// Accepts a connection, and answers its commands until the subscriber closes it.
async fn serve(listener: &TcpListener, mut answer: impl FnMut(&[String]) -> String) {
    let (socket, _) = listener.accept().await.unwrap();
    let (input, mut output) = socket.into_split();
    let mut lines = BufReader::new(input).lines();
    while let Some(command) = next_command(&mut lines).await {
        if output.write_all(answer(&command).as_bytes()).await.is_err() {
            return;
        }
    }
}

fn bulk_string(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn push(kind: &str, channel: &str) -> String {
    format!(">3\r\n{}{}:1\r\n", bulk_string(kind), bulk_string(channel))
}

/// The answer of a Redis process to a command.
fn redis_answer(command: &[String]) -> String {
    match command[0].as_str() {
        "HELLO" => "%0\r\n".to_owned(),
        "INFO" => bulk_string("run_id:1\r\n"),
        "PING" => bulk_string(&command[1]),
        kind => command[1..].iter().map(|channel| push(&kind.to_lowercase(), channel)).collect(),
    }
}

async fn expect_events(received: &mut UnboundedReceiver<&'static str>, expected: &[&str]) {
    for event in expected {
        assert_eq!(timeout(WAIT_TIMEOUT, received.recv()).await.unwrap(), Some(*event));
    }
}

#[tokio::test]
async fn lost_subscription_is_subscribed_again_before_online() {
    let (listener, subscriber, mut received) = start().await;
    let confirmed = subscriber.subscribe("a".to_owned()).unwrap();
    let mut subscribed = false;
    let ends_subscription = |command: &[String]| {
        subscribed |= command[0] == "SUBSCRIBE";
        let ending =
            if subscribed && command[0] == "PING" { push("unsubscribe", "a") } else { String::new() };
        redis_answer(command) + &ending
    };
    timeout(WAIT_TIMEOUT, serve(&listener, ends_subscription)).await.unwrap();
    timeout(WAIT_TIMEOUT, confirmed).await.unwrap().unwrap();
    let mut commands = Vec::new();
    let records_command = |command: &[String]| {
        commands.push(command.join(" "));
        redis_answer(command)
    };
    tokio::select! {
        () = serve(&listener, records_command) => panic!("the second connection was closed"),
        () = expect_events(&mut received, &["online", "offline", "online"]) => {}
    }
    assert_eq!(commands[..4], ["HELLO 3", "INFO server", "PING 1", "SUBSCRIBE a"]);
}

#[tokio::test]
async fn refused_channel_is_confirmed_by_the_next_connection() {
    let (listener, subscriber, mut received) = start().await;
    let mut confirmed = subscriber.subscribe("a".to_owned()).unwrap();
    let refuses_channel = |command: &[String]| match command[0].as_str() {
        "SUBSCRIBE" => "-NOPERM no\r\n".to_owned(),
        _ => redis_answer(command),
    };
    timeout(WAIT_TIMEOUT, serve(&listener, refuses_channel)).await.unwrap();
    assert!(confirmed.try_recv().is_err(), "a refused channel was confirmed");
    tokio::select! {
        () = serve(&listener, redis_answer) => panic!("the second connection was closed"),
        confirmed = timeout(WAIT_TIMEOUT, &mut confirmed) => confirmed.unwrap().unwrap(),
    }
    expect_events(&mut received, &["online", "offline", "online"]).await;
}
