//! `--error-file`: each record that failed, as one JSON object a line, so that `--retry-file` can send it again.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::jsonl::FailedLine;

/// The file, open for writing. It exists, empty, even if nothing fails.
pub(super) struct ErrorFile {
    path: PathBuf,
    out: BufWriter<File>,
}

impl ErrorFile {
    /// Creates it, or empties it.
    pub(super) fn create(path: &Path) -> Result<ErrorFile, Failure> {
        let file = File::create(path).map_err(|error| {
            Failure::start(format!("cannot write --error-file {}: {error}", path.display()))
        })?;
        Ok(ErrorFile { path: path.to_owned(), out: BufWriter::new(file) })
    }

    pub(super) fn write(&mut self, line: &FailedLine<'_>) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.out, line)
            .map_err(io::Error::from)
            .and_then(|()| self.out.write_all(b"\n"))
            .map_err(|error| self.failure(&error))
    }

    /// Writes what is buffered, and syncs the file: after this the records are kept.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.out.flush().and_then(|()| self.out.get_ref().sync_all()).map_err(|error| self.failure(&error))
    }

    fn failure(&self, error: &io::Error) -> Failure {
        Failure::run(format!("cannot write --error-file {}: {error}", self.path.display()))
    }
}
