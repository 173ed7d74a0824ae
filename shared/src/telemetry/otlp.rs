//! The exporter that sends spans to a collector by OTLP over gRPC. The cargo feature `otlp`, which is on by default,
//! adds the exporter to a program. `./dev up` builds without the feature, because its crates take long to compile
//! (decision 31). A program without the exporter refuses to start if a collector is set.

#[cfg(feature = "otlp")]
mod implementation {
    use std::time::Duration;

    use opentelemetry_otlp::{
        SpanExporter, WithExportConfig, WithTonicConfig,
        tonic_types::transport::{Certificate, ClientTlsConfig},
    };

    /// Time limit of one export. If the collector takes longer, the spans count as lost.
    const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

    /// Creates the exporter for a collector at `http://…` or `https://…`. `authorities` (PEM) are the authorities that
    /// may sign the collector's certificate; `None` means those that browsers trust. The error is a message for the
    /// operator about the setting `--otlp-endpoint`.
    pub fn exporter(endpoint: &str, tls: bool, authorities: Option<Vec<u8>>) -> Result<SpanExporter, String> {
        let mut exporter =
            SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT);
        if tls {
            let tls = ClientTlsConfig::new();
            exporter = exporter.with_tls_config(match authorities {
                Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
                None => tls.with_webpki_roots(),
            });
        }
        exporter.build().map_err(|error| format!("--otlp-endpoint: {error}"))
    }
}

#[cfg(not(feature = "otlp"))]
mod implementation {
    use opentelemetry_sdk::{
        error::OTelSdkResult,
        trace::{SpanData, SpanExporter},
    };

    /// Stands for the type of the exporter in builds without the exporter. No value of this type exists.
    #[derive(Debug)]
    pub enum NoExporter {}

    impl SpanExporter for NoExporter {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            match *self {}
        }
    }

    /// Always fails, with a message for the operator.
    pub fn exporter(_: &str, _: bool, _: Option<Vec<u8>>) -> Result<NoExporter, String> {
        Err(format!("--otlp-endpoint: {}", super::OTLP_IS_MISSING))
    }
}

pub use implementation::exporter;

/// Whether this program contains the exporter that sends spans to a collector.
pub const HAS_OTLP: bool = cfg!(feature = "otlp");
/// The error message of a program without the exporter if a collector is set.
pub const OTLP_IS_MISSING: &str =
    "this program was built without the cargo feature `otlp`; use a release build";
