//! Chooses the cryptography provider of TLS for a program, because the dependencies contain two providers.

/// Installs the cryptography provider. Each program that may open TLS connections must call this first.
pub fn install_provider() {
    // An error means that a provider is already installed, as in tests.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
