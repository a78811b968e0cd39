//! Interceptors, from the caller's side: what they see, when, and what it costs.

use std::sync::Mutex;

use bytes::Bytes;

use super::tests::{Rig, big, now, poll, ready, small};
use super::*;
use crate::accumulator::Batch;
use crate::interceptor::{Acknowledgement, Interceptor};
use crate::outcome::Reason;
use crate::producer::Attached;
use crate::record::Header;

type Log = Arc<Mutex<Vec<String>>>;

/// Writes down what it sees, and marks records with a header.
struct Noted {
    name: &'static str,
    log: Log,
    panics: bool,
}

impl Interceptor for Noted {
    fn on_send(&self, record: Record) -> Record {
        let (topic, headers) = (record.topic_name().unwrap_or("-").to_owned(), record.headers().len());
        self.log.lock().unwrap().push(format!("{}: send to {topic} with {headers} headers", self.name));
        assert!(!self.panics, "an interceptor that panics");
        record.header("by", self.name)
    }

    fn on_acknowledgement(&self, told: &Acknowledgement<'_>) {
        let what = match told.error() {
            None => format!("at {}", told.offset().unwrap_or(-1)),
            Some(error) => format!("{:?}", error.reason()),
        };
        let headers: Vec<_> = told.headers().iter().filter_map(Header::value).cloned().collect();
        let place = format!("{}-{}", told.topic().unwrap_or("-"), told.partition().unwrap_or(-1));
        self.log.lock().unwrap().push(format!("{}: {place} {what} {headers:?}", self.name));
        assert!(!self.panics, "an interceptor that panics");
    }
}

fn noted(name: &'static str, log: &Log) -> Arc<dyn Interceptor> {
    Arc::new(Noted { name, log: log.clone(), panics: false })
}

fn rig(pairs: &[(&str, &str)], interceptors: Vec<Arc<dyn Interceptor>>) -> Rig {
    let rig = Rig::with(pairs, Attached { interceptors, ..Attached::default() });
    rig.publish(&[("t", 2), ("u", 1)]);
    rig
}

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

fn records(batches: &[Batch]) -> Vec<Record> {
    batches.iter().flat_map(|batch| batch.records(1 << 24)).collect()
}

// INT-1, INT-2
#[test]
fn the_chain_sees_each_record_in_order_and_its_outcome_just_before_the_callback() {
    let log = Log::default();
    let rig = rig(&[("linger.ms", "0")], vec![noted("one", &log), noted("two", &log)]);
    let callback = {
        let log = log.clone();
        move |outcome: Result<Delivered, DeliveryError>| {
            log.lock().unwrap().push(format!("callback: {:?}", outcome.unwrap().offset()));
        }
    };
    let mut handle = now(rig.producer.send(small('a'))).unwrap();
    now(rig.producer.send_with(small('b'), callback)).unwrap();
    assert_eq!(
        taken(&log),
        [
            "one: send to t with 0 headers",
            "two: send to t with 1 headers",
            "one: send to t with 0 headers",
            "two: send to t with 1 headers"
        ]
    );
    let batches = rig.drain();
    let sent = records(&batches);
    assert_eq!(sent[0].headers().iter().map(|h| h.value().unwrap()).collect::<Vec<_>>(), ["one", "two"]);
    assert!(taken(&log).is_empty(), "nothing is told before the outcome");
    rig.complete(batches);
    assert_eq!(
        taken(&log),
        [
            r#"one: t-0 at 0 [b"one", b"two"]"#,
            r#"two: t-0 at 0 [b"one", b"two"]"#,
            r#"one: t-0 at 1 [b"one", b"two"]"#,
            r#"two: t-0 at 1 [b"one", b"two"]"#,
            "callback: Some(1)"
        ]
    );
    assert_eq!(handle.poll_now().unwrap().unwrap().offset(), Some(0));
    rig.assert_clean();
}

// INT-1: every way of sending goes through them
#[test]
fn no_way_of_sending_goes_past_the_interceptors() {
    let log = Log::default();
    let rig = rig(&[("linger.ms", "0")], vec![noted("i", &log)]);
    let topic = rig.producer.topic_blocking("t").unwrap();
    let value = || Record::value("v").partition(0).unwrap();
    let mut handles = [
        now(rig.producer.send(small('a'))).unwrap(),
        rig.producer.try_send(small('a')).unwrap(),
        rig.producer.send_blocking(small('a')).unwrap(),
        now(topic.send(value())).unwrap(),
        topic.try_send(value()).unwrap(),
        topic.send_blocking(value()).unwrap(),
        topic.reserve_blocking(200).unwrap().send(value()).unwrap(),
    ];
    rig.producer.try_send_with(small('a'), |_| ()).unwrap();
    topic.try_send_with(value(), |_| ()).unwrap();
    now(topic.send_with(value(), |_| ())).unwrap();
    topic.reserve_blocking(200).unwrap().send_with(value(), |_| ()).unwrap();
    assert_eq!(taken(&log).iter().filter(|line| *line == "i: send to t with 0 headers").count(), 11);
    let batches = rig.drain();
    assert!(records(&batches).iter().all(|record| record.headers().len() == 1));
    rig.complete(batches);
    assert_eq!(taken(&log).iter().filter(|line| line.starts_with("i: t-0 at ")).count(), 11);
    assert!(handles.iter_mut().all(|handle| handle.poll_now().is_some()));
    rig.assert_clean();
}

