//! Moves one slot with its keys from one master of a cluster to another, as `redis-cli --cluster reshard` does. If a move
//! is interrupted, the same move can begin again.

use anyhow::{Context, Result};

use super::command_at;

/// Number of keys in one MIGRATE.
const KEYS_PER_CALL: usize = 100;
const MIGRATE_TIMEOUT_MS: usize = 5000;

/// A master that gives or takes a slot.
#[derive(Debug, Clone)]
pub struct Master {
    /// The URL of this node, with user and password.
    pub url: String,
    pub id: String,
    pub host: String,
    pub port: u16,
}

/// One slot that moves.
pub struct SlotMove<'a> {
    pub slot: u16,
    pub from: &'a Master,
    pub to: &'a Master,
}

impl SlotMove<'_> {
    /// Begins the move. All keys are still at the old master until [`SlotMove::finish`].
    ///
    /// # Errors
    /// When a node refuses it.
    pub async fn begin(&self) -> Result<()> {
        self.set_slot(self.to, "IMPORTING", self.from).await?;
        self.set_slot(self.from, "MIGRATING", self.to).await
    }

    /// Moves the keys, and makes the new master the owner. The other nodes learn it later.
    ///
    /// # Errors
    /// When a node refuses a step.
    pub async fn finish(&self) -> Result<()> {
        let mut list = redis::cmd("CLUSTER");
        list.arg("GETKEYSINSLOT").arg(self.slot).arg(KEYS_PER_CALL);
        loop {
            let keys: Vec<Vec<u8>> = command_at(&self.from.url, &list).await?;
            if keys.is_empty() {
                break;
            }
            let migrate = self.migrate(&keys)?;
            let _: redis::Value = command_at(&self.from.url, &migrate).await.context("MIGRATE")?;
        }
        // The new owner first: then no node can believe that nobody owns the slot.
        self.set_slot(self.to, "NODE", self.to).await?;
        self.set_slot(self.from, "NODE", self.to).await
    }

    fn migrate(&self, keys: &[Vec<u8>]) -> Result<redis::Cmd> {
        let mut migrate = redis::cmd("MIGRATE");
        migrate.arg(&self.to.host).arg(self.to.port).arg("").arg(0).arg(MIGRATE_TIMEOUT_MS);
        let client = redis::Client::open(self.to.url.as_str())?;
        let settings = client.get_connection_info().redis_settings();
        match (settings.username(), settings.password()) {
            (Some(user), Some(password)) => {
                migrate.arg("AUTH2").arg(user).arg(password);
            }
            (None, Some(password)) => {
                migrate.arg("AUTH").arg(password);
            }
            _ => {}
        }
        migrate.arg("KEYS").arg(keys);
        Ok(migrate)
    }

    async fn set_slot(&self, at: &Master, state: &str, of: &Master) -> Result<()> {
        let mut command = redis::cmd("CLUSTER");
        command.arg("SETSLOT").arg(self.slot).arg(state).arg(&of.id);
        let answer: Result<()> = command_at(&at.url, &command).await;
        answer.with_context(|| format!("SETSLOT {} {state} at {}:{}", self.slot, at.host, at.port))
    }
}
