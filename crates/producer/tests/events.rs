//! What is logged of a run, on all threads: changes of state, and nothing per record. Alone in its program, since the subscriber is the
//! whole process's.

#![allow(clippy::unwrap_used)] // all of it is test code

use std::sync::Mutex;
use std::time::Duration;

use rohrpost::{Producer, Record};
use rohrpost_broker::Cluster;
use rohrpost_testing::log::{Event, SPAN, listen_everywhere};
use tracing::Level;

/// Events of the producer and its connections; the broker's are left out.
static EVENTS: Mutex<Vec<Event>> = Mutex::new(Vec::new());

fn keep(event: &Event) {
    let target = event.target.as_str();
    if target == "rohrpost" || target.starts_with("rohrpost::") || target.starts_with("rohrpost_net") {
        EVENTS.lock().unwrap().push(event.clone());
    }
}

#[test]
fn ten_thousand_records_make_a_handful_of_events() {
    listen_everywhere(keep);
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
        assert!(events.len() < 30, "{} events: {events:#?}", events.len());
        let is_there = |text: &str| events.iter().any(|event| event.text.contains(text));
        assert!(is_there("connected to broker") && !is_there(SPAN), "{events:#?}");
    }
    // The broker goes.
    drop(cluster);
    let lost = || {
        EVENTS
            .lock()
            .unwrap()
            .iter()
            .filter(|event| event.level == Level::INFO && event.text.contains("is lost"))
            .count()
    };
    while lost() == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(producer.close_blocking(Duration::ZERO));
}
