//! The broker process that is killed, the load on it, and what is known of every record.
#![allow(unreachable_pub, clippy::unwrap_used, reason = "part of a test")]

mod broker;
mod load;
mod reader;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::BrokerProcess;
use load::{Churn, Load, Producing};
use reader::Reader;

/// Long enough for a slow machine; only a test that fails waits so long.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Partitions of the topic that keeps everything.
const PARTITIONS: i32 = 3;
/// The topic that keeps everything, and the one of which retention removes the beginning.
const KEPT: &str = "kept";
const RETAINED: &str = "retained";

/// What an acknowledgement means (chapter 20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In the page cache.
    Kafka = 1,
    /// Synced: `flush.messages=1`.
    Synced = 2,
}

/// A number from the environment.
pub fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// A seed that no run had before.
pub fn fresh_seed() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |t| t.as_nanos() as u64)
        % 1_000_000_000
}

/// A generator with a seed (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end.max(1)
    }
}

/// Everything of one run.
pub struct World {
    folder: tempfile::TempDir,
    port: u16,
    broker: Option<BrokerProcess>,
    load: Arc<Load>,
    producing: Option<Producing>,
    churn: Option<Churn>,
    readers: Vec<Reader>,
    recoveries: Vec<Duration>,
    killed_at_start: u32,
    producers: u32,
}

impl World {
    /// A broker with its topics, and the load begins.
    pub fn begin(mode: Mode, dice: &mut Dice) -> World {
        let folder = tempfile::tempdir().unwrap();
        let port = broker::free_port(dice);
        let mut broker = BrokerProcess::spawn(folder.path(), port);
        broker.wait_until_it_answers();
        create_topics(folder.path(), port, mode);
        let load = Arc::new(Load::default());
        let partitions = (0..PARTITIONS).map(|partition| (KEPT, partition)).chain([(RETAINED, 0)]);
        let readers = partitions.map(|(topic, partition)| Reader::new(topic, partition)).collect();
        let producing = Some(Producing::begin(port, &load));
        let churn = Some(Churn::begin(port));
        let mut world = World {
            folder,
            port,
            broker: Some(broker),
            load,
            producing,
            churn,
            readers,
            recoveries: Vec::new(),
            killed_at_start: 0,
            producers: 1,
        };
        world.let_it_run(dice);
        world
    }

    /// At least some records are acknowledged, then a random while passes.
    pub fn let_it_run(&mut self, dice: &mut Dice) {
        let more = dice.below(200);
        self.load.wait_for_acknowledged(more);
        std::thread::sleep(Duration::from_micros(dice.below(150_000)));
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.broker.take().expect("it runs").kill();
        self.look();
        let acknowledged = self.load.acknowledged();
        for reader in &mut self.readers {
            reader.must_find(&acknowledged);
        }
    }

    /// Starts the broker and kills it a few milliseconds later: before, in or just after its recovery.
    pub fn start_and_kill(&mut self, dice: &mut Dice) {
        let broker = BrokerProcess::spawn(self.folder.path(), self.port);
        std::thread::sleep(Duration::from_micros(dice.below(40_000)));
        broker.kill();
        self.look();
        self.killed_at_start += 1;
        let acknowledged = self.load.acknowledged();
        for reader in &mut self.readers {
            reader.must_find(&acknowledged);
        }
    }

    /// What a kill leaves may be torn, and nothing else: no damage in any file (D16).
    fn look(&self) {
        use rohrpost_log::inspect::{Finding, Severity, VerifyOptions, verify};
        let mut damage = Vec::new();
        let found =
            verify(&self.folder.path().join("rohrpost-data"), &VerifyOptions::default(), &mut |finding| {
                match finding {
                    Finding::Problem(problem) if problem.severity > Severity::Repaired => {
                        damage.push(problem)
                    }
                    _ => {}
                }
            });
        found.expect("the data directory can be read");
        assert!(damage.is_empty(), "after a kill: {damage:#?}");
    }

    /// Starts the broker on what is left.
    pub fn start(&mut self) {
        let begin = Instant::now();
        let mut broker = BrokerProcess::spawn(self.folder.path(), self.port);
        broker.wait_until_it_answers();
        self.recoveries.push(begin.elapsed());
        self.broker = Some(broker);
    }

