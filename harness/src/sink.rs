//! A span collector: receives spans by OTLP over gRPC, and shows them as trees.
//! Touches a port of this machine.

mod picture;
mod tree;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::ServerTlsConfig;
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status};

pub use picture::picture;
pub use tree::tree;

/// An exported span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedSpan {
    /// Ids, in hex.
    pub trace: String,
    /// Of the span.
    pub id: String,
    /// Of its parent; `None`: a root.
    pub parent: Option<String>,
    /// Its name.
    pub name: String,
    /// `service.name` of its process.
    pub service: String,
    /// `service.instance.id` of its process.
    pub instance: String,
    /// Nanoseconds since the Unix epoch; 0: never ended.
    pub start_ns: u64,
    /// As above.
    pub end_ns: u64,
    /// Attributes as text.
    pub attributes: BTreeMap<String, String>,
    /// The whole span as text, including its resource.
    pub whole: String,
}

#[derive(Debug, Clone, Default)]
struct Taken(Arc<Mutex<Vec<ReceivedSpan>>>);

/// See the module. Dropping it stops the collector.
#[derive(Debug)]
pub struct Sink {
    endpoint: String,
    taken: Taken,
    serving: JoinHandle<()>,
}

impl Sink {
    /// Starts on a free port.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start() -> Result<Sink> {
        Self::serve(Server::builder()).await.map(|(port, taken, serving)| Sink {
            endpoint: format!("http://127.0.0.1:{port}"),
            taken,
            serving,
        })
    }

    /// Like [`Sink::start`] with TLS: the certificate has this name and is signed by the authority of this process.
    ///
    /// # Errors
    /// When there is no port, or no certificate can be made.
    pub async fn start_tls(name: &str) -> Result<Sink> {
        // This fails only if a provider was installed before.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let identity = crate::tls::authority()?.identity(&[name])?;
        let identity = tonic::transport::Identity::from_pem(identity.certificate, identity.key);
        let server = Server::builder().tls_config(ServerTlsConfig::new().identity(identity))?;
        let (port, taken, serving) = Self::serve(server).await?;
        Ok(Sink { endpoint: format!("https://{name}:{port}"), taken, serving })
    }

    async fn serve(server: Server) -> Result<(u16, Taken, JoinHandle<()>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let taken = Taken::default();
        let service = TraceServiceServer::new(taken.clone());
        let serving = tokio::spawn(async move {
            let served = server.serve_with_incoming(service, TcpIncoming::from(listener)).await;
            if let Err(error) = served {
                eprintln!("the sink ended: {error}");
            }
        });
        Ok((port, taken, serving))
    }

    /// Its address, for the setting of the services.
    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// The spans so far, ordered by their start.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        let mut spans = self.taken.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        spans.sort_by_key(|span| (span.start_ns, std::cmp::Reverse(span.end_ns)));
        spans
    }

    /// Waits until the exported spans are enough.
    ///
    /// # Errors
    /// When they are not in time; with the spans so far.
    pub async fn until(
        &self,
        patience: Duration,
        enough: impl Fn(&[ReceivedSpan]) -> bool,
    ) -> Result<Vec<ReceivedSpan>> {
        let begun = Instant::now();
        loop {
            let spans = self.spans();
            if enough(&spans) {
                return Ok(spans);
            }
            ensure!(begun.elapsed() < patience, "not enough spans came:\n{}", tree(&spans));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tonic::async_trait]
impl TraceService for Taken {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut seen = Vec::new();
        for part in request.into_inner().resource_spans {
            let resource = attributes(part.resource.as_ref().map_or(&[], |resource| &resource.attributes));
            let of = |name: &str| resource.get(name).cloned().unwrap_or_default();
            for span in part.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let parent = Some(hex(&span.parent_span_id)).filter(|id| !id.is_empty());
                seen.push(ReceivedSpan {
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent,
                    service: of("service.name"),
                    instance: of("service.instance.id"),
                    start_ns: span.start_time_unix_nano,
                    end_ns: span.end_time_unix_nano,
                    attributes: attributes(&span.attributes),
                    whole: format!("{:?} {span:?}", part.resource),
                    name: span.name,
                });
            }
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(seen);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    list.iter().map(|one| (one.key.clone(), text_of(one.value.as_ref()))).collect()
}

fn text_of(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(is)) => is.to_string(),
        other => format!("{other:?}"),
    }
}
