//! Token buckets that all nodes share. Nodes report the tokens that users have spent, and get the users' waiting times.

use std::{sync::LazyLock, time::Duration};

use redis::{RedisResult, Script};

use super::Rate;
use crate::{
    ids::UserId,
    log::{Layout, RedisConnection as Connection},
    membership,
};

static SPENT_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("spent.lua")));

/// The tokens that a user has spent for one kind of command on this node since the last report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpentTokens {
    pub user: UserId,
    /// The name of the kind of command, as in [`spent_key`].
    pub kind: &'static str,
    pub count: u32,
}

fn spent_key(layout: Layout, user: &UserId, kind: &str) -> String {
    membership::user_key(layout, "rate", user, kind)
}

/// Takes tokens for one kind of command from the shared buckets. The tokens were spent during `age`, the time before
/// this call. Returns, in the same order, how long each user must wait until the shared bucket has a token; zero if the
/// bucket has one now.
pub async fn report_spent_tokens(
    connection: &mut Connection,
    spent: &[SpentTokens],
    age: Duration,
    Rate { per_second, burst }: Rate,
) -> RedisResult<Vec<Duration>> {
    let mut call = SPENT_SCRIPT.prepare_invoke();
    call.arg(u64::try_from(age.as_micros()).unwrap_or(u64::MAX));
    let micros = |count: u32| u64::from(count) * 1_000_000 / u64::from(per_second.get());
    for spent in spent {
        call.key(spent_key(connection.layout(), &spent.user, spent.kind));
        call.arg(micros(spent.count)).arg(micros(burst.get()));
    }
    let waits: Vec<u64> = call.invoke_async(connection).await?;
    Ok(waits.into_iter().map(Duration::from_millis).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_all_users_have_a_hash_tag() {
        // Redis takes the text between the first `{` and the next `}` as the tag, unless it is empty.
        for (id, single, cluster) in [
            ("alice", "rate:{alice}:typing", "{07}:rate:alice\u{1f}typing"),
            ("}bob", "rate:{\u{1f}}bob}:typing", "{19}:rate:}bob\u{1f}typing"),
        ] {
            let user = UserId::parse(id).unwrap();
            assert_eq!(spent_key(Layout::Single, &user, "typing"), single);
            assert_eq!(spent_key(Layout::Cluster, &user, "typing"), cluster);
        }
    }
}
