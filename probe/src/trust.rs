//! Builds the TLS configuration of the probe, and records when each server certificate expires. The expiry is recorded
//! before the verification, so that it is also known for an expired certificate.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tidings_shared::tls::{read_certificates, trusted_roots};

/// The expiry of the last certificate of each host, in seconds since 1970.
#[derive(Debug, Clone, Default)]
pub struct CertificateExpiries(Arc<Mutex<BTreeMap<String, i64>>>);

impl CertificateExpiries {
    /// The present values.
    pub fn current(&self) -> BTreeMap<String, i64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn record(&self, host: &ServerName<'_>, certificate: &CertificateDer<'_>) {
        let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return };
        let ends = parsed.validity().not_after.timestamp();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_str().into_owned(), ends);
    }
}

/// The TLS configuration of the probe. Trusts the authorities of the system and those of `ca_file`. The file is read
/// now, so that a new file is used in the next round.
pub fn client_config(
    ca_file: Option<&Path>,
    expiries: &CertificateExpiries,
) -> Result<Arc<ClientConfig>, String> {
    let mut roots = trusted_roots();
    if let Some(file) = ca_file {
        roots.add_parsable_certificates(read_certificates(file)?);
    }
    verifying_config(roots, expiries).map_err(|error| error.to_string())
}

fn verifying_config(
    roots: RootCertStore,
    expiries: &CertificateExpiries,
) -> Result<Arc<ClientConfig>, Box<dyn std::error::Error>> {
    let inner = WebPkiServerVerifier::builder(Arc::new(roots)).build()?;
    let verifier = RecordingVerifier { inner, expiries: expiries.clone() };
    let config = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Ok(Arc::new(config.with_no_client_auth()))
}

/// Records when a certificate expires. The standard verifier checks the certificate.
#[derive(Debug)]
struct RecordingVerifier {
    inner: Arc<WebPkiServerVerifier>,
    expiries: CertificateExpiries,
}

impl ServerCertVerifier for RecordingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.expiries.record(server_name, end_entity);
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
