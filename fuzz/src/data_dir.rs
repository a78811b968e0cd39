//! Target: a data directory whose small files hold anything: `meta.properties`, checkpoints, the clean-shutdown marker,
//! `partition.metadata`, epoch files, and directories of any name.
//!
//! Input: files, one after the other: which, length, content.
//!
//! Promises: opening gives the directory or a reason, and never a panic; what it gives can be used, closed cleanly, and
//! opened again as the same.

use std::sync::Arc;

use rohrpost_log::{
    DirError, Identity, LeaderChecks, Log, LogConfig, LogDir, MemoryStorage, OpenMode, Storage,
};
use rohrpost_record::{Codec, Stamp};

use crate::input::{Input, put_counted};
use crate::log_recovery::batch;
use crate::memory::within;

const DIR: &str = "data";
const NOW: i64 = 1_750_000_000_000;
const FILES: [&str; 8] = [
    "meta.properties",
    ".kafka_cleanshutdown",
    "recovery-point-offset-checkpoint",
    "replication-offset-checkpoint",
    "log-start-offset-checkpoint",
    "t-0/partition.metadata",
    "t-0/leader-epoch-checkpoint",
    ".rohrpost-address",
];
/// A directory with the content as its name.
const DIRECTORY: u8 = FILES.len() as u8;
const KINDS: u8 = DIRECTORY + 1;
const META: &str =
    "version=1\ncluster.id=AAECAwQFBgcICQoLDA0ODw\nnode.id=1\ndirectory.id=EBESExQVFhcYGRobHB0eHw\n";

/// See the module.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let storage = MemoryStorage::new();
    storage.create_dir(DIR).expect("memory has room");
    let mut size = 0;
    while !input.is_empty() {
        let which = input.byte() % KINDS;
        let content = input.counted();
        size += content.len();
        match FILES.get(usize::from(which)) {
            Some(name) => put(&storage, name, content),
            None => {
                let name = String::from_utf8_lossy(content).replace(['/', '\0'], "_");
                if !matches!(&*name, "" | "." | "..") {
                    // a file may have the name already
                    let _ = storage.create_dir(&format!("{DIR}/{name}"));
                }
            }
        }
    }
    let opened = within(16 * size + (256 << 10), || open(&storage));
    let dir = match opened {
        Ok(dir) => dir,
        Err(error) => {
            assert!(!matches!(error, DirError::InUse { .. }), "{error}");
            let _ = error.to_string();
            return;
        }
    };
    use_it(&storage, dir);
}

/// See the module.
pub fn seeds() -> Vec<Vec<u8>> {
    let good: [(u8, &str); 9] = [
        (0, META),
        (1, "{\"version\":0,\"brokerEpoch\":11}"),
        (2, "0\n2\nt 0 17\nother 3 4\n"),
        (3, "0\n1\nt 0 5\n"),
        (4, "0\n1\nt 0 3\n"),
        (5, "version: 0\ntopic_id: ICEiIyQlJicoKSorLC0uLw"),
        (6, "0\n2\n1 0\n4 7\n"),
        (7, "127.0.0.1:9092"),
        (DIRECTORY, "t-0.0123456789abcdef0123456789abcdef-delete"),
    ];
    let mut seeds = vec![vec![]];
    let one = |(which, text): (u8, &str)| {
        let mut seed = vec![which];
        put_counted(&mut seed, text.as_bytes());
        seed
    };
    seeds.extend(good.map(one));
    seeds.push(good.map(one).concat());
    for name in ["t-0", "a-b-12", "-1", "x", "t-2147483648", "t-.0-stray", "lost+found"] {
        seeds.push([one((0, META)), one((DIRECTORY, name))].concat());
    }
    seeds
}

fn use_it(storage: &MemoryStorage, dir: LogDir) {
    let meta = dir.meta().clone();
    let found = dir.partitions().expect("memory does not fail");
    dir.write_address("127.0.0.1:1").expect("memory does not fail");
    assert!(matches!(open(storage), Err(DirError::InUse { .. })), "one holder at a time");
    let mut logs: Vec<((String, i32), Log, i64)> = Vec::new();
    let id_of = |id: Option<[u8; 16]>| id.unwrap_or([7; 16]);
    let mut all: Vec<_> = found.into_iter().map(|p| (p.topic, p.partition, id_of(p.topic_id))).collect();
    all.truncate(20);
    if !all.iter().any(|(topic, partition, _)| (topic.as_str(), *partition) == ("t", 0)) {
        all.push(("t".to_owned(), 0, [7; 16]));
    }
    for (topic, partition, id) in all {
        // the same partition under two names, such as "t-0" and "t-00", is found twice
        if logs.iter().any(|((t, p), ..)| (t, *p) == (&topic, partition)) {
            continue;
        }
        let mut log = dir
            .open_log(&topic, partition, id, LogConfig::default(), NOW, 1)
            .expect("the content of small files does not make a log fail");
        assert!(log.log_start_offset() <= log.log_end_offset());
        let end = log.log_end_offset();
        let epoch = log.latest_epoch().unwrap_or(0);
        let appended = log.append_as_leader(
            &mut batch(1, Codec::None, Stamp::NONE),
            epoch,
            NOW,
            LeaderChecks::default(),
        );
        assert!(appended.is_ok() || end > i64::MAX - (1 << 32));
        let _ = dir.high_watermark(&topic, partition);
        logs.push(((topic, partition), log, 1));
    }
    let ends: Vec<_> = logs.iter().map(|(key, log, _)| (key.clone(), log.log_end_offset())).collect();
    dir.close(logs, 12).expect("memory does not fail");
    drop(dir);
    let dir = open(storage).expect("what was closed can be opened");
    assert_eq!(*dir.meta(), meta);
    for ((topic, partition), end) in ends {
        assert_eq!(dir.high_watermark(&topic, partition), Some(1));
        let id = dir
            .partitions()
            .expect("memory does not fail")
            .into_iter()
            .find(|p| (&p.topic, p.partition) == (&topic, partition))
            .and_then(|p| p.topic_id)
            .expect("its topic id was written");
        let log = dir.open_log(&topic, partition, id, LogConfig::default(), NOW, 1).expect("it was there");
        assert_eq!(log.log_end_offset(), end);
    }
}

fn open(storage: &MemoryStorage) -> Result<LogDir, DirError> {
    let identity =
        Identity { node_id: 1, cluster_id: None, new_cluster_id: [1; 16], new_directory_id: [2; 16] };
    LogDir::open(Arc::new(storage.clone()), DIR, &identity)
}

fn put(storage: &MemoryStorage, name: &str, bytes: &[u8]) {
    let path = format!("{DIR}/{name}");
    if let Some((dir, _)) = path.rsplit_once('/') {
        storage.create_dir(dir).expect("memory has room");
    }
    let file = storage.open(&path, OpenMode::Truncate).expect("memory has room");
    file.write_at(0, bytes).expect("memory has room");
}
