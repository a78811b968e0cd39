//! The failed-records file of a real producer: what is in it, when, and that nothing is missing.

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use rohrpost::{
    BuildError, FailedRecord, FailedRecords, Interceptor, KeepError, Outcome, Producer, ProducerBuilder,
    Record,
};
use rohrpost_broker::Cluster;
use serde_json::Value;

/// A topic that takes batches of up to 2000 bytes.
fn cluster() -> Cluster {
    Cluster::builder()
        .topic("t", 2, 1)
        .config("message.max.bytes", "2000")
        .start()
        .expect("the broker starts")
}

fn producer(cluster: &Cluster, path: &Path) -> ProducerBuilder {
    Producer::builder(cluster.bootstrap_servers()).failed_records(FailedRecords::to(path))
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("the file is there");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

#[test]
fn a_callback_that_tells_of_a_failure_finds_the_record_in_the_file() {
    // SEND-2
    let (directory, cluster) = (tempfile::tempdir().unwrap(), cluster());
    let path = directory.path().join("failed.jsonl");
    let producer = producer(&cluster, &path).build().unwrap();
    let (tell, told) = mpsc::channel();
    let file = path.clone();
    let record = Record::to("t").key("k").header("h", "x").value(vec![7; 5000]).partition(1).unwrap();
    pollster::block_on(producer.send_with(record, move |outcome| {
        tell.send((outcome.unwrap_err().outcome(), lines(&file))).unwrap();
    }))
    .unwrap();
    let (outcome, lines) = told.recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!(outcome, Outcome::NotWritten);
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&line["topic"], &line["partition"]), (&"t".into(), &1.into()));
    assert_eq!((&line["key_base64"], &line["headers"][0]["value_base64"]), (&"aw==".into(), &"eA==".into()));
    assert_eq!((&line["error"], &line["outcome"]), (&"MESSAGE_TOO_LARGE".into(), &"not_written".into()));
    assert_eq!(line["value_base64"].as_str().unwrap().len(), 5000_usize.div_ceil(3) * 4);
    assert!(line["timestamp"].as_i64().unwrap() > 1_600_000_000_000);
    // What is delivered is not there.
    producer.send_blocking(Record::to("t").value("small")).unwrap().wait().unwrap();
    let before = lines.len();
    producer.close_blocking(Duration::MAX);
    assert_eq!(self::lines(&path).len(), before);
}

#[test]
fn a_close_without_time_leaves_nothing_out() {
    // SEND-2, FLU-6
    let (directory, cluster) = (tempfile::tempdir().unwrap(), cluster());
    let path = directory.path().join("failed.jsonl");
    let producer = producer(&cluster, &path).linger(Duration::from_secs(600)).build().unwrap();
    producer.connect_blocking().unwrap();
    let mut deliveries: Vec<_> =
        (0..50).map(|n| producer.send_blocking(Record::to("t").value(format!("{n}"))).unwrap()).collect();
    let metrics = producer.clone();
    let report = producer.close_blocking(Duration::ZERO);
    let failed = report.not_written + report.unknown;
    let lines = lines(&path);
    assert_eq!((lines.len() as u64, report.undelivered.len() as u64), (failed, failed));
    assert_eq!(metrics.metrics().failed_records_kept, failed);
    let unknown = lines.iter().filter(|line| line["outcome"] == "unknown").count() as u64;
    assert_eq!(unknown, report.unknown);
    assert!(deliveries.iter_mut().all(|delivery| delivery.poll_now().is_some()));
    assert_eq!(
        pollster::block_on(metrics.keep_failed(FailedRecord::new(Record::value("v"), "E", "late"))),
        Err(KeepError::Closed)
    );
}

#[test]
fn a_producer_that_is_dropped_leaves_its_records_in_the_file() {
    // SEND-2, FLU-8
    let (directory, cluster) = (tempfile::tempdir().unwrap(), cluster());
    let path = directory.path().join("failed.jsonl");
    let producer = producer(&cluster, &path).linger(Duration::from_secs(600)).build().unwrap();
    let delivery = producer.send_blocking(Record::to("t").value("v")).unwrap();
    drop(producer);
    delivery.wait_timeout(Duration::from_secs(30)).unwrap_err();
    assert_eq!(lines(&path)[0]["error"], "PRODUCER_CLOSED");
}

