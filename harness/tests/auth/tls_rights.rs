//! The Redis users have only the rights of an earlier version. The services work without the new rights, and log one
//! warning for each.

use std::time::{Duration, Instant};

use crate::secured::{GATEWAY_USER, PERSISTENCE_USER, SecuredServers};
use crate::tls::start_nodes;
use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use redis::cmd;
use tidings_harness::{Client, Node, Token, http::Http};

const MISSING_MEMORY_USAGE: &str = "lacks +memory|usage";
const MISSING_RATE_KEYS: &str = "may not use the keys `rate:*`";
/// A gateway reports a user who spends an eighth of this within a second, 12 messages. A busy machine sends that many.
const MESSAGES_PER_SECOND: u32 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_of_earlier_versions_are_warned_of_once() -> Result<()> {
    let secured = SecuredServers::start().await?;
    for (user, keys) in [
        (
            GATEWAY_USER,
            &["~{??}:*", "~rooms:{*", "~account:{*", "~{u??}:presence:*", "~presence:sweeper"][..],
        ),
        (PERSISTENCE_USER, &["~*"][..]),
    ] {
        let mut restrict = cmd("ACL");
        restrict.arg("SETUSER").arg(user).arg("-memory|usage").arg("resetkeys").arg(keys);
        secured.command_as_admin::<()>(&restrict).await?;
    }
    let (gateways, persistence, nodes) = start_nodes(&secured, MESSAGES_PER_SECOND).await?;
    let token = Token::of("alice").sign(&nodes.jwt_secret);
    let room = Http::new(&persistence[0].url(), &token).new_room(&[]).await?;
    let client = Client::connect(&gateways[0].ws(), &token).await?;
    let warnings = |node: &Node, of: &str| anyhow::Ok(node.log()?.matches(of).count());
    let send_many = async || {
        try_join_all((0..20).map(|_| client.send(&room, "hello"))).await?;
        // Stays within the burst of 1,000 messages.
        tokio::time::sleep(Duration::from_millis(100)).await;
        anyhow::Ok(())
    };
    let begun = Instant::now();
    while warnings(&gateways[0], MISSING_RATE_KEYS)? == 0 {
        ensure!(begun.elapsed() < Duration::from_secs(60), "{}", gateways[0].log()?);
        send_many().await?;
    }
    // The later reports fail too.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        send_many().await?;
    }
    for (node, of) in [
        (&gateways[0], MISSING_RATE_KEYS),
        (&gateways[0], MISSING_MEMORY_USAGE),
        (&persistence[0], MISSING_MEMORY_USAGE),
    ] {
        ensure!(warnings(node, of)? == 1, "{of}: {}", node.log()?);
    }
    Ok(())
}
