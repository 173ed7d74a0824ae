//! The exporter that sends spans to a collector by OTLP over gRPC. The cargo feature `otlp`, which is on by default,
//! adds the exporter to a program. `./dev up` builds without the feature, because its crates take long to compile
//! (decision 31). A program without the exporter refuses to start if a collector is set.

/// The settings of tracing in one process.
#[derive(Debug, Clone)]
pub struct TraceSettings<'a> {
    /// The address of an OTLP collector over gRPC, `http://…` or `https://…`.
    pub endpoint: &'a str,
    pub tls: bool,
    /// PEM of the authorities that may sign the collector's certificate; `None` for those that browsers trust.
    pub authorities: Option<Vec<u8>>,
    /// Share of the messages and requests without a trace context that are traced, 0 to 1.
    pub ratio: f64,
    /// Name of the service, for the resource attribute `service.name`.
    pub service: &'static str,
    /// Name of this process, for the resource attribute `service.instance.id`.
    pub instance: &'a str,
}

#[cfg(feature = "otlp")]
mod exporter {
    use std::time::Duration;

    use opentelemetry_otlp::{
        SpanExporter, WithExportConfig, WithTonicConfig,
        tonic_types::transport::{Certificate, ClientTlsConfig},
    };

    use super::TraceSettings;

    /// Time limit of one export. If the collector takes longer, the spans count as lost.
    const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

    /// Creates the exporter. Err is a message for the operator about the setting `--otlp-endpoint`.
    pub fn exporter(settings: &TraceSettings<'_>) -> Result<SpanExporter, String> {
        let mut exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(settings.endpoint)
            .with_timeout(EXPORT_TIMEOUT);
        if settings.tls {
            let tls = ClientTlsConfig::new();
            exporter = exporter.with_tls_config(match &settings.authorities {
                Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
                None => tls.with_webpki_roots(),
            });
        }
        exporter.build().map_err(|error| format!("--otlp-endpoint: {error}"))
    }
}

#[cfg(not(feature = "otlp"))]
mod exporter {
    use opentelemetry_sdk::{
        error::OTelSdkResult,
        trace::{SpanData, SpanExporter},
    };

    use super::TraceSettings;

    /// Stands for the type of the exporter in builds without the exporter. No value of this type exists.
    #[derive(Debug)]
    pub enum NoExporter {}

    impl SpanExporter for NoExporter {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            match *self {}
        }
    }

    /// Always fails, with a message for the operator.
    pub fn exporter(_: &TraceSettings<'_>) -> Result<NoExporter, String> {
        Err(format!("--otlp-endpoint: {}", super::OTLP_IS_MISSING))
    }
}

pub(super) use exporter::exporter;

/// Whether this program contains the exporter that sends spans to a collector.
pub const HAS_OTLP: bool = cfg!(feature = "otlp");
/// The error message of a program without the exporter if a collector is set.
pub const OTLP_IS_MISSING: &str =
    "this program was built without the cargo feature `otlp`; use a release build";
