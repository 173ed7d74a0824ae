//! Creates a Redis client for a URL, without connecting. The URL may ask for TLS, contain a user and a password, and name
//! several nodes of a cluster, or Sentinels. The client sets TCP_NODELAY, so that the network does not delay pipelined
//! commands.

mod split_url;

use std::{
    ops::Deref,
    sync::{Arc, atomic::AtomicUsize},
};

use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo,
    RedisError, TlsCertificates, aio::MultiplexedConnection, io::tcp::TcpSettings,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::shard_map::NodeAddress;
use crate::{problem::Problem, tls};
use split_url::{FORMS, HostKind, SplitUrl};

/// The host of a client whose master only Sentinels know. The name never has an address (RFC 2606), so a connection
/// without the address of the master fails, and no Sentinel gets the password of Redis.
const UNKNOWN_MASTER: &str = "master-of-sentinels.invalid";

/// A Redis client with its TLS settings. The pub/sub connection is opened without the Redis crate, so it needs the
/// settings, and the crate does not expose its own.
#[derive(Debug, Clone)]
pub struct RedisClient {
    redis: redis::Client,
    tls: Option<Arc<ClientConfig>>,
    source: MasterSource,
    /// The name of the connections in the list of clients of Redis.
    name: Option<Arc<str>>,
}

/// Where the addresses of the masters come from.
#[derive(Debug, Clone)]
pub enum MasterSource {
    /// The client's own address, of a single Redis or of a node of a cluster.
    OwnAddress,
    /// These nodes, which must belong to one cluster. The first one is the client's own address.
    Cluster(Arc<[NodeAddress]>),
    /// Sentinels. The client's own address leads nowhere.
    Sentinels(Arc<Sentinels>),
}

/// Sentinels, and the name of the master whose address they know.
#[derive(Debug)]
pub struct Sentinels {
    /// At least one.
    pub clients: Vec<RedisClient>,
    pub master_name: String,
    /// The index of the Sentinel that answered last, which is asked first.
    pub(super) last_answered: AtomicUsize,
}

/// User, password and certificate authorities (PEM) for Sentinels.
#[derive(Debug, Clone, Copy, Default)]
pub struct SentinelAccess<'a> {
    pub user: Option<&'a str>,
    pub password: Option<&'a str>,
    pub authorities: Option<&'a [u8]>,
}

impl RedisClient {
    fn new(redis: redis::Client, roots: impl FnOnce() -> RootCertStore) -> Self {
        let with_tls = matches!(redis.get_connection_info().addr(), ConnectionAddr::TcpTls { .. });
        let tls = with_tls.then(|| {
            tls::install_provider();
            ClientConfig::builder().with_root_certificates(roots()).with_no_client_auth().into()
        });
        Self { redis, tls, source: MasterSource::OwnAddress, name: None }
    }

