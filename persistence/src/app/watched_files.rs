//! Watches the files of secrets, keys and certificates of persistence, and passes changes to the parts that use them.

use std::sync::Arc;

use anyhow::Error;
use arc_swap::ArcSwap;
use tidings_shared::auth::Verifier;
use tidings_shared::rotation::{self, AcceptedSecrets, RotationMetrics, WatchedFiles};

use crate::config::Config;
use crate::internal::TlsConfig;
use crate::metrics::Metrics;

/// Starts to watch the files of secrets, keys and certificates. Returns the secrets and the TLS configuration of the
/// internal listener, which are replaced when their files change.
pub(super) fn start(
    config: &Config,
    verifier: &Arc<Verifier>,
    metrics: &Metrics,
) -> anyhow::Result<(Arc<ArcSwap<AcceptedSecrets>>, Option<TlsConfig>)> {
    let secrets = config.common.internal_secrets().map_err(Error::msg)?;
    let secrets = Arc::new(ArcSwap::from_pointee(secrets));
    let in_use = secrets.clone();
    let internal_secret = config.common.watch_internal_secret(move |changed| in_use.store(Arc::new(changed)));
    let mut files = vec![config.common.watch_token_keys(verifier), internal_secret];
    let tls = config.internal_tls.load().map_err(Error::msg)?;
    let tls = tls.map(|(tls, _)| Arc::new(ArcSwap::new(tls)));
    if let Some(in_use) = tls.clone() {
        let settings = config.internal_tls.clone();
        files.push(WatchedFiles::new("internal-tls", settings.paths(), move || {
            let loaded = settings.load().map_err(|problem| problem.to_string())?;
            let (config, fingerprints) = loaded.ok_or("no certificate is configured")?;
            in_use.store(config);
            Ok(fingerprints)
        }));
    }
    let metrics = RotationMetrics {
        in_use: metrics.secrets_in_use.clone(),
        reloads: metrics.secret_reloads.clone(),
        failing: metrics.secret_reload_failing.clone(),
    };
    rotation::start(files, metrics);
    Ok((secrets, tls))
}
