//! Standard error as a person sees it: notes, log lines, and a progress bar that neither of them tears.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use console::{Term, measure_text_width};
use indicatif::{ProgressBar, ProgressDrawTarget, TermLike};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The bar on the screen, if there is one: whoever writes to standard error moves it out of the way.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// True if standard error is a terminal: only then a progress bar is drawn.
pub(crate) fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Colours are for terminals, and not wanted where `NO_COLOR` is set to anything.
pub(crate) fn wants_color() -> bool {
    is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// One line to standard error.
pub(crate) fn note(line: &str) {
    write(format!("{line}\n").as_bytes());
}

/// From now on lines are written around this bar; `None` takes it away.
pub(crate) fn show_bar(bar: Option<ProgressBar>) {
    *BAR.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = bar;
}

/// How many columns a bar has, if it goes to [`bar_target`].
pub(crate) fn bar_columns() -> u16 {
    Narrow::stderr().width()
}

/// Where a bar is drawn: standard error, redrawn at most 8 times a second.
pub(crate) fn bar_target() -> ProgressDrawTarget {
    ProgressDrawTarget::term_like_with_hz(Box::new(Narrow::stderr()), 8)
}

/// The terminal without its last columns. A bar is padded to its full width; the `^C` that the terminal itself prints behind
/// it would go to the next line, and only that line be cleared afterwards, with the bar left standing above it.
///
/// A bar of several lines has no newlines: each line is padded to the full width, and the next one is expected to begin on a new line
/// by itself. So this does what a terminal of that width would do.
#[derive(Debug)]
struct Narrow {
    term: Term,
    /// Columns written to since the beginning of the line.
    written: AtomicUsize,
}

impl Narrow {
    /// Room for two `^C` and the cursor.
    const COLUMNS_LEFT: u16 = 5;

    fn stderr() -> Narrow {
        Narrow { term: Term::stderr(), written: AtomicUsize::new(0) }
    }

    /// Whether text of so many columns begins on a new line.
    fn advances_to_new_line(&self, columns: usize, width: usize) -> bool {
        let is_full = columns > 0 && self.written.load(Ordering::Relaxed) >= width;
        if is_full {
            self.written.store(0, Ordering::Relaxed);
        }
        self.written.fetch_add(columns, Ordering::Relaxed);
        is_full
    }

    fn at_begin_of_line(&self) {
        self.written.store(0, Ordering::Relaxed);
    }
}

impl TermLike for Narrow {
    fn width(&self) -> u16 {
        self.term.size().1.saturating_sub(Narrow::COLUMNS_LEFT).max(1)
    }

    fn height(&self) -> u16 {
        self.term.size().0
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.term.move_cursor_up(lines)
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.term.move_cursor_down(lines)
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.term.move_cursor_right(columns)
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.term.move_cursor_left(columns)
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.at_begin_of_line();
        self.term.write_line(line)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        if text == "\r" {
            self.at_begin_of_line();
        } else if self.advances_to_new_line(measure_text_width(text), self.width().into()) {
            self.term.write_str("\n")?;
        }
        self.term.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.at_begin_of_line();
        self.term.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.term.flush()
    }
}

/// Log lines of the library and the broker: warnings and worse, or what `RUST_LOG` asks for.
pub(crate) fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(wants_color())
        .with_target(false)
        .with_writer(Stderr)
        .try_init();
}

fn write(bytes: &[u8]) {
    let bar = BAR.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // a closed standard error is no reason to fail
    match &*bar {
        Some(bar) => bar.suspend(|| {
            let _ = std::io::stderr().write_all(bytes);
        }),
        None => {
            let _ = std::io::stderr().write_all(bytes);
        }
    }
}

struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Stderr;

    fn make_writer(&'a self) -> Stderr {
        Stderr
    }
}
