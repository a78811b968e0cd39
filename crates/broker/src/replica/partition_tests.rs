//! One partition as the leader's, without a broker around it.

use rohrpost_log::{LogConfig, MemoryStorage, OpenOptions};
use rohrpost_record::{BatchBuilder, Codec, HEADER_LEN, NO_HEADERS, Stamp, stamp};

use super::*;

fn role(is_leader: bool, in_sync: usize, min_in_sync: usize) -> Role {
    let in_sync = InSync::committed((1..=in_sync as i32).collect());
    Role { replica_id: 1, is_leader, leader_epoch: 3, in_sync, min_in_sync }
}

fn partition(role: Role) -> Arc<Partition> {
    let storage = Arc::new(MemoryStorage::new());
    let log = Log::open(storage, "/t-0", LogConfig::default(), OpenOptions::default()).unwrap();
    Arc::new(Partition::new("t".into(), 0, Some(log), role))
}

fn batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let mut bytes = vec![0; HEADER_LEN + 100];
    let len = builder.append(&mut bytes[HEADER_LEN..], 5, None, Some(b"x"), NO_HEADERS);
    bytes.truncate(HEADER_LEN + len);
    builder.write_header(bytes.first_chunk_mut().unwrap(), Codec::None, len, false);
    stamp(&mut bytes, [], Stamp::NONE);
    bytes
}

fn append(partition: &Arc<Partition>, acks: i16) -> Result<i64, ErrorCode> {
    let appended = partition.append(&mut batch(), acks, LeaderChecks::default(), 10);
    appended.map(|appended| appended.base_offset).map_err(|failure| failure.code)
}

#[test]
fn only_the_leader_appends_and_reads() {
    // P6, F8
    let partition = partition(role(false, 1, 1));
    assert_eq!(append(&partition, -1), Err(ErrorCode::NOT_LEADER_OR_FOLLOWER));
    assert_eq!(partition.latest(Reader::Consumer, EpochCheck(-1)), Err(ErrorCode::NOT_LEADER_OR_FOLLOWER));
    partition.set_role(role(true, 1, 1));
    assert_eq!(append(&partition, -1), Ok(0));
    let latest = |epoch| partition.latest(Reader::Consumer, EpochCheck(epoch)).map(|found| found.offset);
    assert_eq!(latest(3), Ok(1));
    assert_eq!(latest(2), Err(ErrorCode::FENCED_LEADER_EPOCH));
    assert_eq!(latest(-2), Err(ErrorCode::FENCED_LEADER_EPOCH)); // only -1 is no epoch
    assert_eq!(latest(4), Err(ErrorCode::UNKNOWN_LEADER_EPOCH));
}

#[test]
fn acks_all_needs_enough_members_before_anything_is_written() {
    // P7
    let partition = partition(role(true, 1, 2));
    assert_eq!(append(&partition, -1), Err(ErrorCode::NOT_ENOUGH_REPLICAS));
    assert_eq!(partition.offsets(), Some((0, 0)));
    assert_eq!(append(&partition, 1), Ok(0));
}

#[test]
fn the_high_watermark_moves_with_the_append() {
    // L11, P10, L5
    let partition = partition(role(true, 1, 1));
    let mut bytes = batch();
    for n in 0..2 {
        partition.append(&mut bytes[..], -1, LeaderChecks::default(), 10).unwrap();
        assert_eq!(partition.offsets(), Some((0, n + 1)));
        // L14, L5: offset and leader epoch were written into the caller's own bytes
        assert_eq!(bytes[..8], n.to_be_bytes());
        assert_eq!(bytes[12..16], 3i32.to_be_bytes());
        bytes[..8].fill(0);
    }
}

#[test]
fn the_high_watermark_waits_for_the_slowest_member_of_the_in_sync_set() {
    // L11, P10
    let partition = partition(role(true, 3, 1));
    let high_watermark = || partition.offsets().unwrap().1;
    for _ in 0..4 {
        append(&partition, -1).unwrap();
    }
    assert_eq!(high_watermark(), 0, "nobody knows where the followers are");
    partition.set_follower_end(2, 4);
    assert_eq!(high_watermark(), 0);
    partition.set_follower_end(3, 1);
    assert_eq!(high_watermark(), 1);
    partition.set_follower_end(3, 3);
    assert_eq!(high_watermark(), 3);
    partition.set_follower_end(4, 0); // it is not in the set
    partition.set_follower_end(3, 9); // no follower is further than the leader
    assert_eq!(high_watermark(), 4);
}

