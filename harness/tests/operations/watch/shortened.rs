//! The shipped rules, sixty times faster: a minute of a rule is a second of the test.

const SPEED_FACTOR: u64 = 60;
/// The shortest window. With one scrape per second, a shorter window has too few samples for a rate.
const MIN_WINDOW_S: u64 = 10;

/// Makes a file of rules sixty times faster, without intervals of groups.
pub fn shortened_rules(text: String) -> String {
    let kept = text.lines().filter(|line| !line.starts_with("    interval: "));
    sixty_times_faster(&kept.map(|line| format!("{line}\n")).collect::<String>())
}

/// Divides windows and `for` by sixty, but keeps windows of at least ten seconds. Adapts counts within a window and
/// bounds of several minutes. Without intervals of their own, rules are evaluated each second.
fn sixty_times_faster(rules: &str) -> String {
    let windows = divide_durations(rules, "[", "]", MIN_WINDOW_S);
    let shorter = divide_durations(&windows, "for: ", "\n", 1);
    let counted = shorter.replace("30 * sum_over_time(", "1 * sum_over_time(");
    let behind = counted.replace("search_lag_seconds > 300", "search_lag_seconds > 5");
    behind.replace("max_tx_duration) > 900", "max_tx_duration) > 15")
}

/// Divides every duration between `from` and `to` by sixty. The result is at least `least` seconds.
fn divide_durations(text: &str, from: &str, to: &str, least: u64) -> String {
    let mut parts = text.split(from);
    let mut made = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        made.push_str(from);
        match part.split_once(to).and_then(|(inner, rest)| Some((parse_seconds(inner)?, rest))) {
            Some((seconds, rest)) => {
                made.push_str(&format!("{}s{to}{rest}", (seconds / SPEED_FACTOR).max(least)));
            }
            None => made.push_str(part),
        }
    }
    made
}

fn parse_seconds(duration: &str) -> Option<u64> {
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
