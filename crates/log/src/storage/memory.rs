//! Files in memory, for tests, simulations and clusters that need not outlive their process.
//!
//! The storage knows for every file and directory what a loss of power would leave: [`MemoryStorage::power_loss`] drops
//! all else. Faults can be ordered in advance: a write or sync that fails, a disk that fills up, a torn write, a sync that
//! takes as long as the test wants. Syncs are counted.
//! Files are kept in chunks, and parts never written cost nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex, RwLock};

use super::{Entry, File, HeldLock, OpenMode, Storage};

/// An in-memory file system. Clones share the same files.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage {
    shared: Arc<Shared>,
}

/// A fault ordered with [`MemoryStorage::inject`]. Counts run from 1: `FailWrite(1)` is the very next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The n-th write from now fails and writes nothing.
    FailWrite(u64),
    /// The n-th write from now writes only its first `keep` bytes, then fails.
    TearWrite {
        /// Which write.
        nth: u64,
        /// How many of its bytes arrive.
        keep: usize,
    },
    /// The n-th sync (of a file or a directory) from now fails; what it should have made durable is not.
    FailSync(u64),
    /// The n-th rename from now fails and changes nothing.
    FailRename(u64),
    /// The n-th read of a file from now fails.
    FailRead(u64),
    /// The n-th file that would be made from now is not.
    FailCreate(u64),
    /// Only so many more bytes can be written; then every write fails with `StorageFull`.
    DiskFull(u64),
}

impl MemoryStorage {
    /// An empty file system.
    pub fn new() -> MemoryStorage {
        MemoryStorage::default()
    }

    /// Orders a fault. Several may be under way.
    pub fn inject(&self, fault: Fault) {
        self.inject_in("", fault);
    }

    /// Orders a fault that only paths that contain `part` run into: one disk of several.
    pub fn inject_in(&self, part: &str, fault: Fault) {
        self.shared.faults.lock().push((part.to_owned(), fault));
        self.shared.faulty.store(true, Ordering::Release);
    }

    /// From now on syncs of files whose path contains `part` do not end before [`release_syncs`](MemoryStorage::release_syncs).
    pub fn hold_syncs(&self, part: &str) {
        self.shared.syncs.lock().held = Some(part.to_owned());
    }

    /// Lets all syncs go on.
    pub fn release_syncs(&self) {
        self.shared.syncs.lock().held = None;
        self.shared.released.notify_all();
    }

    /// Syncs that are held now.
    pub fn syncs_held(&self) -> usize {
        self.shared.syncs.lock().waiting
    }

    /// Syncs of files whose path contains `part`, begun so far.
    pub fn sync_count(&self, part: &str) -> u64 {
        let syncs = self.shared.syncs.lock();
        syncs.begun.iter().filter(|(path, _)| path.contains(part)).map(|(_, count)| count).sum()
    }

    /// Forgets all ordered faults.
    pub fn clear_faults(&self) {
        self.shared.faults.lock().clear();
        self.shared.faulty.store(false, Ordering::Release);
    }

    /// The power goes: unsynced bytes and names are lost, open handles are dead, locks are free.
    pub fn power_loss(&self) {
        self.power_loss_keeping(|_, _| 0);
    }

    /// Like [`power_loss`](MemoryStorage::power_loss), but of a file that has only grown since its last sync,
    /// `keep(path, unsynced)` of the unsynced bytes survive: a torn tail.
    pub fn power_loss_keeping(&self, mut keep: impl FnMut(&str, u64) -> u64) {
        self.kill();
        let root = self.shared.root.lock();
        lose(&root, "", &mut keep);
    }

    /// The process dies, the machine does not: written bytes stay, open handles are dead, locks are free.
    pub fn kill(&self) {
        self.shared.generation.fetch_add(1, Ordering::AcqRel);
        self.shared.locks.lock().clear();
    }

    fn find_dir(&self, path: &str) -> io::Result<Arc<Mutex<Dir>>> {
        match self.find(path)? {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(io::Error::new(io::ErrorKind::NotADirectory, path.to_owned())),
        }
    }

