//! Memory and places: what is charged, to whom it goes next, and that all of it comes back.

use super::*;

fn pool(total: usize, batch_size: usize) -> Pool {
    Pool::new(total, batch_size, SenderWake::new())
}

// BUF-7
#[test]
fn chunks_are_powers_of_two_up_to_a_batch_and_exact_beyond() {
    let size = |need, wish| pool(1 << 20, 16384).chunk_size(need, wish);
    assert_eq!(size(100, 0), 1024);
    assert_eq!(size(1024, 0), 1024);
    assert_eq!(size(1025, 0), 2048);
    assert_eq!(size(100, 16277), 16384, "a busy partition's next batch");
    assert_eq!(size(100, 99_999), 16384);
    assert_eq!(size(20_001, 0), 20_001, "a record larger than a batch");
    assert_eq!(
        pool(1 << 20, 20_000).chunk_size(100, 19_000),
        20_000,
        "batch.size need not be a power of two"
    );
    assert_eq!(pool(500, 16384).chunk_size(93, 0), 500, "never more than there is");
    assert_eq!(pool(1 << 20, 100).chunk_size(85, 0), 100);
}

// BUF-1
#[test]
fn memory_comes_back_and_is_used_again_within_the_total() {
    let pool = pool(40_000, 16384);
    let chunk = pool.try_take(16384).unwrap();
    let address = chunk.bytes().as_ptr();
    drop(chunk);
    let again = pool.try_take(16384).unwrap();
    assert_eq!(again.bytes().as_ptr(), address, "kept for use");
    assert_eq!(pool.available(), 40_000 - 16384);
    drop(again);
    // What is kept and what is held stay within the total: kept chunks give way.
    let other = pool.try_take(39_000).unwrap();
    assert_eq!(pool.0.inner.lock().free_bytes, 0);
    assert!(pool.try_take(1024).is_none());
    drop(other);
    assert_eq!((pool.available(), pool.held(), pool.total()), (40_000, 0, 40_000));
    assert_eq!(pool.0.inner.lock().free_bytes, 0, "odd sizes are not kept");
}

fn waiter(pool: &Pool, bytes: usize) -> (Arc<TopicState>, u64) {
    let topic = Arc::new(TopicState::new("t".into(), 0, 0));
    let ticket = pool.enter(&topic, None, bytes, 1, Waker::noop());
    (topic, ticket)
}

// BUF-1
#[test]
fn a_grant_goes_into_the_chunk_that_is_taken_instead() {
    let pool = pool(20_000, 16384);
    let chunk = pool.try_take(16384).unwrap();
    let address = chunk.bytes().as_ptr();
    let (topic, ticket) = waiter(&pool, 4096);
    assert_eq!(pool.poll(ticket, &topic, 1, Waker::noop()), Turn::Wait(Stage::Room));
    drop(chunk);
    assert_eq!(pool.poll(ticket, &topic, 1, Waker::noop()), Turn::Go);
    let mut granted = pool.take_grant(ticket);
    assert_eq!(pool.held(), 4096);
    let taken = pool.try_take_for(16384, true, &mut granted).unwrap();
    assert!(granted.is_none());
    assert_eq!((taken.bytes().as_ptr(), pool.held()), (address, 16384), "the kept chunk, charged once");
    drop(taken);
    pool.leave(ticket);
    assert_eq!((pool.held(), pool.0.inner.lock().promised), (0, 0));
}

// BUF-1, BUF-8
#[test]
fn a_grant_is_given_back_with_memory_or_without() {
    let pool = pool(5000, 16384);
    for with_memory in [false, true] {
        let (topic, ticket) = waiter(&pool, 4096);
        assert_eq!(pool.poll(ticket, &topic, 1, Waker::noop()), Turn::Go);
        let mut granted = pool.take_grant(ticket);
        assert!(pool.take_grant(ticket).is_none(), "it is there once");
        assert!(pool.try_take_for(8192, true, &mut granted).is_none(), "not so much");
        let mut granted = granted.expect("it stays");
        if with_memory {
            granted.back();
            assert_eq!(granted.len(), 4096);
        }
        assert_eq!((pool.held(), pool.0.inner.lock().promised), (4096, 4096 - granted.len()));
        drop(granted);
        pool.leave(ticket);
        assert_eq!((pool.held(), pool.0.inner.lock().promised), (0, 0));
    }
    let (_, ticket) = waiter(&pool, 4096);
    assert_eq!((pool.held(), pool.0.inner.lock().promised), (4096, 4096), "granted and never taken");
    pool.leave(ticket);
    assert_eq!((pool.held(), pool.0.inner.lock().promised), (0, 0));
}

