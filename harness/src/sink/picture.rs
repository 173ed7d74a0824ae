//! One trace as a picture: a bar for each span over a time axis, in the order of the tree.

use std::fmt::Write as _;

use super::ReceivedSpan;
use super::tree::{instance_name, instance_names};

const WIDTH: f64 = 900.0;
const BARS_LEFT: f64 = 300.0;
const ROW_HEIGHT: f64 = 28.0;
const ROWS_TOP: f64 = 44.0;
const COLORS: [&str; 4] = ["#2563eb", "#0d9488", "#b45309", "#7c3aed"];

/// An SVG of the spans of one trace.
pub fn render_trace_svg(spans: &[ReceivedSpan]) -> String {
    let mut rows: Vec<(&ReceivedSpan, usize)> = Vec::new();
    let has_parent = |span: &ReceivedSpan| spans.iter().any(|other| Some(&other.id) == span.parent.as_ref());
    for root in spans.iter().filter(|span| !has_parent(span)) {
        push_subtree(root, spans, 0, &mut rows);
    }
    let all: Vec<&ReceivedSpan> = spans.iter().collect();
    let names = instance_names(&all);
    let begun = spans.iter().map(|span| span.start_ns).min().unwrap_or(0);
    let duration_ns =
        spans.iter().map(|span| span.end_ns).max().unwrap_or(0).saturating_sub(begun).max(1) as f64;
    let height = ROWS_TOP + ROW_HEIGHT * rows.len() as f64 + 12.0;
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\">\n\
         <title>The trace of one message</title>\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>"
    );
    let scale = (WIDTH - BARS_LEFT - 70.0) / duration_ns;
    for quarter in 0..=4_u8 {
        let at = BARS_LEFT + (WIDTH - BARS_LEFT - 70.0) * f64::from(quarter) / 4.0;
        let ms = duration_ns / 1e6 * f64::from(quarter) / 4.0;
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"30\" x2=\"{at:.1}\" y2=\"{height}\" stroke=\"#e5e7eb\"/>\
             <text x=\"{at:.1}\" y=\"22\" fill=\"#4b5563\" text-anchor=\"middle\">{ms:.1} ms</text>"
        );
    }
    for (row, (span, depth)) in rows.iter().enumerate() {
        let (who, y) = (instance_name(&names, span), ROWS_TOP + ROW_HEIGHT * row as f64);
        let color = COLORS[names.values().position(|name| name == who).unwrap_or(0) % COLORS.len()];
        let x = BARS_LEFT + span.start_ns.saturating_sub(begun) as f64 * scale;
        let took = span.end_ns.saturating_sub(span.start_ns) as f64;
        let (width, indent, line) = ((took * scale).max(2.0), 10.0 + *depth as f64 * 16.0, y + 13.0);
        let (end, ms, name) = (x + width + 5.0, took / 1e6, &span.name);
        let _ = writeln!(
            svg,
            "<text x=\"{indent}\" y=\"{line}\" fill=\"#111827\">{name} <tspan fill=\"{color}\">{who}</tspan></text>\
             <rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"18\" rx=\"3\" fill=\"{color}\"/>\
             <text x=\"{end:.1}\" y=\"{line}\" fill=\"#4b5563\">{ms:.2}</text>"
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn push_subtree<'a>(
    span: &'a ReceivedSpan,
    all: &'a [ReceivedSpan],
    depth: usize,
    rows: &mut Vec<(&'a ReceivedSpan, usize)>,
) {
    rows.push((span, depth));
    for child in all.iter().filter(|child| child.parent.as_deref() == Some(&span.id)) {
        push_subtree(child, all, depth + 1, rows);
    }
}
