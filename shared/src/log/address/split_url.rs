//! Splits a Redis URL that names several nodes of a cluster, or Sentinels, into URLs with one host each. The Redis client
//! parses these URLs. A URL with one host stays as it is.

/// The forms of a Redis URL, as the continuation of the name of the setting.
pub const FORMS: &str = "is not a Redis URL: redis://[USER[:PASSWORD]@]HOST[:PORT][/DB], \
    redis+cluster://[USER[:PASSWORD]@]HOST[:PORT],… or \
    redis+sentinel://[USER[:PASSWORD]@]HOST[:PORT],…/MASTER[/DB]";

/// The port of a Sentinel whose URL contains none.
const SENTINEL_PORT: u16 = 26_379;

/// What the hosts of a URL are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostKind {
    /// One Redis, which may be a node of a cluster.
    Any,
    /// Nodes of one cluster.
    ClusterNode,
    /// Sentinels, which know the address of a master with this name.
    Sentinel { master: String },
}

/// A Redis URL, split by its hosts.
#[derive(Debug, PartialEq, Eq)]
pub struct SplitUrl {
    pub kind: HostKind,
    /// One URL for each host, in the order of the hosts, with user, password and database of the whole URL.
    pub urls: Vec<String>,
}

impl SplitUrl {
    /// Splits a URL. The error is a reason without a secret.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        let unsplit = || Ok(Self { kind: HostKind::Any, urls: vec![url.to_owned()] });
        let Some((scheme, rest)) = url.split_once("://") else { return unsplit() };
        let (base, suffix) = scheme.split_once('+').unwrap_or((scheme, ""));
        if !matches!(base, "redis" | "rediss" | "valkey" | "valkeys") {
            return unsplit();
        }
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let at = if authority.contains('@') { "@" } else { "" };
        let (kind, tail) = match suffix {
            "" if !hosts.contains(',') => return unsplit(),
            "" | "cluster" => (HostKind::ClusterNode, tail.to_owned()),
            "sentinel" => {
                let (master, tail) = split_master(tail)?;
                (HostKind::Sentinel { master }, tail)
            }
            _ => return unsplit(),
        };
        let url_of = |host: &str| {
            let port = match kind {
                HostKind::Sentinel { .. } if !has_port(host) => format!(":{SENTINEL_PORT}"),
                _ => String::new(),
            };
            (!host.is_empty()).then(|| format!("{base}://{user}{at}{host}{port}{tail}"))
        };
        let urls: Option<Vec<String>> = hosts.split(',').map(url_of).collect();
        Ok(Self { urls: urls.ok_or("names an empty host")?, kind })
    }
}

/// Splits `/MASTER[/DB][?QUERY][#FRAGMENT]` into the name of the master and the rest.
fn split_master(tail: &str) -> Result<(String, String), &'static str> {
    let name_and_rest = tail.strip_prefix('/').unwrap_or_default();
    let end = name_and_rest.find(['/', '?', '#']).unwrap_or(name_and_rest.len());
    let (master, rest) = name_and_rest.split_at(end);
    // Sentinel accepts no other characters in a name.
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if master.is_empty() || !master.bytes().all(is_allowed) {
        return Err("names Sentinels, but no master: redis+sentinel://HOST[:PORT],…/MASTER");
    }
    Ok((master.to_owned(), rest.to_owned()))
}

/// Whether a host is followed by a port. The colons of an IPv6 address are in brackets.
fn has_port(host: &str) -> bool {
    host.rsplit_once(']').map_or(host, |(_, port)| port).contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(url: &str) -> (HostKind, Vec<String>) {
        let split = SplitUrl::parse(url).unwrap();
        (split.kind, split.urls)
    }

    #[test]
    fn url_with_one_host_stays_as_it_is() {
        for url in
            ["redis://h", "rediss://u:a,b@h:1/2?protocol=3", "redis+unix:///a,b", "unix:///a", "nonsense"]
        {
            assert_eq!(urls(url), (HostKind::Any, vec![url.to_owned()]));
        }
    }

    #[test]
    fn hosts_of_a_cluster_keep_user_and_password() {
        let expected = ["rediss://u:a,b@h1:7001/0", "rediss://u:a,b@[::1]/0"].map(str::to_owned).to_vec();
        for url in ["rediss://u:a,b@h1:7001,[::1]/0", "rediss+cluster://u:a,b@h1:7001,[::1]/0"] {
            assert_eq!(urls(url), (HostKind::ClusterNode, expected.clone()));
        }
        assert_eq!(urls("redis+cluster://h").1, ["redis://h"]);
        assert!(SplitUrl::parse("redis://h1,,h2").is_err());
        assert!(SplitUrl::parse("redis+cluster://").is_err());
    }

    #[test]
    fn sentinels_have_their_own_port_and_a_master() {
        let kind = HostKind::Sentinel { master: "chat-1".to_owned() };
        let (found, of_sentinels) = urls("redis+sentinel://u@h1,h2:1,[::1],[::1]:2/chat-1/3?protocol=3");
        assert_eq!(found, kind);
        let hosts = ["h1:26379", "h2:1", "[::1]:26379", "[::1]:2"];
        assert_eq!(of_sentinels, hosts.map(|host| format!("redis://u@{host}/3?protocol=3")));
        assert_eq!(urls("redis+sentinel://h/chat-1"), (kind, vec!["redis://h:26379".to_owned()]));
        for url in
            ["redis+sentinel://h", "redis+sentinel://h/", "redis+sentinel://h//1", "redis+sentinel://h/a b"]
        {
            assert!(SplitUrl::parse(url).is_err(), "{url}");
        }
    }
}
