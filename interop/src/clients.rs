//! The foreign clients: where their programs are, what each of them can do by its own account, and the round that each has to go
//! against our broker.
//!
//! `interop/install` puts the programs where they are looked for here; `interop/clients/README.md` says how they are spoken to.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use rohrpost_record::{Batches, murmur2};
use serde_json::{Value, json};

use crate::records::{Content, HeaderForm, Read, ToWrite, sample};
use crate::{BrokerProcess, CODECS, rohrpost, root, run};

/// How many partitions each topic of a round has.
const PARTITIONS: i32 = 3;
/// A program that takes longer is ended.
const PROGRAM_SECONDS_MAX: u64 = 150;

/// Where a client's records with a key go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitioner {
    /// Where Kafka's own producer sends them.
    Murmur2,
    /// librdkafka's default: CRC-32; an empty key counts as none.
    Crc32,
    /// The caller says where.
    Caller,
}

/// A client, and what it has by its own account. What comes of it is the run's to say.
#[derive(Debug, Clone)]
pub struct ForeignClient {
    /// Its name in the table; with the version where there are two.
    pub name: &'static str,
    /// What it runs on.
    pub runtime: &'static str,
    /// Which of `interop/install`'s parts it is; `None` is on the path already.
    pub part: Option<&'static str>,
    /// Its own partitioner.
    pub partitioner: Partitioner,
    /// What its headers can hold when it reads.
    pub headers: HeaderForm,
    /// It sets a record's timestamp as it is told.
    pub timestamps: bool,
    /// It has an idempotent producer.
    pub idempotent: bool,
    /// Its records come to a partition in the order in which they were given to it.
    pub ordered: bool,
    /// What a reader of the table should know.
    pub notes: &'static str,
}

/// All, in the order of the table.
pub fn all() -> Vec<ForeignClient> {
    let base = ForeignClient {
        name: "",
        runtime: "",
        part: None,
        partitioner: Partitioner::Murmur2,
        headers: HeaderForm::List,
        timestamps: true,
        idempotent: true,
        ordered: true,
        notes: "",
    };
    let librdkafka = ForeignClient { partitioner: Partitioner::Crc32, ..base.clone() };
    vec![
        ForeignClient { name: "kafka-clients 4.3", runtime: "Java", part: Some("java"), ..base.clone() },
        ForeignClient { name: "kafka-clients 3.9", runtime: "Java", part: Some("java"), ..base.clone() },
        ForeignClient {
            name: "kcat",
            runtime: "C (librdkafka)",
            timestamps: false,
            headers: HeaderForm::Text,
            notes: "its command line has no admin calls, sets no timestamps, and cannot write an empty key or value",
            ..librdkafka.clone()
        },
        ForeignClient {
            name: "confluent-kafka",
            runtime: "Python (librdkafka)",
            part: Some("python"),
            ..librdkafka.clone()
        },
        ForeignClient { name: "kafka-python", runtime: "Python", part: Some("python"), ..base.clone() },
        ForeignClient { name: "aiokafka", runtime: "Python", part: Some("python"), ..base.clone() },
        ForeignClient { name: "franz-go", runtime: "Go", part: Some("go"), ordered: false, ..base.clone() },
        ForeignClient {
            name: "kafkajs",
            runtime: "Node.js",
            part: Some("node"),
            headers: HeaderForm::Grouped,
            notes: "its consumer always joins a group; snappy, lz4 and zstd are plug-ins (kafkajs-snappy, lz4-napi, zstd-codec)",
            ..base.clone()
        },
        ForeignClient { name: "rdkafka", runtime: "Rust (librdkafka)", part: Some("rdkafka"), ..librdkafka },
        ForeignClient {
            name: "rskafka",
            runtime: "Rust",
            part: Some("rskafka"),
            partitioner: Partitioner::Caller,
            headers: HeaderForm::Map,
            idempotent: false,
            notes: "no partitioner, no idempotent producer; headers are a map, and a batch with a null among them cannot be read",
            ..base
        },
    ]
}

/// What came of one thing that a client was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// It did, and the result was right.
    Yes,
    /// It did not; why.
    No(String),
    /// It has no such thing.
    Absent,
}

