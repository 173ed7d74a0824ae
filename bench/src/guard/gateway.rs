//! What is done while a gateway is counted, one thing after the other: what happens at the same time differs from run to
//! run, and so would the counts.

use anyhow::Result;
use tidings_harness::{Client, Service};

use super::Manner;
use super::system::{System, delivered, message};

/// Members of the room of which deliveries are counted. With the sender more than 100: presence is told no more.
const RECEIVERS: usize = 100;
const MESSAGES: usize = 300;
const SENDS: usize = 400;
const HANDSHAKES: usize = 200;
/// What is done before counting begins: caches are filled, scripts are known, buffers have their size.
const BEFORE: usize = 50;

/// Instructions of a gateway for each delivery of a message in a room, which comes from another gateway.
pub(super) async fn deliveries(manner: &Manner) -> Result<u64> {
    let system = System::start(Service::Gateway, 2, manner).await?;
    let users = people(RECEIVERS);
    let room = system.room("sender", &users).await?;
    let sender = system.join(1, "sender", &room).await?;
    let mut receivers = Vec::with_capacity(RECEIVERS);
    for user in &users {
        receivers.push(system.join(0, user, &room).await?);
    }
    publish(&sender, &receivers, &room, BEFORE).await?;
    system.begin().await?;
    publish(&sender, &receivers, &room, MESSAGES).await?;
    system.end(MESSAGES * RECEIVERS).await
}

async fn publish(sender: &Client, receivers: &[Client], room: &str, messages: usize) -> Result<()> {
    for _ in 0..messages {
        sender.send_with(message(room)).await?;
        for receiver in receivers {
            delivered(receiver).await?;
        }
    }
    Ok(())
}

/// Instructions of a gateway for each message that somebody sends, is given as a member, and told to be stored.
pub(super) async fn sends(manner: &Manner) -> Result<u64> {
    let system = System::start(Service::Gateway, 1, manner).await?;
    let room = system.room("sender", &[]).await?;
    let sender = system.join(0, "sender", &room).await?;
    publish(&sender, std::slice::from_ref(&sender), &room, BEFORE).await?;
    system.begin().await?;
    publish(&sender, std::slice::from_ref(&sender), &room, SENDS).await?;
    system.end(SENDS).await
}

/// Instructions of a gateway for each connection of somebody who was not there before, and joins a room.
pub(super) async fn handshakes(manner: &Manner) -> Result<u64> {
    let system = System::start(Service::Gateway, 1, manner).await?;
    let users = people(BEFORE + HANDSHAKES);
    let room = system.room("owner", &users).await?;
    let (before, counted) = users.split_at(BEFORE);
    let mut clients = Vec::with_capacity(users.len());
    for user in before {
        clients.push(system.join(0, user, &room).await?);
    }
    system.begin().await?;
    for user in counted {
        clients.push(system.join(0, user, &room).await?);
    }
    system.end(HANDSHAKES).await
}

fn people(many: usize) -> Vec<String> {
    (0..many).map(|number| format!("person-{number:04}")).collect()
}
