//! The metadata core alone: one question, one answer, and what the next question is and when.

use std::sync::Arc;

use rohrpost_protocol::messages::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic, NodeEndpoint,
};
use rohrpost_protocol::{ErrorCode, Uuid};

use super::core::{Change, MetadataCore, Question};
use crate::config::ProducerBuilder;

/// The version of Metadata that most tests answer in.
const VERSION: i16 = 13;
/// The random number for which a wait is exactly what the settings say.
const HALF: f64 = 0.5;
const BACKOFF_MS: u64 = 100;
const MAX_AGE_MS: u64 = 300_000;
const MAX_IDLE_MS: u64 = 60_000;

#[test]
fn only_what_was_wanted_is_in_the_metadata_set() {
    // MET-2
    let mut core = core(&[]);
    core.want(&"t".into(), 0);
    assert!(core.has("t") && !core.has("other"));
}

#[test]
fn a_new_topic_is_asked_for_at_once_while_answers_bring_nothing_but_not_while_questions_fail() {
    // MET-3, MET-4
    let mut core = core(&[]);
    core.want(&"a".into(), 0);
    let question = ask(&mut core, 0);
    let missing = refused("a", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(answer(&mut core, &question, vec![missing], 0), Change::Snapshot);
    assert_eq!(core.question(10), None, "the answer brought nothing");
    core.want(&"b".into(), 10);
    let question = ask(&mut core, 10);
    assert_eq!(names(&question), ["a", "b"]);

    core.handle_failure(&question, 20, HALF);
    core.want(&"c".into(), 30);
    assert_eq!(core.question(20 + BACKOFF_MS - 1), None, "nobody answers");
    assert_eq!(names(&ask(&mut core, 20 + BACKOFF_MS)), ["a", "b", "c"]);
}

#[test]
fn a_failed_refresh_is_repeated_after_a_wait_and_a_failed_partial_one_asks_for_no_more_than_it_did() {
    // MET-4
    let mut core = core(&[]);
    learn(&mut core, "t", &[(0, 1, 5)], 0);
    core.request_refresh();
    let question = ask(&mut core, 10);
    core.handle_failure(&question, 20, HALF);
    assert!(!core.is_asking());
    assert_eq!((core.question(20 + BACKOFF_MS - 1), core.next_ms(20)), (None, Some(20 + BACKOFF_MS)));
    let question = ask(&mut core, 20 + BACKOFF_MS);
    assert_eq!((names(&question), question.may_create), (vec!["t"], false));
    answer(&mut core, &question, vec![topic("t", &[(0, 1, 5)])], 200);

    core.want(&"new".into(), 1000);
    let question = ask(&mut core, 1000);
    core.handle_failure(&question, 1000, HALF);
    assert_eq!(core.question(1000 + BACKOFF_MS - 1), None, "no refresh of all topics");
    assert_eq!(names(&ask(&mut core, 1000 + BACKOFF_MS)), ["new"]);
}

#[test]
fn an_answer_without_brokers_fails_the_question_that_was_asked() {
    // MET-11
    let mut core = core(&[]);
    let empty = MetadataResponse::default();
    learn(&mut core, "t", &[(0, 1, 5)], 0);
    core.request_refresh();
    let question = ask(&mut core, 10);
    assert_eq!(core.handle_answer(&question, &empty, VERSION, 20, HALF), Change::Nothing);
    assert_eq!(core.question(20 + BACKOFF_MS - 1), None);
    let question = ask(&mut core, 20 + BACKOFF_MS);
    assert_eq!(names(&question), ["t"]);
    answer(&mut core, &question, vec![topic("t", &[(0, 1, 6)])], 200);

    core.want(&"new".into(), 1000);
    let question = ask(&mut core, 1000);
    assert_eq!(core.handle_answer(&question, &empty, VERSION, 1000, HALF), Change::Nothing);
    assert_eq!(core.question(1000 + BACKOFF_MS - 1), None, "no refresh of all topics");
}

#[test]
fn a_late_answer_counts_until_a_newer_one_has_come_and_ends_no_other_question() {
    // RTY-4
    let mut core = core(&[]);
    learn(&mut core, "t", &[(0, 1, 5)], 0);
    core.request_refresh();
    let slow = ask(&mut core, 10);
    core.ask_another();
    let quick = ask(&mut core, 20);
    assert_eq!(answer(&mut core, &slow, vec![topic("t", &[(0, 2, 6)])], 30), Change::Snapshot);
    assert_eq!(core.snapshot().leader("t", 0), Some(2));
    assert!(core.is_asking(), "the second question still waits");
    assert_eq!(answer(&mut core, &quick, vec![topic("t", &[(0, 1, 7)])], 40), Change::Snapshot);
    assert!(!core.is_asking());
    assert_eq!(answer(&mut core, &slow, vec![topic("t", &[(0, 2, 8)])], 50), Change::Nothing);
    assert_eq!(core.snapshot().leader("t", 0), Some(1));

    core.want(&"new".into(), 60);
    let slow = ask(&mut core, 60);
    core.ask_another();
    let _quick = ask(&mut core, 70);
    core.handle_failure(&slow, 80, HALF);
    assert!(core.is_asking(), "nobody waits for the first one any more");
    let refusal = MetadataResponse { error_code: ErrorCode::REBOOTSTRAP_REQUIRED, ..Default::default() };
    assert_eq!(core.handle_answer(&slow, &refusal, VERSION, 90, HALF), Change::Nothing);
}

#[test]
fn it_gives_up_when_no_refresh_has_succeeded_for_as_long_as_the_trigger_says() {
    // MET-12
    let mut core = core(&[("metadata.recovery.rebootstrap.trigger.ms", "5000")]);
    assert!(core.may_rebootstrap());
    assert!(!core.gives_up(1_000_000), "nothing was tried");
    core.not_sent(1000);
    core.not_sent(3000);
    assert!(!core.gives_up(5999) && core.gives_up(6000));
    learn(&mut core, "t", &[(0, 1, 5)], 6000);
    assert!(!core.gives_up(1_000_000), "one has succeeded");

    let mut core = self::core(&[("metadata.recovery.strategy", "none")]);
    core.not_sent(0);
    assert!(!core.may_rebootstrap() && !core.gives_up(u64::MAX));
}

#[test]
fn after_a_rebootstrap_partition_counts_are_all_that_is_known_and_a_refresh_is_due() {
    // MET-12
    let mut core = core(&[]);
    learn(&mut core, "t", &[(0, 1, 5), (1, 2, 6)], 0);
    core.want(&"new".into(), 10);
    let question = ask(&mut core, 10);
    core.handle_failure(&question, 10, HALF);
    core.request_refresh();
    let question = ask(&mut core, 20);
    let before = core.snapshot().version;

    core.rebootstrap(30);
    assert!(!core.is_asking(), "who was asked is gone");
    let known = core.snapshot();
    assert_eq!((known.version, &known.cluster_id, known.brokers.len()), (before + 1, &None, 0));
    let partitions = &known.topics["t"].partitions;
    let told: Vec<_> = partitions.iter().map(|p| (p.leader, p.leader_epoch, p.sure_epoch)).collect();
    assert_eq!(told, [(None, -1, -1); 2]);
    assert_eq!(core.next_ms(30), Some(30), "the waits are over");
    assert!(!core.gives_up(30 + 299_999) && core.gives_up(30 + 300_000), "tries count from now");
    assert_eq!(
        answer(&mut core, &question, vec![], 40),
        Change::Snapshot,
        "late, and not older than what is known"
    );
    let question = ask(&mut core, 40);
    assert_eq!(names(&question), ["new"]);
    answer(&mut core, &question, vec![topic("new", &[(0, 1, 5)])], 50);
    assert_eq!(names(&ask(&mut core, 40 + BACKOFF_MS)), ["new", "t"]);
}

#[test]
fn a_refresh_of_all_topics_is_due_when_the_last_one_is_old_and_a_partial_one_is_none() {
    // MET-3
    let mut core = core(&[("metadata.max.idle.ms", "10000000")]);
    learn(&mut core, "t", &[(0, 1, 5)], 1000);
    assert_eq!(core.next_ms(1000), Some(1000 + MAX_AGE_MS));
    core.request_refresh();
    assert_eq!(core.next_ms(1000), Some(0), "at once");
    let question = ask(&mut core, 50_000);
    assert_eq!(core.next_ms(50_000), None, "there is an answer to wait for");
    answer(&mut core, &question, vec![topic("t", &[(0, 1, 6)])], 60_000);
    assert_eq!(core.next_ms(60_000), Some(60_000 + MAX_AGE_MS));
    learn(&mut core, "new", &[(0, 1, 5)], 70_000);
    assert_eq!(core.next_ms(70_000), Some(60_000 + MAX_AGE_MS));
    assert_eq!(core.question(60_000 + MAX_AGE_MS - 1), None);
    assert_eq!(names(&ask(&mut core, 60_000 + MAX_AGE_MS)), ["new", "t"]);
}

#[test]
fn a_refresh_that_is_wanted_waits_only_after_an_answer_that_brought_nothing() {
    // MET-4
    let leaders = [(1, 5), (1, 6), (2, 6), (2, 7)];
    let mut core = core(&[]);
    learn(&mut core, "t", &[(0, 1, 5), (1, 1, 5)], 0);
    for (round, (leader, epoch)) in (1..).zip(leaders) {
        let now_ms = round * 1000;
        core.want(&"t".into(), now_ms);
        core.request_refresh();
        let question = ask(&mut core, now_ms);
        // The second partition stays as it is, before and behind the one that moves.
        let told = topic("t", &[(1, 1, 5), (0, leader, epoch), (1, 1, 5)]);
        assert_eq!(answer(&mut core, &question, vec![told], now_ms), Change::Snapshot);
        core.request_refresh();
        let is_news = (leader, epoch) != (1, 5);
        let due_ms = if is_news { now_ms } else { now_ms + BACKOFF_MS };
        assert_eq!(core.next_ms(now_ms), Some(due_ms), "leader {leader}, epoch {epoch}");
        assert_eq!(core.question(due_ms - 1), None);
    }
}

#[test]
fn a_refusal_is_forgotten_after_a_second_even_while_a_question_is_on_its_way() {
    // MET-7
    let mut core = core(&[]);
    core.want(&"t".into(), 0);
    let question = ask(&mut core, 0);
    answer(&mut core, &question, vec![refused("t", ErrorCode::TOPIC_AUTHORIZATION_FAILED)], 500);
    assert_eq!(core.next_ms(500), Some(1500));
    core.want(&"other".into(), 600);
    let _question = ask(&mut core, 600);
    assert_eq!(core.next_ms(600), Some(1500));
    assert!(!core.forget_refusals(1499) && core.has("t"));
    assert!(core.forget_refusals(1500) && !core.has("t"));
}

#[test]
fn a_refresh_drops_topics_that_nobody_has_used_for_long() {
    // MET-2
    for (idle_ms, stays) in [(MAX_IDLE_MS - 1, true), (MAX_IDLE_MS, false)] {
        let mut core = core(&[]);
        learn(&mut core, "t", &[(0, 1, 5)], 0);
        learn(&mut core, "used", &[(0, 1, 5)], idle_ms);
        core.request_refresh();
        let question = core.question(idle_ms).unwrap();
        assert_eq!((names(&question).contains(&"t"), core.has("t")), (stays, stays), "after {idle_ms} ms");
    }
}

#[test]
fn a_topic_that_is_not_there_is_asked_for_until_nobody_has_used_it_for_long() {
    // MET-2
    let mut core = core(&[]);
    core.want(&"t".into(), 0);
    assert!(core.question(MAX_IDLE_MS + 1).is_some(), "it was never asked for");
    let question = ask(&mut core, 0);
    answer(&mut core, &question, vec![refused("t", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)], 0);
    assert!(core.question(MAX_IDLE_MS - 1).is_some());
    assert_eq!(core.question(MAX_IDLE_MS), None);
}

#[test]
fn a_topic_is_known_by_its_partitions_and_refused_by_its_error() {
    // MET-7
    let told = |error_code, partitions: &[(i32, i32, i32)]| {
        let mut core = core(&[]);
        core.want(&"t".into(), 0);
        let question = ask(&mut core, 0);
        answer(&mut core, &question, vec![MetadataResponseTopic { error_code, ..topic("t", partitions) }], 0);
        (core.snapshot().topics.len(), core.snapshot().errors.get("t").copied())
    };
    let unknown = Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(told(ErrorCode::NONE, &[(0, 1, 5)]), (1, None));
    assert_eq!(told(ErrorCode::NONE, &[]), (0, unknown));
    assert_eq!(told(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, &[(0, 1, 5)]), (0, unknown));
    // an election of some of its partitions
    assert_eq!(told(ErrorCode::LEADER_NOT_AVAILABLE, &[(0, -1, 5), (1, 1, 5)]), (1, None));
    assert_eq!(told(ErrorCode::LEADER_NOT_AVAILABLE, &[]), (0, Some(ErrorCode::LEADER_NOT_AVAILABLE)));
}

#[test]
fn epochs_of_old_answers_and_of_partitions_that_were_left_out_are_unknown() {
    // MET-5
    let mut core = core(&[]);
    core.want(&"t".into(), 0);
    let question = ask(&mut core, 0);
    let told = cluster(vec![topic("t", &[(1, 1, 5), (1, 1, 5)])]);
    assert_eq!(core.handle_answer(&question, &told, 8, 0, HALF), Change::Snapshot);
    let partitions = &core.snapshot().topics["t"].partitions;
    let epochs: Vec<_> = partitions.iter().map(|p| (p.leader, p.leader_epoch, p.sure_epoch)).collect();
    assert_eq!(epochs, [(None, -1, -1), (Some(1), -1, -1)]);
}

#[test]
fn a_hint_may_name_broker_0_and_epoch_0_and_brings_the_brokers_address() {
    // ERR-2
    let mut core = core(&[]);
    core.want(&"t".into(), 0);
    let question = ask(&mut core, 0);
    core.handle_answer(&question, &cluster(vec![topic("t", &[(0, 1, 5)])]), 8, 0, HALF);
    let at = |node_id, host| NodeEndpoint { node_id, host, port: 9092, ..Default::default() };
    let endpoints = [at(7, "seven"), at(0, "zero")];
    assert!(!core.hint("t", None, 0, (-1, 3), &endpoints));
    assert!(!core.hint("t", None, 0, (0, -1), &endpoints));
    assert!(core.hint("t", None, 0, (0, 0), &endpoints));
    assert_eq!(core.snapshot().leader("t", 0), Some(0));
    assert_eq!(&*core.snapshot().brokers[&0].host, "zero");
    assert!(!core.hint("t", None, 0, (3, 1), &endpoints), "nobody says where broker 3 is");
}

#[test]
fn a_hint_is_denied_by_the_broker_that_it_named_and_only_as_long_as_metadata_does_not_confirm_it() {
    // ERR-2, MET-5
    let mut core = core(&[]);
    learn(&mut core, "t", &[(0, 1, 5)], 0);
    let epoch = |core: &MetadataCore| core.snapshot().topics["t"].partitions[0].leader_epoch;
    assert!(!core.deny("t", 0, 1), "metadata said so");
    assert!(core.hint("t", None, 0, (2, 9), &[]));
    assert!(!core.deny("t", 0, 1), "it is not the one that was named");
    assert_eq!(epoch(&core), 9);
    assert!(core.deny("t", 0, 2));
    assert_eq!(epoch(&core), 5);
}

fn core(pairs: &[(&str, &str)]) -> MetadataCore {
    let idle = MAX_IDLE_MS.to_string();
    let mut all = vec![("bootstrap.servers", "toy:9092"), ("metadata.max.idle.ms", &idle)];
    all.extend_from_slice(pairs);
    MetadataCore::new(&ProducerBuilder::from_pairs(all).check().unwrap())
}

/// The question that is due, sent.
fn ask(core: &mut MetadataCore, now_ms: u64) -> Question {
    let question = core.question(now_ms).expect("a question is due");
    core.sent(question.clone(), now_ms);
    question
}

/// Answers with brokers 1 and 2 and these topics.
fn answer(
    core: &mut MetadataCore,
    question: &Question,
    topics: Vec<MetadataResponseTopic<'_>>,
    now_ms: u64,
) -> Change {
    core.handle_answer(question, &cluster(topics), VERSION, now_ms, HALF)
}

/// Wants a new topic, asks and is answered.
fn learn(core: &mut MetadataCore, name: &str, partitions: &[(i32, i32, i32)], now_ms: u64) {
    core.want(&name.into(), now_ms);
    let question = ask(core, now_ms);
    assert_eq!(names(&question), [name]);
    assert_eq!(answer(core, &question, vec![topic(name, partitions)], now_ms), Change::Snapshot);
}

fn names(question: &Question) -> Vec<&str> {
    question.topics.iter().map(Arc::as_ref).collect()
}

fn cluster(topics: Vec<MetadataResponseTopic<'_>>) -> MetadataResponse<'_> {
    let broker =
        |node_id| MetadataResponseBroker { node_id, host: "toy", port: 9000 + node_id, ..Default::default() };
    MetadataResponse {
        brokers: vec![broker(1), broker(2)],
        cluster_id: Some("toys"),
        topics,
        ..Default::default()
    }
}

/// A topic, its partitions as number, leader and leader epoch.
fn topic<'a>(name: &'a str, partitions: &[(i32, i32, i32)]) -> MetadataResponseTopic<'a> {
    let partition = |&(partition_index, leader_id, leader_epoch)| MetadataResponsePartition {
        partition_index,
        leader_id,
        leader_epoch,
        ..Default::default()
    };
    MetadataResponseTopic {
        name: Some(name),
        topic_id: Uuid([7; 16]),
        partitions: partitions.iter().map(partition).collect(),
        ..Default::default()
    }
}

fn refused(name: &str, error_code: ErrorCode) -> MetadataResponseTopic<'_> {
    MetadataResponseTopic { error_code, ..topic(name, &[]) }
}
