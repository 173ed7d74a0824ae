//! Secrets, keys and certificates that a service reads again while it runs. `accepted_secrets` are the secrets that are
//! valid at the same time, `watched_file` notices a change of files and loads it, `fingerprint` names a secret without
//! revealing it, and `watch` checks all files at intervals and reports what is in use.

mod accepted_secrets;
mod fingerprint;
mod watch;
mod watched_file;

pub use accepted_secrets::{AcceptedSecrets, MIN_SECRET_BYTES};
pub use fingerprint::fingerprint;
pub use watch::{RotationMetrics, start};
pub use watched_file::{LoadedFingerprints, WatchedFiles};