/// What came of a round.
#[derive(Debug)]
pub struct Round {
    /// The client's version, by its own account.
    pub version: String,
    /// By name of the column or, for those that stand in one, of the question.
    pub cells: BTreeMap<String, Cell>,
    /// What the client said that it cannot write.
    pub left_out: BTreeSet<String>,
}

impl ForeignClient {
    /// Its program, if it is installed.
    pub fn program(&self) -> Option<Command> {
        let folder = installed();
        let program = match (self.part, self.name) {
            (Some("java"), name) => {
                let version = if name.ends_with("4.3") { "4.3.1" } else { "3.9.1" };
                let classes = folder.join(format!("java-{version}"));
                let jars = std::fs::read_to_string(classes.join("classpath")).ok()?;
                let mut java = Command::new("java");
                java.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
                java.arg(format!("{}:{jars}", classes.display())).arg("ForeignClient");
                return Some(java);
            }
            (Some("node"), _) => {
                let modules = folder.join("node/node_modules");
                if !modules.join("kafkajs").exists() {
                    return None;
                }
                let mut node = Command::new("node");
                node.env("NODE_PATH", modules).arg(root().join("interop/clients/node/main.js"));
                return Some(node);
            }
            (Some("python"), name) => {
                let file = match name {
                    "confluent-kafka" => "confluent.py",
                    "kafka-python" => "kafka_python.py",
                    _ => "aio.py",
                };
                return python_program(file);
            }
            (None, _) => return python(PathBuf::from("python3"), "kcat.py"),
            (Some(_), name) => folder.join(name),
        };
        program.exists().then(|| Command::new(program))
    }

    /// Carries out a plan. What the program says beside its answer belongs to the test's output.
    fn carry_out(&self, plan: &Value) -> Value {
        let mut command = self.program().expect("the caller has seen that it is installed");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut stdin = child.stdin.take().expect("piped");
        let mut stdout = child.stdout.take().expect("piped");
        let plan = plan.to_string();
        std::thread::spawn(move || stdin.write_all(plan.as_bytes()));
        let (told, answer) = channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            told.send(stdout.read_to_string(&mut text).map(|_| text)).ok();
        });
        let answer = answer.recv_timeout(Duration::from_secs(PROGRAM_SECONDS_MAX));
        let text = match answer {
            Ok(text) => text.expect("the answer is text"),
            Err(_) => {
                end(&mut child);
                panic!("{}: no answer within {PROGRAM_SECONDS_MAX} s", self.name);
            }
        };
        let status = child.wait().expect("a child can be waited for");
        assert!(status.success(), "{}: {status}", self.name);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}:\n{text}", self.name))
    }

    /// Where a record belongs, as far as that is settled.
    fn partition_of(&self, record: &ToWrite) -> Option<i32> {
        let key = record.content.key.as_deref();
        let hash = match (record.partition, self.partitioner, key) {
            (Some(partition), ..) => return Some(partition),
            (None, Partitioner::Caller, _) => return Some(0),
            (None, Partitioner::Murmur2, Some(key)) => murmur2(key) as u32 & 0x7fff_ffff,
            (None, Partitioner::Crc32, Some(key)) if !key.is_empty() => crc32(key),
            _ => return None,
        };
        Some((hash % PARTITIONS as u32) as i32)
    }
}

