//! Produce with acks=all on partitions whose in-sync set has a second member that is only in metadata and so never fetches: the
//! request waits, and each end of the wait has its answer.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use rohrpost_protocol::messages::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use rohrpost_protocol::{ApiKey, Decoder, ErrorCode, Message, Records, Uuid, encode_request};

use super::world_tests::{World, batch, versions};
use crate::controller::TopicRef;
use crate::metadata::{MetadataDelta, PartitionChange, PartitionImage, TopicImage};
use crate::network::{Outcome, Pending};
use crate::purgatory::Watched;
use crate::replica::{InSync, Role};

const NONE: ErrorCode = ErrorCode::NONE;
const TIMED_OUT: ErrorCode = ErrorCode::REQUEST_TIMED_OUT;
const NOT_LEADER: ErrorCode = ErrorCode::NOT_LEADER_OR_FOLLOWER;
const UNKNOWN: ErrorCode = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;

/// `shared`: led here, two partitions, broker 2 in sync. `alone`: one replica.
struct Replicated {
    world: World,
    shared: Uuid,
    alone: Uuid,
    batch: Vec<u8>,
}

/// Error, base offset, and the leader that is named.
type Told = (ErrorCode, i64, i32);

impl Replicated {
    fn new() -> Replicated {
        let world = World::new();
        world.register(2, "PLAINTEXT", true);
        let shared = world.create("shared", &[&[1, 2], &[1, 2]], &[]).id;
        let alone = world.create("alone", &[&[1]], &[]).id;
        Replicated { world, shared, alone, batch: batch() }
    }