    /// The address to which the client connects. A Unix socket has its path as host, and port 0.
    pub fn address(&self) -> NodeAddress {
        match self.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                NodeAddress { host: host.as_str().into(), port: *port }
            }
            other => NodeAddress { host: other.to_string().into(), port: 0 },
        }
    }

    /// A client for another node of the same cluster: with the same TLS settings, user and password.
    #[must_use]
    pub fn at(&self, address: &NodeAddress) -> Self {
        if self.address() == *address {
            return self.clone();
        }
        let info = self.get_connection_info().clone();
        let mut addr = info.addr().clone();
        match &mut addr {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                (*host, *port) = (address.host.to_string(), address.port);
            }
            // A cluster has no nodes behind Unix sockets, so the address can only be that of a port.
            other => *other = ConnectionAddr::Tcp(address.host.to_string(), address.port),
        }
        // Fails only for a text that is not a URL, and this is not a text.
        let redis = redis::Client::open(info.set_addr(addr)).unwrap_or_else(|_| self.redis.clone());
        Self { redis, tls: self.tls.clone(), source: MasterSource::OwnAddress, name: self.name.clone() }
    }

    /// Names the connections that are opened from now on `PROGRAM:NODE`, so that `CLIENT LIST` shows whose they are.
    /// Characters that Redis does not allow in a name become `_`.
    #[must_use]
    pub fn named(self, program: &str, node: &str) -> Self {
        let name = format!("{program}:{node}").replace(|letter: char| !letter.is_ascii_graphic(), "_");
        Self { name: Some(name.into()), ..self }
    }

    /// The name of the connections; None if they have none.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Opens a connection, and gives it its name. Without the name it is used all the same.
    pub(super) async fn connect(
        &self,
        config: &AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, RedisError> {
        let mut connection = self.redis.get_multiplexed_async_connection_with_config(config).await?;
        if let Some(name) = self.name() {
            let protocol = self.redis.get_connection_info().redis_settings().protocol();
            // HELLO, because every user may call it, and CLIENT SETNAME needs a right. It repeats the protocol that the
            // connection already has.
            let version = if protocol.supports_resp3() { "3" } else { "2" };
            let mut hello = redis::Cmd::new();
            hello.arg("HELLO").arg(version).arg("SETNAME").arg(name);
            if let Err(error) = hello.exec_async(&mut connection).await {
                tracing::debug!(kind = ?error.kind(), "a connection to Redis stays without a name");
            }
        }
        Ok(connection)
    }

    /// The settings of a TLS connection to the client's address, or `None` if the address does not use TLS.
    pub(super) fn tls(&self) -> Option<&Arc<ClientConfig>> {
        self.tls.as_ref()
    }

    /// Where the addresses of the masters come from.
    #[must_use]
    pub fn source(&self) -> &MasterSource {
        &self.source
    }
}

impl Deref for RedisClient {
    type Target = redis::Client;
    fn deref(&self) -> &redis::Client {
        &self.redis
    }
}

/// The certificate authorities that browsers trust.
fn public_roots() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

/// Creates a client for a Redis URL with one host. With TLS the client trusts the public certificate authorities. Fails
/// if the URL is malformed.
pub fn client(url: &str) -> Result<RedisClient, RedisError> {
    let redis = redis::Client::open(with_client_options(url.into_connection_info()?))?;
    Ok(RedisClient::new(redis, public_roots))
}

/// Creates a client for a Redis URL. `password` is used if the URL contains none. With TLS, `authorities` (PEM) are the
/// certificate authorities to trust instead of the public ones. A returned problem contains no secret.
pub fn client_with(
    url: &str,
    password: Option<&str>,
    authorities: Option<&[u8]>,
    sentinel: SentinelAccess<'_>,
) -> Result<RedisClient, Problem> {
    let invalid_url = |why| Problem::new("redis-url", why);
    let SplitUrl { kind, urls } = SplitUrl::parse(url).map_err(invalid_url)?;
    let mut addresses = Vec::with_capacity(urls.len());
    for url in &urls {
        let address = url.as_str().into_connection_info().map_err(|_| invalid_url(FORMS))?;
        if matches!(address.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
            return Err(invalid_url("ends with #insecure: TLS does not protect if the name is not verified"));
        }
        addresses.push(address);
    }
    let mut address = addresses.first().ok_or_else(|| invalid_url(FORMS))?.clone();
    if let Some(password) = password {
        let settings = address.redis_settings().clone();
        if settings.password().is_some() {
            return Err(Problem::new("redis-password", "is given, but the URL contains one too"));
        }
        address = address.set_redis_settings(settings.set_password(password));
    }
    let source = match kind {
        HostKind::Any => MasterSource::OwnAddress,
        HostKind::ClusterNode if address.redis_settings().db() != 0 => {
            return Err(invalid_url("names a database, but a cluster has only database 0"));
        }
        HostKind::ClusterNode => {
            let nodes: Option<Arc<[_]>> = addresses.iter().map(node_address).collect();
            MasterSource::Cluster(nodes.ok_or_else(|| invalid_url(FORMS))?)
        }
        HostKind::Sentinel { master } => {
            let clients = addresses.iter().map(|address| sentinel_client(address, sentinel));
            let clients = clients.collect::<Result<Vec<_>, _>>()?;
            let unknown = with_host(address.addr(), UNKNOWN_MASTER);
            address = address.set_addr(unknown);
            MasterSource::Sentinels(Arc::new(Sentinels {
                clients,
                master_name: master,
                last_answered: AtomicUsize::new(0),
            }))
        }
    };
    if !matches!(source, MasterSource::Sentinels(_)) {
        sentinel.refuse()?;
    }
    Ok(RedisClient { source, ..open(address, authorities, "redis-ca-file")? })
}