/// Sends a client round: everything that it can do, on a broker of its own.
pub fn go_round(client: &ForeignClient) -> Round {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let broker = BrokerProcess::start(&data, &[]);
    let records = sample();
    let mut for_reading = records.clone();
    if client.headers == HeaderForm::Map {
        for_reading.retain(|record| record.content.headers.iter().all(|(_, value)| value.is_some()));
    }
    let ours = write_ours(&broker, folder.path(), &for_reading);
    let makes_topics = client.part.is_some();
    let mut topics: Vec<(String, &str, bool)> =
        CODECS.iter().map(|codec| (format!("theirs-{codec}"), *codec, false)).collect();
    if client.idempotent {
        topics.push(("theirs-idempotent".to_owned(), "none", true));
    }

    let mut steps = Vec::new();
    for (topic, codec, idempotent) in &topics {
        if makes_topics {
            steps.push(json!({"do": "create", "topic": topic, "partitions": PARTITIONS}));
        } else {
            create(&broker, topic);
        }
        steps.push(json!({"do": "produce", "topic": topic, "codec": codec, "idempotent": idempotent}));
    }
    for codec in CODECS {
        let topic = format!("ours-{codec}");
        let count = for_reading.len();
        steps.push(json!({"do": "read", "topic": topic, "partitions": PARTITIONS, "count": count}));
    }
    let asked = "ours-zstd";
    let timestamp = records[20].content.timestamp;
    steps.push(json!({"do": "metadata", "topic": asked}));
    steps.push(json!({"do": "ends", "topic": asked, "partitions": PARTITIONS}));
    steps.push(json!({"do": "time", "topic": asked, "partition": 1, "timestamp": timestamp}));
    steps.push(json!({"do": "config", "topic": asked, "key": "cleanup.policy"}));
    steps.push(json!({"do": "cluster"}));
    let mut judge = Judge { client, broker: &broker, cells: BTreeMap::new(), left_out: BTreeSet::new() };
    let answer = judge.carry_out(&records, steps);
    let version = answer["version"].as_str().expect("a version").to_owned();
    let mut results = answer["results"].as_array().expect("results").iter();
    let mut next = || results.next().expect("one result per step");

    // what it wrote, as we read it; then as it reads it
    let mut again = Vec::new();
    for (topic, codec, idempotent) in &topics {
        if makes_topics {
            judge.note("create", next(), |made| made.as_bool().ok_or("no answer".to_owned()).map(|_| ()));
        }
        let placed = next();
        let read = read_ours(&broker, topic);
        let column = if *idempotent { "idempotent" } else { codec };
        judge.note_written(column, placed, &read, &records);
        judge.expect(column, batches_are(&data, topic, codec, *idempotent));
        again.push((topic.clone(), read));
    }
    if !client.idempotent {
        judge.cells.insert("idempotent".to_owned(), Cell::Absent);
    }
    for codec in CODECS {
        let expected = &ours[codec];
        judge.note("reads ours", next(), |read| same(read, expected, client.headers));
    }
    let in_asked = &ours["zstd"];
    judge.note("partitions", next(), |count| equal(count, &json!(PARTITIONS)));
    judge.note("ends", next(), |found| equal(found, &ends_of(in_asked)));
    judge.note("time", next(), |found| {
        let offset = in_asked
            .iter()
            .filter(|read| read.partition == 1 && read.content.timestamp >= timestamp)
            .map(|read| read.offset)
            .min();
        equal(found, &json!(offset))
    });
    judge.note("config", next(), |found| equal(found, &json!("delete")));
    judge.note("cluster", next(), |found| {
        let id = found["id"].as_str().unwrap_or_default();
        if id.len() == 22 && found["brokers"] == 1 { Ok(()) } else { Err(format!("it says {found}")) }
    });

    // the second run: what it wrote in the first
    let reads = again.iter().map(
        |(topic, read)| json!({"do": "read", "topic": topic, "partitions": PARTITIONS, "count": read.len()}),
    );
    let mut steps: Vec<Value> = reads.collect();
    steps.push(json!({"do": "delete", "topic": "ours-none"}));
    let answer = judge.carry_out(&records, steps);
    let results = answer["results"].as_array().expect("results");
    for ((_, expected), result) in again.iter().zip(results) {
        judge.note("reads back", result, |read| same(read, expected, client.headers));
    }
    judge.note("delete", &results[again.len()], |_| {
        let listed = run(rohrpost().args(["topics", "list", "-b", broker.address()]));
        let gone = !String::from_utf8_lossy(&listed).lines().any(|name| name == "ours-none");
        if gone { Ok(()) } else { Err("the topic is still there".to_owned()) }
    });
    Round { version, cells: judge.cells, left_out: judge.left_out }
}

/// Collects what comes of a round.
struct Judge<'a> {
    client: &'a ForeignClient,
    broker: &'a BrokerProcess,
    cells: BTreeMap<String, Cell>,
    left_out: BTreeSet<String>,
}

