//! The address at which other gateways reach this node.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket},
};

use tidings_shared::log::{MasterSource, RedisClient};

use crate::config::GatewayConfig;

/// Returns the address as `HOST:PORT`: the configured address, or else the listening address. If the node listens on
/// all addresses of its machine, the result has the one from which the machine reaches Redis, because the other
/// gateways use the same Redis.
pub fn advertised_address(config: &GatewayConfig, listen: SocketAddr, redis: &RedisClient) -> String {
    if let Some(address) = &config.advertise_address {
        return address.clone();
    }
    if !listen.ip().is_unspecified() {
        return listen.to_string();
    }
    match local_address_towards(redis, listen) {
        Ok(ip) => SocketAddr::new(ip, listen.port()).to_string(),
        Err(error) => {
            tracing::warn!(
                %error,
                "this node's address is unknown: other gateways cannot forward requests of Socket.IO clients to it; \
                 set --advertise-address"
            );
            listen.to_string()
        }
    }
}

/// The local address of connections to Redis that `listen` accepts. Sends nothing.
fn local_address_towards(redis: &RedisClient, listen: SocketAddr) -> io::Result<IpAddr> {
    let server = match redis.source() {
        MasterSource::Sentinels(sentinels) => sentinels.clients.first().map(RedisClient::address),
        MasterSource::OwnAddress | MasterSource::Cluster(_) => None,
    };
    let server = server.unwrap_or_else(|| redis.address());
    let mut result = Err(io::ErrorKind::NotFound.into());
    let servers = (&*server.host, server.port).to_socket_addrs()?;
    for server in servers.filter(|server| listen.is_ipv6() || server.is_ipv4()) {
        let any = match server {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let connected = UdpSocket::bind((any, 0)).and_then(|socket| {
            socket.connect(server)?;
            socket.local_addr()
        });
        result = connected.map(|local| local.ip());
        if result.is_ok() {
            break;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use tidings_shared::log::client;

    use super::*;

    fn advertised(listen: &str, arguments: &[&str]) -> String {
        let required = [
            "tidings-gateway",
            "--persistence-url=http://127.0.0.1:1",
            "--redis-url=redis://127.0.0.1:1",
            "--internal-secret=0123456789abcdef",
            "--jwt-secret=0123456789abcdef",
        ];
        let config = GatewayConfig::parse_from(required.iter().chain(arguments));
        advertised_address(&config, listen.parse().unwrap(), &client("redis://127.0.0.1:1").unwrap())
    }

    #[test]
    fn unspecified_address_is_replaced() {
        assert_eq!(advertised("10.1.2.3:80", &[]), "10.1.2.3:80");
        assert_eq!(advertised("10.1.2.3:80", &["--advertise-address=gw-1:81"]), "gw-1:81");
        assert_eq!(advertised("0.0.0.0:80", &[]), "127.0.0.1:80");
        assert_eq!(advertised("[::]:80", &[]), "127.0.0.1:80");
    }
}
