//! The operations while a gateway is counted. They run one after the other, because concurrent operations would make
//! the counts vary.

use anyhow::Result;
use tidings_harness::{Client, Service};

use super::CountOptions;
use super::system::{System, delivered, message};

/// Receivers in the room of counted deliveries. With the sender these are more than 100, so presence is off in this
/// room.
const RECEIVERS: usize = 100;
const MESSAGES: usize = 300;
const SENDS: usize = 400;
const HANDSHAKES: usize = 200;
/// Operations before counting begins, so that caches, scripts and buffers are warm.
const BEFORE: usize = 50;

/// Instructions of a gateway for each delivery of a message that was sent on another gateway.
pub(super) async fn deliveries(options: &CountOptions) -> Result<u64> {
    let system = System::start(Service::Gateway, 2, options).await?;
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

/// Instructions of a gateway for each sent message, including its delivery to the sender and the answer `stored`.
pub(super) async fn sends(options: &CountOptions) -> Result<u64> {
    let system = System::start(Service::Gateway, 1, options).await?;
    let room = system.room("sender", &[]).await?;
    let sender = system.join(0, "sender", &room).await?;
    publish(&sender, std::slice::from_ref(&sender), &room, BEFORE).await?;
    system.begin().await?;
    publish(&sender, std::slice::from_ref(&sender), &room, SENDS).await?;
    system.end(SENDS).await
}

/// Instructions of a gateway for each connection of a new user who joins a room.
pub(super) async fn handshakes(options: &CountOptions) -> Result<u64> {
    let system = System::start(Service::Gateway, 1, options).await?;
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