    fn find(&self, path: &str) -> io::Result<Node> {
        let mut node = Node::Dir(Arc::clone(&*self.shared.root.lock()));
        for part in parts(path) {
            let next = match &node {
                Node::Dir(dir) => dir.lock().now.get(part).cloned(),
                Node::File(_) => None,
            };
            node = next.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, path.to_owned()))?;
        }
        Ok(node)
    }

    fn handle(&self, inode: Arc<Inode>, path: &str) -> Arc<dyn File> {
        let generation = self.shared.generation.load(Ordering::Acquire);
        Arc::new(MemoryFile { inode, shared: Arc::clone(&self.shared), path: path.into(), generation })
    }
}

impl Storage for MemoryStorage {
    fn create_dir(&self, path: &str) -> io::Result<()> {
        let mut dir = Arc::clone(&*self.shared.root.lock());
        for part in parts(path) {
            let next = {
                let mut locked = dir.lock();
                match locked.now.entry(part.to_owned()).or_insert_with(|| Node::Dir(Arc::default())) {
                    Node::Dir(next) => Arc::clone(next),
                    Node::File(_) => {
                        return Err(io::Error::new(io::ErrorKind::NotADirectory, path.to_owned()));
                    }
                }
            };
            dir = next;
        }
        Ok(())
    }

    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        let dir = self.find_dir(path)?;
        let dir = dir.lock();
        Ok(dir
            .now
            .iter()
            .map(|(name, node)| Entry { name: name.clone(), is_dir: matches!(node, Node::Dir(_)) })
            .collect())
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let (parent, name) = split(path)?;
        let dir = self.find_dir(parent)?;
        let inode = {
            let mut dir = dir.lock();
            match dir.now.get(name) {
                Some(Node::File(inode)) => Arc::clone(inode),
                Some(Node::Dir(_)) => {
                    return Err(io::Error::new(io::ErrorKind::IsADirectory, path.to_owned()));
                }
                None if mode == OpenMode::Existing => {
                    return Err(io::Error::new(io::ErrorKind::NotFound, path.to_owned()));
                }
                None => {
                    self.shared.before_create(path)?;
                    let inode = Arc::<Inode>::default();
                    dir.now.insert(name.to_owned(), Node::File(Arc::clone(&inode)));
                    inode
                }
            }
        };
        if mode == OpenMode::Truncate {
            inode.content.write().set_len(0);
        }
        Ok(self.handle(inode, path))
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        match self.find(path) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from_parent, from_name) = split(from)?;
        let (to_parent, to_name) = split(to)?;
        self.shared.before_rename(from)?;
        let from_dir = self.find_dir(from_parent)?;
        let to_dir = self.find_dir(to_parent)?;
        let node = from_dir
            .lock()
            .now
            .remove(from_name)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, from.to_owned()))?;
        to_dir.lock().now.insert(to_name.to_owned(), node);
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let (parent, name) = split(path)?;
        let dir = self.find_dir(parent)?;
        let removed = dir.lock().now.remove(name);
        removed.map(drop).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, path.to_owned()))
    }

    fn remove_dir_all(&self, path: &str) -> io::Result<()> {
        self.remove(path)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let dir = self.find_dir(path)?;
        self.shared.before_sync(path)?;
        let mut dir = dir.lock();
        dir.durable = dir.now.clone();
        Ok(())
    }

    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn HeldLock>>> {
        self.open(path, OpenMode::Create)?;
        if !self.shared.locks.lock().insert(path.to_owned()) {
            return Ok(None);
        }
        let generation = self.shared.generation.load(Ordering::Acquire);
        Ok(Some(Box::new(MemoryLock { path: path.to_owned(), shared: Arc::clone(&self.shared), generation })))
    }

    fn preallocates(&self) -> bool {
        false
    }
}

#[derive(Debug, Default)]
struct Shared {
    root: Mutex<Arc<Mutex<Dir>>>,
    locks: Mutex<HashSet<String>>,
    /// Raised when handles die, so that a dead log cannot write into its successor's files.
    generation: AtomicU64,
    /// With the part of a path that they are for.
    faults: Mutex<Vec<(String, Fault)>>,
    syncs: Mutex<Syncs>,
    released: Condvar,
    /// Whether `faults` is worth a look.
    faulty: AtomicBool,
}

