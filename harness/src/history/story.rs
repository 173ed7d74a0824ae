//! The story of a violation: the entries of all clients near its position, in the order of time.

use std::fmt::Write;

use super::{Entry, Violation, What};

/// Longest story of a violation, in lines.
const MAX_LINES: usize = 60;

/// The entries near the position of a violation, the connections of these clients, and the faults of that time.
pub fn story(entries: &[Entry], violation: &Violation, faults: &[(std::time::Duration, String)]) -> String {
    let mut lines: Vec<(std::time::Duration, String)> = Vec::new();
    for entry in entries {
        let mine = violation.user.is_empty() || entry.user == violation.user;
        let told = if entry.room.is_empty() {
            mine
        } else {
            entry.room == violation.room && is_near(&entry.what, violation.seq, mine)
        };
        if told {
            let text = format!("{:<10} #{:<3} {:?}", entry.user, entry.connection, entry.what);
            lines.push((entry.at, text));
        }
    }
    // Keeps the lines around the first one that names the position.
    let named = |(_, text): &(std::time::Duration, String)| text.contains(&format!("seq: {}", violation.seq));
    let centre = lines.iter().position(named).unwrap_or(lines.len().saturating_sub(1));
    let from = centre.saturating_sub(MAX_LINES / 2);
    lines.truncate((from + MAX_LINES).min(lines.len()));
    lines.drain(..from);
    let (begin, end) = (lines.first().map(|line| line.0), lines.last().map(|line| line.0));
    let within = |at: &std::time::Duration| {
        begin.is_none_or(|begin| *at + AROUND >= begin) && end.is_none_or(|end| *at <= end + AROUND)
    };
    lines.extend(faults.iter().filter(|(at, _)| within(at)).map(|(at, what)| (*at, format!("*** {what}"))));
    lines.sort_by_key(|line| line.0);
    let mut text = format!(
        "{:?} broken in {} at {} for {}: {}\n",
        violation.rule, violation.room, violation.seq, violation.user, violation.what
    );
    for (at, line) in lines {
        let _ = writeln!(text, "  {:>9.3} {line}", at.as_secs_f64());
    }
    text
}

/// Faults are included up to this time before and after.
const AROUND: std::time::Duration = std::time::Duration::from_secs(5);
/// Distance of positions that are included for other users.
const NEAR: u64 = 1;
/// Distance of positions that are included for the user of the violation.
const NEAR_MINE: u64 = 3;

fn is_near(what: &What, seq: u64, mine: bool) -> bool {
    let reach = if mine { NEAR_MINE } else { NEAR };
    let near = |other: u64| other.abs_diff(seq) <= reach;
    match what {
        What::Event(event) => near(event.seq),
        What::Page { after, next, .. } => mine && *after <= seq && seq <= *next,
        What::CaughtUp(cursor) | What::Joined(cursor) => mine || near(cursor.seq),
        What::Gap { .. } | What::Joining(_) => mine,
        What::Answered {
            answer: super::AckOutcome::Stored { seq, .. } | super::AckOutcome::Accepted { seq, .. },
            ..
        } => near(*seq),
        What::Answered { .. } | What::Sent { .. } => seq == 0 && mine,
        What::Connected | What::Lost => true,
    }
}
