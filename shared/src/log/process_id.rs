//! The identity of a Redis process, read from INFO. An epoch belongs to one identity: data may only be continued by the
//! process that wrote them, and not after that process was a replica of another one.

use redis::{RedisError, aio::ConnectionLike};

use super::layout::Layout;
use crate::sabotage;

/// A Redis process since its last promotion. A process that was a replica may hold older data than before, so it counts
/// as another process after its promotion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessId {
    /// The id by which Redis distinguishes its processes; a restarted process has a new one.
    pub run_id: String,
    /// The `master_replid` if the process was promoted; empty if it was never a replica, or if Redis no longer knows.
    ///
    /// A promotion changes `master_replid`, and keeps the previous id in `master_replid2`. Redis also changes
    /// `master_replid` of a master whose data stay as they are: when a first replica attaches, and when no replica was
    /// attached for `repl-backlog-ttl`. Then it clears `master_replid2`. So the id counts only together with a second.
    pub replid: String,
    /// Whether the process is a node of a cluster.
    pub layout: Layout,
    /// Whether the process is a replica, so that it accepts no writes.
    pub is_replica: bool,
}

impl ProcessId {
    /// Asks a process for its identity. Returns `None` if the answer does not contain a `run_id`.
    pub(super) async fn read(connection: &mut impl ConnectionLike) -> Result<Option<Self>, RedisError> {
        let (server, replication): (String, String) = redis::pipe()
            .cmd("INFO")
            .arg("server")
            .cmd("INFO")
            .arg("replication")
            .query_async(connection)
            .await?;
        Ok(Self::parse(&server, &replication))
    }

    /// Whether this process has continued the data of an earlier identity since that was read. A `replid` of `None` is
    /// that of a row which the previous version wrote, and matches any.
    #[must_use]
    pub fn continues(&self, run_id: &str, replid: Option<&str>) -> bool {
        let is_same_promotion = self.replid.is_empty()
            || replid.is_none_or(|replid| self.replid == replid)
            || sabotage::is_removed("a promotion ends the epoch of a process");
        self.run_id == run_id && is_same_promotion
    }

    /// Reads the identity from the sections `server` and `replication` of INFO. A server without replication ids counts
    /// as never promoted.
    fn parse(server: &str, replication: &str) -> Option<Self> {
        let run_id = field(server, "run_id")?.to_owned();
        let previous = field(replication, "master_replid2").unwrap_or_default();
        let is_promoted = previous.bytes().any(|digit| digit != b'0');
        let replid = field(replication, "master_replid").filter(|_| is_promoted).unwrap_or_default();
        let is_replica = field(replication, "role") == Some("slave");
        Some(Self { run_id, replid: replid.to_owned(), layout: layout_of(server), is_replica })
    }
}

/// Whether a process is a node of a cluster, from the section `server` of its INFO. Valkey calls the field
/// `server_mode`.
pub(super) fn layout_of(server: &str) -> Layout {
    let mode = field(server, "redis_mode").or_else(|| field(server, "server_mode"));
    if mode == Some("cluster") { Layout::Cluster } else { Layout::Single }
}

/// The value of a field of INFO.
pub(super) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_ID: &str = "0000000000000000000000000000000000000000";

    fn process(replid: &str, replid2: &str) -> ProcessId {
        let replication = format!(
            "# Replication\r\nrole:master\r\nmaster_replid:{replid}\r\nmaster_replid2:{replid2}\r\n\
             second_repl_offset:-1\r\n"
        );
        ProcessId::parse("# Server\r\nredis_version:7.0.15\r\nrun_id:r1\r\n", &replication).unwrap()
    }

    #[test]
    fn promoted_process_does_not_continue_its_earlier_data() {
        let first = process("a", NO_ID);
        let (run_id, replid) = ("r1".to_owned(), String::new());
        assert_eq!(first, ProcessId { run_id, replid, layout: Layout::Single, is_replica: false });
        let (promoted, again) = (process("c", "b"), process("e", "d"));
        assert!(promoted.continues("r1", Some(&promoted.replid)) && promoted.continues("r1", None));
        assert!(!promoted.continues("r1", Some(&first.replid)));
        assert!(!again.continues("r1", Some(&promoted.replid)) && !again.continues("r2", Some("e")));
    }

    #[test]
    fn master_without_replicas_continues_its_data_with_new_replid() {
        let (promoted, backlog_freed) = (process("c", "b"), process("f", NO_ID));
        assert!(backlog_freed.continues("r1", Some(&promoted.replid)));
        assert!(process("g", NO_ID).continues("r1", Some(&process("a", NO_ID).replid)));
    }

    #[test]
    fn missing_fields_are_accepted_except_the_run_id() {
        let known = ProcessId::parse("run_id:r1\r\n", "").unwrap();
        assert_eq!((known.replid.as_str(), known.layout), ("", Layout::Single));
        assert_eq!(ProcessId::parse("redis_version:7.0.15\r\n", "master_replid:a\r\n"), None);
        assert!(!known.is_replica && ProcessId::parse("run_id:r1\r\n", "role:slave\r\n").unwrap().is_replica);
    }

    #[test]
    fn nodes_of_redis_and_valkey_tell_that_they_are_in_a_cluster() {
        for field in ["redis_mode", "server_mode"] {
            assert_eq!(layout_of(&format!("# Server\r\n{field}:cluster\r\n")), Layout::Cluster);
            assert_eq!(layout_of(&format!("# Server\r\n{field}:standalone\r\n")), Layout::Single);
        }
    }
}
