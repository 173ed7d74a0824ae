//! Passes arguments to scripts by name. Each script unpacks its arguments into named locals. A call does not compile if
//! its names or their order differ from the script's.

/// Adds the keys (preceded by their number) or the arguments of a script to the call of this script. `KEYS[check]` also
/// declares the keys of [`super::scripts::Scripts::check_keys`] after the keys of the script.
macro_rules! arguments {
    (
        $command:expr, $script:literal,
        KEYS[$check:expr]: $first:ident = $value:expr $(, $name:ident = $next:expr)* $(,)?
    ) => {
        let check_keys: Vec<String> = $check;
        $command.arg([stringify!($first) $(, stringify!($name))*].len() + check_keys.len());
        $crate::log::arguments::arguments!(
            $command, $script, "KEYS": $first = $value $(, $name = $next)*
        );
        $command.arg(&check_keys);
    };
    ($command:expr, $script:literal, ARGV: $($arguments:tt)+) => {
        $crate::log::arguments::arguments!($command, $script, "ARGV": $($arguments)+);
    };
    ($command:expr, $script:literal, $table:literal: $first:ident = $value:expr $(, $name:ident = $next:expr)* $(,)?) => {
        const _: () = assert!($crate::log::arguments::contains_line(
            concat!("local ", stringify!($first) $(, ", ", stringify!($name))*, " = unpack(", $table),
            include_str!($script),
        ));
        $command.arg($value)$(.arg($next))*;
    };
}

pub(super) use arguments;

/// Whether `text` contains `line`. A line break in `text` and the indentation after it count as one space.
pub(super) const fn contains_line(line: &str, text: &str) -> bool {
    let (line, text) = (line.as_bytes(), text.as_bytes());
    let mut begin = 0;
    while begin < text.len() {
        let (mut at, mut matched) = (begin, 0);
        while matched < line.len() && at < text.len() {
            let is_break = text[at] == b'\n' && line[matched] == b' ';
            if !is_break && text[at] != line[matched] {
                break;
            }
            at += 1;
            while is_break && at < text.len() && text[at] == b' ' {
                at += 1;
            }
            matched += 1;
        }
        if matched == line.len() {
            return true;
        }
        begin += 1;
    }
    false
}
