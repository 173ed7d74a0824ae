//! Formats numbers and targets for humans.

use crate::results::{Bound, Figure, Target};

/// Three significant digits, with grouped thousands; `–` if it was not measured.
#[must_use]
pub fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "–".to_owned();
    }
    if size >= 999.5 {
        return grouped(value);
    }
    // A number that is rounded up to the next power of ten has one decimal less.
    let decimals = match size {
        _ if size >= 99.95 || size == 0.0 => 0,
        _ if size >= 9.995 => 1,
        _ if size >= 0.9995 => 2,
        _ => 3,
    };
    if decimals == 3 && size < 0.0005 { format!("{value:.1e}") } else { format!("{value:.decimals$}") }
}

fn grouped(value: f64) -> String {
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

/// The median, with the range if there are several samples.
pub(super) fn spread(figure: &Figure) -> String {
    let (least, most) = figure.range();
    match figure.samples.len() {
        0 | 1 => number(figure.median()),
        _ => format!("{} ({}–{})", number(figure.median()), number(least), number(most)),
    }
}

/// The limit of a target, such as `at most 1.50`.
pub(super) fn bound(target: &Target) -> String {
    let words = match target.bound {
        Bound::AtMost => "at most",
        Bound::AtLeast => "at least",
    };
    format!("{words} {}", number(target.limit))
}

/// `met`, or by which share of the limit it was missed.
pub(super) fn verdict(target: &Target) -> String {
    if target.value.is_nan() {
        return "NOT MEASURED".to_owned();
    }
    if target.is_met() {
        return "met".to_owned();
    }
    let missed = (target.value - target.limit).abs();
    if target.limit == 0.0 {
        return format!("MISSED by {}", number(missed));
    }
    format!("MISSED by {} %", number(missed / target.limit.abs() * 100.0))
}
