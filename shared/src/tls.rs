//! TLS of a program: its cryptography provider, because the dependencies contain two providers, and the authorities that
//! it trusts.

use std::path::Path;

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject},
};

/// Installs the cryptography provider. Each program that may open TLS connections must call this first.
pub fn install_provider() {
    // An error means that a provider is already installed, as in tests.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Returns the root certificates of the system, which may include those of a company. If the system has none, returns
/// the built-in public root certificates.
#[must_use]
pub fn trusted_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        tracing::debug!("the system has no root certificates; using the built-in ones");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// Reads all certificates of a PEM file, which must have at least one. The error names the file.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error| format!("the file {} cannot be read: {error}", path.display());
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect();
    match all.map_err(unreadable)? {
        all if all.is_empty() => Err(format!("the file {} has no certificate", path.display())),
        all => Ok(all),
    }
}

/// Reads the first private key of a PEM text, in the form PKCS #8. None if there is none.
#[must_use]
pub fn read_pkcs8_key(pem: &str) -> Option<Vec<u8>> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).ok()?;
    Some(key.secret_pkcs8_der().to_vec())
}
