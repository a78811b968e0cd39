//! Where records come from: files and standard input, read by a thread of their own in large blocks of whole lines.
//!
//! The thread is at most a few blocks ahead (a bounded channel), so a slow cluster stops the reading, not the memory.
//! It also lets Ctrl-C end a command whose standard input is silent.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::{Bytes, BytesMut};

use crate::failure::Failure;
use crate::terminal;

/// How much is read at once, and how large a block is unless a line is longer.
const BLOCK_BYTES: usize = 256 * 1024;
/// Blocks read ahead.
const BLOCKS_AHEAD: usize = 4;
/// A longer line cannot be meant as a record; it would only fill the memory.
const LINE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// What the reading thread says.
pub(super) enum Event {
    /// Whole lines; the last one of a source may lack its newline.
    Lines(Block),
    /// A source could not be read on. Nothing follows.
    Failed(String),
    /// All is read.
    End,
    /// Ctrl-C came.
    Interrupted,
}

/// Some lines of one source.
pub(super) struct Block {
    pub(super) source: Arc<str>,
    pub(super) first_line: u64,
    pub(super) bytes: Bytes,
}

/// The input, opened.
pub(super) struct Input {
    sources: Vec<Source>,
    /// The size of all files, if each is one.
    pub(super) bytes_total: Option<u64>,
    /// What to call it on the screen.
    pub(super) name: String,
    /// Somebody types it: a bar would get between the letters.
    pub(super) is_typed: bool,
}

struct Source {
    name: Arc<str>,
    reader: Box<dyn Read + Send>,
}

impl Input {
    /// Opens all of them now, so that a wrong name is told before anything is sent.
    pub(super) fn open(files: &[PathBuf]) -> Result<Input, Failure> {
        let standard_input = [PathBuf::from("-")];
        let files = if files.is_empty() { &standard_input[..] } else { files };
        let mut sources = Vec::new();
        let mut bytes_total = Some(0);
        for path in files {
            let (source, size) = open_one(path)?;
            bytes_total = bytes_total.zip(size).map(|(total, size)| total + size);
            sources.push(source);
        }
        let name = match files {
            [one] => {
                sources.first().map_or_else(|| one.display().to_string(), |source| source.name.to_string())
            }
            several => format!("{} files", several.len()),
        };
        let is_typed = files.iter().any(|path| path == Path::new("-")) && io::stdin().is_terminal();
        Ok(Input { sources, bytes_total, name, is_typed })
    }

    /// Starts reading. The sender end is for the one who catches signals.
    pub(super) fn start(self) -> io::Result<(Receiver<Event>, SyncSender<Event>)> {
        let (sender, receiver) = sync_channel(BLOCKS_AHEAD);
        let signals = sender.clone();
        std::thread::Builder::new().name("rohrpost-input".to_owned()).spawn(move || {
            let last = match read_all(self.sources, &sender) {
                Ok(()) => Event::End,
                Err(message) => Event::Failed(message),
            };
            // nobody listens after an interrupt
            let _ = sender.send(last);
        })?;
        Ok((receiver, signals))
    }
}

fn open_one(path: &Path) -> Result<(Source, Option<u64>), Failure> {
    if path == Path::new("-") {
        if io::stdin().is_terminal() {
            terminal::note("reading standard input: a line is a record, Ctrl-D ends");
        }
        return Ok((Source { name: "standard input".into(), reader: Box::new(io::stdin()) }, None));
    }
    let name: Arc<str> = path.display().to_string().into();
    let cannot = |error: io::Error| Failure::start(format!("cannot read {name}: {error}"));
    let file = File::open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    if metadata.is_dir() {
        return Err(Failure::start(format!("cannot read {name}: it is a directory")));
    }
    let size = metadata.is_file().then_some(metadata.len());
    Ok((Source { name, reader: Box::new(file) }, size))
}

fn read_all(sources: Vec<Source>, sender: &SyncSender<Event>) -> Result<(), String> {
    for source in sources {
        if !read_source(source, sender)? {
            break;
        }
    }
    Ok(())
}

