//! Hears what is logged by `tracing`.

use std::cell::Cell;
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::{Dispatch, Level, Metadata, Subscriber, span};

/// The text of the event that stands for the beginning of a span.
pub const SPAN: &str = "a span begins";

/// Something that was logged.
#[derive(Debug, Clone)]
pub struct Event {
    /// How grave it is.
    pub level: Level,
    /// The module that says so.
    pub target: String,
    /// The message; other fields stand behind it as `name=value`.
    pub text: String,
}

/// What `run` logs on this thread, as far as it is at least as grave as `level`.
pub fn events(level: Level, run: impl FnOnce()) -> Vec<Event> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let keep = heard.clone();
    listening(
        move |event| {
            if event.level <= level {
                keep.lock().unwrap().push(event.clone());
            }
        },
        run,
    );
    std::mem::take(&mut *heard.lock().unwrap())
}

/// Calls `listen` at each event that `run` logs on this thread: there and then, as any subscriber is called. What is logged inside it
/// is not heard.
pub fn listening<T>(listen: impl Fn(&Event) + Send + Sync + 'static, run: impl FnOnce() -> T) -> T {
    // With a single subscriber in the process, what another test's thread logs first would be taken as of no interest to anybody.
    static SECOND: OnceLock<Dispatch> = OnceLock::new();
    SECOND.get_or_init(|| Dispatch::new(Listener(|_: &Event| {})));
    tracing::subscriber::with_default(Listener(listen), run)
}

/// [`listening`] on all threads and until the process ends: for programs with one test.
///
/// # Panics
/// If there is a subscriber already.
pub fn listen_everywhere(listen: impl Fn(&Event) + Send + Sync + 'static) {
    tracing::subscriber::set_global_default(Listener(listen)).unwrap();
}

struct Listener<F>(F);

impl<F: Fn(&Event) + Send + Sync + 'static> Subscriber for Listener<F> {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        self.hear(*attributes.metadata().level(), attributes.metadata().target(), SPAN.to_owned());
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        self.hear(*event.metadata().level(), event.metadata().target(), text.message + &text.fields);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

impl<F: Fn(&Event)> Listener<F> {
    fn hear(&self, level: Level, target: &str, text: String) {
        thread_local! {
            static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
        }
        if !IS_INSIDE.replace(true) {
            (self.0)(&Event { level, target: target.to_owned(), text });
            IS_INSIDE.set(false);
        }
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_is_heard_with_its_fields_but_not_what_the_listener_logs() {
        let heard = events(Level::INFO, || {
            tracing::warn!(records = 3, "some {}", "failed");
            tracing::debug!("not grave enough");
        });
        let [event] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!((event.level, &*event.text), (Level::WARN, "some failed records=3"));
        assert_eq!(event.target, module_path!());
        let count = Arc::new(Mutex::new(0));
        let counted = count.clone();
        listening(
            move |_| {
                *counted.lock().unwrap() += 1;
                tracing::info!("from the listener");
            },
            || tracing::info!("from the test"),
        );
        assert_eq!(*count.lock().unwrap(), 1);
    }
}