    fn request(&self, acks: i16, timeout_ms: i32, to: &[(&'static str, i32)]) -> ProduceRequest<'_> {
        let topics = to.iter().map(|(name, index)| TopicProduceData {
            name,
            topic_id: if *name == "shared" { self.shared } else { self.alone },
            partition_data: vec![PartitionProduceData {
                index: *index,
                records: Some(Records::Bytes(&self.batch)),
                ..Default::default()
            }],
            ..Default::default()
        });
        ProduceRequest { acks, timeout_ms, topic_data: topics.collect(), ..Default::default() }
    }

    fn start(&self, request: &ProduceRequest<'_>, version: i16) -> Pending {
        match self.world.handle(request, version, false) {
            Outcome::Wait(pending) => {
                assert!(self.world.late_answers().is_empty(), "it waits");
                pending
            }
            _ => panic!("Produce {version} does not wait"),
        }
    }

    fn told(&self, outcome: Outcome, version: i16) -> Vec<Told> {
        let body = self.world.body::<ProduceRequest<'_>>(outcome, version);
        let response: ProduceResponse<'_> = body.read();
        for topic in &response.responses {
            let expected = if version >= 13 { "" } else { "shared" };
            assert!(topic.name == expected || topic.name == "alone" || topic.name == "missing");
        }
        let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
        partitions.map(|p| (p.error_code, p.base_offset, p.current_leader.leader_id)).collect()
    }

    /// The one answer that has come late.
    fn late(&self, version: i16) -> Vec<Told> {
        let mut answers = self.world.late_answers();
        assert_eq!(answers.len(), 1, "Produce {version}");
        self.told(answers.remove(0), version)
    }

    /// The follower has fetched up to here.
    fn follower_reaches(&self, partition: i32, end: i64) {
        let partition = self.world.partition("shared", partition);
        partition.set_follower_end(2, end);
        partition.notify_waiters();
    }

    fn waiting(&self) -> [usize; 2] {
        [0, 1].map(|index| self.world.partition("shared", index).produce_waiters().len())
    }
}

#[test]
fn acks_all_is_answered_when_the_followers_have_it_in_every_version() {
    // P9, W5, W7
    let here = Replicated::new();
    for (version, base) in versions(ApiKey::Produce).zip(0..) {
        let pending =
            here.start(&here.request(-1, 30_000, &[("shared", 1), ("alone", 0), ("shared", 0)]), version);
        assert_eq!(here.waiting(), [1, 1]);
        here.follower_reaches(0, base + 1);
        here.follower_reaches(1, base);
        assert_eq!((here.world.late_answers().len(), here.waiting()), (0, [0, 1]));
        here.follower_reaches(1, base + 1);
        assert_eq!(here.late(version), [(NONE, base, -1); 3], "Produce {version}");
        // W1: the deadline comes too late
        pending.waiter.expire();
        assert!(here.world.late_answers().is_empty());
        assert_eq!(here.waiting(), [0, 0]);
    }
}

#[test]
fn nobody_waits_who_need_not() {
    // P9, P10: other acks, one replica, nothing appended; W8: no time
    let here = Replicated::new();
    let now = |acks, timeout_ms, to: &[(&'static str, i32)]| {
        here.told(here.world.handle(&here.request(acks, timeout_ms, to), 9, false), 9)
    };
    assert_eq!(now(1, 30_000, &[("shared", 0)]), [(NONE, 0, -1)]);
    assert_eq!(now(-1, 30_000, &[("alone", 0)]), [(NONE, 0, -1)]);
    assert_eq!(now(-1, 30_000, &[("missing", 0)]), [(UNKNOWN, -1, -1)]);
    assert_eq!(now(-1, 0, &[("shared", 0), ("alone", 0)]), [(TIMED_OUT, 1, -1), (NONE, 1, -1)]);
    assert_eq!(now(-1, -1, &[("shared", 0)]), [(TIMED_OUT, 2, -1)]);
    assert_eq!(here.waiting(), [0, 0]);
    assert!(here.world.late_answers().is_empty());
}

#[test]
fn at_the_deadline_what_is_open_has_timed_out_and_what_failed_keeps_its_error() {
    // P8, W5, W1
    let here = Replicated::new();
    let request = here.request(-1, 30_000, &[("missing", 0), ("shared", 0), ("shared", 1)]);
    for (version, base) in [3, 9, 12].into_iter().zip(0..) {
        let before = Instant::now();
        let pending = here.start(&request, version);
        let wait = pending.deadline - before;
        assert!(
            wait >= Duration::from_secs(30) && pending.deadline <= Instant::now() + Duration::from_secs(30)
        );
        here.follower_reaches(1, base + 1);
        pending.waiter.expire();
        assert_eq!(here.late(version), [(UNKNOWN, -1, -1), (TIMED_OUT, base, -1), (NONE, base, -1)]);
        assert_eq!(here.waiting(), [0, 0]);
    }
    // the data has stayed in the log
    here.follower_reaches(0, 3);
    assert_eq!(here.world.partition("shared", 0).offsets(), Some((0, 3)));
}

#[test]
fn a_partition_that_goes_ends_the_wait() {
    // W7, W5: deleted, or led by another
    let here = Replicated::new();
    let to = [("shared", 0), ("shared", 1)];
    for version in [9, 10] {
        let _pending = here.start(&here.request(-1, 30_000, &to), version);
        for index in [0, 1] {
            let partition = here.world.partition("shared", index);
            let in_sync = InSync::committed(vec![1, 2]);
            let leads = Role { replica_id: 1, is_leader: true, in_sync, ..Role::default() };
            partition.set_role(Role { is_leader: false, ..leads.clone() });
            partition.notify_waiters();
            partition.set_role(leads);
        }
        // P13: the leader of the image is named
        let leader = if version >= 10 { 1 } else { -1 };
        let base = i64::from(version - 9);
        assert_eq!(here.late(version), [(NOT_LEADER, base, leader); 2]);
    }
    let _pending = here.start(&here.request(-1, 30_000, &to), 13);
    let metadata = here.world.broker().metadata();
    metadata.delete_topics(&[TopicRef::Id(here.shared)]).remove(0).unwrap();
    assert_eq!(here.late(13), [(UNKNOWN, 2, -1); 2]);
}

#[test]
fn a_replica_that_is_assigned_elsewhere_ends_the_wait() {
    // W7, W5
    let here = Replicated::new();
    let _pending = here.start(&here.request(-1, 30_000, &[("shared", 0)]), 9);
    let broker = here.world.broker();
    let mut topic = TopicImage::clone(broker.metadata().image().topic("shared").unwrap());
    let before = topic.partitions[0].clone();
    topic.partitions[0] = PartitionImage { replicas: vec![2], isr: vec![2], leader: 2, ..before.clone() };
    let change = PartitionChange { topic: topic.into(), partition: 0, before: Some(before) };
    broker.replicas().apply(
        &broker.metadata().image(),
        &MetadataDelta { partitions_changed: vec![change], ..Default::default() },
    );
    assert_eq!(here.late(9), [(NOT_LEADER, 0, -1)]);
    assert_eq!(broker.replicas().by_name("shared", 0).err(), Some(NOT_LEADER));
    assert!(broker.replicas().by_name("shared", 1).is_ok());
}

#[test]
fn an_append_ends_the_waits_of_those_whose_batches_it_commits_and_no_others() {
    // L12
    let here = Replicated::new();
    let _pending = here.start(&here.request(-1, 30_000, &[("shared", 0)]), 9);
    let append = || {
        let outcome = here.world.handle(&here.request(1, 0, &[("shared", 0)]), 9, false);
        assert!(matches!(outcome, Outcome::Respond(_)));
    };
    append();
    assert_eq!((here.world.late_answers().len(), here.waiting()), (0, [1, 0]), "it committed nothing");
    // the follower leaves the set, which alone tells nobody
    let role = Role { replica_id: 1, is_leader: true, min_in_sync: 1, ..Role::default() };
    let in_sync = InSync::committed(vec![1]);
    here.world.partition("shared", 0).set_role(Role { in_sync, ..role });
    assert!(here.world.late_answers().is_empty());
    append();
    assert_eq!(here.late(9), [(NONE, 0, -1)]);
}

#[test]
fn a_wait_whose_connection_has_gone_is_forgotten() {
    // W1
    let here = Replicated::new();
    let pending = here.start(&here.request(-1, 30_000, &[("shared", 0)]), 9);
    pending.waiter.cancel();
    assert_eq!(here.waiting(), [0, 0]);
    here.follower_reaches(0, 1);
    pending.waiter.expire();
    assert!(here.world.late_answers().is_empty());
}

#[test]
fn a_client_is_told_of_the_deadline_and_of_the_high_watermark() {
    // P9, W5, W7: over the network; the second request is sent when the first has been answered
    let here = Replicated::new();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", here.world.port() as u16)).unwrap();
    let mut send = |timeout_ms| {
        let request = here.request(-1, timeout_ms, &[("shared", 0)]);
        stream.write_all(encode_request(&request, 12, 7, None).unwrap().bytes()).unwrap();
        stream.try_clone().unwrap()
    };
    let receive = |mut stream: std::net::TcpStream| {
        let mut size = [0; 4];
        stream.read_exact(&mut size).unwrap();
        let mut frame = vec![0; i32::from_be_bytes(size) as usize];
        stream.read_exact(&mut frame).unwrap();
        let response = ProduceResponse::decode(&mut Decoder::new(&frame[5..]), 12).unwrap();
        let partition = &response.responses[0].partition_responses[0];
        (partition.error_code, partition.base_offset)
    };
    assert_eq!(receive(send(20)), (TIMED_OUT, 0));
    let stream = send(i32::MAX);
    while here.waiting() != [1, 0] {
        std::thread::yield_now();
    }
    here.follower_reaches(0, 2);
    assert_eq!(receive(stream), (NONE, 1));
}