impl Judge<'_> {
    fn carry_out(&self, records: &[ToWrite], steps: Vec<Value>) -> Value {
        let records: Vec<Value> = records.iter().map(ToWrite::to_plan).collect();
        self.client
            .carry_out(&json!({"bootstrap": self.broker.address(), "records": records, "steps": steps}))
    }

    /// Judges a program's result; a column that several results share is as good as the worst.
    fn note(&mut self, column: &str, result: &Value, judge: impl FnOnce(&Value) -> Result<(), String>) {
        let cell = if let Some(value) = result.get("ok") {
            judge(value).map_or_else(Cell::No, |()| Cell::Yes)
        } else if result.get("none").is_some() {
            Cell::Absent
        } else {
            Cell::No(result["error"].to_string())
        };
        match self.cells.get(column) {
            Some(Cell::No(_)) => {}
            _ => drop(self.cells.insert(column.to_owned(), cell)),
        }
    }

    fn expect(&mut self, column: &str, found: Result<(), String>) {
        self.note(column, &json!({"ok": null}), |_| found);
    }

    /// What was written is what was asked for, in the places that the client named, in order.
    fn note_written(&mut self, column: &str, placed: &Value, read: &[Read], records: &[ToWrite]) {
        let mut left_out = BTreeSet::new();
        self.note(column, placed, |placed| {
            let mut in_order: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
            let mut written = 0;
            for (at, record) in records.iter().enumerate() {
                if let Some(why) = placed[at]["left_out"].as_str() {
                    left_out.insert(why.to_owned());
                    continue;
                }
                written += 1;
                let read = self.client.check_one(record, &placed[at], read)?;
                in_order.entry(read.partition).or_default().push(read.offset);
            }
            if read.len() != written {
                return Err(format!("{written} records were written, {} are there", read.len()));
            }
            for (partition, mut offsets) in in_order {
                if !self.client.ordered {
                    offsets.sort_unstable();
                }
                if !offsets.iter().copied().eq(0..offsets.len() as i64) {
                    return Err(format!("the offsets in partition {partition} are {offsets:?}"));
                }
            }
            Ok(())
        });
        self.left_out.append(&mut left_out);
    }
}

impl ForeignClient {
    /// Finds a record among those that were read, and compares.
    fn check_one<'r>(&self, record: &ToWrite, place: &Value, read: &'r [Read]) -> Result<&'r Read, String> {
        let wanted = &record.content;
        let found =
            read.iter().find(|read| read.content.key == wanted.key && read.content.value == wanted.value);
        let found = found.ok_or_else(|| format!("not there: {}", wanted.shown()))?;
        let mut expected = wanted.clone();
        if !self.timestamps {
            expected.timestamp = found.content.timestamp;
        }
        let form = if self.headers == HeaderForm::Text { HeaderForm::List } else { self.headers };
        if expected.clone().through(form) != found.content.clone().through(form) {
            return Err(format!("{} became {}", wanted.shown(), found.content.shown()));
        }
        if place.is_array() && *place != json!([found.partition, found.offset]) {
            return Err(format!("said to be at {place}, but is at {}-{}", found.partition, found.offset));
        }
        match self.partition_of(record) {
            Some(partition) if partition != found.partition => {
                Err(format!("{} is in partition {}, not {partition}", wanted.shown(), found.partition))
            }
            _ => Ok(found),
        }
    }
}

/// Compares what a client read with what we read from the same topic.
fn same(theirs: &Value, ours: &[Read], form: HeaderForm) -> Result<(), String> {
    let by_place = |reads: Vec<Read>| -> BTreeMap<(i32, i64), Content> {
        reads.into_iter().map(|read| ((read.partition, read.offset), read.content.through(form))).collect()
    };
    let theirs: Vec<Read> = theirs.as_array().expect("records").iter().map(Read::from_answer).collect();
    if theirs.len() != ours.len() {
        return Err(format!("it read {} records of {}", theirs.len(), ours.len()));
    }
    let (theirs, ours) = (by_place(theirs), by_place(ours.to_vec()));
    for (place, expected) in &ours {
        match theirs.get(place) {
            Some(found) if found == expected => {}
            Some(found) => {
                return Err(format!("at {place:?} it read {}, not {}", found.shown(), expected.shown()));
            }
            None => return Err(format!("it did not read what is at {place:?}")),
        }
    }
    Ok(())
}

