//! The counted operations of a gateway. They run one after the other, because the counts of concurrent operations vary.

use anyhow::Result;
use tidings_harness::{Client, Service};

use super::CountOptions;
use super::system::{System, new_message_frame, wait_for_delivery};

/// Receivers in the room of the counted deliveries. With the sender the room has more than 100 members, so it has no
/// presence.
const RECEIVERS: usize = 100;
const COUNTED_MESSAGES: usize = 300;
const COUNTED_SENDS: usize = 400;
const COUNTED_HANDSHAKES: usize = 200;
/// Operations before counting begins. They warm up caches, scripts and buffers.
const WARMUP_OPERATIONS: usize = 50;

/// Instructions of a gateway per delivery. The message is sent on another gateway, which is not counted.
pub(super) async fn instructions_per_delivery(options: &CountOptions) -> Result<u64> {
    let system = System::start(Service::Gateway, 2, options).await?;
    let users = user_names(RECEIVERS);
    let room = system.create_room("sender", &users).await?;
    let sender = system.connect_and_join(1, "sender", &room).await?;
    let mut receivers = Vec::with_capacity(RECEIVERS);
    for user in &users {
        receivers.push(system.connect_and_join(0, user, &room).await?);
    }
    send_and_await_delivery(&sender, &receivers, &room, WARMUP_OPERATIONS).await?;
    system.begin_counting().await?;
    send_and_await_delivery(&sender, &receivers, &room, COUNTED_MESSAGES).await?;
    system.end_counting(COUNTED_MESSAGES * RECEIVERS).await
}

async fn send_and_await_delivery(
    sender: &Client,
    receivers: &[Client],
    room: &str,
    messages: usize,
) -> Result<()> {
    for _ in 0..messages {
        sender.send_with(new_message_frame(room)).await?;
        for receiver in receivers {
            wait_for_delivery(receiver).await?;
        }
    }
    Ok(())
}

/// Instructions of a gateway per sent message, including the delivery to the sender and the answer `stored`.
pub(super) async fn instructions_per_send(options: &CountOptions) -> Result<u64> {
    let system = System::start(Service::Gateway, 1, options).await?;
    let room = system.create_room("sender", &[]).await?;
    let sender = system.connect_and_join(0, "sender", &room).await?;
    send_and_await_delivery(&sender, std::slice::from_ref(&sender), &room, WARMUP_OPERATIONS).await?;
    system.begin_counting().await?;
    send_and_await_delivery(&sender, std::slice::from_ref(&sender), &room, COUNTED_SENDS).await?;
    system.end_counting(COUNTED_SENDS).await
}

/// Instructions of a gateway per connection of a new user who joins a room.
pub(super) async fn instructions_per_handshake(options: &CountOptions) -> Result<u64> {
    let system = System::start(Service::Gateway, 1, options).await?;
    let users = user_names(WARMUP_OPERATIONS + COUNTED_HANDSHAKES);
    let room = system.create_room("owner", &users).await?;
    let (before, counted) = users.split_at(WARMUP_OPERATIONS);
    let mut clients = Vec::with_capacity(users.len());
    for user in before {
        clients.push(system.connect_and_join(0, user, &room).await?);
    }
    system.begin_counting().await?;
    for user in counted {
        clients.push(system.connect_and_join(0, user, &room).await?);
    }
    system.end_counting(COUNTED_HANDSHAKES).await
}

fn user_names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("person-{number:04}")).collect()
}