// BUF-2, BUF-4
#[test]
fn memory_that_comes_back_under_a_hold_is_handed_on_at_its_end_or_before_callbacks() {
    for early in [false, true] {
        let pool = pool(4096, 1024);
        let charge = pool.charge(1024, false).unwrap();
        let chunks = [(); 3].map(|()| pool.try_take(1024).unwrap());
        let (topic, ticket) = waiter(&pool, 2048);
        let hold = pool.hold();
        drop(chunks);
        assert!(pool.is_wanted() && pool.try_take(1024).is_none(), "nobody overtakes");
        if early {
            charge.hand_on();
            assert!(!pool.is_wanted());
        }
        drop(hold);
        assert!(!pool.is_wanted());
        assert_eq!(pool.poll(ticket, &topic, 1, Waker::noop()), Turn::Go);
        pool.leave(ticket);
        // The hold is over: what comes from now on is handed on at once.
        let all = pool.charge(pool.available(), false).unwrap();
        let (_, next) = waiter(&pool, 2048);
        assert!(pool.is_wanted());
        drop(all);
        assert!(!pool.is_wanted());
        pool.leave(next);
    }
}

// BUF-1
#[test]
fn kept_chunks_make_way_for_what_lies_elsewhere() {
    let pool = pool(10_000, 1024);
    drop([(); 9].map(|()| pool.try_take(1024).unwrap()));
    assert_eq!(pool.0.inner.lock().free_bytes, 9 * 1024);
    let _charge = pool.charge(8000, false).unwrap();
    assert_eq!(pool.0.inner.lock().free_bytes, 1024, "of the 2000 bytes that are left");
    let small = Pool::new(2048, 1024, SenderWake::new());
    drop([(); 2].map(|()| small.try_take(1024).unwrap()));
    assert_eq!(small.0.inner.lock().free_bytes, 2048, "all of it, and not one byte too much");
}

#[test]
fn a_forced_charge_delays_the_next_taker() {
    let pool = pool(2000, 1024);
    let _chunk = pool.try_take(1024).unwrap();
    assert!(pool.charge(1024, false).is_none());
    let forced = pool.charge(1024, true).unwrap();
    assert_eq!((pool.available(), pool.held()), (0, 2048));
    assert!(pool.try_take(1).is_none());
    drop(forced);
    assert_eq!(pool.available(), 976);
    assert!(pool.charge(977, false).is_none());
    let rest = pool.charge(976, false).expect("exactly what is left");
    assert_eq!((pool.available(), rest.bytes()), (0, 976));
}

// BUF-7: the grant has room for a whole batch
#[test]
fn a_grant_gets_memory_for_all_it_was_charged_but_what_a_batch_takes_beside_it() {
    let back = |pool: &Pool, bytes: usize| {
        let (_, ticket) = waiter(pool, bytes);
        let mut granted = pool.take_grant(ticket).expect("there is room");
        granted.back();
        granted.begin_batch();
        pool.leave(ticket);
        (granted.len(), pool.total() - pool.available())
    };
    let pool = pool(CHARGED_FROM, CHARGED_FROM);
    assert_eq!(back(&pool, pool.room_for(100)), (1024, 1024 + BATCH_BYTES));
    assert_eq!(
        back(&pool, pool.room_for(CHARGED_FROM)),
        (CHARGED_FROM, CHARGED_FROM),
        "never more than there is"
    );
    assert_eq!(pool.available(), CHARGED_FROM);
}

// BUF-7, ACC-25
#[test]
fn a_chunk_for_another_batch_that_begins_one_is_charged_like_a_first_one() {
    let pool = pool(1 << 20, 16384);
    let held = || pool.total() as isize - pool.0.inner.lock().available;
    let mut chunk = pool.try_take_for(1024, false, &mut None).unwrap();
    assert_eq!(held(), 1024, "it was to go on with a batch");
    for _ in 0..2 {
        chunk.begin_batch();
        assert_eq!(held(), 1024 + BATCH_BYTES as isize, "and begins one: once");
    }
    drop(chunk);
    assert_eq!(held(), 0);
}