fn equal(found: &Value, expected: &Value) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("it says {found}, expected is {expected}")) }
}

fn ends_of(reads: &[Read]) -> Value {
    let count = |partition| reads.iter().filter(|read| read.partition == partition).count();
    json!((0..PARTITIONS).map(|partition| [0, count(partition)]).collect::<Vec<_>>())
}

/// The sample in a topic per codec, written by our producer; and what we read from them.
fn write_ours(
    broker: &BrokerProcess,
    folder: &std::path::Path,
    records: &[ToWrite],
) -> BTreeMap<&'static str, Vec<Read>> {
    let file = folder.join("records.jsonl");
    let lines: String = records.iter().map(|record| format!("{}\n", record.to_line())).collect();
    std::fs::write(&file, lines).expect("a temporary file");
    CODECS
        .iter()
        .map(|codec| {
            let topic = format!("ours-{codec}");
            create(broker, &topic);
            run(rohrpost()
                .args(["produce", "-q", "-b", broker.address(), "-t", &topic, "--format", "jsonl"])
                .args(["-X", &format!("compression.type={codec}")])
                .arg(&file));
            let read = read_ours(broker, &topic);
            assert_eq!(read.len(), records.len(), "{topic}");
            (*codec, read)
        })
        .collect()
}

fn create(broker: &BrokerProcess, topic: &str) {
    let partitions = PARTITIONS.to_string();
    run(rohrpost().args(["topics", "create", topic, "--partitions", &partitions, "-b", broker.address()]));
}

/// All records of a topic, by our own consumer.
fn read_ours(broker: &BrokerProcess, topic: &str) -> Vec<Read> {
    let mut consume = rohrpost();
    consume.args(["consume", "-b", broker.address(), "-t", topic, "--from-beginning", "--until-end"]);
    let lines = run(consume.args(["--format", "jsonl"]));
    let lines = serde_json::Deserializer::from_slice(&lines).into_iter::<Value>();
    lines.map(|line| Read::from_line(&line.expect("a JSON line"))).collect()
}

/// What lies in the topic's files is compressed as it should be, and has a producer id if it should.
fn batches_are(data: &std::path::Path, topic: &str, codec: &str, idempotent: bool) -> Result<(), String> {
    let mut compressed = false;
    for partition in 0..PARTITIONS {
        let file = data.join(format!("{topic}-{partition}/00000000000000000000.log"));
        let bytes = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        for batch in Batches::new(&bytes) {
            let header = *batch.map_err(|error| format!("{}: {error}", file.display()))?.header();
            let found = header.attributes.codec().map_err(|id| format!("codec {id}"))?;
            compressed |= found.name() == codec;
            // a client may send a batch plain that would not get smaller
            if found.name() != codec && found.name() != "none" {
                return Err(format!("a batch is compressed with {}", found.name()));
            }
            if header.has_producer_id() != idempotent {
                return Err(format!("a batch has the producer id {}", header.producer_id));
            }
        }
    }
    if compressed { Ok(()) } else { Err(format!("no batch is compressed with {codec}")) }
}

/// Where `interop/install` puts things.
fn installed() -> PathBuf {
    if let Some(folder) = std::env::var_os("ROHRPOST_FOREIGN_HOME") {
        return PathBuf::from(folder);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    cache.unwrap_or_default().join("rohrpost/foreign")
}

/// The command that runs one of our Python programs with the packages that `interop/install` has put there; `None`: it has not.
pub fn python_program(file: &str) -> Option<Command> {
    python(installed().join("python/bin/python"), file)
}

fn python(program: PathBuf, file: &str) -> Option<Command> {
    if program.is_absolute() && !program.exists() {
        return None;
    }
    let mut command = Command::new(program);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(root().join("interop/clients/python").join(file));
    Some(command)
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// The CRC-32 of zip files, bit by bit: librdkafka's default partitioner.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1)))
    })
}
