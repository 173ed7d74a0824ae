//! Reads the lines of an import file, one at a time. Memory is bounded by the longest accepted line.

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use super::line::{ImportLine, LineRules};
use super::refusal::{LineRefusal, RefusalCode};

/// Longest accepted line. It equals the longest body of a request that creates a room.
const MAX_LINE_BYTES: u64 = 256 * 1024;

/// Parses a line that [`next_line`] has read with this length. None for an empty line.
pub fn parse_line(text: &[u8], length: u64, rules: &LineRules) -> Option<Result<ImportLine, LineRefusal>> {
    if text.trim_ascii().is_empty() {
        return None;
    }
    let refused = |reason: String| Err(LineRefusal::new(RefusalCode::BadLine, reason));
    Some(match std::str::from_utf8(text) {
        _ if length > MAX_LINE_BYTES => refused(format!("the line is over {MAX_LINE_BYTES} bytes")),
        Ok(text) => ImportLine::parse(text, rules),
        Err(_) => refused("the line is not UTF-8".to_owned()),
    })
}

/// Reads the next line into `line`, without its line break. Returns the length with the line break, or None at the end
/// of the file. Keeps only the first `MAX_LINE_BYTES` of a longer line.
pub async fn next_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> std::io::Result<Option<u64>> {
    line.clear();
    let mut length = (&mut *reader).take(MAX_LINE_BYTES).read_until(b'\n', line).await? as u64;
    if length == 0 {
        return Ok(None);
    }
    while line.last() != Some(&b'\n') {
        let mut rest = Vec::new();
        let more = (&mut *reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut rest).await? as u64;
        length += more;
        if more == 0 || rest.last() == Some(&b'\n') {
            return Ok(Some(length));
        }
    }
    line.pop();
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    #[tokio::test]
    async fn line_over_the_limit_is_truncated() {
        let long = "x".repeat(3 * usize::try_from(MAX_LINE_BYTES).unwrap());
        let text = format!("one\n\n{long}\nlast");
        let (mut reader, mut line, mut read) = (BufReader::new(text.as_bytes()), Vec::new(), Vec::new());
        while let Some(length) = next_line(&mut reader, &mut line).await.unwrap() {
            assert!(line.len() as u64 <= MAX_LINE_BYTES);
            read.push((length, String::from_utf8_lossy(&line[..line.len().min(4)]).into_owned()));
        }
        let long = 3 * MAX_LINE_BYTES + 1;
        assert_eq!(read, [(4, "one".into()), (1, String::new()), (long, "xxxx".into()), (4, "last".into())]);
    }
}