#[derive(Debug, Default)]
struct Syncs {
    /// By path. Counts of files that are gone stay; it is a storage for tests.
    begun: HashMap<Arc<str>, u64>,
    /// Paths that contain this wait.
    held: Option<String>,
    waiting: usize,
}

impl Shared {
    /// Counts a sync of a file, and waits as long as it is held.
    fn count_sync(&self, path: &Arc<str>) {
        let mut syncs = self.syncs.lock();
        *syncs.begun.entry(Arc::clone(path)).or_default() += 1;
        syncs.waiting += 1;
        while syncs.held.as_ref().is_some_and(|part| path.contains(&**part)) {
            self.released.wait(&mut syncs);
        }
        syncs.waiting -= 1;
    }

    /// How many of `len` bytes may be written, and the error that follows if these are not all.
    fn before_write(&self, path: &str, len: usize) -> (usize, Option<io::Error>) {
        if !self.faulty.load(Ordering::Acquire) {
            return (len, None);
        }
        let mut allowed = len;
        let mut error = None;
        self.faults.lock().retain_mut(|(part, fault)| {
            if !path.contains(&**part) {
                return true;
            }
            let (nth, keep) = match fault {
                Fault::FailWrite(nth) => (nth, 0),
                Fault::TearWrite { nth, keep } => (nth, *keep),
                Fault::DiskFull(left) => {
                    if (*left as u128) < len as u128 {
                        allowed = allowed.min(*left as usize);
                        error = Some(io::Error::from(io::ErrorKind::StorageFull));
                    }
                    *left = left.saturating_sub(len as u64);
                    return true;
                }
                Fault::FailSync(_) | Fault::FailRename(_) | Fault::FailRead(_) | Fault::FailCreate(_) => {
                    return true;
                }
            };
            *nth = nth.saturating_sub(1);
            if *nth == 0 {
                allowed = allowed.min(keep);
                error = Some(io::Error::other("injected write error"));
                return false;
            }
            true
        });
        (allowed, error)
    }

    fn before_sync(&self, path: &str) -> io::Result<()> {
        self.count_down(path, "injected sync error", |fault| match fault {
            Fault::FailSync(nth) => Some(nth),
            _ => None,
        })
    }

    fn before_rename(&self, path: &str) -> io::Result<()> {
        self.count_down(path, "injected rename error", |fault| match fault {
            Fault::FailRename(nth) => Some(nth),
            _ => None,
        })
    }

    fn before_read(&self, path: &str) -> io::Result<()> {
        self.count_down(path, "injected read error", |fault| match fault {
            Fault::FailRead(nth) => Some(nth),
            _ => None,
        })
    }

    fn before_create(&self, path: &str) -> io::Result<()> {
        self.count_down(path, "injected error: no file is made", |fault| match fault {
            Fault::FailCreate(nth) => Some(nth),
            _ => None,
        })
    }

    /// Fails if it is the turn of a fault that `count` knows.
    fn count_down(
        &self,
        path: &str,
        reason: &'static str,
        count: impl Fn(&mut Fault) -> Option<&mut u64>,
    ) -> io::Result<()> {
        if !self.faulty.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut result = Ok(());
        self.faults.lock().retain_mut(|(part, fault)| {
            let Some(nth) = count(fault).filter(|_| path.contains(&**part)) else { return true };
            *nth = nth.saturating_sub(1);
            if *nth == 0 {
                result = Err(io::Error::other(reason));
                return false;
            }
            true
        });
        result
    }
}

#[derive(Debug)]
struct MemoryLock {
    path: String,
    shared: Arc<Shared>,
    generation: u64,
}

impl HeldLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        // After a kill the name may be held by a successor.
        if self.shared.generation.load(Ordering::Acquire) == self.generation {
            self.shared.locks.lock().remove(&self.path);
        }
    }
}

#[derive(Debug, Clone)]
enum Node {
    Dir(Arc<Mutex<Dir>>),
    File(Arc<Inode>),
}

#[derive(Debug, Default)]
struct Dir {
    now: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
}

#[derive(Debug, Default)]
struct Inode {
    content: RwLock<Content>,
}

