//! Where files live: the one seam between the log and a disk.
//!
//! Everything above this module speaks of paths, positions and bytes; a [`Storage`] turns them into real files
//! ([`FileStorage`]) or into memory that can lose power ([`MemoryStorage`]). The seam is at the level of files and not of
//! logs, so that recovery, checkpoints and indexes are the same code in a test, in a simulation and on a server.
//!
//! What a storage promises:
//!
//! * bytes written are read back by every handle at once; they are *durable* only after [`File::sync`];
//! * a new, renamed or removed name is durable only after [`Storage::sync_dir`] of its directory (U6);
//! * after an error of a write or a sync nothing is known about the bytes since the last good sync (D31).
//!
//! Paths are UTF-8 with `/` between the parts.

mod file;
mod memory;

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

pub use self::file::FileStorage;
pub use self::memory::{Fault, MemoryStorage};

/// A place for directories and files.
pub trait Storage: Send + Sync + Debug {
    /// Makes the directory and the missing ones above it. One that exists already is fine.
    ///
    /// # Errors
    /// The storage's, for example if a file has the name. Some of the missing ones may have been made.
    fn create_dir(&self, path: &str) -> io::Result<()>;

    /// The entries of a directory, in the order of their names.
    ///
    /// # Errors
    /// The storage's, for example if there is no such directory.
    fn list(&self, path: &str) -> io::Result<Vec<Entry>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` if it is missing and `mode` does not create it; else the storage's.
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn File>>;

    /// Whether a file or directory of this name exists.
    ///
    /// # Errors
    /// The storage's, if it cannot tell. That there is none is no error.
    fn exists(&self, path: &str) -> io::Result<bool>;

    /// Renames a file or directory; an existing file of the new name is replaced in one step.
    ///
    /// # Errors
    /// `NotFound` if there is no `from`; else the storage's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound` if there is none; else the storage's.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Removes a directory and all that is in it.
    ///
    /// # Errors
    /// The storage's, also if there is none. Some of what is in it may be gone.
    fn remove_dir_all(&self, path: &str) -> io::Result<()>;

    /// Makes new, renamed and removed names of this directory durable (U6).
    ///
    /// # Errors
    /// The storage's. Which names are durable is open then, and a later success says nothing of them (D31).
    fn sync_dir(&self, path: &str) -> io::Result<()>;

    /// Takes the exclusive lock that the file `path` stands for, creating the file. `None`: another holds it.
    /// The lock ends with the returned value, or with the process.
    ///
    /// # Errors
    /// The storage's, if the file cannot be opened or locked. That another holds the lock is no error.
    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn HeldLock>>>;

    /// Whether active index files and `preallocate`d segments are given their full size in advance (D7).
    fn preallocates(&self) -> bool;
}

/// An open file. Positions are bytes from its start. All calls may run at the same time.
pub trait File: Send + Sync + Debug {
    /// Present length in bytes.
    ///
    /// # Errors
    /// The storage's.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// As [`len`](File::len).
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads until `out` is full or the file ends; returns how many bytes were read.
    ///
    /// # Errors
    /// The storage's; `out` may be filled in part then. A position behind the end is no error.
    fn read_at(&self, position: u64, out: &mut [u8]) -> io::Result<usize>;

    /// Reads up to `len` bytes into a buffer of their own. The caller bounds `len` by what the file holds.
    ///
    /// # Errors
    /// As [`read_at`](File::read_at).
    fn read_bytes(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let mut buffer = vec![0; len];
        let read = self.read_at(position, &mut buffer)?;
        buffer.truncate(read);
        Ok(Bytes::from(buffer))
    }

    /// Writes all bytes; a gap between the end and `position` becomes zeros.
    ///
    /// # Errors
    /// The storage's, for example if the disk is full. Some of the bytes may have been written.
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes all bytes written so far durable, and the length with them.
    ///
    /// # Errors
    /// The storage's. What was written since the last good sync may be lost, and a later success says nothing of it (D31).
    fn sync(&self) -> io::Result<()>;

    /// When the file was last written, ms since 1970, if the storage knows.
    ///
    /// # Errors
    /// The storage's, if the time cannot be read.
    fn modified_ms(&self) -> io::Result<Option<i64>> {
        Ok(None)
    }

    /// Cuts the file, or extends it with zeros.
    ///
    /// # Errors
    /// The storage's, for example if the disk is full. Which length the file has is open then.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// A lock taken by [`Storage::lock`]; dropping it releases the lock.
pub trait HeldLock: Send + Sync + Debug {}

/// How [`Storage::open`] treats a missing or present file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// The file must exist.
    Existing,
    /// Created when missing, kept as it is when present.
    Create,
    /// Created when missing, emptied when present.
    Truncate,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name without the directory.
    pub name: String,
    /// Directory rather than file.
    pub is_dir: bool,
}

/// A file and its path, for messages.
pub(crate) type NamedFile = (String, Arc<dyn File>);

/// `directory/name`.
pub(crate) fn join(directory: &str, name: &str) -> String {
    format!("{directory}/{name}")
}

/// The directory part of a path; `.` when there is none.
pub(crate) fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) => "/",
        Some(at) => &path[..at],
        None => ".",
    }
}

/// A whole small file, `None` if it is missing. More than `limit` bytes is an error: no checkpoint is that large, and a
/// damaged length must not become an allocation.
pub(crate) fn read_small(storage: &dyn Storage, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match storage.open(path, OpenMode::Existing) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let len = file.len()?;
    if len > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{path} has {len} bytes, at most {limit} expected"),
        ));
    }
    let mut bytes = vec![0; len as usize];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

/// Replaces a small file so that a crash leaves the old or the new content, never a mix (D2): write `<path>.tmp`, sync it,
/// rename it over the old one, sync the directory.
pub(crate) fn replace_small(storage: &dyn Storage, path: &str, content: &[u8]) -> io::Result<()> {
    // D2
    let temporary = format!("{path}.tmp");
    let file = storage.open(&temporary, OpenMode::Truncate)?;
    file.write_at(0, content)?;
    file.sync()?;
    drop(file);
    storage.rename(&temporary, path)?;
    storage.sync_dir(parent(path))
}
