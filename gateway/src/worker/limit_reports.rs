//! Applies the limits of messages, typing and signals to the commands of a user on all nodes together. Each second a
//! node reports to Redis the tokens that active users have spent, and Redis answers how long each of them must wait. No
//! command waits for Redis, so a user may exceed the limit on each node for about a second.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tidings_shared::{
    log::{FirstDenial, Layout, keys::Partition},
    rate::{SpentTokens, report_spent_tokens},
};

use super::Node;
use crate::limits::Limit;

/// Interval between two reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of users in one call of `spent.lua`.
const MAX_USERS_PER_CALL: usize = 500;
/// A user is reported only after spending at least this many tokens, and at least an eighth of the rate, since the last
/// report. Few users do, so a report is cheap. A user who spends less on each of eight nodes stays within the rate.
const MIN_REPORTED_TOKENS: u32 = 2;
const REPORTED_RATE_DIVISOR: u32 = 8;

/// Reports the tokens of all shared limits every second. Never returns.
pub async fn report_limits(node: Arc<Node>) {
    let mut denied = FirstDenial::default();
    loop {
        tokio::time::sleep(REPORT_INTERVAL).await;
        for (limit, _) in Limit::ALL.into_iter().filter(|(limit, _)| limit.is_shared_by_nodes()) {
            report_limit(&node, limit, &mut denied).await;
        }
    }
}

/// Reports the tokens of one limit, and applies the waits that Redis answers.
async fn report_limit(node: &Node, limit: Limit, denied: &mut FirstDenial) {
    let limits = &node.rate_limits;
    let rate = limits.rate(limit);
    let min_tokens = MIN_REPORTED_TOKENS.max(rate.per_second.get() / REPORTED_RATE_DIVISOR);
    let (spent, age) = limits.take_usage(limit, min_tokens);
    let spent: Vec<SpentTokens> =
        spent.into_iter().map(|(user, count)| SpentTokens { user, kind: limit.name(), count }).collect();
    // While Redis is unavailable, each node applies only its own limits.
    let by_session = node.bus.log.group_by_open_session(spent, |spent| Partition::of_user(&spent.user)).await;
    for (session, mut spent) in by_session.unwrap_or_default() {
        let partition = |spent: &SpentTokens| Partition::of_user(&spent.user);
        // In a cluster, the keys of a call must be in one slot.
        let is_split = session.layout() == Layout::Cluster;
        if is_split {
            spent.sort_by_key(partition);
        }
        let slots = spent.chunk_by(|one, other| !is_split || partition(one) == partition(other));
        for spent in slots.flat_map(|spent| spent.chunks(MAX_USERS_PER_CALL)) {
            let waits = report_spent_tokens(&mut session.connection(), spent, age, rate).await;
            let now = Instant::now();
            match waits {
                Ok(waits) => {
                    for (spent, wait) in spent.iter().zip(waits).filter(|(_, wait)| !wait.is_zero()) {
                        limits.refuse_until(limit, spent.user.clone(), now + wait);
                    }
                }
                Err(error) => {
                    if denied.record(&error) {
                        tracing::warn!(
                            "the Redis user may not use the keys `rate:*`: limits hold on each gateway only; see \
                             deploy/redis/users.acl"
                        );
                    }
                    tracing::debug!(%error, "the use of rate limits could not be reported");
                    node.bus.log.discard_if_unusable(&session, &error);
                    break;
                }
            }
        }
    }
}
