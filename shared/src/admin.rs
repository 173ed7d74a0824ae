//! The operators' listener of a service: `/healthz` (alive), `/readyz` (would serve), `/metrics` (Prometheus text).

use std::{future::Future, net::TcpListener, pin::Pin, sync::Arc, time::Duration};

use actix_web::{App, HttpResponse, HttpServer, dev::Server, web};

/// What is missing for readiness, in words; empty when ready.
pub type Missing = Vec<String>;
/// So long a scrape waits for readiness to be known; until then it is not there.
const READY_PATIENCE: Duration = Duration::from_millis(500);
type ReadinessCheck = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Missing> + Send>> + Send + Sync>;

/// Builds the listener's server on an address that is already bound; the caller runs it. `metrics` is told whether the
/// service is ready.
///
/// # Errors
/// When the socket cannot be listened on.
pub fn serve<F, R>(
    listener: TcpListener,
    metrics: impl Fn(bool) -> String + Send + Sync + 'static,
    ready: F,
) -> std::io::Result<Server>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Missing> + Send + 'static,
{
    let metrics: Arc<dyn Fn(bool) -> String + Send + Sync> = Arc::new(metrics);
    let ready: ReadinessCheck = Arc::new(move || Box::pin(ready()));
    let server = HttpServer::new(move || {
        let (metrics, ready, scraped) = (metrics.clone(), ready.clone(), ready.clone());
        App::new()
            .route("/healthz", web::get().to(|| async { HttpResponse::Ok().body("alive\n") }))
            .route(
                "/metrics",
                web::get().to(move || {
                    let (metrics, missing) = (metrics.clone(), scraped());
                    async move {
                        // Numbers are wanted most when what readiness waits for does not answer.
                        // In a task of its own: what it has begun, such as a session, is not given up with the wait.
                        let missing = tokio::time::timeout(READY_PATIENCE, tokio::spawn(missing)).await;
                        let is_ready = matches!(missing, Ok(Ok(missing)) if missing.is_empty());
                        let text = metrics(is_ready);
                        HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text)
                    }
                }),
            )
            .route(
                "/readyz",
                web::get().to(move || {
                    let missing = ready();
                    async move {
                        let missing = missing.await;
                        if missing.is_empty() {
                            HttpResponse::Ok().body("ready\n")
                        } else {
                            HttpResponse::ServiceUnavailable()
                                .body(format!("not ready: {}\n", missing.join("; ")))
                        }
                    }
                }),
            )
    });
    // A probe's pooled connection may wait longer than actix's 5 s before it asks again.
    let server = server.client_request_timeout(Duration::from_secs(60));
    Ok(server.workers(1).disable_signals().shutdown_timeout(1).listen(listener)?.run())
}
