//! The file itself: appended to, synced, rotated by size. After a write that failed it holds whole lines all the same.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::FailedRecords;
#[cfg(test)]
pub(crate) use tests::SmallDisk;

/// Where lines go. A file, but for tests.
pub(super) trait Output: Write + Send {
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts it to this length; what is written next goes behind it.
    fn cut(&mut self, len: u64) -> io::Result<()>;
}

impl Output for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)?;
        self.seek(SeekFrom::Start(len)).map(drop)
    }
}

/// The failed-records file of a producer.
pub(super) struct FailedFile {
    settings: FailedRecords,
    /// `None`: it could not be opened, or not be brought to whole lines, when it was last needed.
    out: Option<Box<dyn Output>>,
    /// Bytes that are written for good.
    len: u64,
    /// The number for the next file that is put aside.
    next_number: u64,
}

impl FailedFile {
    /// Opens it, so that a path that cannot be written to is told when the producer is built.
    pub(super) fn open(settings: FailedRecords) -> io::Result<FailedFile> {
        let next_number = next_number(&settings.path)?;
        let mut file = FailedFile { settings, out: None, len: 0, next_number };
        let empties = file.settings.empties;
        file.reopen(empties)?;
        Ok(file)
    }

    #[cfg(test)]
    pub(super) fn with(settings: FailedRecords, out: Box<dyn Output>) -> FailedFile {
        FailedFile { settings, out: Some(out), len: 0, next_number: 1 }
    }

    /// Appends whole lines. They are kept once [`sync`](FailedFile::sync) says so; if this fails, none of them is there.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.out.is_none() {
            self.reopen(false)?;
        }
        let Some(out) = &mut self.out else { return Err(io::ErrorKind::NotFound.into()) };
        match out.write_all(lines) {
            Ok(()) => {
                self.len += lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Half a line would spoil the next one. If not even that is possible, the next try begins by looking.
                if out.cut(self.len).is_err() {
                    self.out = None;
                }
                Err(error)
            }
        }
    }

    /// Makes what was appended outlast a power loss, and puts the file aside if it has its size.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Some(out) = &mut self.out {
            out.sync()?;
        }
        if self.len >= self.settings.rotate_bytes
            && let Err(error) = self.rotate()
        {
            // It is synced, and only grows on.
            tracing::warn!("the failed-records file {} cannot be rotated: {error}", self.path().display());
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.settings.path
    }

    fn rotate(&mut self) -> io::Result<()> {
        let aside = numbered(&self.settings.path, self.next_number);
        self.out = None; // some systems rename no open file
        let renamed = fs::rename(&self.settings.path, &aside);
        self.next_number += u64::from(renamed.is_ok());
        self.reopen(false)?;
        renamed
    }

    fn reopen(&mut self, empties: bool) -> io::Result<()> {
        let path = &self.settings.path;
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(empties).open(path)?;
        let len = file.seek(SeekFrom::End(0))?;
        // A process that was killed may have left half a line: the next one begins on its own.
        let mut last = [b'\n'];
        if len > 0 {
            file.seek(SeekFrom::Start(len - 1))?;
            file.read_exact(&mut last)?;
        }
        self.len = len;
        if last != [b'\n'] {
            file.write_all(b"\n")?;
            self.len += 1;
        }
        sync_directory(path)?;
        self.out = Some(Box::new(file));
        Ok(())
    }
}

/// The name of a file is kept by its directory.
fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// One more than the highest that is there: nothing is overwritten.
fn next_number(path: &Path) -> io::Result<u64> {
    let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it has no file name"));
    };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut highest = 0;
    for entry in fs::read_dir(directory.unwrap_or(Path::new(".")))? {
        let other = entry?.file_name();
        let other = other.to_string_lossy();
        let number = other.strip_prefix(&name).and_then(|rest| rest.strip_prefix('.')).map(str::parse::<u64>);
        if let Some(Ok(number)) = number {
            highest = highest.max(number);
        }
    }
    Ok(highest + 1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    // SEND-2
    #[test]
    fn files_are_put_aside_by_size_and_none_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("failed.jsonl");
        fs::write(numbered(&path, 7), "from before\n").unwrap();
        let mut file = FailedFile::open(FailedRecords::to(&path).rotate_at(10)).unwrap();
        for line in ["one\n", "two is long\n", "three\n", "four and five\n", "six\n"] {
            file.append(line.as_bytes()).unwrap();
            file.sync().unwrap();
        }
        assert_eq!(text(&numbered(&path, 7)), "from before\n");
        assert_eq!(text(&numbered(&path, 8)), "one\ntwo is long\n");
        assert_eq!(text(&numbered(&path, 9)), "three\nfour and five\n");
        assert_eq!(text(&path), "six\n");
    }

    #[test]
    fn a_file_goes_on_behind_what_is_there_on_a_line_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("failed.jsonl");
        for (before, after) in [("", "x\n"), ("a\n", "a\nx\n"), ("a\nhalf a li", "a\nhalf a li\nx\n")] {
            fs::write(&path, before).unwrap();
            let mut file = FailedFile::open(FailedRecords::to(&path)).unwrap();
            file.append(b"x\n").unwrap();
            assert_eq!(text(&path), after);
        }
        FailedFile::open(FailedRecords::to(&path).emptied()).unwrap();
        assert_eq!(text(&path), "");
        assert!(FailedFile::open(FailedRecords::to(directory.path())).is_err(), "a directory");
        assert!(FailedFile::open(FailedRecords::to(directory.path().join("no/such/place"))).is_err());
    }

    /// A disk with so much room.
    #[derive(Clone, Default)]
    pub(crate) struct SmallDisk(pub(crate) Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for SmallDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (data, room) = &mut *self.0.lock();
            let n = bytes.len().min(*room - data.len());
            data.extend(&bytes[..n]);
            if n == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(n) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Output for SmallDisk {
        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
        fn cut(&mut self, len: u64) -> io::Result<()> {
            self.0.lock().0.truncate(len as usize);
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_leaves_whole_lines() {
        let disk = SmallDisk::default();
        disk.0.lock().1 = 8;
        let mut file = FailedFile::with(FailedRecords::to("unused"), Box::new(disk.clone()));
        file.append(b"12345\n").unwrap();
        assert_eq!(file.append(b"abcdef\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.0.lock().0, b"12345\n");
        disk.0.lock().1 = 100;
        file.append(b"xyz\n").unwrap();
        assert_eq!(disk.0.lock().0, b"12345\nxyz\n");
    }
}