/// Reads one source to its end; false if nobody listens any more.
fn read_source(mut source: Source, sender: &SyncSender<Event>) -> Result<bool, String> {
    let mut first_line = 1;
    let mut buffer = BytesMut::new();
    // bytes at the front of the buffer that are known to hold no newline
    let mut searched = 0;
    loop {
        let filled = buffer.len();
        buffer.resize(filled + BLOCK_BYTES, 0);
        let read = loop {
            match source.reader.read(&mut buffer[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let read =
            read.map_err(|error| format!("cannot read {} on, at line {first_line}: {error}", source.name))?;
        buffer.truncate(filled + read);
        let whole = match (read, memchr::memrchr(b'\n', &buffer[searched..])) {
            (0, _) => buffer.len(),
            (_, Some(newline)) => searched + newline + 1,
            (_, None) => {
                searched = buffer.len();
                if searched > LINE_BYTES_MAX {
                    return Err(format!(
                        "{} line {first_line} is longer than {LINE_BYTES_MAX} bytes: is this a text file?",
                        source.name
                    ));
                }
                continue;
            }
        };
        if whole > 0 {
            let bytes = buffer.split_to(whole).freeze();
            let lines = memchr::memchr_iter(b'\n', &bytes).count() as u64;
            let block = Block { source: source.name.clone(), first_line, bytes };
            if sender.send(Event::Lines(block)).is_err() {
                return Ok(false);
            }
            first_line += lines;
        }
        searched = 0;
        if read == 0 {
            return Ok(true);
        }
    }
}

impl Block {
    /// Each line without its newline, with its number.
    pub(super) fn lines(&self) -> impl Iterator<Item = (u64, Bytes)> + '_ {
        let mut start = 0;
        let mut number = self.first_line;
        std::iter::from_fn(move || {
            if start >= self.bytes.len() {
                return None;
            }
            let end = memchr::memchr(b'\n', &self.bytes[start..]).map_or(self.bytes.len(), |at| start + at);
            let line = (number, self.bytes.slice(start..end));
            start = end + 1;
            number += 1;
            Some(line)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out its bytes in pieces of the sizes given, over and over.
    struct Dribble {
        bytes: Vec<u8>,
        at: usize,
        sizes: Vec<usize>,
        turn: usize,
    }

    impl Read for Dribble {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let size =
                self.sizes[self.turn % self.sizes.len()].min(out.len()).min(self.bytes.len() - self.at);
            self.turn += 1;
            out[..size].copy_from_slice(&self.bytes[self.at..self.at + size]);
            self.at += size;
            Ok(size)
        }
    }

    fn read_lines(text: &[u8], sizes: &[usize]) -> Vec<(u64, Vec<u8>)> {
        let reader = Dribble { bytes: text.to_vec(), at: 0, sizes: sizes.to_vec(), turn: 0 };
        let source = Source { name: "test".into(), reader: Box::new(reader) };
        let (sender, receiver) = sync_channel(100_000);
        assert!(read_source(source, &sender).unwrap());
        drop(sender);
        let mut lines = Vec::new();
        for event in receiver {
            if let Event::Lines(block) = event {
                lines.extend(block.lines().map(|(number, line)| (number, line.to_vec())));
            }
        }
        lines
    }

    #[test]
    fn lines_come_out_as_they_stand_however_they_are_read() {
        let long = "x".repeat(BLOCK_BYTES * 2 + 7);
        let text = format!("one\n\n three\r\n{long}\nlast without newline");
        let expected: Vec<(u64, Vec<u8>)> =
            text.split('\n').enumerate().map(|(i, line)| (i as u64 + 1, line.as_bytes().to_vec())).collect();
        for sizes in [&[1][..], &[3, 1, 7], &[BLOCK_BYTES]] {
            assert_eq!(read_lines(text.as_bytes(), sizes), expected, "{sizes:?}");
        }
    }

    #[test]
    fn a_newline_at_the_end_is_no_further_line() {
        assert_eq!(read_lines(b"a\nb\n", &[4]), vec![(1, b"a".to_vec()), (2, b"b".to_vec())]);
        assert_eq!(read_lines(b"", &[4]), vec![]);
        assert_eq!(read_lines(b"\n", &[4]), vec![(1, vec![])]);
    }
}
