//! Watches the files of secrets, keys and certificates of a gateway, and passes changes to the parts that use them.

use std::sync::Arc;

use tidings_shared::{
    auth::Verifier,
    internal::InternalClient,
    rotation::{self, RotationMetrics, WatchedFiles},
};

use crate::{
    config::{GatewayConfig, session_id_keys},
    metrics::Metrics,
    transport::SessionIdKeys,
};

/// Starts to watch the files. `verifier`, `persistence` and `session_keys` get what the files contain.
pub(super) fn start(
    config: &GatewayConfig,
    verifier: &Arc<Verifier>,
    persistence: &Arc<InternalClient>,
    session_keys: &SessionIdKeys,
    metrics: &Metrics,
) {
    let (client, session_keys) = (persistence.clone(), session_keys.clone());
    let internal_secret = config.common.watch_internal_secret(move |secrets| {
        session_keys.replace(&session_id_keys(&secrets));
        client.replace_secrets(secrets);
    });
    let mut files = vec![config.common.watch_token_keys(verifier), internal_secret];
    if config.internal_tls.is_on() {
        let (tls, client) = (config.internal_tls.clone(), persistence.clone());
        files.push(WatchedFiles::new("internal-tls", tls.paths(), move || {
            let Some((config, loaded)) = tls.load().map_err(|problem| problem.to_string())? else {
                return Ok(Vec::new());
            };
            client.replace_tls(config).map_err(|error| error.to_string())?;
            Ok(loaded)
        }));
    }
    let metrics = RotationMetrics {
        in_use: metrics.secrets_in_use.clone(),
        reloads: metrics.secret_reloads.clone(),
        failing: metrics.secret_reload_failing.clone(),
    };
    rotation::start(files, metrics);
}
