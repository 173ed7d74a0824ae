//! TLS between gateways and persistence: the settings, and the rustls configurations that are made of their files. The
//! files are read again when they change; a connection keeps the configuration with which it began. Only TLS 1.3 is
//! used, because both sides are Tidings.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::TLS13,
};

use crate::{
    problem::Problem,
    rotation::{LoadedFingerprints, fingerprint},
    tls,
};

/// The settings of a gateway for TLS to persistence.
#[derive(Debug, Clone, Default, Args)]
pub struct ClientTlsArgs {
    /// File with the authorities that sign persistence's certificates (PEM), read again when it changes. If given,
    /// gateways use TLS, and the addresses of persistence begin with https://
    #[arg(long, env = "TIDINGS_INTERNAL_TLS_CA", value_name = "PATH")]
    pub internal_tls_ca: Option<PathBuf>,
    /// File with the certificate by which this gateway proves its identity to persistence, and its chain (PEM), read
    /// again when it changes
    #[arg(long, env = "TIDINGS_INTERNAL_TLS_CLIENT_CERT", value_name = "PATH")]
    pub internal_tls_client_cert: Option<PathBuf>,
    /// File with the private key of this certificate (PEM), read again when it changes
    #[arg(long, env = "TIDINGS_INTERNAL_TLS_CLIENT_KEY", value_name = "PATH")]
    pub internal_tls_client_key: Option<PathBuf>,
}

/// The settings of persistence for TLS of its internal listener.
#[derive(Debug, Clone, Default, Args)]
pub struct ServerTlsArgs {
    /// File with the certificate of the internal listener and its chain (PEM), read again when it changes. If given,
    /// the listener refuses connections without TLS
    #[arg(long, env = "TIDINGS_INTERNAL_TLS_CERT", value_name = "PATH")]
    pub internal_tls_cert: Option<PathBuf>,
    /// File with the private key of this certificate (PEM), read again when it changes
    #[arg(long, env = "TIDINGS_INTERNAL_TLS_KEY", value_name = "PATH")]
    pub internal_tls_key: Option<PathBuf>,
    /// File with the authorities that sign the certificates of gateways (PEM), read again when it changes. If given,
    /// gateways without such a certificate are refused
    #[arg(long, env = "TIDINGS_INTERNAL_TLS_CLIENT_CA", value_name = "PATH")]
    pub internal_tls_client_ca: Option<PathBuf>,
}

impl ClientTlsArgs {
    /// The files of the settings.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let all = [&self.internal_tls_ca, &self.internal_tls_client_cert, &self.internal_tls_client_key];
        all.into_iter().filter_map(given).cloned().collect()
    }

    /// Whether TLS is used.
    #[must_use]
    pub fn is_on(&self) -> bool {
        given(&self.internal_tls_ca).is_some()
    }

    /// Reads the files, and returns the configuration with the fingerprints of certificates and authorities. Returns
    /// `None` if no TLS is used.
    pub fn load(&self) -> Result<Option<(ClientConfig, LoadedFingerprints)>, Problem> {
        let identity = pair(
            ("internal-tls-client-cert", &self.internal_tls_client_cert),
            ("internal-tls-client-key", &self.internal_tls_client_key),
        )?;
        let Some(ca) = given(&self.internal_tls_ca) else {
            return match identity {
                None => Ok(None),
                Some(_) => Err(Problem::new("internal-tls-client-cert", "needs --internal-tls-ca")),
            };
        };
        let (roots, mut loaded) = read_authorities("internal-tls-ca", ca)?;
        tls::install_provider();
        let builder = ClientConfig::builder_with_protocol_versions(&[&TLS13]).with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let setting = "internal-tls-client-cert";
                let (chain, key) = read_identity([setting, "internal-tls-client-key"], cert, key)?;
                loaded.push((setting, fingerprint(&chain[0])));
                builder.with_client_auth_cert(chain, key).map_err(|error| Problem::new(setting, error))?
            }
        };
        Ok(Some((config, loaded)))
    }
}

impl ServerTlsArgs {
    /// The files of the settings.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let all = [&self.internal_tls_cert, &self.internal_tls_key, &self.internal_tls_client_ca];
        all.into_iter().filter_map(given).cloned().collect()
    }

    /// Reads the files, and returns the configuration with the fingerprints of certificate and authorities. Returns
    /// `None` if no TLS is used.
    pub fn load(&self) -> Result<Option<(Arc<ServerConfig>, LoadedFingerprints)>, Problem> {
        let identity = pair(
            ("internal-tls-cert", &self.internal_tls_cert),
            ("internal-tls-key", &self.internal_tls_key),
        )?;
        let client_ca = given(&self.internal_tls_client_ca);
        let Some((cert, key)) = identity else {
            return match client_ca {
                None => Ok(None),
                Some(_) => Err(Problem::new("internal-tls-client-ca", "needs --internal-tls-cert")),
            };
        };
        let (chain, key) = read_identity(["internal-tls-cert", "internal-tls-key"], cert, key)?;
        let mut loaded = vec![("internal-tls-cert", fingerprint(&chain[0]))];
        tls::install_provider();
        let builder = ServerConfig::builder_with_protocol_versions(&[&TLS13]);
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let (roots, authorities) = read_authorities("internal-tls-client-ca", ca)?;
                loaded.extend(authorities);
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
                let named = |error| Problem::new("internal-tls-client-ca", error);
                builder.with_client_cert_verifier(verifier.map_err(named)?)
            }
        };
        let config =
            builder.with_single_cert(chain, key).map_err(|error| Problem::new("internal-tls-cert", error))?;
        Ok(Some((Arc::new(config), loaded)))
    }
}

/// The path of a setting, unless it is empty.
fn given(path: &Option<PathBuf>) -> Option<&PathBuf> {
    path.as_ref().filter(|path| !path.as_os_str().is_empty())
}

/// The paths of a certificate and its key, of which both or none must be given.
fn pair<'a>(
    (cert_setting, cert): (&str, &'a Option<PathBuf>),
    (key_setting, key): (&str, &'a Option<PathBuf>),
) -> Result<Option<(&'a PathBuf, &'a PathBuf)>, Problem> {
    match (given(cert), given(key)) {
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Problem::new(cert_setting, format!("needs --{key_setting}"))),
        (None, Some(_)) => Err(Problem::new(key_setting, format!("needs --{cert_setting}"))),
    }
}

fn read_authorities(
    setting: &'static str,
    path: &Path,
) -> Result<(RootCertStore, LoadedFingerprints), Problem> {
    let (mut roots, mut loaded) = (RootCertStore::empty(), LoadedFingerprints::new());
    for certificate in certificates_of(setting, path)? {
        loaded.push((setting, fingerprint(&certificate)));
        let unusable =
            |error| problem_of(setting, path, format!("has a certificate that cannot be used: {error}"));
        roots.add(certificate).map_err(unusable)?;
    }
    Ok((roots, loaded))
}

/// Reads a certificate with its chain, and its key. The caller's configuration refuses a key of another certificate,
/// as while only one of the two files is replaced.
fn read_identity(
    [cert_setting, key_setting]: [&'static str; 2],
    cert: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Problem> {
    let chain = certificates_of(cert_setting, cert)?;
    let unreadable = |error| problem_of(key_setting, key, format!("has no usable private key: {error}"));
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(unreadable)?;
    Ok((chain, key_der))
}

fn certificates_of(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    tls::read_certificates(path).map_err(|why| Problem::new(setting, why))
}

fn problem_of(setting: &str, path: &Path, why: String) -> Problem {
    Problem::new(setting, format!("the file {} {why}", path.display()))
}