/// Creates the client of one Sentinel. The connection uses TLS if the connections to Redis do, or if there are
/// authorities for Sentinels.
fn sentinel_client(address: &ConnectionInfo, access: SentinelAccess<'_>) -> Result<RedisClient, Problem> {
    let mut settings = RedisConnectionInfo::default();
    if let Some(user) = access.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = access.password {
        settings = settings.set_password(password);
    }
    let addr = match address.addr() {
        ConnectionAddr::Tcp(host, port) if access.authorities.is_some() => {
            ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
        }
        addr => addr.clone(),
    };
    let address = address.clone().set_addr(addr).set_redis_settings(settings);
    open(address, access.authorities, "redis-sentinel-ca-file")
}

impl SentinelAccess<'_> {
    /// Fails if there is any access, because the URL names no Sentinels.
    fn refuse(self) -> Result<(), Problem> {
        let given = [
            ("redis-sentinel-user", self.user.is_some()),
            ("redis-sentinel-password", self.password.is_some()),
            ("redis-sentinel-ca-file", self.authorities.is_some()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((setting, _)) => {
                Err(Problem::new(setting, "is given, but the URL does not begin with redis+sentinel://"))
            }
            None => Ok(()),
        }
    }
}

/// Host and port of an address. `None` if it is the path of a socket.
fn node_address(address: &ConnectionInfo) -> Option<NodeAddress> {
    match address.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Some(NodeAddress { host: host.as_str().into(), port: *port })
        }
        _ => None,
    }
}

/// The same address with another host.
fn with_host(addr: &ConnectionAddr, host: &str) -> ConnectionAddr {
    match addr.clone() {
        ConnectionAddr::Tcp(_, port) => ConnectionAddr::Tcp(host.to_owned(), port),
        ConnectionAddr::TcpTls { port, insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure, tls_params }
        }
        other => other,
    }
}

/// Creates the client of one address. `authorities` come from the setting `authorities_setting`.
fn open(
    address: ConnectionInfo,
    authorities: Option<&[u8]>,
    authorities_setting: &str,
) -> Result<RedisClient, Problem> {
    let invalid_authorities = |why| Err(Problem::new(authorities_setting, why));
    let uses_tls = matches!(address.addr(), ConnectionAddr::TcpTls { .. });
    let address = with_client_options(address);
    match authorities {
        None => {
            let redis = redis::Client::open(address).map_err(|_| Problem::new("redis-url", FORMS))?;
            Ok(RedisClient::new(redis, public_roots))
        }
        Some(_) if !uses_tls => invalid_authorities("is given, but the URL does not begin with rediss://"),
        Some(pem) if !pem.windows(CERTIFICATE_BEGIN.len()).any(|part| part == CERTIFICATE_BEGIN) => {
            invalid_authorities("contains no certificate in PEM")
        }
        Some(pem) => {
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.to_vec()) };
            let redis = redis::Client::build_with_tls(address, certificates);
            match (redis, parse_root_certificates(pem)) {
                (Ok(redis), Some(roots)) => Ok(RedisClient::new(redis, || roots)),
                _ => invalid_authorities("contains a certificate that cannot be read"),
            }
        }
    }
}

/// Parses the certificate authorities in a PEM file. Returns `None` if a certificate cannot be parsed.
fn parse_root_certificates(pem: &[u8]) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.ok()?).ok()?;
    }
    Some(roots)
}

/// First line of a certificate in PEM. A file without this line is refused at the start of the program, because the
/// Redis client would report the error only at the first connection.
const CERTIFICATE_BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

fn with_client_options(address: ConnectionInfo) -> ConnectionInfo {
    // CLIENT SETINFO is not sent, because older versions of Redis do not have this command, and because the Redis users
    // of the services may not call it.
    let settings = address.redis_settings().clone().set_skip_set_lib_name();
    address.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true))
}

#[cfg(test)]
mod tests;
