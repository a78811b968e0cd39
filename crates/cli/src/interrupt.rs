//! Ctrl-C and SIGTERM: the first one asks a command to finish what it began, the second one to drop it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use crate::failure::Failure;

type Hook = Box<dyn FnMut(usize) + Send>;

static COUNT: AtomicUsize = AtomicUsize::new(0);
static HOOK: OnceLock<Mutex<Hook>> = OnceLock::new();

/// Catches Ctrl-C, SIGTERM and SIGHUP from now on; `hook` runs on a thread of its own with the number of signals so far.
pub(crate) fn catch(hook: impl FnMut(usize) + Send + 'static) -> Result<(), Failure> {
    let _ = HOOK.set(Mutex::new(Box::new(hook)));
    ctrlc::set_handler(|| {
        let count = COUNT.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(hook) = HOOK.get() {
            let mut hook = hook.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            hook(count);
        }
    })
    .map_err(|error| Failure::start(format!("cannot catch Ctrl-C: {error}")))
}

/// A file that may not grow is then an error of the write, as on a full disk, and not the end of the process.
#[cfg(unix)]
pub(crate) fn survive_file_size_limits() {
    let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    // without it the process ends at the limit, as it did before
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, flag);
}

#[cfg(not(unix))]
pub(crate) fn survive_file_size_limits() {}

/// How many signals came.
pub(crate) fn count() -> usize {
    COUNT.load(Ordering::SeqCst)
}