#[test]
fn a_new_leader_does_not_say_where_the_log_ends_before_its_followers_have_told() {
    // O4
    let partition = partition(role(true, 2, 1));
    for _ in 0..2 {
        append(&partition, 1).unwrap();
    }
    let latest = || partition.latest(Reader::Consumer, EpochCheck(-1)).map(|found| found.offset);
    let by_time = |time| partition.by_timestamp(time, EpochCheck(-1)).map(|found| found.offset);
    assert_eq!((latest(), by_time(1)), (Ok(0), Ok(-1)), "its own epoch began at 0");
    partition.set_role(Role { leader_epoch: 4, ..role(true, 2, 1) });
    let not_yet = Err(ErrorCode::OFFSET_NOT_AVAILABLE);
    assert_eq!((latest(), by_time(1)), (not_yet, not_yet));
    assert_eq!(by_time(i64::MAX), Ok(-1), "there is nothing so late");
    assert_eq!(partition.earliest(EpochCheck(-1)).map(|found| found.offset), Ok(0));
    assert_eq!(partition.latest(Reader::Replica(2), EpochCheck(-1)).map(|found| found.offset), Ok(2));
    partition.set_follower_end(2, 1);
    assert_eq!((latest(), by_time(1)), (not_yet, Ok(0)), "the first record is committed");
    partition.set_follower_end(2, 2);
    assert_eq!(latest(), Ok(2));
}

#[test]
fn a_committed_batch_counts_only_while_enough_replicas_have_it() {
    // R33, W5
    let partition = partition(role(true, 2, 2));
    append(&partition, -1).unwrap();
    let committed = |high_watermark, status| Committed::UpTo { high_watermark, status };
    assert_eq!(partition.committed(), committed(0, ErrorCode::NONE));
    partition.set_role(role(true, 1, 2)); // the other has left; what is here is all there is
    assert_eq!(partition.committed(), committed(1, ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND));
    partition.set_role(role(false, 1, 2));
    assert_eq!(partition.committed(), Committed::Never(ErrorCode::NOT_LEADER_OR_FOLLOWER));
    partition.take_log(true);
    assert_eq!(partition.committed(), Committed::Never(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    let offline = Partition::new("t".into(), 0, None, role(true, 1, 1));
    assert_eq!(offline.committed(), Committed::Never(ErrorCode::KAFKA_STORAGE_ERROR));
}

#[test]
fn after_an_append_that_panicked_the_partition_is_offline() {
    let partition = partition(role(true, 1, 1));
    assert_eq!(append(&partition, -1), Ok(0));
    partition.state.write().appending = true; // what a panic leaves behind
    assert_eq!(append(&partition, -1), Err(ErrorCode::KAFKA_STORAGE_ERROR));
    assert_eq!(append(&partition, 0), Err(ErrorCode::KAFKA_STORAGE_ERROR));
}

#[test]
fn the_first_high_watermark_is_the_checkpointed_one_within_the_log() {
    // D19
    let first = |checkpointed| {
        let storage = Arc::new(MemoryStorage::new());
        let mut log = Log::open(storage, "/t-0", LogConfig::default(), OpenOptions::default()).unwrap();
        for _ in 0..5 {
            log.append_as_leader(&mut batch(), 3, 10, LeaderChecks::default()).unwrap();
        }
        log.advance_log_start(1).unwrap();
        // a second member that has not been heard of keeps it where it is
        Partition::open("t".into(), 0, Some(log), role(true, 2, 1), checkpointed, Upkeep::none()).offsets()
    };
    assert_eq!(first(Some(3)), Some((1, 3)));
    assert_eq!(first(Some(9)), Some((1, 5)));
    assert_eq!(first(Some(0)), Some((1, 1)));
    assert_eq!(first(None), Some((1, 1)));
}
