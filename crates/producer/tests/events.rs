//! What is logged of a run, on all threads: changes of state, and nothing per record. Alone in its program, since the subscriber is the
//! whole process's.

#![allow(clippy::unwrap_used)] // all of it is test code

use std::fmt::{self, Write};
use std::sync::Mutex;
use std::time::Duration;

use rohrpost::{Producer, Record};
use rohrpost_broker::Cluster;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

/// Events of the producer and its connections, with their levels; the broker's are left out.
static EVENTS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static SPANS: Mutex<u32> = Mutex::new(0);

struct Keep;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

impl Subscriber for Keep {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        target == "rohrpost" || target.starts_with("rohrpost::") || target.starts_with("rohrpost_net")
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        *SPANS.lock().unwrap() += 1;
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut text = Text(format!("{} ", event.metadata().level()));
        event.record(&mut text);
        EVENTS.lock().unwrap().push(text.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn ten_thousand_records_make_a_handful_of_events() {
    tracing::subscriber::set_global_default(Keep).unwrap();
    let cluster = Cluster::builder().topic("t", 3, 1).start().unwrap();
    let producer = Producer::builder(cluster.bootstrap_servers()).batch_size(300).build().unwrap();
    let deliveries: Vec<_> = (0..10_000_u32)
        .map(|number| producer.send_blocking(Record::to("t").value(number.to_be_bytes().to_vec())).unwrap())
        .collect();
    deliveries.into_iter().for_each(|delivery| drop(delivery.wait().unwrap()));
    let metrics = producer.metrics();
    assert!(metrics.batches_sent > 300, "neither per record nor per batch: {metrics:?}");
    {
        let events = EVENTS.lock().unwrap();
        assert!(events.len() < 30, "{} events:\n{}", events.len(), events.join("\n"));
        assert!(events.iter().any(|event| event.contains("connected to broker")), "{events:?}");
    }
    assert_eq!(*SPANS.lock().unwrap(), 0, "no spans");
    // The broker goes.
    drop(cluster);
    let lost = || {
        EVENTS
            .lock()
            .unwrap()
            .iter()
            .filter(|event| event.contains("INFO") && event.contains("is lost"))
            .count()
    };
    while lost() == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(producer.close_blocking(Duration::ZERO));
}
