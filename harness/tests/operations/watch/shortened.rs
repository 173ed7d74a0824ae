//! The shipped rules with time running sixty times faster: a minute of theirs is a second of the test's.

const FACTOR: u64 = 60;
/// With an answer each second, less than this holds too few to tell a rate.
const LEAST_WINDOW_S: u64 = 10;

/// A file of rules, each group of it worked out as often as all others.
pub fn rules(text: String) -> String {
    let kept = text.lines().filter(|line| !line.starts_with("    interval: "));
    sixty_times_faster(&kept.map(|line| format!("{line}\n")).collect::<String>())
}

/// Windows and `for` a sixtieth as long, but windows no shorter than ten seconds; what is counted within a window, or
/// is a time of minutes itself, accordingly. Without intervals of their own, rules are worked out each second.
fn sixty_times_faster(rules: &str) -> String {
    let windows = replaced(rules, "[", "]", LEAST_WINDOW_S);
    let shorter = replaced(&windows, "for: ", "\n", 1);
    let counted = shorter.replace("30 * sum_over_time(", "1 * sum_over_time(");
    counted.replace("search_lag_seconds > 300", "search_lag_seconds > 5")
}

/// Every duration that stands between these two.
fn replaced(text: &str, from: &str, to: &str, least: u64) -> String {
    let mut parts = text.split(from);
    let mut made = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        made.push_str(from);
        match part.split_once(to).and_then(|(inner, rest)| Some((seconds(inner)?, rest))) {
            Some((seconds, rest)) => {
                made.push_str(&format!("{}s{to}{rest}", (seconds / FACTOR).max(least)));
            }
            None => made.push_str(part),
        }
    }
    made
}

fn seconds(duration: &str) -> Option<u64> {
    let (number, unit) = duration.split_at_checked(duration.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()? * unit)
}
