//! Traces as text: each span below its parent, with its process, its start within the trace and its duration.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::ReceivedSpan;

/// Shows each span in a line, ordered by start. Spans without a parent in the list are roots.
pub fn render_trace_tree(spans: &[ReceivedSpan]) -> String {
    let mut text = String::new();
    let mut traces: BTreeMap<&str, Vec<&ReceivedSpan>> = BTreeMap::new();
    for span in spans {
        traces.entry(&span.trace).or_default().push(span);
    }
    for (trace, mut spans) in traces {
        spans.sort_by_key(|span| (span.start_ns, std::cmp::Reverse(span.end_ns)));
        let begun = spans.first().map_or(0, |span| span.start_ns);
        let names = instance_names(&spans);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "trace {trace}");
        let has_parent = |parent: &Option<String>| {
            parent.as_ref().is_some_and(|parent| spans.iter().any(|span| span.id == *parent))
        };
        for root in spans.iter().filter(|span| !has_parent(&span.parent)) {
            write_span(&mut text, root, &spans, &names, begun, 0);
        }
    }
    text
}

/// Names for the instances of each service, such as `gateway A`. Letters follow the order of the instances' first
/// spans.
pub(super) fn instance_names(spans: &[&ReceivedSpan]) -> BTreeMap<String, String> {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for span in spans {
        let before = names.keys().filter(|key| key.starts_with(&format!("{} ", span.service))).count();
        let letter = char::from(b'A' + u8::try_from(before).unwrap_or(25).min(25));
        let name = format!("{} {letter}", span.service.trim_start_matches("tidings-"));
        names.entry(format!("{} {}", span.service, span.instance)).or_insert(name);
    }
    names
}

pub(super) fn instance_name<'a>(names: &'a BTreeMap<String, String>, span: &ReceivedSpan) -> &'a str {
    names.get(&format!("{} {}", span.service, span.instance)).map_or("?", String::as_str)
}

fn write_span(
    text: &mut String,
    span: &ReceivedSpan,
    all: &[&ReceivedSpan],
    names: &BTreeMap<String, String>,
    begun: u64,
    depth: usize,
) {
    let ms = |ns: u64| ns as f64 / 1e6;
    let called = format!("{:indent$}{}", "", span.name, indent = depth * 2);
    let (after, took) = (ms(span.start_ns - begun), ms(span.end_ns.saturating_sub(span.start_ns)));
    let who = instance_name(names, span);
    let _ = writeln!(text, "  {called:<38} {who:<14} +{after:>7.2} ms {took:>8.2} ms");
    for child in all.iter().filter(|child| child.parent.as_deref() == Some(&span.id)) {
        write_span(text, child, all, names, begun, depth + 1);
    }
}
