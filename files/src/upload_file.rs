//! The content of an upload as an open file. At most one request writes it: a writer holds an exclusive `flock` on the
//! file. The kernel releases the lock when the process exits. A paused process keeps it. All functions block.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};

use aws_lc_rs::digest::{Context, SHA256};

use crate::media::{self, HEAD_BYTES};

const READ_BYTES: usize = 256 * 1024;

/// An open content file.
pub struct UploadFile(File);

/// What a check found in the complete content.
#[derive(Debug, PartialEq, Eq)]
pub struct Inspection {
    /// SHA-256 as hex digits in lower case.
    pub sha256: String,
    pub sniffed_type: Option<&'static str>,
}

impl UploadFile {
    pub(crate) fn new(file: File) -> Self {
        Self(file)
    }

    /// Locks the content file for this writer until it is dropped. Returns false if another writer holds the lock.
    pub fn try_lock(&self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Appends bytes. They are durable only after [`UploadFile::durable_bytes`].
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.seek(SeekFrom::End(0))?;
        self.0.write_all(bytes)
    }

    /// Writes everything to the disk, and returns the size. Another request may append meanwhile, so the size is read
    /// first: the bytes that come later may not be on the disk yet.
    pub fn durable_bytes(&self) -> io::Result<u64> {
        let bytes = self.0.metadata()?.len();
        self.0.sync_all()?;
        Ok(bytes)
    }

    /// Removes all bytes, so that the upload begins again.
    pub fn clear(&self) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.sync_all()
    }

    /// Replaces all bytes. Not atomic: the caller holds the lock and completes the upload afterwards. After a crash in
    /// between the checksum does not match, so the upload begins again.
    pub fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.seek(SeekFrom::Start(0))?;
        self.0.write_all(bytes)?;
        self.0.set_len(bytes.len() as u64)?;
        self.0.sync_all()
    }

    /// Reads the whole content in small chunks.
    pub fn inspect(&mut self) -> io::Result<Inspection> {
        self.0.seek(SeekFrom::Start(0))?;
        let (mut context, mut buffer) = (Context::new(&SHA256), vec![0; READ_BYTES]);
        let (mut sniffed_type, mut is_first) = (None, true);
        loop {
            let filled = read_chunk(&mut self.0, &mut buffer)?;
            if is_first {
                sniffed_type = media::sniff(&buffer[..filled.min(HEAD_BYTES)]);
                is_first = false;
            }
            if filled == 0 {
                break;
            }
            context.update(&buffer[..filled]);
        }
        let sha256 = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Inspection { sha256, sniffed_type })
    }
}

/// Fills the buffer as far as the file has bytes. A single read may return fewer, and the first chunk must be whole
/// because the type is sniffed in it.
fn read_chunk(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &std::path::Path) -> UploadFile {
        UploadFile::new(
            File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap(),
        )
    }

    #[test]
    fn second_writer_is_locked_out_until_the_first_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let (first, second) = (open(&path), open(&path));
        assert!(first.try_lock().unwrap());
        assert!(!second.try_lock().unwrap());
        drop(first);
        assert!(second.try_lock().unwrap());
    }

    #[test]
    fn inspection_reads_all_bytes_and_the_type() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = open(&folder.path().join("a"));
        let mut content = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        content.resize(READ_BYTES * 2 + 7, 1);
        for chunk in content.chunks(1000) {
            file.append(chunk).unwrap();
        }
        assert_eq!(file.durable_bytes().unwrap(), content.len() as u64);
        let mut expected = Context::new(&SHA256);
        expected.update(&content);
        let expected: String = expected.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let found = file.inspect().unwrap();
        assert_eq!(found, Inspection { sha256: expected, sniffed_type: Some("image/png") });
        assert_eq!(file.inspect().unwrap(), found);
        file.replace(b"new").unwrap();
        assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), b"new");
        file.clear().unwrap();
        let empty = file.inspect().unwrap();
        assert!(empty.sha256.starts_with("e3b0c442") && empty.sniffed_type.is_none());
    }
}
