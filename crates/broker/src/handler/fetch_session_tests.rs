use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const MINUTE_MS: u64 = 60_000;

fn key(topic: &str, index: i32) -> Key {
    Key { topic: topic.into(), id: Uuid::ZERO, index }
}

fn ask(offset: i64) -> Ask {
    Ask { offset, current_leader_epoch: -1, last_fetched_epoch: -1, bytes_max: 100 }
}

fn empty(high_watermark: i64) -> Found {
    Found { has_records: false, is_trouble: false, high_watermark, log_start: 0 }
}

fn records(high_watermark: i64) -> Found {
    Found { has_records: true, ..empty(high_watermark) }
}

const TROUBLE: Found = Found { has_records: false, is_trouble: true, high_watermark: -1, log_start: -1 };

fn header(id: i32, epoch: i32) -> Header {
    Header { id, epoch, uses_ids: false }
}

/// Opens a consumer's session with partitions 0 to `size` of "t".
fn open(cache: &mut SessionCache, size: i32, now_ms: u64) -> i32 {
    open_as(cache, false, size, now_ms)
}

fn open_as(cache: &mut SessionCache, follower: bool, size: i32, now_ms: u64) -> i32 {
    let read = (0..size).map(|index| (key("t", index), ask(0), empty(0)));
    cache.open(false, follower, read, now_ms)
}

fn turn(start: Start) -> Turn {
    match start {
        Start::Continue(turn) => turn,
        other => panic!("{other:?}"),
    }
}

fn refusal(start: Start) -> ErrorCode {
    match start {
        Start::Refuse(code) => code,
        other => panic!("{other:?}"),
    }
}

/// A request of a session that names nothing.
fn next(cache: &mut SessionCache, id: i32, epoch: i32, now_ms: u64) -> Start {
    cache.start(header(id, epoch), [], [], now_ms)
}

fn order(turn: &Turn) -> Vec<i32> {
    turn.wanted.iter().map(|(key, _)| key.index).collect()
}

fn tell(turn: &Turn, found: &[Found]) -> Vec<bool> {
    turn.tell(turn.wanted.iter().map(|(key, _)| key).zip(found.iter().copied())).unwrap()
}

#[test]
fn a_full_fetch_opens_a_session_that_later_ones_change() {
    // F13
    let mut cache = SessionCache::new(10, 1);
    let named = || [(key("t", 0), ask(5)), (key("t", 1), ask(6))];
    assert!(matches!(cache.start(header(0, 0), named(), [], 0), Start::Open));
    assert!(matches!(cache.start(header(0, -1), named(), [], 0), Start::Full));
    let id = cache.open(false, false, named().map(|(key, ask)| (key, ask, empty(9))), 0);
    assert!(id > 0);
    // unnamed partitions stay as they are
    let first = turn(cache.start(header(id, 1), [(key("t", 1), ask(7)), (key("u", 0), ask(8))], [], 0));
    assert_eq!(first.wanted, [(key("t", 0), ask(5)), (key("t", 1), ask(7)), (key("u", 0), ask(8))]);
    // forgotten ones leave
    let second = turn(cache.start(header(id, 2), [], [key("t", 0), key("nowhere", 3)], 0));
    assert_eq!(second.wanted, [(key("t", 1), ask(7)), (key("u", 0), ask(8))]);
    // the last one leaves, and the session is no more
    assert!(matches!(cache.start(header(id, 3), [], [key("t", 1), key("u", 0)], 0), Start::Ended));
    assert_eq!(cache.len(), 0);
}

