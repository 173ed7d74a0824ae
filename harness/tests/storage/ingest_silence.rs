//! PostgreSQL becomes unreachable: connections stay open and nothing is answered, as in a network partition.

use std::time::{Duration, Instant};

use crate::room_log::RoomLog;
use anyhow::{Context, Result, ensure};
use tidings_harness::{
    Stack,
    node::{Node, Service},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Longer than the timeout of a batch plus the settling of the partition after it.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Relays connections to `upstream`. When `silent` becomes true, older connections stay open but pass nothing on.
async fn start_relay(upstream: u16, silent: watch::Receiver<bool>) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut silent = silent.clone();
            tokio::spawn(async move {
                let Ok(mut server) = TcpStream::connect(("127.0.0.1", upstream)).await else { return };
                let before = !*silent.borrow();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    () = until_silent(&mut silent), if before => std::future::pending().await,
                }
            });
        }
    });
    Ok(port)
}

async fn until_silent(silent: &mut watch::Receiver<bool>) {
    let _ = silent.wait_for(|silent| *silent).await.map(drop);
}

#[tokio::test]
async fn writer_abandons_unresponsive_postgres_connections() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = RoomLog::new(&stack, 10_000).await?;
    room.send("1").await?;
    let (fall_silent, silent) = watch::channel(false);
    let direct = stack.database().url();
    let port = direct.rsplit_once(':').and_then(|(_, rest)| rest.split_once('/')).context("no port")?.0;
    let relayed =
        direct.replace(&format!(":{port}/"), &format!(":{}/", start_relay(port.parse()?, silent).await?));
    let settings = [
        ("REDIS_URL", stack.redis().url()),
        ("DATABASE_URL", relayed),
        ("TIDINGS_JWT_SECRET", stack.jwt_secret().to_owned()),
        ("TIDINGS_INTERNAL_SECRET", stack.internal_secret().to_owned()),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value));
    let _node = Node::start(Service::Persistence, stack.folder(), "relayed", &settings).await?;
    stack.persistence(0).stop().await?;
    room.append("2").await?;
    room.until_head(&stack, 2).await?;

    fall_silent.send(true)?;
    room.append("3").await?;
    room.append("4").await?;
    let begun = Instant::now();
    while room.stored_log(&stack).await?.len() < 4 {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "nothing is written any more");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ensure!(room.message_texts(&stack).await? == ["1", "2", "3", "4"]);
    Ok(())
}
