//! Checks that a node of a Redis Cluster can serve the room log. Each failed check tells the operator what to do.

use redis::{RedisError, aio::MultiplexedConnection};
use thiserror::Error;

use super::process_id::field;

/// The first version of Redis with sharded pub/sub, and with the arguments that a script declares.
const MIN_MAJOR_VERSION: u32 = 7;

/// Why a node of a cluster cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NodeProblem {
    #[error("the node runs Redis {0}; a Redis Cluster needs Redis 7.0 or later")]
    OldVersion(String),
    #[error("INFO of the node does not contain {0}; use a server that reports it, or no Redis Cluster")]
    MissingField(&'static str),
    #[error("maxmemory-policy of the node is {0}, which may delete events; set it to noeviction")]
    Evicts(String),
}

/// Asks a node for its INFO, and checks it.
pub(super) async fn check_node(
    connection: &mut MultiplexedConnection,
) -> Result<Result<(), NodeProblem>, RedisError> {
    let mut pipe = redis::pipe();
    for section in ["server", "replication", "memory"] {
        pipe.cmd("INFO").arg(section);
    }
    let sections: Vec<String> = pipe.query_async(connection).await?;
    Ok(check_info(&sections.concat()))
}

/// Checks the sections `server`, `replication` and `memory` of INFO.
fn check_info(info: &str) -> Result<(), NodeProblem> {
    // Valkey reports here the version of Redis with which it is compatible.
    let version = field(info, "redis_version").ok_or(NodeProblem::MissingField("redis_version"))?;
    let major: Option<u32> = version.split('.').next().and_then(|major| major.parse().ok());
    if major.is_none_or(|major| major < MIN_MAJOR_VERSION) {
        return Err(NodeProblem::OldVersion(version.to_owned()));
    }
    for name in ["master_replid", "master_replid2"] {
        field(info, name).ok_or(NodeProblem::MissingField(name))?;
    }
    match field(info, "maxmemory_policy") {
        Some(policy) if policy != "noeviction" => Err(NodeProblem::Evicts(policy.to_owned())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(version: &str, replication: &str, policy: &str) -> Result<(), NodeProblem> {
        check_info(&format!("redis_version:{version}\r\n{replication}maxmemory_policy:{policy}\r\n"))
    }

    #[test]
    fn unsuitable_nodes_are_refused_with_the_reason() {
        let ids = "master_replid:a\r\nmaster_replid2:0\r\n";
        assert_eq!(check("7.0.15", ids, "noeviction"), Ok(()));
        assert_eq!(check("6.2.14", ids, "noeviction"), Err(NodeProblem::OldVersion("6.2.14".to_owned())));
        assert_eq!(check("8.4.0", ids, "allkeys-lru"), Err(NodeProblem::Evicts("allkeys-lru".to_owned())));
        let missing = check("7.2.4", "master_replid:a\r\n", "noeviction");
        assert_eq!(missing, Err(NodeProblem::MissingField("master_replid2")));
        assert_eq!(check_info(""), Err(NodeProblem::MissingField("redis_version")));
    }
}
