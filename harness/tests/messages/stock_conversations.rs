//! Conversations of stock Socket.IO clients of JavaScript and Python: nothing is missing, doubled or out of order, with
//! each transport, and with gateways that are killed behind a load balancer without sticky sessions.

use std::time::Duration;

use crate::load_balancer::LoadBalancer;
use crate::stock_clients::{POLLING, STOCK_CLIENTS, StockClient, StockConversation, UPGRADE, WEBSOCKET};
use anyhow::{Context, Result, ensure};
use rstest::rstest;
use tidings_harness::Stack;
use tokio::time::{sleep, timeout};

/// Messages of each of the two users.
const SHORT_COUNT: usize = 25;
const LONG_COUNT: usize = 250;
/// The fewest and the most gateways that are killed during one conversation of the long test.
const MIN_KILLS: usize = 3;
const MAX_KILLS: usize = 6;
const SHORT_TIMEOUT: Duration = Duration::from_secs(120);
const LONG_TIMEOUT: Duration = Duration::from_secs(240);
const KILL_INTERVAL: Duration = Duration::from_secs(2);

async fn start_stack(gateways: usize) -> Result<Stack> {
    let stack = Stack::builder().gateways(gateways).gateway_env("TIDINGS_SOCKET_IO", "on");
    stack
        .gateway_env("TIDINGS_MESSAGES_PER_SECOND", 10_000)
        .gateway_env("TIDINGS_MESSAGES_BURST", 10_000)
        .start()
        .await
}

#[rstest]
#[case("4.0")]
#[case("4.5")]
#[case("4.8")]
#[tokio::test]
async fn stock_clients_converse_with_each_transport(#[case] version: &'static str) -> Result<()> {
    let (stack, client) = (start_stack(2).await?, StockClient::JavaScript(version));
    for (transports, last) in [(WEBSOCKET, "websocket"), (POLLING, "polling"), (UPGRADE, "websocket")] {
        let urls = [stack.gateway(0).url(), stack.gateway(1).url()];
        let conversation = StockConversation::start(&stack, client, transports, urls, SHORT_COUNT);
        let conversation = timeout(SHORT_TIMEOUT, conversation).await.context("no join")??;
        let report = timeout(SHORT_TIMEOUT, conversation.finish()).await.context("no end")??;
        ensure!(report.connects == 2, "{transports:?}: {report:?}");
        ensure!(report.transports == [last; 2], "{transports:?}: {report:?}");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "long: twelve conversations of 500 messages while gateways are killed"]
async fn stock_clients_lose_nothing_with_killed_gateways() -> Result<()> {
    let stack = start_stack(3).await?;
    let balancer = LoadBalancer::start(&stack).await?;
    let mut victims = stack.gateways().iter().cycle();
    for client in STOCK_CLIENTS {
        for transports in [WEBSOCKET, POLLING, UPGRADE] {
            let urls = [balancer.url(), balancer.url()];
            let conversation = StockConversation::start(&stack, client, transports, urls, LONG_COUNT);
            let conversation = timeout(SHORT_TIMEOUT, conversation).await.context("no join")??;
            let mut kills = 0;
            // After the last kill a client that needs seconds to connect again has the time.
            while kills < MIN_KILLS || (kills < MAX_KILLS && !conversation.is_stored().await?) {
                let victim = victims.next().context("a stack has gateways")?;
                victim.kill();
                kills += 1;
                sleep(KILL_INTERVAL / 4).await;
                victim.restart().await?;
                sleep(KILL_INTERVAL).await;
            }
            let report = timeout(LONG_TIMEOUT, conversation.finish()).await.context("no end")??;
            println!("{client:?} {transports:?}: {kills} kills, {report:?}");
        }
    }
    Ok(())
}
