//! Describes a violation by the entries of all clients near its position, in order of time.

use std::fmt::Write;

use super::{Entry, EntryKind, Violation};

/// Limit of a description, in lines.
const MAX_LINES: usize = 60;

/// Returns the description of a violation: the entries near its position, and the connections and faults of that time.
pub fn describe_violation(
    entries: &[Entry],
    violation: &Violation,
    faults: &[(std::time::Duration, String)],
) -> String {
    let mut lines: Vec<(std::time::Duration, String)> = Vec::new();
    for entry in entries {
        let is_of_user = violation.user.is_empty() || entry.user == violation.user;
        let is_included = if entry.room.is_empty() {
            is_of_user
        } else {
            entry.room == violation.room && is_near(&entry.what, violation.seq, is_of_user)
        };
        if is_included {
            let text = format!("{:<10} #{:<3} {:?}", entry.user, entry.connection, entry.what);
            lines.push((entry.at, text));
        }
    }
    // Keeps the lines around the first line that contains the position.
    let named = |(_, text): &(std::time::Duration, String)| text.contains(&format!("seq: {}", violation.seq));
    let centre = lines.iter().position(named).unwrap_or(lines.len().saturating_sub(1));
    let from = centre.saturating_sub(MAX_LINES / 2);
    lines.truncate((from + MAX_LINES).min(lines.len()));
    lines.drain(..from);
    let (begin, end) = (lines.first().map(|line| line.0), lines.last().map(|line| line.0));
    let within = |at: &std::time::Duration| {
        begin.is_none_or(|begin| *at + FAULT_MARGIN >= begin)
            && end.is_none_or(|end| *at <= end + FAULT_MARGIN)
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

/// Faults are included from this time before the first line until this time after the last line.
const FAULT_MARGIN: std::time::Duration = std::time::Duration::from_secs(5);
/// Entries of other users are included up to this distance in seqs from the violation.
const MAX_DISTANCE_OF_OTHERS: u64 = 1;
/// Entries of the violation's user are included up to this distance in seqs from the violation.
const MAX_DISTANCE_OF_USER: u64 = 3;

fn is_near(what: &EntryKind, seq: u64, is_of_user: bool) -> bool {
    let reach = if is_of_user { MAX_DISTANCE_OF_USER } else { MAX_DISTANCE_OF_OTHERS };
    let near = |other: u64| other.abs_diff(seq) <= reach;
    match what {
        EntryKind::Event(event) => near(event.seq),
        EntryKind::Page { after, next, .. } => is_of_user && *after <= seq && seq <= *next,
        EntryKind::CaughtUp(cursor) | EntryKind::Joined(cursor) => is_of_user || near(cursor.seq),
        EntryKind::Gap { .. } | EntryKind::Joining(_) => is_of_user,
        EntryKind::Answered {
            answer: super::AckOutcome::Stored { seq, .. } | super::AckOutcome::Accepted { seq, .. },
            ..
        } => near(*seq),
        EntryKind::Answered { .. } | EntryKind::Sent { .. } => seq == 0 && is_of_user,
        EntryKind::Connected | EntryKind::Lost => true,
    }
}
