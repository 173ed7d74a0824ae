//! Subscribes to a user's channel in Redis, as gateways do.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use tidings_harness::Stack;
use tidings_shared::{
    ids::UserId,
    log::{
        MapWatch,
        subscriber::{Event, Subscriber},
    },
    people::{self, UserNotice},
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Much longer than any notice takes.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

pub struct UserChannel {
    notices: UnboundedReceiver<Option<UserNotice>>,
    _subscriber: Subscriber,
}

impl UserChannel {
    pub async fn subscribe(stack: &Stack, user: &str) -> Result<Self> {
        let (sender, notices) = unbounded_channel();
        let redis = tidings_shared::log::client(&stack.shards().url())?;
        let map_watch = MapWatch::start(redis.clone());
        let subscriber = Subscriber::start(map_watch.clone(), redis, move |event| {
            if let Event::Messages(messages) = event {
                for (_, payload) in messages {
                    let _ = sender.send(UserNotice::parse(&payload.to_vec().into()));
                }
            }
        });
        let channel = people::channel(map_watch.get().await?.layout(), &UserId::parse(user)?);
        let confirmed = subscriber.subscribe(channel);
        ensure!(confirmed.is_some(), "the queue is full");
        if let Some(confirmed) = confirmed {
            confirmed.await?;
        }
        Ok(Self { notices, _subscriber: subscriber })
    }

    pub async fn next_notice(&mut self) -> Result<UserNotice> {
        let notice = tokio::time::timeout(WAIT_TIMEOUT, self.notices.recv()).await?;
        notice.flatten().ok_or_else(|| anyhow::anyhow!("not a notice"))
    }

    /// The frame of the next notice, which must be a membership notice.
    pub async fn next_frame(&mut self) -> Result<Value> {
        match self.next_notice().await? {
            UserNotice::Membership { frame, .. } => Ok(serde_json::from_slice(&frame)?),
            other => anyhow::bail!("not a membership notice: {other:?}"),
        }
    }

    pub fn is_silent(&mut self) -> bool {
        self.notices.is_empty()
    }
}
