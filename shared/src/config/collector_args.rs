//! Settings of tracing: the collector's address, its certificates, and the share of traces that is sampled.

use std::path::PathBuf;

use clap::Args;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::problem::Problem;
use crate::telemetry::{HAS_OTLP, OTLP_IS_MISSING, exporter, start_traces};

/// Settings of tracing.
#[derive(Debug, Clone, Args)]
pub struct CollectorArgs {
    /// Collector that spans are sent to by OTLP over gRPC, such as `http://otel-collector:4317`, or `https://` for TLS,
    /// with the name verified: see docs/TELEMETRY.md. Default: nothing is traced
    #[arg(long, env = "TIDINGS_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Certificates (PEM) of the authorities that may sign the collector's certificate; with `https://` only. Default:
    /// the authorities that browsers trust
    #[arg(long, env = "TIDINGS_OTLP_CA_FILE", value_name = "PATH")]
    pub otlp_ca_file: Option<PathBuf>,
    /// Share of messages and requests that are traced, 0 to 1
    #[arg(long, env = "TIDINGS_TRACE_RATIO", default_value_t = 0.01, value_name = "SHARE", value_parser = parse_ratio)]
    pub trace_ratio: f64,
    /// Whether messages and requests with a trace context follow the decision in it. Every client may send a context
    #[arg(long, env = "TIDINGS_TRUST_TRACE_CONTEXT", default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub trust_trace_context: bool,
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

impl CollectorArgs {
    /// Returns all problems that clap cannot find. Reads the file with certificates.
    #[must_use]
    pub fn check(&self) -> Vec<Problem> {
        let address = self.endpoint().filter(|address| !is_collector_address(address));
        let wrong = address.map(|_| {
            let why = "must be an address like http://127.0.0.1:4317 or https://collector.example.com:4317";
            Problem::new("otlp-endpoint", why)
        });
        let missing = self.endpoint().filter(|_| !HAS_OTLP);
        let missing = missing.map(|_| Problem::new("otlp-endpoint", OTLP_IS_MISSING));
        wrong.into_iter().chain(missing).chain(self.read_authorities().err()).collect()
    }

    /// The address of the collector, or `None` if no collector is set. Then nothing is traced.
    pub fn endpoint(&self) -> Option<&str> {
        self.otlp_endpoint.as_deref().filter(|address| !address.is_empty())
    }

    /// Starts tracing if a collector is set. The connection to the collector runs on the current runtime.
    pub fn start_traces(&self, service: &'static str, instance: &str) -> Result<(), String> {
        let Some(endpoint) = self.endpoint() else { return Ok(()) };
        let authorities = self.read_authorities().map_err(|problem| problem.to_string())?;
        let exporter = exporter(endpoint, self.is_tls(), authorities)?;
        start_traces(exporter, self.trace_ratio, self.trust_trace_context, service, instance)
    }

    fn is_tls(&self) -> bool {
        let url = self.endpoint().and_then(|address| reqwest::Url::parse(address).ok());
        url.is_some_and(|url| url.scheme() == "https")
    }

    /// Reads and checks the file with the certificates of authorities; `None` if it is not set.
    fn read_authorities(&self) -> Result<Option<Vec<u8>>, Problem> {
        let problem = |why: &str| Problem::new("otlp-ca-file", why);
        let Some(path) = &self.otlp_ca_file else { return Ok(None) };
        if !self.is_tls() {
            return Err(problem("is given, but the endpoint does not begin with https://"));
        }
        let pem = std::fs::read(path)
            .map_err(|error| problem(&format!("the file {} cannot be read: {error}", path.display())))?;
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate =
                certificate.map_err(|_| problem("contains a certificate that cannot be read"))?;
            let added = store.add(certificate);
            added.map_err(|_| problem("contains a certificate that is not one of an authority"))?;
        }
        if store.is_empty() {
            return Err(problem("contains no certificate in PEM"));
        }
        Ok(Some(pem))
    }
}

/// Whether the text is an `http` or `https` URL with a host and without a user.
fn is_collector_address(address: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(address) else { return false };
    let scheme = ["http", "https"].contains(&url.scheme());
    scheme && url.has_host() && url.username().is_empty() && url.password().is_none()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn args(endpoint: &str, otlp_ca_file: Option<PathBuf>) -> CollectorArgs {
        let otlp_endpoint = Some(endpoint.to_owned());
        CollectorArgs { otlp_endpoint, otlp_ca_file, trace_ratio: 0.0, trust_trace_context: false }
    }

    fn settings_with_problems(endpoint: &str, authorities: Option<&str>) -> Vec<String> {
        let file = authorities.map(|pem| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(pem.as_bytes()).unwrap();
            file
        });
        let path = file.as_ref().map(|file| file.path().to_owned());
        args(endpoint, path).check().into_iter().map(|problem| problem.setting).collect()
    }

    #[test]
    fn invalid_collector_address_is_reported() {
        for good in ["", "http://127.0.0.1:4317", "https://collector.example.com:4317"] {
            assert!(settings_with_problems(good, None).is_empty(), "{good}");
        }
        for bad in ["nonsense", "collector:4317", "ftp://a:1", "http://ann:secret@collector:4317"] {
            assert_eq!(settings_with_problems(bad, None), ["otlp-endpoint"], "{bad}");
        }
    }

    #[test]
    fn https_scheme_in_any_case_means_tls() {
        for (endpoint, tls) in [("HTTPS://a:1", true), ("https://a:1", true), ("http://https:1", false)] {
            assert_eq!(args(endpoint, None).is_tls(), tls);
        }
    }

    #[test]
    fn unusable_certificate_file_is_reported_by_check() {
        let none = "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n";
        for pem in ["", "hello", none] {
            assert_eq!(
                settings_with_problems("https://collector:4317", Some(pem)),
                ["otlp-ca-file"],
                "{pem}"
            );
        }
        assert_eq!(settings_with_problems("http://collector:4317", Some(none)), ["otlp-ca-file"]);
    }
}