#[test]
fn a_request_with_the_final_epoch_closes_its_session() {
    // F13
    for epoch in [-1, 0] {
        let mut cache = SessionCache::new(10, 1);
        let id = open(&mut cache, 2, 0);
        let start = cache.start(header(id, epoch), [(key("t", 0), ask(0))], [], 0);
        assert!(matches!((epoch, start), (-1, Start::Full) | (0, Start::Open)));
        assert_eq!(cache.len(), 0);
        assert_eq!(refusal(next(&mut cache, id, 1, 0)), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    }
}

#[test]
fn wrong_ids_epochs_and_ways_of_naming_have_codes_of_their_own() {
    // F14
    let mut cache = SessionCache::new(10, 1);
    let id = open(&mut cache, 2, 0);
    assert_eq!(refusal(next(&mut cache, id ^ 1, 1, 0)), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    assert_eq!(refusal(next(&mut cache, 0, 1, 0)), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    for epoch in [2, i32::MAX, i32::MIN, -2] {
        assert_eq!(refusal(next(&mut cache, id, epoch, 0)), ErrorCode::INVALID_FETCH_SESSION_EPOCH);
    }
    let by_id = cache.start(Header { uses_ids: true, ..header(id, 1) }, [], [], 0);
    assert_eq!(refusal(by_id), ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
    // none of them has spoiled the session
    turn(next(&mut cache, id, 1, 0));
    assert_eq!(refusal(next(&mut cache, id, 1, 0)), ErrorCode::INVALID_FETCH_SESSION_EPOCH);
    turn(next(&mut cache, id, 2, 0));
}

#[test]
fn epochs_go_round_from_the_largest_to_one() {
    // F14
    let mut cache = SessionCache::new(10, 1);
    let id = open(&mut cache, 1, 0);
    cache.sessions[&id].session.lock().epoch = i32::MAX;
    turn(next(&mut cache, id, i32::MAX, 0));
    turn(next(&mut cache, id, 1, 0));
}

#[test]
fn an_answer_holds_only_what_the_reader_does_not_know() {
    // F15
    let mut cache = SessionCache::new(10, 1);
    let id = open(&mut cache, 3, 0);
    let mut step = |epoch, found: [Found; 3]| {
        let turn = turn(next(&mut cache, id, epoch, 0));
        assert_eq!(order(&turn), [0, 1, 2], "nobody had records");
        tell(&turn, &found)
    };
    assert_eq!(step(1, [empty(0); 3]), [false; 3]);
    assert_eq!(step(2, [empty(0), empty(4), Found { log_start: 1, ..empty(0) }]), [false, true, true]);
    assert_eq!(step(3, [empty(0), empty(4), Found { log_start: 1, ..empty(0) }]), [false; 3]);
    // trouble is told every time, and its end, too, though nothing else has changed
    assert_eq!(step(4, [TROUBLE, empty(4), Found { log_start: 1, ..empty(0) }]), [true, false, false]);
    assert_eq!(step(5, [TROUBLE, empty(4), Found { log_start: 1, ..empty(0) }]), [true, false, false]);
    assert_eq!(step(6, [empty(0), empty(4), Found { log_start: 1, ..empty(0) }]), [true, false, false]);
    assert_eq!(step(7, [empty(0), empty(4), Found { log_start: 1, ..empty(0) }]), [false; 3]);
}

#[test]
fn trouble_at_the_opening_is_told_again_when_it_ends() {
    // F15
    let mut cache = SessionCache::new(10, 1);
    let id = cache.open(false, false, [(key("t", 0), ask(0), TROUBLE)], 0);
    assert_eq!(tell(&turn(next(&mut cache, id, 1, 0)), &[empty(0)]), [true]);
}

#[test]
fn who_got_records_is_read_last_the_next_time() {
    // F15
    let mut cache = SessionCache::new(10, 1);
    let id = open(&mut cache, 3, 0);
    let first = turn(next(&mut cache, id, 1, 0));
    assert_eq!(tell(&first, &[records(5), empty(0), empty(0)]), [true, false, false]);
    let second = turn(next(&mut cache, id, 2, 0));
    assert_eq!(order(&second), [1, 2, 0]);
    assert_eq!(tell(&second, &[records(5), records(5), empty(5)]), [true, true, false]);
    let third = turn(next(&mut cache, id, 3, 0));
    assert_eq!(order(&third), [0, 1, 2]);
    // what is named anew keeps its place
    let fourth = turn(cache.start(header(id, 4), [(key("t", 0), ask(9))], [], 0));
    assert_eq!(order(&fourth), [0, 1, 2]);
}

#[test]
fn a_session_that_went_on_meanwhile_refuses_the_older_answer() {
    // F14
    let mut cache = SessionCache::new(10, 1);
    let id = open(&mut cache, 1, 0);
    let slow = turn(next(&mut cache, id, 1, 0));
    let fast = turn(next(&mut cache, id, 2, 0));
    assert_eq!(slow.tell([(&key("t", 0), records(1))]), Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH));
    assert_eq!(tell(&fast, &[empty(1)]), [true]);
}

#[test]
fn a_full_cache_gives_up_sessions_that_nobody_uses_then_small_old_ones() {
    // F16
    let mut cache = SessionCache::new(2, 1);
    let small = open(&mut cache, 1, 0);
    let large = open(&mut cache, 5, 0);
    // all are young and in use
    assert_eq!(open(&mut cache, 3, MINUTE_MS), 0);
    turn(next(&mut cache, small, 1, MINUTE_MS));
    // the large one was not used for more than two minutes
    let third = open(&mut cache, 1, 2 * MINUTE_MS + 1);
    assert!(third > 0);
    assert_eq!(refusal(next(&mut cache, large, 1, 3 * MINUTE_MS)), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    // in use, but old and smaller than the new one
    turn(next(&mut cache, small, 2, 3 * MINUTE_MS));
    turn(next(&mut cache, third, 1, 3 * MINUTE_MS));
    assert_eq!(open(&mut cache, 1, 3 * MINUTE_MS), 0, "not larger");
    assert!(open(&mut cache, 2, 3 * MINUTE_MS) > 0);
    assert_eq!(refusal(next(&mut cache, small, 3, 3 * MINUTE_MS)), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    turn(next(&mut cache, third, 2, 3 * MINUTE_MS));
    assert_eq!(cache.len(), 2);
}

#[test]
fn a_follower_takes_the_place_of_a_consumer_and_not_the_other_way_round() {
    // F16
    let mut cache = SessionCache::new(1, 1);
    let consumer = open(&mut cache, 9, 0);
    let follower = open_as(&mut cache, true, 1, 0);
    assert!(consumer > 0 && follower > 0);
    assert_eq!(open_as(&mut cache, true, 9, 0), 0, "a young follower stays");
    turn(next(&mut cache, follower, 1, 3 * MINUTE_MS));
    assert_eq!(open(&mut cache, 99, 3 * MINUTE_MS), 0, "a consumer is worth less");
    assert!(open_as(&mut cache, true, 2, 3 * MINUTE_MS) > 0);
}

#[test]
fn without_slots_there_are_no_sessions() {
    // F16
    let mut cache = SessionCache::new(0, 1);
    assert_eq!(open(&mut cache, 1, 0), 0);
    assert_eq!(cache.len(), 0);
}

#[test]
fn a_session_cannot_grow_without_bound() {
    let mut cache = SessionCache::new(10, 1);
    let half = PARTITIONS_MAX as i32 / 2;
    let first = open(&mut cache, half, 0);
    let second = open(&mut cache, 1, 0);
    assert!(first > 0 && second > 0);
    assert_eq!(open(&mut cache, half, 0), 0, "all sessions together have a bound");
    let more = (0..half).map(|index| (key("u", index), ask(0)));
    let code = refusal(cache.start(header(second, 1), more, [], 0));
    assert_eq!(code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    turn(next(&mut cache, first, 1, 0));
    assert_eq!(cache.len(), 1);
    // names that no topic can have would be kept for nothing
    let long = [(key(&"x".repeat(250), 0), ask(0), empty(0))];
    assert_eq!(cache.open(false, false, long, 0), 0);
    let code = refusal(cache.start(header(first, 2), [(key("a/b", 0), ask(0))], [], 0));
    assert_eq!(code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    assert_eq!(cache.len(), 0);
}

/// What a reader does: opens a session, or goes on with one of those that it has opened.
#[derive(Debug, Clone)]
enum Step {
    Open { follower: bool, size: i32 },
    Next { which: usize, named: Vec<i32>, forgotten: Vec<i32>, with_records: Vec<i32> },
    Close { which: usize },
    Wait { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let some = || prop::collection::vec(0..8i32, 0..4);
    prop_oneof![
        (any::<bool>(), 1..5i32).prop_map(|(follower, size)| Step::Open { follower, size }),
        (0..6usize, some(), some(), some()).prop_map(|(which, named, forgotten, with_records)| Step::Next {
            which,
            named,
            forgotten,
            with_records
        }),
        (0..6usize).prop_map(|which| Step::Close { which }),
        (0..200_000u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

proptest! {
    // F13 to F16: whatever readers do, the cache's indexes agree, its bounds hold, and a session that lives holds exactly what its
    // reader has named and not forgotten
    #[test]
    fn a_session_holds_what_its_reader_has_named(steps in prop::collection::vec(step(), 1..60)) {
        let mut cache = SessionCache::new(3, 7);
        let mut now_ms = 0;
        let mut readers: Vec<(i32, i32, BTreeMap<i32, i64>)> = Vec::new();
        for step in steps {
            match step {
                Step::Open { follower, size } => {
                    let id = open_as(&mut cache, follower, size, now_ms);
                    if id != 0 {
                        readers.push((id, 1, (0..size).map(|index| (index, 0)).collect()));
                    }
                }
                Step::Next { which, named, forgotten, with_records } if which < readers.len() => {
                    let (id, epoch, holds) = &mut readers[which];
                    let offset = i64::from(*epoch);
                    let asks = named.iter().map(|index| (key("t", *index), ask(offset)));
                    let start = cache.start(header(*id, *epoch), asks, forgotten.iter().map(|i| key("t", *i)), now_ms);
                    if let Start::Refuse(code) = start {
                        prop_assert_eq!(code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
                        readers.remove(which);
                        continue;
                    }
                    named.iter().for_each(|index| { holds.insert(*index, offset); });
                    forgotten.iter().for_each(|index| { holds.remove(index); });
                    if let Start::Ended = start {
                        prop_assert!(holds.is_empty());
                        readers.remove(which);
                        continue;
                    }
                    *epoch += 1;
                    let turn = turn(start);
                    let wanted: BTreeMap<i32, i64> = turn.wanted.iter().map(|(k, a)| (k.index, a.offset)).collect();
                    prop_assert_eq!(wanted.len(), turn.wanted.len());
                    prop_assert_eq!(&wanted, &*holds);
                    let found: Vec<Found> = order(&turn).iter()
                        .map(|index| if with_records.contains(index) { records(1) } else { empty(0) }).collect();
                    tell(&turn, &found);
                }
                Step::Close { which } if which < readers.len() => {
                    let (id, ..) = readers.remove(which);
                    let _ = cache.start(header(id, -1), [], [], now_ms);
                    prop_assert_eq!(refusal(next(&mut cache, id, 1, now_ms)), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
                }
                Step::Wait { ms } => now_ms += ms,
                _ => {}
            }
            prop_assert!(cache.len() <= 3);
        }
    }
}
