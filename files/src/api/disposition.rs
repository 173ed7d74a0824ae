//! The header with the name of a downloaded file.

/// The name for a saved file: in ASCII, and as it is (RFC 6266, RFC 8187). Characters that mean something in a path are
/// replaced.
pub fn content_disposition(name: &str, inline: bool) -> String {
    let clean: String =
        name.chars().map(|c| if c.is_control() || "/\\".contains(c) { '_' } else { c }).collect();
    let is_plain = |c: char| c == ' ' || (c.is_ascii_graphic() && !"\"%;".contains(c));
    let ascii: String = clean.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let mut exact = String::new();
    for byte in clean.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'.' | b'-' | b'_' | b'~' => {
                exact.push(char::from(byte))
            }
            _ => exact.push_str(&format!("%{byte:02X}")),
        }
    }
    let kind = if inline { "inline" } else { "attachment" };
    format!("{kind}; filename=\"{ascii}\"; filename*=UTF-8''{exact}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_stays_inside_of_its_header() {
        for (name, written) in [
            ("plan.pdf", r#"attachment; filename="plan.pdf"; filename*=UTF-8''plan.pdf"#),
            (
                "Zoë 🙂.png",
                r#"attachment; filename="Zo_ _.png"; filename*=UTF-8''Zo%C3%AB%20%F0%9F%99%82.png"#,
            ),
            (
                "../a\"; filename=\"b.exe",
                r#"attachment; filename=".._a__ filename=_b.exe"; filename*=UTF-8''.._a%22%3B%20filename%3D%22b.exe"#,
            ),
            ("a\r\nX: y", r#"attachment; filename="a__X: y"; filename*=UTF-8''a__X%3A%20y"#),
        ] {
            assert_eq!(content_disposition(name, false), written);
        }
        assert!(content_disposition("a", true).starts_with("inline; "));
    }
}