// INT-1, INT-2
#[test]
fn an_interceptor_that_panics_is_passed_over_and_the_next_gets_the_last_good_record() {
    let log = Log::default();
    let broken = Arc::new(Noted { name: "broken", log: log.clone(), panics: true });
    let rig = rig(&[("linger.ms", "0")], vec![noted("one", &log), broken, noted("two", &log)]);
    let (tell, told) = std::sync::mpsc::channel();
    now(rig.producer.send_with(small('a'), move |outcome| tell.send(outcome.is_ok()).unwrap())).unwrap();
    let batches = rig.drain();
    let headers: Vec<_> = records(&batches)[0].headers().iter().map(|h| h.value().unwrap().clone()).collect();
    assert_eq!(headers, ["one", "two"]);
    rig.complete(batches);
    let log = taken(&log);
    assert_eq!(log.iter().filter(|line| line.contains("t-0 at 0")).count(), 3, "{log:?}");
    assert!(told.recv().unwrap());
    rig.assert_clean();
}

/// Sends everything elsewhere, without a topic of its own saying so.
struct Routes(fn(Record) -> Record);
impl Interceptor for Routes {
    fn on_send(&self, record: Record) -> Record {
        self.0(record)
    }
}

// INT-1
#[test]
fn what_an_interceptor_returns_decides_topic_and_partition() {
    let to_u: Arc<dyn Interceptor> = Arc::new(Routes(|record| record.with_topic("u")));
    let rig = rig(&[("linger.ms", "0")], vec![to_u]);
    let topic = rig.producer.topic_blocking("t").unwrap();
    now(rig.producer.send(Record::to("t").value("a"))).unwrap();
    now(topic.send(Record::value("b"))).unwrap();
    topic.try_send(Record::value("c")).unwrap();
    // A permit has room in its own topic only.
    topic.reserve_blocking(200).unwrap().send(Record::value("d").partition(1).unwrap()).unwrap();
    let sent: Vec<_> = records(&rig.drain())
        .iter()
        .map(|r| (r.topic_name().unwrap().to_owned(), r.value_bytes().unwrap().clone()))
        .collect();
    let expected = [("u", "a"), ("u", "b"), ("u", "c"), ("t", "d")];
    assert_eq!(sent.len(), 4);
    for (topic, value) in expected {
        assert!(sent.contains(&(topic.to_owned(), Bytes::from(value))), "{topic} {value}: {sent:?}");
    }
    // A new record without topic keeps the topic.
    let anew: Arc<dyn Interceptor> = Arc::new(Routes(|_| Record::value("anew").key("k")));
    let rig = self::rig(&[("linger.ms", "0")], vec![anew]);
    now(rig.producer.send(Record::to("u").value("old"))).unwrap();
    let sent = records(&rig.drain());
    assert_eq!((sent[0].topic_name(), sent[0].key_bytes()), (Some("u"), Some(&Bytes::from("k"))));
}

// INT-1: an interceptor makes no send fail
#[test]
fn what_has_no_room_in_a_permit_is_sent_as_it_was_given() {
    let grows: Arc<dyn Interceptor> = Arc::new(Routes(|record| record.header("h", vec![7; 500])));
    let rig = rig(&[("linger.ms", "0")], vec![grows]);
    let topic = rig.producer.topic_blocking("t").unwrap();
    topic.reserve_blocking(100).unwrap().send(Record::value("v")).unwrap();
    topic.reserve_blocking(800).unwrap().send(Record::value("v")).unwrap();
    let sent: usize = records(&rig.drain()).iter().map(|record| record.headers().len()).sum();
    assert_eq!(sent, 1);
    // But what the caller gave too large is refused, and comes back.
    let error = topic.reserve_blocking(100).unwrap().send(Record::value(vec![0; 200])).unwrap_err();
    assert_eq!(*error.reason(), Refusal::LargerThanReserved { size: 286, reserved: 100 });
    assert_eq!(error.into_record(), Record::value(vec![0; 200]));
}

