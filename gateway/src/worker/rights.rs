//! Logs a warning if the gateway's Redis user lacks the right to measure the backlog. Nothing else would show this,
//! because no command fails without the right.

use std::{sync::Arc, time::Duration};

use tidings_shared::log::{keys::COMMON_PARTITION, may_measure_backlog};

use super::Node;

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Checks the right once, as soon as Redis answers, and logs the warning if it is missing.
pub async fn warn_of_missing_rights(node: Arc<Node>) {
    loop {
        if let Ok(session) = node.bus.log.session(COMMON_PARTITION).await
            && let Ok(may_measure) = may_measure_backlog(&mut session.connection()).await
        {
            if !may_measure {
                tracing::warn!(
                    "the Redis user lacks +memory|usage: the backlog is limited in records only; see \
                     deploy/redis/users.acl"
                );
            }
            return;
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}