#[derive(Debug)]
struct MemoryFile {
    inode: Arc<Inode>,
    shared: Arc<Shared>,
    /// As it was opened.
    path: Arc<str>,
    generation: u64,
}

impl MemoryFile {
    fn check_alive(&self) -> io::Result<()> {
        if self.shared.generation.load(Ordering::Acquire) == self.generation {
            return Ok(());
        }
        Err(io::Error::other("this handle belongs to a process that was killed"))
    }
}

impl File for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        self.check_alive()?;
        Ok(self.inode.content.read().len)
    }

    fn read_at(&self, position: u64, out: &mut [u8]) -> io::Result<usize> {
        self.check_alive()?;
        self.shared.before_read(&self.path)?;
        Ok(self.inode.content.read().read(position, out))
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_alive()?;
        let (allowed, error) = self.shared.before_write(&self.path, bytes.len());
        self.inode.content.write().write(position, &bytes[..allowed]);
        error.map_or(Ok(()), Err)
    }

    fn sync(&self) -> io::Result<()> {
        self.check_alive()?;
        // What is written after the sync has begun need not be durable after it.
        let mark = self.inode.content.write().mark();
        self.shared.count_sync(&self.path);
        self.check_alive()?;
        self.shared.before_sync(&self.path)?;
        self.inode.content.write().settle(mark);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_alive()?;
        self.inode.content.write().set_len(len);
        Ok(())
    }
}

const CHUNK: usize = 64 * 1024;

/// Bytes in chunks (a chunk may be shorter than [`CHUNK`]; what is missing is zeros), and how to get back to what was
/// last synced.
#[derive(Debug, Default)]
struct Content {
    chunks: Vec<Vec<u8>>,
    len: u64,
    undo: Vec<Undo>,
    /// Steps that syncs have dropped from the front of `undo`.
    settled: u64,
}

#[derive(Debug)]
enum Undo {
    /// The length was this; bytes from there on are new.
    Len(u64),
    /// These bytes stood here.
    Bytes { position: u64, old: Vec<u8> },
}

impl Content {
    fn read(&self, position: u64, out: &mut [u8]) -> usize {
        let wanted = (self.len.saturating_sub(position)).min(out.len() as u64) as usize;
        let mut done = 0;
        while done < wanted {
            let at = position as usize + done;
            let (index, inside) = (at / CHUNK, at % CHUNK);
            let n = (CHUNK - inside).min(wanted - done);
            let target = &mut out[done..done + n];
            let chunk = self.chunks.get(index).map_or(&[][..], |c| c.get(inside..).unwrap_or(&[]));
            let have = chunk.len().min(n);
            target[..have].copy_from_slice(&chunk[..have]);
            target[have..].fill(0);
            done += n;
        }
        wanted
    }

    fn write(&mut self, position: u64, bytes: &[u8]) {
        let end = position + bytes.len() as u64;
        if position < self.len {
            let old = self.copy(position, end.min(self.len));
            self.undo.push(Undo::Bytes { position, old });
        }
        if end > self.len {
            self.remember_len();
        }
        self.put(position, bytes);
    }

    fn set_len(&mut self, len: u64) {
        if len < self.len {
            let old = self.copy(len, self.len);
            self.undo.push(Undo::Len(self.len));
            self.undo.push(Undo::Bytes { position: len, old });
            self.cut(len);
        } else if len > self.len {
            self.remember_len();
            self.len = len;
        }
    }

    /// Back to the last sync, except that `keep(unsynced)` bytes stay of a file that has only grown since.
    fn lose(&mut self, keep: impl FnOnce(u64) -> u64) {
        if let [Undo::Len(durable)] = self.undo[..] {
            let unsynced = self.len - durable;
            self.cut(durable + keep(unsynced).min(unsynced));
            self.undo.clear();
            return;
        }
        while let Some(step) = self.undo.pop() {
            match step {
                Undo::Len(len) if len < self.len => self.cut(len),
                Undo::Len(len) => self.len = len,
                Undo::Bytes { position, old } => self.put(position, &old),
            }
        }
    }

    /// What a sync that begins now makes durable: all steps before this one.
    fn mark(&mut self) -> u64 {
        if !matches!(self.undo.last(), Some(Undo::Len(len)) if *len == self.len) {
            self.undo.push(Undo::Len(self.len));
        }
        self.settled + self.undo.len() as u64 - 1
    }

