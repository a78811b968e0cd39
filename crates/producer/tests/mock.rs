//! `MockProducer`, as the author of an application's tests meets it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rohrpost::{
    Acks, Choice, Delivered, DeliveryError, ErrorCode, FlushError, Interceptor, MockProducer, Number,
    Outcome, Partitioner, Producer, Reason, Record, Refusal, RoundRobin, TopicView, Utf8, WaitError,
};

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn offset(result: Result<Delivered, WaitError>) -> Option<i64> {
    match result {
        Ok(at) => at.offset(),
        Err(error) => panic!("{error}"),
    }
}

fn failed(result: Result<Delivered, WaitError>) -> DeliveryError {
    match result {
        Err(WaitError::Failed(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn order(value: &str) -> Record {
    Record::to("orders").value(value.to_owned())
}

#[test]
fn records_are_acknowledged_in_order_with_offsets_of_their_partition() {
    let (producer, mock) = MockProducer::new();
    mock.set_partitions("orders", 2);
    let to = |partition: i32| producer.send_blocking(order("v").partition(partition).unwrap()).unwrap();
    let sent: Vec<_> = [0, 0, 1, 0].map(to).into();
    let told: Vec<_> = sent
        .into_iter()
        .map(|delivery| {
            assert!(delivery.is_done(), "at once");
            let at = delivery.wait().unwrap();
            (at.topic().to_owned(), at.partition(), at.offset())
        })
        .collect();
    let expected = [(0, 0), (0, 1), (1, 0), (0, 2)];
    assert_eq!(told, expected.map(|(partition, offset)| ("orders".to_owned(), partition, Some(offset))));
    assert!(mock.flushed());
}

#[test]
fn the_history_has_every_accepted_record_as_it_was_sent() {
    struct Marks;
    impl Interceptor for Marks {
        fn on_send(&self, record: Record) -> Record {
            record.header("seen", "yes")
        }
    }
    let builder = Producer::builder("nowhere:1").interceptor(Marks).partitioner(RoundRobin::new());
    let (producer, mock) = MockProducer::with(builder).unwrap();
    mock.set_default_partitions(3);
    for value in ["a", "b", "c", "d"] {
        producer.send_blocking(order(value).key("k").timestamp(7).unwrap()).unwrap();
    }
    mock.refuse_next(Refusal::Full);
    assert!(producer.try_send(order("x")).is_err());
    let history = mock.history();
    let seen: Vec<_> = history
        .iter()
        .map(|record| {
            assert_eq!((record.topic_name(), record.timestamp_ms()), (Some("orders"), Some(7)));
            assert_eq!(
                (record.key_bytes().unwrap().as_ref(), record.headers()[0].key()),
                (&b"k"[..], "seen")
            );
            (record.partition_number().unwrap(), record.value_bytes().unwrap().to_vec())
        })
        .collect();
    assert_eq!(seen, [(0, b"a".to_vec()), (1, b"b".to_vec()), (2, b"c".to_vec()), (0, b"d".to_vec())]);
    mock.clear();
    assert!(mock.history().is_empty());
}

#[test]
fn without_auto_complete_the_test_says_when_and_how_each_record_ends() {
    let (producer, mock) = MockProducer::new();
    mock.set_auto_complete(false);
    let mut sent: Vec<_> = ["a", "b", "c", "d"].map(|value| producer.try_send(order(value)).unwrap()).into();
    assert!(sent.iter().all(|delivery| !delivery.is_done()));
    assert_eq!((mock.pending(), mock.flushed()), (4, false));
    assert!(mock.complete_next());
    mock.fail_next(ErrorCode::NOT_ENOUGH_REPLICAS);
    mock.fail_next_with(Outcome::Unknown, Reason::Expired);
    let last = sent.pop().unwrap();
    assert!(!last.is_done());
    let mut sent = sent.into_iter();
    assert_eq!(offset(sent.next().unwrap().wait()), Some(0));
    let error = failed(sent.next().unwrap().wait());
    assert_eq!(
        (error.outcome(), error.reason()),
        (Outcome::NotWritten, Reason::Broker(ErrorCode::NOT_ENOUGH_REPLICAS))
    );
    let error = failed(sent.next().unwrap().wait());
    assert_eq!((error.outcome(), error.reason()), (Outcome::Unknown, Reason::Expired));
    assert_eq!(mock.complete_all(), 1);
    assert_eq!(offset(last.wait()), Some(1), "what failed took no offset");
    assert!(!mock.complete_next() && mock.flushed());
}

#[test]
fn a_failure_may_be_planned_for_the_next_record() {
    let (producer, mock) = MockProducer::new();
    mock.fail_next(ErrorCode::REQUEST_TIMED_OUT);
    let error = failed(producer.send_blocking(order("a")).unwrap().wait());
    assert_eq!(error.outcome(), Outcome::Unknown, "a broker that times out may have written it");
    assert_eq!(offset(producer.send_blocking(order("b")).unwrap().wait()), Some(0));
    mock.refuse_next(Refusal::Closed);
    let refused = pollster::block_on(producer.send(order("c"))).unwrap_err();
    assert_eq!(refused.reason(), &Refusal::Closed);
    assert_eq!(refused.into_record(), order("c"));
    assert_eq!(mock.history().len(), 2);
}

// CMPL-3
#[test]
fn callbacks_run_in_order_even_if_they_send_themselves() {
    let (producer, mock) = MockProducer::new();
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tell = |name: &'static str| {
        let told = told.clone();
        move |outcome: Result<Delivered, DeliveryError>| {
            told.lock().unwrap().push((name, outcome.unwrap().offset().unwrap()));
        }
    };
    let (inner, handle) = (tell("inner"), producer.clone());
    let outer = tell("outer");
    let sends = move |outcome| {
        handle.try_send_with(order("inner"), inner).unwrap();
        outer(outcome);
    };
    pollster::block_on(producer.send_with(order("outer"), sends)).unwrap();
    pollster::block_on(producer.send_with(order("last"), tell("last"))).unwrap();
    assert_eq!(*told.lock().unwrap(), [("outer", 0), ("inner", 1), ("last", 2)]);
    assert_eq!(mock.history().len(), 3);
}

#[test]
fn typed_topics_permits_and_partitions_are_those_of_the_producer() {
    let (producer, mock) = MockProducer::new();
    mock.set_partitions("prices", 4);
    pollster::block_on(async {
        producer.connect_to(&["prices"]).await.unwrap();
        assert_eq!(producer.partitions_for("prices").await.unwrap().len(), 4);
        assert_eq!(producer.partitions_for("others").await.unwrap().len(), 1);
        let prices = producer.topic("prices").await.unwrap().key(Utf8).value(Number);
        let at = prices.send("espresso", &250_i64).await.unwrap().await.unwrap();
        assert_eq!((at.key_size(), at.value_size()), (Some(8), Some(8)));
        let permit = producer.reserve("prices", 200).await.unwrap();
        assert_eq!(permit.send(Record::to("prices").value("v")).unwrap().await.unwrap().topic(), "prices");
        let outside = Record::to("prices").value("v").partition(9).unwrap();
        assert!(matches!(producer.try_send(outside).unwrap_err().reason(), Refusal::NotKnownYet(_)));
    });
    assert_eq!(mock.history()[0].value_bytes().unwrap().as_ref(), 250_i64.to_be_bytes());
}

#[test]
fn a_flush_completes_what_waits() {
    let (producer, mock) = MockProducer::new();
    mock.set_auto_complete(false);
    let delivery = producer.send_blocking(order("a")).unwrap();
    let report = producer.flush_blocking().unwrap();
    assert_eq!((report.acked, report.not_written), (1, 0));
    assert!(mock.flushed() && delivery.is_done());
    let flushes = producer.clone();
    let flushed = Arc::new(std::sync::Mutex::new(None));
    let told = flushed.clone();
    let inside = move |_| *told.lock().unwrap() = Some(flushes.flush_blocking());
    pollster::block_on(producer.send_with(order("b"), inside)).unwrap();
    mock.complete_next();
    assert_eq!(*flushed.lock().unwrap(), Some(Err(FlushError::InCallback)));
}

#[test]
fn close_reports_what_it_leaves_and_ends_interceptors_and_partitioner() {
    #[derive(Clone)]
    struct Counts(Arc<AtomicUsize>);
    impl Interceptor for Counts {
        fn close(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    impl Partitioner for Counts {
        fn partition(&self, _: &Record, _: &TopicView<'_>) -> Choice {
            Choice::Any
        }
        fn close(&self) {
            self.0.fetch_add(10, Ordering::Relaxed);
        }
    }
    for (timeout, acked) in [(Duration::from_secs(1), 2), (Duration::ZERO, 0)] {
        let counts = Counts(Arc::default());
        let builder = Producer::builder("a:1").interceptor(counts.clone()).partitioner(counts.clone());
        let (producer, mock) = MockProducer::with(builder).unwrap();
        mock.set_auto_complete(false);
        let sent = ["a", "b"].map(|value| producer.send_blocking(order(value)).unwrap());
        assert!(!mock.closed());
        let report = producer.close_blocking(timeout);
        assert_eq!((report.acked, report.not_written, report.unknown), (acked, 2 - acked, 0));
        assert_eq!(report.undelivered.len() as u64, 2 - acked);
        assert!(mock.closed() && sent.iter().all(|delivery| delivery.is_done()));
        assert_eq!(producer.try_send(order("c")).unwrap_err().reason(), &Refusal::Closed);
        assert_eq!(counts.0.load(Ordering::Relaxed), 11);
        assert_eq!(producer.close_blocking(timeout).undelivered.len(), 0, "once");
    }
    let (producer, mock) = MockProducer::new();
    mock.set_auto_complete(false);
    let delivery = producer.send_blocking(order("a")).unwrap();
    drop(producer);
    assert!(mock.closed());
    assert_eq!(failed(delivery.wait()).reason(), Reason::Closed);
}

#[test]
fn purge_and_clear_end_what_waits() {
    let (producer, mock) = MockProducer::new();
    mock.set_auto_complete(false);
    let delivery = producer.send_blocking(order("a")).unwrap();
    assert_eq!(producer.purge(false, true).wait().not_written, 0, "nothing is in flight");
    let report = producer.purge(true, false).wait();
    assert_eq!((report.not_written, report.undelivered.len()), (1, 1));
    assert_eq!(failed(delivery.wait()).reason(), Reason::Purged);
    let delivery = producer.send_blocking(order("b")).unwrap();
    mock.clear();
    assert_eq!(failed(delivery.wait()).reason(), Reason::Purged);
    assert_eq!((mock.pending(), mock.history().len()), (0, 0));
}

#[test]
fn memory_is_bounded_and_who_waits_for_it_goes_on_or_gives_up_when_time_passes() {
    let builder = Producer::builder("a:1").buffer_memory(40_000).max_block(Duration::from_secs(10));
    let (producer, mock) = MockProducer::with(builder).unwrap();
    mock.set_auto_complete(false);
    let mut accepted = 0;
    while producer.try_send(order(&"v".repeat(9000))).is_ok() {
        accepted += 1;
    }
    assert!((1..5).contains(&accepted), "{accepted}");
    {
        let mut waiting = pin!(producer.send(order(&"w".repeat(9000))));
        assert!(poll(waiting.as_mut()).is_pending());
        mock.complete_next();
        assert!(matches!(poll(waiting.as_mut()), Poll::Ready(Ok(_))));
    }
    let mut waiting = pin!(producer.send(order(&"x".repeat(9000))));
    assert!(poll(waiting.as_mut()).is_pending());
    mock.advance(Duration::from_secs(9));
    assert!(poll(waiting.as_mut()).is_pending());
    mock.advance(Duration::from_secs(1));
    let Poll::Ready(Err(error)) = poll(waiting.as_mut()) else { panic!("it waits for ever") };
    assert!(matches!(error.reason(), Refusal::BufferExhausted { waited_ms: 10_000, .. }), "{error}");
    assert_eq!(mock.history().len(), accepted + 1);
    mock.complete_all();
    assert_eq!(producer.metrics().buffer_available_bytes, 40_000);
}

#[test]
fn records_expire_when_time_passes() {
    let (producer, mock) = MockProducer::new();
    mock.set_auto_complete(false);
    let old = producer.send_blocking(order("a")).unwrap();
    mock.advance(Duration::from_secs(60));
    let young = producer.send_blocking(order("b")).unwrap();
    mock.advance(Duration::from_secs(60));
    let error = failed(old.wait());
    assert_eq!((error.outcome(), error.reason()), (Outcome::NotWritten, Reason::Expired));
    assert!(!young.is_done());
    drop(young);
}

#[test]
fn topics_may_be_refused_grow_and_lose_leaders() {
    let (producer, mock) = MockProducer::new();
    mock.refuse_topic("secret", ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    let refused = producer.send_blocking(Record::to("secret").value("v")).unwrap_err();
    assert!(matches!(refused.reason(), Refusal::TopicRefused { .. }), "{refused}");
    let partition = |key: &str| {
        let delivery = producer.send_blocking(order("v").key(key.to_owned())).unwrap();
        delivery.wait().unwrap().partition()
    };
    assert_eq!(partition("kafka"), 0);
    mock.set_partitions("orders", 10);
    assert_eq!(partition("hello"), 9, "PAR-4: as on a cluster");
    mock.set_leader("orders", 3, None);
    mock.set_leader("orders", 4, Some(7));
    let partitions = producer.partitions_for_blocking("orders").unwrap();
    assert_eq!((partitions[3].leader, partitions[4].leader, partitions[5].leader), (None, Some(7), Some(1)));
}

#[test]
fn with_acks_0_records_are_handed_over() {
    let (producer, _mock) = MockProducer::with(Producer::builder("a:1").acks(Acks::None)).unwrap();
    assert_eq!(offset(producer.send_blocking(order("a")).unwrap().wait()), None);
    assert_eq!(producer.close_blocking(Duration::from_secs(1)).undelivered.len(), 0);
}

#[test]
fn many_threads_share_a_mock() {
    let (producer, mock) = MockProducer::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let producer = &producer;
            scope.spawn(move || {
                let mut last = -1;
                for n in 0..200 {
                    let delivery = producer.send_blocking(order(&format!("{thread}-{n}"))).unwrap();
                    let offset = offset(delivery.wait()).unwrap();
                    assert!(offset > last, "in the order of sending");
                    last = offset;
                }
            });
        }
    });
    assert!(mock.flushed());
    let history = mock.history();
    assert_eq!(history.len(), 800);
    for thread in 0..4 {
        let own: Vec<_> = history
            .iter()
            .map(|record| String::from_utf8(record.value_bytes().unwrap().to_vec()).unwrap())
            .filter(|value| value.starts_with(&format!("{thread}-")))
            .collect();
        assert_eq!(own, (0..200).map(|n| format!("{thread}-{n}")).collect::<Vec<_>>());
    }
}

#[test]
fn a_bad_configuration_is_refused_as_by_build() {
    let error = MockProducer::with(Producer::builder("no-port")).unwrap_err();
    assert!(error.to_string().contains("port"), "{error}");
}

// PAR-4
#[test]
fn a_listener_to_the_log_may_name_a_new_topic_while_another_one_grows() {
    use rohrpost_testing::{in_time, log};

    in_time(|| {
        let (producer, mock) = MockProducer::new();
        producer.send_blocking(order("v")).unwrap();
        let (sends, heard) = (producer.clone(), Arc::new(AtomicUsize::new(0)));
        let count = heard.clone();
        let listen = move |event: &log::Event| {
            assert!(event.text.contains("topic orders has grown from 1 to 2 partitions"), "{event:?}");
            sends.send_blocking(Record::to("log").value(event.text.clone())).unwrap();
            sends.flush_blocking().unwrap();
            assert_eq!(sends.metrics_snapshot().counts.topics_grown, 1);
            count.fetch_add(1, Ordering::Relaxed);
        };
        log::listening(listen, || mock.set_partitions("orders", 2));
        assert_eq!((heard.load(Ordering::Relaxed), mock.history().len()), (1, 2));
    });
}
