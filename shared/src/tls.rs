//! Chooses the cryptography provider of TLS for a program. Dependencies bring in two providers, and rustls does not
//! choose between them.

/// Installs the provider. Each program that may open TLS connections calls this first.
pub fn prepare() {
    // This fails only if a provider was installed before, as in tests.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
