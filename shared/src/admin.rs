//! The operators' listener of a service. `/healthz` answers while the process is alive, `/readyz` says whether the
//! service is ready, and `/metrics` returns the metrics in the Prometheus text format.

use std::{future::Future, net::TcpListener, pin::Pin, sync::Arc, time::Duration};

use actix_web::{App, HttpResponse, HttpServer, dev::Server, web};

use crate::security_headers::forbid_sniffing;

/// What a service still lacks before it is ready, as texts for operators; empty if the service is ready.
pub type NotReadyReasons = Vec<String>;
/// How long a request for `/metrics` waits for the readiness check. If the check takes longer, the metrics report that
/// the service is not ready.
const READINESS_TIMEOUT: Duration = Duration::from_millis(500);
type ReadinessCheck = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = NotReadyReasons> + Send>> + Send + Sync>;

/// Builds the HTTP server on a bound socket; the caller must await it. `metrics` is called with whether the service is
/// ready, and returns the text of the metrics. `ready` returns what the service lacks.
pub fn build_server<F, R>(
    listener: TcpListener,
    metrics: impl Fn(bool) -> String + Send + Sync + 'static,
    ready: F,
) -> std::io::Result<Server>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = NotReadyReasons> + Send + 'static,
{
    let metrics: Arc<dyn Fn(bool) -> String + Send + Sync> = Arc::new(metrics);
    let ready: ReadinessCheck = Arc::new(move || Box::pin(ready()));
    let server = HttpServer::new(move || {
        let (metrics, ready, ready_of_scrape) = (metrics.clone(), ready.clone(), ready.clone());
        App::new()
            .wrap(forbid_sniffing())
            .route("/healthz", web::get().to(|| async { HttpResponse::Ok().body("alive\n") }))
            .route(
                "/metrics",
                web::get().to(move || {
                    let (metrics, missing) = (metrics.clone(), ready_of_scrape());
                    async move {
                        // The timeout keeps metrics available when a dependency does not answer. The check runs in a
                        // separate task, so that the timeout does not cancel work that the check has started, such as
                        // opening a Redis session.
                        let missing = tokio::time::timeout(READINESS_TIMEOUT, tokio::spawn(missing)).await;
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
    // A probe may reuse a pooled connection that was idle for longer than actix's default timeout of 5 s.
    let server = server.client_request_timeout(Duration::from_secs(60));
    Ok(server.workers(1).disable_signals().shutdown_timeout(1).listen(listener)?.run())
}