    /// A sync has ended.
    fn settle(&mut self, mark: u64) {
        let steps = mark.saturating_sub(self.settled);
        self.undo.drain(..(steps as usize).min(self.undo.len()));
        self.settled = self.settled.max(mark);
    }

    /// Growth in a row is undone by one step.
    fn remember_len(&mut self) {
        if !matches!(self.undo.last(), Some(Undo::Len(_))) {
            self.undo.push(Undo::Len(self.len));
        }
    }

    fn copy(&self, from: u64, to: u64) -> Vec<u8> {
        let mut bytes = vec![0; (to - from) as usize];
        self.read(from, &mut bytes);
        bytes
    }

    fn put(&mut self, position: u64, bytes: &[u8]) {
        let end = position + bytes.len() as u64;
        let mut done = 0;
        while done < bytes.len() {
            let at = position as usize + done;
            let (index, inside) = (at / CHUNK, at % CHUNK);
            let n = (CHUNK - inside).min(bytes.len() - done);
            if self.chunks.len() <= index {
                self.chunks.resize_with(index + 1, Vec::new);
            }
            let chunk = &mut self.chunks[index];
            if chunk.len() < inside + n {
                chunk.resize(inside + n, 0);
            }
            chunk[inside..inside + n].copy_from_slice(&bytes[done..done + n]);
            done += n;
        }
        self.len = self.len.max(end);
    }

    fn cut(&mut self, len: u64) {
        let (index, inside) = (len as usize / CHUNK, len as usize % CHUNK);
        self.chunks.truncate(index + usize::from(inside > 0));
        if inside > 0 && self.chunks.len() == index + 1 {
            self.chunks[index].truncate(inside);
        }
        self.len = len;
    }
}

fn lose(dir: &Arc<Mutex<Dir>>, path: &str, keep: &mut dyn FnMut(&str, u64) -> u64) {
    let mut dir = dir.lock();
    dir.now = dir.durable.clone();
    for (name, node) in &dir.now {
        let path = format!("{path}/{name}");
        match node {
            Node::Dir(inner) => lose(inner, &path, keep),
            Node::File(inode) => inode.content.write().lose(|unsynced| keep(&path, unsynced)),
        }
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|p| !p.is_empty() && *p != ".")
}

