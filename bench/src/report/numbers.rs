//! Formats numbers and targets for humans.

use crate::results::{Bound, Figure, Target};

/// Formats a number with three significant digits and grouped thousands; `–` if it is not finite.
#[must_use]
pub fn format_number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "–".to_owned();
    }
    if size >= 999.5 {
        return group_thousands(value);
    }
    // A number that is rounded up to the next power of ten gets one decimal less.
    let decimals = match size {
        _ if size >= 99.95 || size == 0.0 => 0,
        _ if size >= 9.995 => 1,
        _ if size >= 0.9995 => 2,
        _ => 3,
    };
    if decimals == 3 && size < 0.0005 { format!("{value:.1e}") } else { format!("{value:.decimals$}") }
}

fn group_thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

/// The median as text, with the range if there are several samples.
pub(super) fn median_with_range(figure: &Figure) -> String {
    let (least, most) = figure.range();
    match figure.samples.len() {
        0 | 1 => format_number(figure.median()),
        _ => format!("{} ({}–{})", format_number(figure.median()), format_number(least), format_number(most)),
    }
}

/// The limit of a target as text, such as `at most 1.50`.
pub(super) fn limit_text(target: &Target) -> String {
    let words = match target.bound {
        Bound::AtMost => "at most",
        Bound::AtLeast => "at least",
    };
    format!("{words} {}", format_number(target.limit))
}

/// Whether a target is met, as text: `met`, `NOT MEASURED`, or by how much of the limit it was missed.
pub(super) fn target_result(target: &Target) -> String {
    if target.value.is_nan() {
        return "NOT MEASURED".to_owned();
    }
    if target.is_met() {
        return "met".to_owned();
    }
    let missed = (target.value - target.limit).abs();
    if target.limit == 0.0 {
        return format!("MISSED by {}", format_number(missed));
    }
    format!("MISSED by {} %", format_number(missed / target.limit.abs() * 100.0))
}
