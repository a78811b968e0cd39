//! Real files, read and written by position.

use std::fs;
use std::io;
use std::sync::Arc;

use super::{Entry, File, HeldLock, OpenMode, Storage};

/// Files of the operating system. Paths are taken as they are: absolute, or relative to the working directory.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileStorage;

impl FileStorage {
    /// The file system.
    pub fn new() -> FileStorage {
        FileStorage
    }
}

impl Storage for FileStorage {
    fn create_dir(&self, path: &str) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            // A name that is not UTF-8 cannot be one of ours; it is shown in a readable form and then left alone.
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_dir = fs::metadata(entry.path()).map_or_else(|_| false, |m| m.is_dir());
            entries.push(Entry { name, is_dir });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true);
        match mode {
            OpenMode::Existing => {}
            OpenMode::Create => {
                options.create(true).truncate(false);
            }
            OpenMode::Truncate => {
                options.create(true).truncate(true);
            }
        }
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        fs::exists(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &str) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    #[cfg(unix)]
    fn sync_dir(&self, path: &str) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    /// Windows has no handle for this; NTFS journals names itself.
    #[cfg(not(unix))]
    fn sync_dir(&self, _path: &str) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn HeldLock>>> {
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(FileLock { _file: file }))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(e)) => Err(e),
        }
    }

    fn preallocates(&self) -> bool {
        true
    }
}

/// The lock lives as long as the open file does.
#[derive(Debug)]
struct FileLock {
    _file: fs::File,
}

impl HeldLock for FileLock {}

#[derive(Debug)]
struct RealFile(fs::File);

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, mut position: u64, mut out: &mut [u8]) -> io::Result<usize> {
        let mut total = 0;
        while !out.is_empty() {
            match read_once(&self.0, position, out) {
                Ok(0) => break,
                Ok(n) => {
                    out = &mut out[n..];
                    position += n as u64;
                    total += n;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(total)
    }

    fn write_at(&self, mut position: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match write_once(&self.0, position, bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    bytes = &bytes[n..];
                    position += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn modified_ms(&self) -> io::Result<Option<i64>> {
        let modified = self.0.metadata()?.modified()?;
        Ok(modified.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_millis() as i64))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

#[cfg(unix)]
fn read_once(file: &fs::File, position: u64, out: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, out, position)
}

#[cfg(unix)]
fn write_once(file: &fs::File, position: u64, bytes: &[u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, position)
}

#[cfg(windows)]
fn read_once(file: &fs::File, position: u64, out: &mut [u8]) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, out, position)
}

#[cfg(windows)]
fn write_once(file: &fs::File, position: u64, bytes: &[u8]) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_what_was_written_at_a_position() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap();
        let storage = FileStorage::new();
        let path = format!("{root}/a/b");
        storage.create_dir(&path).unwrap();
        let file = storage.open(&format!("{path}/x"), OpenMode::Create).unwrap();
        file.write_at(4, b"late").unwrap();
        file.write_at(0, b"earl").unwrap();
        file.sync().unwrap();
        storage.sync_dir(&path).unwrap();
        assert_eq!(file.read_bytes(0, 100).unwrap(), &b"earllate"[..]);
        file.set_len(5).unwrap();
        assert_eq!(file.len().unwrap(), 5);
        assert_eq!(storage.list(&path).unwrap(), vec![Entry { name: "x".into(), is_dir: false }]);
        let missing = storage.open(&format!("{path}/y"), OpenMode::Existing).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_lock_is_held_by_one_and_freed_on_drop() {
        let dir = tempfile::tempdir().unwrap();
        let path = format!("{}/.lock", dir.path().to_str().unwrap());
        let storage = FileStorage::new();
        let held = storage.lock(&path).unwrap().unwrap();
        assert!(storage.lock(&path).unwrap().is_none());
        drop(held);
        assert!(storage.lock(&path).unwrap().is_some());
    }
}