// BUF-1
#[test]
fn kept_chunks_make_way_for_a_batch_that_begins_with_a_chunk_for_another() {
    let pool = pool(CHARGED_FROM, 1024);
    let mut chunks: Vec<_> = (0..64).map(|_| pool.try_take_for(1024, false, &mut None).unwrap()).collect();
    let mut chunk = chunks.pop().unwrap();
    drop(chunks);
    assert_eq!((pool.available(), pool.0.inner.lock().free_bytes), (63 << 10, 63 << 10));
    chunk.begin_batch();
    assert_eq!((pool.available(), pool.0.inner.lock().free_bytes), (62 << 10, 62 << 10));
}

// BUF-3
#[test]
fn calls_that_wait_for_room_and_calls_that_gave_up_are_counted() {
    let pool = pool(1024, 1024);
    let _chunk = pool.try_take(1024).unwrap();
    let ((_, first), (_, second)) = (waiter(&pool, 1024), waiter(&pool, 1024));
    assert_eq!((pool.waiting_for_room(), pool.exhausted()), (2, 0));
    pool.leave(second);
    pool.count_exhausted();
    pool.leave(first);
    pool.count_exhausted();
    assert_eq!((pool.waiting_for_room(), pool.exhausted()), (0, 2));
}

#[test]
fn memory_under_a_hold_is_worth_handing_on_when_nobody_waits_or_a_sixteenth_has_come_back() {
    let pool = pool(16 << 10, 1024);
    let mut all = pool.charge(16 << 10, false).unwrap();
    assert!(pool.is_worth_handing_on(), "nobody waits");
    let _waits = waiter(&pool, 4096);
    let _hold = pool.hold();
    assert!(!pool.is_worth_handing_on());
    drop(all.take(1023));
    assert!(!pool.is_worth_handing_on());
    drop(all.take(1));
    assert!(pool.is_worth_handing_on());
}

// BUF-5, PRE-9
#[test]
fn the_sender_is_woken_when_one_more_call_waits_for_room_and_not_otherwise() {
    let sender = SenderWake::new();
    let pool = Pool::new(4096, 1024, sender.clone());
    let (_, granted) = waiter(&pool, 1024);
    assert_eq!(sender.begin_pass(), 0, "it has room at once");
    let (topic, waits) = waiter(&pool, 4096);
    assert_eq!(sender.begin_pass(), 1);
    assert_eq!(pool.poll(waits, &topic, 1, Waker::noop()), Turn::Wait(Stage::Room));
    assert_eq!(sender.begin_pass(), 1, "it still waits");
    pool.leave(granted);
    assert_eq!(pool.poll(waits, &topic, 1, Waker::noop()), Turn::Go);
    assert_eq!(sender.begin_pass(), 1);
}

fn counting(places: usize) -> Pool {
    Pool::counting(1 << 20, 1024, Some(places), SenderWake::new())
}

// CFG-21, BUF-2
#[test]
fn a_place_that_was_granted_and_not_taken_comes_back() {
    let pool = counting(1);
    let (_, ticket) = waiter(&pool, 1024);
    assert!(pool.take_grant(ticket).is_some());
    assert!(pool.try_place().is_none(), "it went with the grant");
    drop(pool.granted_place());
    pool.leave(ticket);
    let (_, ticket) = waiter(&pool, 1024);
    assert!(pool.try_place().is_none());
    pool.leave(ticket); // and its place with it
    assert_eq!(pool.0.inner.lock().places, 1);
}

// CFG-21
#[test]
fn places_are_joined_and_parted_without_one_more_or_less() {
    let pool = counting(5);
    let mut all = pool.try_place().unwrap();
    (1..4).for_each(|_| all.join(pool.try_place().unwrap()));
    let left = || pool.0.inner.lock().places;
    assert_eq!(left(), 1);
    let part = all.take(1);
    assert_eq!((all.count, part.count), (3, 1));
    drop(part);
    assert_eq!(left(), 2);
    assert_eq!(all.take(9).count, 3, "no more than there are");
    assert_eq!(left(), 5);
    drop(all);
    assert_eq!(left(), 5);
}

// CFG-21, BUF-2
#[test]
fn a_place_that_comes_back_lets_the_next_call_go_on_or_under_a_hold_at_its_end() {
    for held in [false, true] {
        let pool = counting(1);
        let place = pool.try_place().unwrap();
        let (topic, ticket) = waiter(&pool, 1024);
        assert!(pool.is_wanted(), "there is memory, and no place");
        let hold = held.then(|| pool.hold());
        drop(place);
        assert_eq!(pool.is_wanted(), held);
        drop(hold);
        assert_eq!(pool.poll(ticket, &topic, 1, Waker::noop()), Turn::Go);
    }
}