    /// Everything that was acknowledged before the last kill is there.
    pub fn check_since_last_time(&mut self) {
        let mut client = reader::connect(self.port);
        for reader in &mut self.readers {
            reader.read_on(&mut client);
            reader.check(&self.load);
        }
    }

    /// The producer goes, with records on their way, and another goes on in its place.
    pub fn another_producer(&mut self) {
        self.producing.take().expect("one is there").give_up();
        self.producing = Some(Producing::begin(self.port, &self.load));
        self.producers += 1;
    }

    /// The load ends; everything is read from the beginning; the broker stops, starts once more, and all is the same.
    pub fn finish(&mut self) {
        let long = self.load.acknowledged_count() > 30_000;
        self.churn.take().expect("it runs").end(self.port);
        self.producing.take().expect("one is there").finish();
        let acknowledged = self.load.acknowledged();
        for stopped_cleanly in [false, true] {
            if stopped_cleanly {
                self.broker.take().expect("it runs").stop();
                self.start();
                self.recoveries.pop();
            }
            let mut client = reader::connect(self.port);
            for reader in &mut self.readers {
                reader.begin_again();
                reader.must_find(&acknowledged);
                reader.read_on(&mut client);
                reader.check(&self.load);
            }
        }
        // what was to be under way at some of the kills was so
        assert!(!long || self.removed_by_retention() > 0, "retention has removed nothing");
        assert!(!long || self.metadata_snapshot().is_some(), "the metadata log has no snapshot");
    }

    fn removed_by_retention(&self) -> i64 {
        self.readers.iter().find(|reader| reader.is_of(RETAINED)).map_or(0, Reader::log_start)
    }

    /// The newest snapshot of the metadata log.
    fn metadata_snapshot(&self) -> Option<String> {
        let entries =
            std::fs::read_dir(self.folder.path().join("rohrpost-data/__cluster_metadata-0")).ok()?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.ends_with(".checkpoint")).max()
    }

    /// What happened so far, in a line.
    pub fn summary(&self) -> String {
        let mut times: Vec<f64> = self.recoveries.iter().map(|t| t.as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        let at =
            |share: f64| times.get(((times.len() as f64 - 1.0) * share) as usize).copied().unwrap_or(0.0);
        let bytes = log_bytes(self.folder.path());
        format!(
            "{} records acknowledged, {} of unknown fate, {} producers, {} more kills during the start; \
             first answer after a start: median {:.0} ms, 90% {:.0} ms, max {:.0} ms; log {:.1} MiB, {} records removed by \
             retention; metadata snapshot {}",
            self.load.acknowledged_count(),
            self.load.unknown_count(),
            self.producers,
            self.killed_at_start,
            at(0.5),
            at(0.9),
            at(1.0),
            bytes as f64 / f64::from(1 << 20),
            self.removed_by_retention(),
            self.metadata_snapshot().as_deref().unwrap_or("none"),
        )
    }
}

fn create_topics(folder: &Path, port: u16, mode: Mode) {
    let address = format!("127.0.0.1:{port}");
    let partitions = PARTITIONS.to_string();
    let mut kept = vec!["topics", "create", KEPT, "-b", &address, "--partitions", &partitions];
    let mut retained = vec!["topics", "create", RETAINED, "-b", &address, "--partitions", "1"];
    kept.extend(["-X", "internal.segment.bytes=131072", "-X", "retention.ms=-1"]);
    retained.extend(["-X", "internal.segment.bytes=32768", "-X", "retention.bytes=100000"]);
    retained.extend(["-X", "file.delete.delay.ms=100"]);
    if mode == Mode::Synced {
        kept.extend(["-X", "flush.messages=1"]);
        retained.extend(["-X", "flush.messages=1"]);
    }
    crate::common::run(folder, &kept).expect_status(0);
    crate::common::run(folder, &retained).expect_status(0);
}

/// Bytes of all segments.
fn log_bytes(folder: &Path) -> u64 {
    let mut sum = 0;
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            sum += log_bytes(&path);
        } else if path.extension().is_some_and(|extension| extension == "log") {
            sum += entry.metadata().map_or(0, |metadata| metadata.len());
        }
    }
    sum
}
