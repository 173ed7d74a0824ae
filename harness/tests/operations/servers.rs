//! The private servers of tests: they start, restart on demand, isolate tests from each other, and leave nothing
//! behind.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use redis::AsyncCommands;
use tidings_harness::postgres::Postgres;
use tidings_harness::redis::Redis;

async fn connect(redis: &Redis) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(redis.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

fn is_alive(pid: u32) -> bool {
    // A zombie has an empty command line: the process has ended and was not reaped yet.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|command| !command.is_empty())
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn a_restarted_redis_has_its_data_and_its_port() {
    let redis = Redis::start().await.unwrap();
    let (url, pid) = (redis.url(), redis.pid().unwrap());
    let () = connect(&redis).await.set("room", "kitchen").await.unwrap();
    redis.restart().await.unwrap();
    assert_eq!(redis.url(), url);
    assert_ne!(redis.pid(), Some(pid));
    let kept: String = connect(&redis).await.get("room").await.unwrap();
    assert_eq!(kept, "kitchen");
}

#[tokio::test]
async fn a_redis_restarted_empty_has_nothing_but_its_port() {
    let redis = Redis::start().await.unwrap();
    let url = redis.url();
    let () = connect(&redis).await.set("room", "kitchen").await.unwrap();
    redis.restart_empty().await.unwrap();
    assert_eq!(redis.url(), url);
    let gone: Option<String> = connect(&redis).await.get("room").await.unwrap();
    assert_eq!(gone, None);
}

#[tokio::test]
async fn paused_redis_answers_only_after_resume() {
    let redis = Redis::start().await.unwrap();
    let mut connection = connect(&redis).await;
    redis.pause().unwrap();
    let ping = tokio::time::timeout(Duration::from_millis(300), connection.ping::<String>());
    assert!(!matches!(ping.await, Ok(Ok(_))));
    redis.resume().unwrap();
    let mut connection = self::connect(&redis).await;
    assert_eq!(connection.ping::<String>().await.unwrap(), "PONG");
}

#[tokio::test]
async fn tests_share_a_postgres_but_no_database() {
    let (one, two) = tokio::try_join!(Postgres::shared(), Postgres::shared()).unwrap();
    assert_eq!(one.port(), two.port());
    let (mine, yours) = tokio::try_join!(one.database(), two.database()).unwrap();
    mine.query("CREATE TABLE rooms (id text); INSERT INTO rooms VALUES ('kitchen')").await.unwrap();
    assert_eq!(mine.value("SELECT id FROM rooms").await.unwrap(), "kitchen");
    assert!(yours.query("SELECT id FROM rooms").await.is_err());
}

#[tokio::test]
async fn query_returns_all_rows_including_empty_ones() {
    let database = Postgres::shared().await.unwrap().database().await.unwrap();
    let none = Vec::<Vec<String>>::new();
    assert_eq!(database.query("SELECT 1 WHERE false").await.unwrap(), none);
    assert_eq!(database.query("CREATE TABLE rooms (id text)").await.unwrap(), none);
    assert_eq!(database.query("SELECT ''").await.unwrap(), [[""]]);
    assert_eq!(
        database.query("VALUES ('a'), (NULL), (E'b\n'), ('')").await.unwrap(),
        [["a"], [""], ["b\n"], [""]]
    );
    assert_eq!(database.query("VALUES ('', ''), ('', 'c')").await.unwrap(), [["", ""], ["", "c"]]);
    assert!(database.value("SELECT 1 WHERE false").await.is_err());
}

#[tokio::test]
async fn killed_postgres_keeps_committed_data_after_restart() {
    let server = std::sync::Arc::new(Postgres::start().await.unwrap());
    let database = server.database().await.unwrap();
    database.query("CREATE TABLE rooms (id text); INSERT INTO rooms VALUES ('kitchen')").await.unwrap();
    server.kill();
    assert!(database.query("SELECT 1").await.is_err());
    server.restart().await.unwrap();
    assert_eq!(database.value("SELECT id FROM rooms").await.unwrap(), "kitchen");
}

#[tokio::test]
async fn paused_postgres_holds_open_connections_until_resume() {
    let server = std::sync::Arc::new(Postgres::start().await.unwrap());
    let database = server.database().await.unwrap();
    // One connection for the whole test: a psql that reads statements line by line.
    let mut psql = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", database.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut asks = psql.stdin.take().unwrap();
    let (sender, answers) = std::sync::mpsc::channel();
    let lines = BufReader::new(psql.stdout.take().unwrap()).lines();
    let reader =
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| sender.send(line).unwrap()));
    let time_limit = Duration::from_secs(15);
    writeln!(asks, "SELECT 'open';").unwrap();
    assert_eq!(answers.recv_timeout(time_limit).unwrap(), "open");

    server.pause().unwrap();
    writeln!(asks, "SELECT 'late';").unwrap();
    assert!(answers.recv_timeout(Duration::from_millis(500)).is_err(), "the paused server answered");
    server.resume().unwrap();
    assert_eq!(answers.recv_timeout(time_limit).unwrap(), "late");

    // A paused server can be stopped too, with all its children.
    server.pause().unwrap();
    server.restart().await.unwrap();
    assert_eq!(database.value("SELECT 1").await.unwrap(), "1");
    drop(asks);
    psql.wait().unwrap();
    reader.join().unwrap();
    server.pause().unwrap();
    let pid = server.pid().unwrap();
    drop((database, server));
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn dropped_servers_leave_no_process_and_no_folder() {
    let folder = tidings_harness::folder::Folder::new().unwrap();
    let path = folder.path().to_owned();
    let redis = Redis::start_in(&path).await.unwrap();
    let postgres = Postgres::start_in(&path).await.unwrap();
    let pids = [redis.pid().unwrap(), postgres.pid().unwrap()];
    drop((redis, postgres, folder));
    for pid in pids {
        assert!(!is_alive(pid), "{pid}");
    }
    assert!(!path.exists());
}

#[tokio::test]
async fn a_panicking_owner_leaves_no_process() {
    let (sender, pids) = std::sync::mpsc::channel();
    let owner = tokio::spawn(async move {
        let redis = Redis::start().await.unwrap();
        sender.send(redis.pid().unwrap()).unwrap();
        panic!("as intended");
    });
    assert!(owner.await.unwrap_err().is_panic());
    assert!(!is_alive(pids.recv().unwrap()));
}

/// Runs this test again in a child process, which starts servers and is then killed.
#[tokio::test]
async fn a_killed_owner_leaves_no_process_and_no_folder() {
    const OWNER_VARIABLE: &str = "TIDINGS_TEST_OWNER";
    if std::env::var_os(OWNER_VARIABLE).is_some() {
        let folder = tidings_harness::folder::Folder::new().unwrap();
        let redis = Redis::start_in(folder.path()).await.unwrap();
        let postgres = Postgres::start_in(folder.path()).await.unwrap();
        println!("\nowns|{}|{}|{}", redis.pid().unwrap(), postgres.pid().unwrap(), folder.path().display());
        std::future::pending::<()>().await;
    }
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "servers::a_killed_owner_leaves_no_process_and_no_folder", "--nocapture"])
        .env(OWNER_VARIABLE, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let line = lines.map(Result::unwrap).find(|line| line.starts_with("owns|")).unwrap();
    let owned: Vec<&str> = line.split('|').collect();
    let pids: Vec<u32> = owned[1..3].iter().map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("the servers end with their owner", || !pids.iter().any(|pid| is_alive(*pid)));
    wait_until("the folder goes with its owner", || !Path::new(owned[3]).exists());
}