#[test]
fn a_record_that_send_refused_is_kept_when_the_caller_asks_for_it() {
    // SEND-2
    let (directory, cluster) = (tempfile::tempdir().unwrap(), cluster());
    let path = directory.path().join("failed.jsonl");
    fs::write(&path, "{}\n").unwrap();
    let producer = producer(&cluster, &path).build().unwrap();
    let refused = producer.send_blocking(Record::to("t").value(vec![0; 2 << 20])).unwrap_err();
    assert_eq!(lines(&path).len(), 1, "not by itself");
    producer.keep_failed_blocking(refused).unwrap();
    let lines = lines(&path);
    assert_eq!((&lines[1]["topic"], &lines[1]["partition"]), (&"t".into(), &Value::Null));
    assert_eq!((&lines[1]["error"], &lines[1]["attempts"]), (&"RECORD_TOO_LARGE".into(), &0.into()));
    let without = Producer::builder(cluster.bootstrap_servers()).build().unwrap();
    let failed = FailedRecord::new(Record::value("v"), "E", "why");
    assert_eq!(without.keep_failed_blocking(failed), Err(KeepError::NoFile));
}

#[test]
fn a_file_that_cannot_be_written_is_told_when_the_producer_is_built() {
    let directory = tempfile::tempdir().unwrap();
    let builder = Producer::builder("localhost:1").failed_records(FailedRecords::to(directory.path()));
    let error = builder.build().unwrap_err();
    assert!(matches!(error, BuildError::FailedRecords { .. }));
    assert!(error.to_string().contains(&*directory.path().to_string_lossy()), "{error}");
}

struct Asks;
impl Interceptor for Asks {
    fn configure(&self, settings: &rohrpost::InterceptorSettings<'_>) -> Result<(), String> {
        assert_eq!(settings.get("client.id"), Some(settings.client_id()));
        assert!(settings.client_id().starts_with("producer-"));
        match settings.get("audit.depth") {
            Some("5") => Ok(()),
            other => Err(format!("audit.depth is {other:?}; it must be 5")),
        }
    }
}

#[test]
fn interceptors_get_all_settings_and_may_refuse_them() {
    // INT-4, CFG-4
    let pairs = |depth| [("bootstrap.servers", "localhost:1"), ("audit.depth", depth)];
    assert!(ProducerBuilder::from_pairs(pairs("5")).interceptor(Asks).build().is_ok());
    let error = ProducerBuilder::from_pairs(pairs("6")).interceptor(Asks).build().unwrap_err();
    assert!(error.to_string().contains("audit.depth is Some(\"6\"); it must be 5"), "{error}");
}

#[test]
fn interceptors_are_closed_once_with_the_producer() {
    // INT-4, FLU-7
    struct Closes(mpsc::Sender<&'static str>);
    impl Interceptor for Closes {
        fn on_acknowledgement(&self, _: &rohrpost::Acknowledgement<'_>) {
            self.0.send("told").unwrap();
        }
        fn close(&self) {
            self.0.send("closed").unwrap();
        }
    }
    let cluster = cluster();
    let (tell, told) = mpsc::channel();
    let producer = Producer::builder(cluster.bootstrap_servers()).interceptor(Closes(tell)).build().unwrap();
    producer.send_blocking(Record::to("t").value("v")).unwrap();
    producer.close_blocking(Duration::MAX);
    producer.close_blocking(Duration::ZERO);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["told", "closed"]);
    assert!(producer.try_send(Record::to("t").value("late")).is_err());
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["told"], "a send after close still passes them (INT-3)");
}

#[test]
fn close_and_flush_wait_for_callbacks_on_an_executor() {
    // SND-11, FLU-1, FLU-5
    let cluster = cluster();
    let (jobs, work) = mpsc::channel::<rohrpost::Job>();
    let worker = std::thread::spawn(move || work.into_iter().for_each(rohrpost::Job::run));
    let producer = Producer::builder(cluster.bootstrap_servers())
        .batch_size(200)
        .callbacks_on(move |job| jobs.send(job).unwrap_or_default())
        .build()
        .unwrap();
    let (tell, told) = mpsc::channel();
    let worker_id = worker.thread().id();
    let send = |number: i32| {
        let tell = tell.clone();
        let record = Record::to("t").value("v").partition(0).unwrap();
        pollster::block_on(producer.send_with(record, move |outcome| {
            assert_eq!(std::thread::current().id(), worker_id);
            tell.send((number, outcome.is_ok())).unwrap();
        }))
        .unwrap();
    };
    (0..300).for_each(send);
    producer.flush_blocking().unwrap();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), (0..300).map(|n| (n, true)).collect::<Vec<_>>());
    (300..400).for_each(send);
    let report = producer.close_blocking(Duration::MAX);
    assert!(report.undelivered.is_empty());
    assert_eq!(told.try_iter().count(), 100);
    drop(producer);
    worker.join().unwrap();
}
