//! Tests the tasks of the connections with servers that speak the protocol as Redis does, and break one rule of it.

use redis::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::{TcpListener, tcp::OwnedReadHalf},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};

use super::*;
use crate::log::shard_map::slot_of;

/// Much longer than a reconnect takes.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// The name of an event, and its partitions.
type EventSummary = (&'static str, PartitionSet);

/// Starts a subscriber that connects to the addresses of this map. Also returns its events.
fn start(
    map: ShardMap,
) -> (watch::Sender<Option<Arc<ShardMap>>>, Subscriber, UnboundedReceiver<EventSummary>) {
    let client = crate::log::client("redis://127.0.0.1").unwrap();
    let (events, received) = unbounded_channel();
    let (map, followed) = watch::channel(Some(Arc::new(map)));
    let subscriber = Subscriber::follow(followed, Arc::new(|| ()), client, move |event| {
        let _ = events.send(match event {
            Event::Messages(_) => ("messages", PartitionSet::default()),
            Event::Online { partitions, .. } => ("online", partitions),
            Event::Offline { partitions } => ("offline", partitions),
        });
    });
    (map, subscriber, received)
}

async fn listen() -> (TcpListener, NodeAddress) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, NodeAddress { host: address.ip().to_string().into(), port: address.port() })
}

/// The map of a cluster in which `second` has this partition, and `first` has all others.
fn map_of(first: &NodeAddress, partition: Partition, second: &NodeAddress) -> ShardMap {
    let node = |address: &NodeAddress| {
        let host = Value::BulkString(address.host.as_bytes().to_vec());
        Value::Array(vec![host, Value::Int(i64::from(address.port))])
    };
    let range = |from: u16, to: u16, address: &NodeAddress| {
        Value::Array(vec![Value::Int(from.into()), Value::Int(to.into()), node(address)])
    };
    let slot = slot_of(&format!("{:02}", partition.0));
    let ranges = vec![range(0, slot - 1, first), range(slot, slot, second), range(slot + 1, 16_383, first)];
    ShardMap::parse(&Value::Array(ranges), "").unwrap()
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

async fn expect_events(received: &mut UnboundedReceiver<EventSummary>, expected: &[EventSummary]) {
    for event in expected {
        assert_eq!(timeout(WAIT_TIMEOUT, received.recv()).await.unwrap(), Some(*event));
    }
}

const ONLINE: EventSummary = ("online", PartitionSet::ALL);
const OFFLINE: EventSummary = ("offline", PartitionSet::ALL);

#[tokio::test]
async fn lost_subscription_is_subscribed_again_before_online() {
    let (listener, address) = listen().await;
    let (_map, subscriber, mut received) = start(ShardMap::single(address));
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
        () = expect_events(&mut received, &[ONLINE, OFFLINE, ONLINE]) => {}
    }
    assert_eq!(commands[..4], ["HELLO 3", "INFO server", "PING 1", "SUBSCRIBE a"]);
}

#[tokio::test]
async fn refused_channel_is_confirmed_by_the_next_connection() {
    let (listener, address) = listen().await;
    let (_map, subscriber, mut received) = start(ShardMap::single(address));
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
    // The first connection was never online, because Redis had refused a wanted channel.
    expect_events(&mut received, &[ONLINE]).await;
}

#[tokio::test]
async fn moved_partition_is_subscribed_at_its_new_shard() {
    let ((first, first_address), (second, second_address)) = (listen().await, listen().await);
    let moved = PartitionSet::from(Partition(1));
    let others = PartitionSet::ALL - moved;
    let before = map_of(&first_address, Partition(1), &first_address);
    let (map, subscriber, mut received) = start(before);
    let mut confirmed = subscriber.subscribe("{01}:a".to_owned()).unwrap();
    let kept = subscriber.subscribe("{02}:b".to_owned()).unwrap();
    // The first server does not own the slot of partition 1, although the map says so.
    let refuses_slot = |command: &[String]| match command[0].as_str() {
        "SSUBSCRIBE" if command[1].starts_with("{01}") => "-MOVED 1 127.0.0.1:1\r\n".to_owned(),
        _ => redis_answer(command),
    };
    let mut commands = Vec::new();
    let records_command = |command: &[String]| {
        commands.push(command.join(" "));
        redis_answer(command)
    };
    let test = async {
        timeout(WAIT_TIMEOUT, kept).await.unwrap().unwrap();
        expect_events(&mut received, &[("online", others)]).await;
        assert!(confirmed.try_recv().is_err(), "a refused channel was confirmed");
        map.send_replace(Some(Arc::new(map_of(&first_address, Partition(1), &second_address))));
        timeout(WAIT_TIMEOUT, confirmed).await.unwrap().unwrap();
        expect_events(&mut received, &[("online", moved)]).await;
        map.send_replace(Some(Arc::new(map_of(&second_address, Partition(1), &second_address))));
        expect_events(&mut received, &[("offline", others), ("online", others)]).await;
    };
    tokio::select! {
        () = async { tokio::join!(serve(&first, refuses_slot), serve(&second, records_command)); } => {
            panic!("the connection to the second server was closed")
        }
        () = test => {}
    }
    assert_eq!(commands[3..5], ["SSUBSCRIBE {01}:a", "PING 2"]);
}

#[tokio::test]
async fn ended_sharded_subscription_takes_its_partition_offline() {
    let (listener, address) = listen().await;
    let (_map, subscriber, mut received) = start(map_of(&address, Partition(1), &address));
    let confirmed = ["{01}:a", "{02}:b"].map(|channel| subscriber.subscribe(channel.to_owned()).unwrap());
    let mut endings = 0;
    let ends_subscription = |command: &[String]| {
        let is_confirmed = command[0] == "PING" && command[1] == "3";
        endings += usize::from(is_confirmed);
        redis_answer(command) + &if is_confirmed { push("sunsubscribe", "{01}:a") } else { String::new() }
    };
    let test = async {
        for confirmed in confirmed {
            timeout(WAIT_TIMEOUT, confirmed).await.unwrap().unwrap();
        }
        let lost = PartitionSet::from(Partition(1));
        expect_events(&mut received, &[ONLINE, ("offline", lost), ("online", lost)]).await;
    };
    tokio::select! {
        () = serve(&listener, ends_subscription) => panic!("the connection was closed"),
        () = test => {}
    }
    assert_eq!(endings, 1);
}
