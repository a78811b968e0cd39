//! DescribeLogDirs (35): the data directories and the size of each replica in them.

use std::collections::{BTreeMap, BTreeSet};

use rohrpost_protocol::messages::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use rohrpost_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use rohrpost_protocol::{Decoder, ErrorCode};

use super::{Context, Mode, Outcome, read, respond};

pub(super) fn handle(context: Context<'_>, input: &mut Decoder<'_>, mode: Mode) -> Result<Outcome, String> {
    let Context { broker, version, correlation_id, .. } = context;
    let request: DescribeLogDirsRequest<'_> = read(input, version)?;
    if let Mode::Refuse(error_code) = mode {
        let response = DescribeLogDirsResponse { error_code, ..Default::default() };
        return respond(&response, version, correlation_id);
    }
    // replicas that are not here are left out, as in Kafka
    let asked: Option<BTreeSet<(&str, i32)>> = request.topics.as_ref().map(|topics| {
        topics.iter().flat_map(|t| t.partitions.iter().map(|partition| (t.topic, *partition))).collect()
    });
    let replicas = broker.replicas();
    let all = replicas.all();
    let mut by_dir: Vec<BTreeMap<&str, Vec<DescribeLogDirsPartition>>> =
        replicas.log_dirs().map(|_| BTreeMap::new()).collect();
    for partition in &all {
        let (name, partition_index) = (&**partition.topic(), partition.index());
        if asked.as_ref().is_some_and(|asked| !asked.contains(&(name, partition_index))) {
            continue;
        }
        // a log that could not be opened has no size
        let Some((size_bytes, lag)) = partition.size() else { continue };
        by_dir[partition.dir()].entry(name).or_default().push(DescribeLogDirsPartition {
            partition_index,
            partition_size: i64::try_from(size_bytes).unwrap_or(i64::MAX),
            offset_lag: lag,
            ..Default::default()
        });
    }
    let results = replicas.log_dirs().zip(by_dir).map(|(dir, topics)| {
        let offline = dir.health().is_offline();
        let topics = topics.into_iter().map(|(name, partitions)| DescribeLogDirsTopic {
            name,
            partitions,
            ..Default::default()
        });
        DescribeLogDirsResult {
            // D30
            error_code: if offline { ErrorCode::KAFKA_STORAGE_ERROR } else { ErrorCode::NONE },
            log_dir: dir.path(),
            topics: if offline { Vec::new() } else { topics.collect() },
            // the size of the volume is not known here: -1
            ..Default::default()
        }
    });
    let response = DescribeLogDirsResponse { results: results.collect(), ..Default::default() };
    respond(&response, version, correlation_id)
}
