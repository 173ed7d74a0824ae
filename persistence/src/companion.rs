//! What programs beside persistence have in common: they use its database and its rules, and serve an API of their own.

pub mod api;
pub mod caller;
pub mod refusals;
pub mod tasks;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::dev::Server;
use anyhow::{Context, Error};
use sea_orm::DatabaseConnection;
use secrecy::SecretString;
use tidings_shared::{
    admin,
    auth::Verifier,
    config::{
        problem::{self, SecretFiles},
        token_args::TokenArgs,
    },
    lifecycle::Lifecycle,
    prometheus::IntCounterVec,
    rotation::{self, RotationMetrics},
};
use tokio_util::sync::CancellationToken;

use self::caller::CallerCheck;
use crate::database::{self, IDLE_IN_TRANSACTION_MS, PoolPurpose};
use crate::writer::users::UnknownUserPolicy;

/// The settings that every program has.
pub struct CompanionSettings<'a> {
    pub database_url: &'a SecretString,
    pub purpose: PoolPurpose,
    pub tokens: &'a TokenArgs,
    pub unknown_users: UnknownUserPolicy,
    pub secret_files: &'a SecretFiles,
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    /// How long a drain may take.
    pub drain: Duration,
}

/// The metrics that every program has.
pub struct CompanionMetrics<E> {
    /// With the label `result`.
    pub key_fetches: IntCounterVec,
    pub rotation: RotationMetrics,
    /// Gets whether the program is ready, and returns the text of the metrics.
    pub export: E,
}

/// Makes [`CompanionMetrics`] of the metrics of a program. The fields of the common metrics have the same names in each
/// program.
#[macro_export]
macro_rules! companion_metrics {
    ($metrics:expr) => {{
        let metrics = $metrics.clone();
        $crate::companion::CompanionMetrics {
            key_fetches: metrics.key_fetches.clone(),
            rotation: ::tidings_shared::rotation::RotationMetrics {
                in_use: metrics.secrets_in_use.clone(),
                reloads: metrics.secret_reloads.clone(),
                failing: metrics.secret_reload_failing.clone(),
            },
            export: move |is_ready| {
                metrics.ready.set(i64::from(is_ready));
                metrics.text()
            },
        }
    }};
}

/// The parts of a running program.
pub struct Running {
    pub db: DatabaseConnection,
    pub callers: CallerCheck,
    pub lifecycle: Lifecycle,
}

/// Runs a program until SIGTERM or SIGINT. `start` is called when the schema is there: it starts the tasks of the program,
/// and returns the server of its API, which stops when the program drains.
///
/// # Errors
/// When a setting cannot be used, `start` fails, or the drain does not end in time.
pub async fn run<E, S>(
    settings: CompanionSettings<'_>,
    metrics: CompanionMetrics<E>,
    start: S,
) -> anyhow::Result<()>
where
    E: Fn(bool) -> String + Send + Sync + 'static,
    S: AsyncFnOnce(&Running, TcpListener) -> anyhow::Result<Server>,
{
    let lifecycle = Lifecycle::default();
    let connect = |purpose| database::make_pool(settings.database_url, IDLE_IN_TRANSACTION_MS, purpose);
    let (db, readiness_db) = (connect(settings.purpose).await?, connect(PoolPurpose::Readiness).await?);
    let auth = start_verifier(settings.tokens, settings.secret_files, metrics.key_fetches, metrics.rotation)?;
    let public = bind(settings.listen, "--listen")?;
    let started = Arc::new(AtomicBool::new(false));
    let operators = Operators {
        listener: bind(settings.admin_listen, "--admin-listen")?,
        db: readiness_db,
        auth: auth.clone(),
        started: started.clone(),
        draining: lifecycle.draining.clone(),
    };
    let operators = operators.serve(metrics.export)?;
    let operators_handle = operators.handle();
    tokio::spawn(operators);

    // Counts as a running task until the real tasks are tracked, so that a drain during the start does not end at once.
    let starting = lifecycle.tasks.token();
    let end = tokio::spawn({
        let (lifecycle, drain) = (lifecycle.clone(), settings.drain);
        async move { lifecycle.run(drain).await }
    });
    let migrated = tokio::select! {
        ready = database::wait_until_migrated(&db) => { ready?; true }
        () = lifecycle.draining.cancelled() => false,
    };
    if migrated {
        let callers = CallerCheck { auth, db: db.clone(), unknown_users: settings.unknown_users };
        let running = Running { db, callers, lifecycle: lifecycle.clone() };
        let api = start(&running, public).await?;
        let api_handle = api.handle();
        tokio::spawn(api);
        let draining = lifecycle.draining.clone();
        lifecycle.tasks.spawn(async move {
            draining.cancelled().await;
            api_handle.stop(true).await;
        });
        started.store(true, Ordering::Release);
        tracing::info!(listen = %settings.listen, "started");
    }
    drop(starting);
    end.await??;
    operators_handle.stop(false).await;
    Ok(())
}

/// Binds a listener. `setting` names the setting of the address.
fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| format!("{setting} {address}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Starts the verifier of tokens, and watches the files of its keys. `key_fetches` has the label `result`.
fn start_verifier(
    tokens: &TokenArgs,
    files: &SecretFiles,
    key_fetches: IntCounterVec,
    rotation_metrics: RotationMetrics,
) -> anyhow::Result<Arc<Verifier>> {
    let fetched = move |good| key_fetches.with_label_values(&[if good { "good" } else { "failed" }]).inc();
    let settings = tokens.checked().map_err(problem::join_problems).map_err(Error::msg)?;
    let verifier = Arc::new(Verifier::start(settings, fetched));
    let secret_file = files.get("jwt-secret").map(AsRef::<Path>::as_ref);
    rotation::start(vec![tokens.watch_keys(secret_file, &verifier)], rotation_metrics);
    Ok(verifier)
}

/// The listener for health and metrics.
struct Operators {
    listener: TcpListener,
    /// The pool of the readiness check.
    db: DatabaseConnection,
    auth: Arc<Verifier>,
    /// Whether the schema was found, and the tasks and the API run.
    started: Arc<AtomicBool>,
    /// Cancelled when the program begins to drain.
    draining: CancellationToken,
}

impl Operators {
    /// Serves health and metrics. `export` gets whether the program is ready, and returns the text of the metrics.
    fn serve(self, export: impl Fn(bool) -> String + Send + Sync + 'static) -> anyhow::Result<Server> {
        let Self { listener, db, auth, started, draining } = self;
        let ready = move || {
            let (db, draining) = (db.clone(), draining.clone());
            let mut missing: Vec<String> = auth.missing().map(str::to_owned).into_iter().collect();
            if !started.load(Ordering::Acquire) {
                missing.push("starting".to_owned());
            }
            async move {
                if draining.is_cancelled() {
                    missing.push("draining".to_owned());
                }
                if !database::is_available(&db).await {
                    missing.push("the database does not answer".to_owned());
                }
                missing
            }
        };
        Ok(admin::build_server(listener, export, ready)?)
    }
}
