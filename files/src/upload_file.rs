//! The content of an upload as an open file. At most one request writes it: a writer holds an exclusive `flock` on the
//! file. The kernel releases the lock when the process exits. A paused process keeps it. All functions block.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::inspection::{Inspection, Inspector};

const READ_BYTES: usize = 256 * 1024;

/// An open content file.
pub struct UploadFile(File);

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
        let (mut inspector, mut buffer) = (Inspector::new(), vec![0; READ_BYTES]);
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return Ok(inspector.finish()),
                Ok(count) => inspector.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
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
        let mut expected = Inspector::new();
        expected.update(&content);
        let (found, expected) = (file.inspect().unwrap(), expected.finish());
        assert_eq!(found, expected);
        assert_eq!((found.size, found.sniffed_type), (content.len() as u64, Some("image/png")));
        assert_eq!(file.inspect().unwrap(), found);
        file.replace(b"new").unwrap();
        assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), b"new");
        file.clear().unwrap();
        assert_eq!(file.inspect().unwrap().size, 0);
    }
}