fn split(path: &str) -> io::Result<(&str, &str)> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{path:?} names no file")));
    }
    Ok((parent, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(storage: &MemoryStorage, path: &str) -> Vec<u8> {
        let file = storage.open(path, OpenMode::Existing).unwrap();
        file.read_bytes(0, file.len().unwrap() as usize).unwrap().to_vec()
    }

    fn synced(storage: &MemoryStorage, path: &str, bytes: &[u8]) -> Arc<dyn File> {
        storage.create_dir("d").unwrap();
        storage.sync_dir("").unwrap();
        let file = storage.open(path, OpenMode::Create).unwrap();
        file.write_at(0, bytes).unwrap();
        file.sync().unwrap();
        storage.sync_dir("d").unwrap();
        file
    }

    #[test]
    fn power_loss_drops_what_was_not_synced() {
        // U6
        let storage = MemoryStorage::new();
        let file = synced(&storage, "d/a", b"durable");
        file.write_at(7, b" and not").unwrap();
        file.write_at(0, b"D").unwrap();
        let new = storage.open("d/b", OpenMode::Create).unwrap();
        new.write_at(0, b"name not synced").unwrap();
        new.sync().unwrap();
        storage.power_loss();
        assert_eq!(content(&storage, "d/a"), b"durable");
        assert!(!storage.exists("d/b").unwrap());
        assert!(file.write_at(0, b"x").is_err(), "handles die with the power");
    }

    #[test]
    fn a_held_sync_makes_durable_what_was_there_when_it_began() {
        let storage = MemoryStorage::new();
        let file = synced(&storage, "d/a", b"one");
        let before = storage.sync_count("d/");
        file.write_at(3, b"two").unwrap();
        storage.hold_syncs("/a");
        std::thread::scope(|scope| {
            let sync = scope.spawn(|| file.sync());
            while storage.syncs_held() == 0 {
                std::thread::yield_now();
            }
            file.write_at(6, b"three").unwrap();
            file.write_at(0, b"O").unwrap();
            storage.release_syncs();
            sync.join().unwrap().unwrap();
        });
        assert_eq!(storage.sync_count("d/") - before, 1);
        assert_eq!(content(&storage, "d/a"), b"Onetwothree");
        storage.power_loss();
        assert_eq!(content(&storage, "d/a"), b"onetwo");
    }

    #[test]
    fn a_fault_of_one_path_spares_the_others() {
        let storage = MemoryStorage::new();
        let (a, b) = (synced(&storage, "d/a", b""), synced(&storage, "d/b", b""));
        storage.inject_in("d/b", Fault::FailWrite(1));
        storage.inject_in("d/b", Fault::FailSync(1));
        a.write_at(0, b"x").unwrap();
        a.sync().unwrap();
        assert!(b.write_at(0, b"x").is_err());
        assert!(b.sync().is_err());
    }

    #[test]
    fn power_loss_brings_back_what_was_cut() {
        let storage = MemoryStorage::new();
        let file = synced(&storage, "d/a", b"0123456789");
        file.set_len(4).unwrap();
        file.write_at(4, b"xyz").unwrap();
        storage.power_loss();
        assert_eq!(content(&storage, "d/a"), b"0123456789");
    }

    #[test]
    fn a_torn_tail_keeps_as_many_bytes_as_asked() {
        let storage = MemoryStorage::new();
        let file = synced(&storage, "d/a", b"ab");
        file.write_at(2, b"cdef").unwrap();
        storage.power_loss_keeping(|path, unsynced| {
            assert_eq!((path, unsynced), ("/d/a", 4));
            3
        });
        assert_eq!(content(&storage, "d/a"), b"abcde");
    }

    #[test]
    fn renames_and_removals_are_lost_without_a_sync_of_the_directory() {
        let storage = MemoryStorage::new();
        synced(&storage, "d/a", b"1");
        storage.rename("d/a", "d/b").unwrap();
        storage.power_loss();
        assert!(storage.exists("d/a").unwrap() && !storage.exists("d/b").unwrap());
        storage.rename("d/a", "d/b").unwrap();
        storage.sync_dir("d").unwrap();
        storage.remove("d/b").unwrap();
        storage.power_loss();
        assert_eq!(content(&storage, "d/b"), b"1");
    }

    #[test]
    fn faults_hit_the_call_that_was_meant() {
        let storage = MemoryStorage::new();
        let file = synced(&storage, "d/a", b"");
        storage.inject(Fault::FailWrite(2));
        file.write_at(0, b"one").unwrap();
        assert!(file.write_at(3, b"two").is_err());
        storage.inject(Fault::TearWrite { nth: 1, keep: 2 });
        assert!(file.write_at(3, b"three").is_err());
        assert_eq!(content(&storage, "d/a"), b"oneth");
        storage.inject(Fault::DiskFull(4));
        file.write_at(5, b"four").unwrap();
        let full = file.write_at(9, b"5").unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        storage.clear_faults();
        storage.inject(Fault::FailCreate(1));
        storage.open("d/a", OpenMode::Create).unwrap();
        assert!(storage.open("d/b", OpenMode::Create).is_err() && !storage.exists("d/b").unwrap());
        storage.inject(Fault::FailSync(1));
        assert!(file.sync().is_err());
        file.sync().unwrap();
    }

    #[test]
    fn large_files_with_holes_read_as_zeros() {
        let storage = MemoryStorage::new();
        let file = synced(&storage, "d/a", b"x");
        file.write_at(CHUNK as u64 * 3 - 1, b"yz").unwrap();
        let bytes = content(&storage, "d/a");
        assert_eq!(bytes.len(), CHUNK * 3 + 1);
        assert_eq!((bytes[0], bytes[1], bytes[CHUNK * 3 - 1], bytes[CHUNK * 3]), (b'x', 0, b'y', b'z'));
        file.set_len(1).unwrap();
        file.set_len(CHUNK as u64 + 1).unwrap();
        assert!(content(&storage, "d/a")[1..].iter().all(|b| *b == 0));
    }
}
