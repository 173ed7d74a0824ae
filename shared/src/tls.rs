//! The one implementation of cryptography that TLS uses in a program. Crates bring two of them in, and rustls refuses to
//! choose.

/// Chooses it; called first of all by each program that may open TLS connections.
pub fn prepare() {
    // It fails only when one was chosen before: by the same call, as tests do.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
