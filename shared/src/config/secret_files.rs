//! Reads the files of secrets and of token keys again while a service runs, and puts their new content to use. The files
//! are watched by `rotation`; this module knows which settings they belong to.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use secrecy::{ExposeSecret, SecretString};

use super::{CommonArgs, resolve::read_secret_file};
use crate::{
    auth::Verifier,
    rotation::{AcceptedSecrets, LoadedFingerprints, WatchedFiles, fingerprint},
};

impl CommonArgs {
    /// The keys that verify tokens. Each change of their files replaces the configured keys of `verifier`.
    pub fn watch_token_keys(&self, verifier: &Arc<Verifier>) -> WatchedFiles {
        let secret_file = self.secret_files.get("jwt-secret").map(PathBuf::as_path);
        self.tokens.watch_keys(secret_file, verifier)
    }

    /// The secret that gateways and persistence share. Each change of its file calls `apply`.
    pub fn watch_internal_secret(&self, apply: impl Fn(AcceptedSecrets) + Send + 'static) -> WatchedFiles {
        let common = self.clone();
        let path = self.secret_files.get("internal-secret").cloned();
        WatchedFiles::new("internal-secret", path.iter().cloned().collect(), move || {
            let mut common = common.clone();
            if let Some(path) = &path {
                common.internal_secret = read_secret(path)?;
            }
            let secrets = common.internal_secrets().map_err(|problem| problem.to_string())?;
            let fingerprints = fingerprints_of("internal-secret", secrets.all());
            apply(secrets);
            Ok(fingerprints)
        })
    }
}

/// The fingerprints of the values of a setting.
pub fn fingerprints_of<'a>(
    setting: &'static str,
    secrets: impl IntoIterator<Item = &'a SecretString>,
) -> LoadedFingerprints {
    secrets.into_iter().map(|secret| (setting, fingerprint(secret.expose_secret().as_bytes()))).collect()
}

/// Reads the file of a secret as at the start.
pub fn read_secret(path: &Path) -> Result<SecretString, String> {
    let named = |why: &str| format!("the file {} {why}", path.display());
    let text = read_secret_file(path.as_os_str()).map_err(|why| named(&why))?;
    Ok(text.into_string().map_err(|_| named("is not UTF-8"))?.into())
}
