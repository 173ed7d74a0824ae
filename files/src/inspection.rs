//! Checks the bytes of a complete upload while they are read in pieces, so that memory stays small. Pure.

use aws_lc_rs::digest::{Context, SHA256};

use crate::media::{self, HEAD_BYTES};

/// What a check found in the complete content.
#[derive(Debug, PartialEq, Eq)]
pub struct Inspection {
    /// SHA-256 as hex digits in lower case.
    pub sha256: String,
    pub sniffed_type: Option<&'static str>,
    /// The number of bytes.
    pub size: u64,
}

/// A check in progress.
pub struct Inspector {
    sha256: Context,
    head: Vec<u8>,
    size: u64,
}

impl Inspector {
    pub fn new() -> Self {
        Self { sha256: Context::new(&SHA256), head: Vec::new(), size: 0 }
    }

    /// Looks at the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.sha256.update(piece);
        // The type is sniffed in the first bytes, which may come in several pieces.
        let wanted = (HEAD_BYTES - self.head.len()).min(piece.len());
        self.head.extend_from_slice(&piece[..wanted]);
        self.size = self.size.saturating_add(piece.len() as u64);
    }

    pub fn finish(self) -> Inspection {
        Inspection {
            sha256: self.sha256.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
            sniffed_type: media::sniff(&self.head),
            size: self.size,
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::digest;

    use super::*;

    #[test]
    fn inspection_does_not_depend_on_the_pieces() {
        let mut content = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        content.resize(HEAD_BYTES * 2 + 7, 1);
        let sha256 = digest(&SHA256, &content).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = Inspection { sha256, sniffed_type: Some("image/png"), size: content.len() as u64 };
        for bytes in [1, 3, 1000, HEAD_BYTES, content.len()] {
            let mut inspector = Inspector::new();
            content.chunks(bytes).for_each(|piece| inspector.update(piece));
            assert_eq!(inspector.finish(), expected, "{bytes}");
        }
        let empty = Inspector::new().finish();
        assert!(empty.sha256.starts_with("e3b0c442") && empty.sniffed_type.is_none() && empty.size == 0);
    }
}
