//! Builds the service from its settings and runs it until a signal ends it. At shutdown running requests get some time;
//! an upload that takes longer is resumed by its client at another replica.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use actix_web::{App, dev::Server, web::Data};
use anyhow::{Context, Error, ensure};
use sea_orm::DatabaseConnection;
use tidings_persistence::companion::{self, CompanionSettings};
use tidings_persistence::companion_metrics;
use tidings_persistence::database::PoolPurpose;
use tidings_persistence::http::STALLED_CONNECTION_TIMEOUT;
use tidings_persistence::http_server::{self, ServerSettings};
use tidings_shared::config::secret_files::{fingerprints_of, read_secret};
use tidings_shared::origin::AllowedOrigins;
use tidings_shared::rate::{Rate, UserRateLimiter};
use tidings_shared::rotation::{self, WatchedFiles};
use tidings_shared::security_headers::forbid_sniffing;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Addresses, ApiState, Policy};
use crate::config::Config;
use crate::file::FileState;
use crate::metrics::Metrics;
use crate::observer;
use crate::signing::AddressSigner;
use crate::storage::Storage;
use crate::store::{sweep::SweepTimes, totals, uploads::StorageLimits};
use crate::sweep::Sweep;

const DRAIN: Duration = Duration::from_secs(15);
const API_SHUTDOWN_TIMEOUT_S: u64 = 10;
/// How often the state of users who made no request lately is removed from the memory.
const LIMITER_CLEANUP: Duration = Duration::from_secs(60);

/// Runs until SIGTERM or SIGINT.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let metrics = Metrics::new();
    metrics.create_series();
    let settings = CompanionSettings {
        database_url: &config.database.database_url,
        purpose: PoolPurpose::Files,
        tokens: &config.tokens,
        unknown_users: config.accounts.users,
        secret_files: &config.secret_files,
        listen: config.listen,
        admin_listen: config.admin_listen().map_err(Error::msg)?,
        drain: DRAIN,
    };
    let signer = AddressSigner::new(config.secrets().map_err(Error::msg)?);
    let common = companion_metrics!(metrics);
    rotation::start(vec![watch_secret(&config, &signer)], common.rotation.clone());
    companion::run(settings, common, async |running, listener| {
        let (db, lifecycle) = (&running.db, &running.lifecycle);
        let draining = || lifecycle.draining.clone();
        let storage = config.storage().map_err(Error::msg)?;
        claim_storage(db, &storage).await?;
        let [appends, parts, checks, rechecks, waits, changes] = ApiState::slots();
        let state = Data::new(ApiState {
            db: db.clone(),
            callers: running.callers.clone(),
            storage: storage.clone(),
            addresses: Addresses { signer, public_url: config.public_url().map_err(Error::msg)? },
            policy: policy(&config)?,
            metrics: metrics.clone(),
            requests: UserRateLimiter::new(Rate::per_second(config.requests_per_second)),
            active: Default::default(),
            appends,
            parts,
            checks,
            rechecks,
            waits,
            changes,
            image_slots: ApiState::image_slots(usize::try_from(config.image_jobs)?),
            decoding: Default::default(),
        });
        lifecycle.tasks.spawn(make_sweep(&config, db.clone(), storage, metrics.clone()).run(draining()));
        lifecycle.tasks.spawn(observer::run(db.clone(), metrics.clone(), draining()));
        lifecycle.tasks.spawn(clean_limiters(state.clone(), draining()));
        serve_api(listener, state, config.origins().map_err(Error::msg)?)
    })
    .await
}

/// Refuses to start with a storage that is not the one of the stored files. Marks a new one.
async fn claim_storage(db: &DatabaseConnection, storage: &Storage) -> anyhow::Result<()> {
    let unusable = "the folder or bucket of the files cannot be used";
    if storage.is_marked().await.context(unusable)? {
        return Ok(());
    }
    let has_contents = totals::by_state(db)
        .await?
        .iter()
        .any(|total| [FileState::Ready, FileState::Held].contains(&total.state) && total.files > 0);
    ensure!(
        !has_contents,
        "this is not the folder or bucket of the stored files; is it mounted, is it the right one?"
    );
    storage.mark().await.context(unusable)
}

fn policy(config: &Config) -> anyhow::Result<Policy> {
    Ok(Policy {
        max_file_bytes: config.max_file_bytes,
        storage: StorageLimits {
            user_bytes: config.max_user_bytes,
            user_files: config.max_user_files,
            user_uploads: config.max_user_uploads,
            room_bytes: config.max_room_bytes,
        },
        media_types: config.media_types().map_err(Error::msg)?,
        upload_timeout_s: seconds_i64(config.upload_timeout_s),
        hold: config.hold,
        max_image_bytes: config.max_image_bytes,
        keep_metadata: config.keep_metadata,
        check_after_s: seconds_i64(config.check_every_s.min(config.orphan_after_s)),
    })
}

fn make_sweep(config: &Config, db: DatabaseConnection, storage: Storage, metrics: Metrics) -> Sweep {
    let times = SweepTimes {
        orphan_after_s: seconds_i64(config.orphan_after_s),
        delete_grace_s: seconds_i64(config.delete_grace_s),
        check_every_s: seconds_i64(config.check_every_s),
    };
    Sweep { db, storage, metrics, times, pause: Duration::from_secs(config.sweep_every_s) }
}

/// Converts seconds for SQL. Cannot overflow, because the settings limit times to ten years.
fn seconds_i64(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// Watches the file of the secret that signs addresses, if it came from a file.
fn watch_secret(config: &Config, signer: &AddressSigner) -> WatchedFiles {
    let (config, signer) = (config.clone(), signer.clone());
    let path = config.secret_files.get("secret").cloned();
    WatchedFiles::new("secret", path.iter().cloned().collect(), move || {
        let mut config = config.clone();
        if let Some(path) = &path {
            config.secret = read_secret(AsRef::<Path>::as_ref(path))?;
        }
        let secrets = config.secrets().map_err(|problem| problem.to_string())?;
        let fingerprints = fingerprints_of("secret", secrets.all());
        signer.replace(secrets);
        Ok(fingerprints)
    })
}

async fn clean_limiters(state: Data<ApiState>, stop: CancellationToken) {
    let cleaning = async {
        loop {
            tokio::time::sleep(LIMITER_CLEANUP).await;
            state.requests.drop_full_buckets();
            state.decoding.drop_full(Instant::now());
        }
    };
    stop.run_until_cancelled(cleaning).await;
}

fn serve_api(
    listener: TcpListener,
    state: Data<ApiState>,
    origins: AllowedOrigins,
) -> anyhow::Result<Server> {
    let settings = ServerSettings { name: "api", workers: None, shutdown_timeout_s: API_SHUTDOWN_TIMEOUT_S };
    // Nothing is written while the body of an upload arrives.
    let prepare = http_server::limit_write_idle(api::APPEND_TIMEOUT + STALLED_CONNECTION_TIMEOUT);
    let make_app =
        move || App::new().wrap(forbid_sniffing()).configure(api::configure(state.clone(), origins.clone()));
    Ok(http_server::serve(settings, listener, prepare, make_app)?)
}
