//! TLS for tests: an authority of this process, certificates that the authority signs, and clients that trust it.
//! Clients also trust the certificates in the file that `SSL_CERT_FILE` names, as clients of OpenSSL do.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A certificate authority for servers of tests.
pub struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A server's certificate and private key, as PEM.
pub struct Identity {
    /// The certificate, with its chain.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Identity {
    /// The certificate as DER.
    ///
    /// # Errors
    /// When the certificate is not PEM.
    pub fn der(&self) -> Result<Vec<u8>> {
        Ok(CertificateDer::from_pem_slice(self.certificate.as_bytes())?.to_vec())
    }
}

impl Authority {
    /// Creates an authority that nobody trusts yet.
    pub fn new(name: &str) -> Result<Authority> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        Ok(Authority { certificate, issuer: Issuer::new(params, key) })
    }

    /// The authority's own certificate as PEM. A client that trusts it accepts the servers' certificates.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// The authority's own certificate as DER.
    pub fn der(&self) -> Vec<u8> {
        self.certificate.der().to_vec()
    }

    /// A certificate for a server of these names or addresses.
    ///
    /// # Errors
    /// When a name is not allowed in a certificate.
    pub fn identity(&self, names: &[&str]) -> Result<Identity> {
        self.identity_with(names, |_| {})
    }

    /// Like [`Authority::identity`], but the certificate has expired.
    ///
    /// # Errors
    /// When a name is not allowed in a certificate.
    pub fn expired_identity(&self, names: &[&str]) -> Result<Identity> {
        self.identity_with(names, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    }

    /// Like [`Authority::identity`], but the certificate expires after this time.
    ///
    /// # Errors
    /// When a name is not allowed in a certificate.
    pub fn short_identity(&self, names: &[&str], lifetime: Duration) -> Result<Identity> {
        let ends = SystemTime::now().duration_since(UNIX_EPOCH)? + lifetime;
        self.identity_with(names, |params| params.not_after = date_time_ymd(1970, 1, 1) + ends)
    }

    fn identity_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names)?;
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }
}

/// The authority of this process, which all its clients trust.
pub fn authority() -> Result<&'static Authority> {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    if let Some(authority) = AUTHORITY.get() {
        return Ok(authority);
    }
    let made = Authority::new("Tidings tests")?;
    Ok(AUTHORITY.get_or_init(|| made))
}

/// The TLS configuration of this process's clients. Unusable certificates in `SSL_CERT_FILE` are reported on standard
/// error and ignored.
pub(crate) fn client() -> Arc<ClientConfig> {
    static CLIENT_CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    Arc::clone(CLIENT_CONFIG.get_or_init(|| {
        let trusted = trusted_roots().unwrap_or_else(|error| {
            eprintln!("no certificate is trusted: {error:#}");
            RootCertStore::empty()
        });
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("the provider has the ciphers of the versions that are safe");
        Arc::new(config.with_root_certificates(trusted).with_no_client_auth())
    }))
}

fn trusted_roots() -> Result<RootCertStore> {
    let mut trusted = RootCertStore::empty();
    trusted.add(authority()?.certificate.der().clone())?;
    if let Some(file) = std::env::var_os("SSL_CERT_FILE") {
        let context = || format!("SSL_CERT_FILE={}", file.display());
        for certificate in CertificateDer::pem_file_iter(&file).with_context(context)? {
            trusted.add(certificate.with_context(context)?)?;
        }
    }
    Ok(trusted)
}

/// Begins TLS on a connection to the server of this name.
pub(crate) async fn connect(stream: TcpStream, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
    TlsConnector::from(client()).connect(name, stream).await
}