// INT-3, CMPL-5, FLU-7
#[test]
fn failures_before_acceptance_are_told_to_interceptors_first_and_the_record_comes_back_untouched() {
    let log = Log::default();
    let rig = rig(&[], vec![noted("i", &log)]);
    let order = log.clone();
    let large = Record::to("t").value(vec![0; 2 << 20]);
    let error = now(rig.producer.send_with(large.clone(), move |outcome| {
        order.lock().unwrap().push(format!("{:?}", outcome.is_ok()))
    }))
    .unwrap_err();
    assert_eq!(
        taken(&log),
        ["i: send to t with 0 headers", r#"i: t--1 Refused [b"i"]"#, "false"],
        "no partition was chosen"
    );
    assert_eq!(error.into_record(), large, "so that sending it again meets each interceptor once");
    // INT-5: and it shares nothing with what the interceptors had.
    let topic = rig.producer.topic_blocking("t").unwrap();
    let named = Record::to("u").value("v").partition(7).unwrap();
    assert!(
        matches!(topic.try_send(named.clone()).unwrap_err().into_parts(), (back, Refusal::OtherTopic { .. }) if back == named)
    );
    assert_eq!(taken(&log)[1], r#"i: u-7 Refused [b"i"]"#, "it names a partition (API-7)");
    assert!(now(rig.producer.send(Record::value("nowhere"))).is_err());
    assert_eq!(taken(&log), ["i: send to - with 0 headers", r#"i: ---1 Refused [b"i"]"#]);
    let permit = topic.reserve_blocking(100).unwrap();
    rig.shared().begin_close(Some(0));
    drop(permit.send(small('a')).unwrap_err());
    drop(now(rig.producer.send(small('a'))).unwrap_err());
    assert_eq!(
        taken(&log),
        [
            "i: send to t with 0 headers",
            r#"i: t-0 Refused [b"i"]"#,
            "i: send to t with 0 headers",
            r#"i: t-0 Refused [b"i"]"#
        ]
    );
}

// INT-2, INT-3: once for each record
#[test]
fn a_send_that_is_dropped_while_it_waits_is_told_as_given_up() {
    let log = Log::default();
    // Room for two records and what is kept for the interceptors.
    let rig =
        rig(&[("buffer.memory", "4096"), ("batch.size", "1024"), ("linger.ms", "0")], vec![noted("i", &log)]);
    now(rig.producer.send(big('a'))).unwrap();
    now(rig.producer.send(big('b'))).unwrap();
    let mut waits = Box::pin(rig.producer.send(big('c')));
    assert!(poll(waits.as_mut()).is_pending());
    taken(&log);
    drop(waits);
    assert_eq!(taken(&log), [r#"i: t-0 Refused [b"i"]"#]);
    // One that goes on is told once, when its outcome is there.
    let mut waits = Box::pin(rig.producer.send(big('d')));
    assert!(poll(waits.as_mut()).is_pending());
    rig.complete(rig.drain());
    drop(ready(poll(waits.as_mut())).unwrap());
    drop(waits);
    rig.complete(rig.drain());
    rig.complete(rig.drain());
    assert_eq!(
        taken(&log)
            .iter()
            .map(|line| line.split(' ').nth(2).unwrap_or_default().to_owned())
            .collect::<Vec<_>>(),
        ["to", "at", "at", "at"]
    );
    rig.assert_clean();
}

// INT-2: what is kept for them is charged
#[test]
fn headers_kept_for_interceptors_are_charged_until_the_outcome() {
    let log = Log::default();
    let rig = rig(&[("linger.ms", "0")], vec![noted("i", &log)]);
    let plain = Rig::new(&[("linger.ms", "0")]);
    let record = || small('a').header("h", vec![7; 5000]);
    drop(now(plain.producer.send(record())).unwrap());
    drop(now(rig.producer.send(record())).unwrap());
    assert!(rig.held() >= plain.held() + 5000, "{} and {}", rig.held(), plain.held());
    rig.complete(rig.drain());
    rig.assert_clean();
}

#[test]
fn a_failure_whose_handle_was_dropped_is_unseen_though_interceptors_saw_it() {
    // chapter 2.4: they are told of everything; that is no reason not to warn
    let log = Log::default();
    let rig = rig(&[("linger.ms", "0")], vec![noted("i", &log)]);
    let mut kept = now(rig.producer.send(small('a'))).unwrap();
    drop(now(rig.producer.send(small('b'))).unwrap());
    now(rig.producer.send_with(small('c'), |_| ())).unwrap();
    drop(rig.drain()); // the producer is gone: they end
    assert_eq!(rig.shared().accumulator.counts().unseen, 1);
    assert_eq!(kept.poll_now().unwrap().unwrap_err().reason(), Reason::Closed);
    assert_eq!(taken(&log).iter().filter(|line| line.contains("Closed")).count(), 3);
}
