//! The macro `metrics` declares a service's metrics in one list of field, kind, name, labels and help. Metrics of the
//! process, such as its memory, come from the `prometheus` crate.

use prometheus::{IntCounterVec, IntGaugeVec};

/// Sets two metrics that both services declare: the version and commit of the build, and the numbers of lost spans by
/// cause.
pub fn set_build_and_lost_spans(build: &IntGaugeVec, spans_lost: &IntCounterVec) {
    build.with_label_values(&[crate::version::VERSION, crate::version::commit()]).set(1);
    for (cause, total) in crate::telemetry::spans_lost() {
        let counter = spans_lost.with_label_values(&[cause]);
        counter.inc_by(total.saturating_sub(counter.get()));
    }
}

/// Declares a struct with a service's metrics.
/// ```ignore
/// tidings_shared::metrics! {
///     /// What the gateway counts.
///     pub struct Metrics {
///         connections: IntGauge = "tidings_gateway_connections", "Open WebSocket connections";
///         errors: IntCounterVec["code"] = "tidings_gateway_errors_total", "Errors sent to clients, by code";
///         batch: Histogram(0.001, 0.01) = "tidings_batch_seconds", "Time to write a batch";
///     }
/// }
/// ```
#[macro_export]
macro_rules! metrics {
    (
        $(#[$doc:meta])*
        pub struct $name:ident {
            $($field:ident: $kind:ident $([$($label:literal),+])? $(($($bucket:literal),+))? = $metric:literal, $help:literal;)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            registry: $crate::prometheus::Registry,
            $(#[doc = $help] pub $field: $crate::prometheus::$kind,)*
        }

        impl $name {
            /// Registers all declared metrics, and the metrics of the process, in a new registry.
            pub fn new() -> Self {
                let registry = $crate::prometheus::Registry::new();
                let process = $crate::prometheus::process_collector::ProcessCollector::for_self();
                registry.register(Box::new(process)).expect("nothing else is registered");
                $(
                    let $field = $crate::metrics!(@make $kind $metric, $help $([$($label),+])? $(($($bucket),+))?);
                    registry.register(Box::new($field.clone())).expect("each metric is declared once");
                )*
                Self { registry, $($field),* }
            }

            /// Returns the present values of all metrics in the Prometheus text format.
            pub fn text(&self) -> String {
                use $crate::prometheus::Encoder;
                let mut text = Vec::new();
                // An error can only come from a metric that cannot be encoded, and such a metric is left out.
                let _ = $crate::prometheus::TextEncoder::new().encode(&self.registry.gather(), &mut text);
                String::from_utf8(text).unwrap_or_default()
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }
    };
    (@make Histogram $metric:literal, $help:literal ($($bucket:literal),+)) => {
        $crate::prometheus::Histogram::with_opts(
            $crate::prometheus::HistogramOpts::new($metric, $help).buckets(vec![$($bucket),+]),
        ).expect("a declared metric is well formed")
    };
    (@make HistogramVec $metric:literal, $help:literal [$($label:literal),+] ($($bucket:literal),+)) => {
        $crate::prometheus::HistogramVec::new(
            $crate::prometheus::HistogramOpts::new($metric, $help).buckets(vec![$($bucket),+]), &[$($label),+],
        ).expect("a declared metric is well formed")
    };
    (@make $kind:ident $metric:literal, $help:literal [$($label:literal),+]) => {
        $crate::prometheus::$kind::new($crate::prometheus::Opts::new($metric, $help), &[$($label),+])
            .expect("a declared metric is well formed")
    };
    (@make $kind:ident $metric:literal, $help:literal) => {
        $crate::prometheus::$kind::new($metric, $help).expect("a declared metric is well formed")
    };
}
