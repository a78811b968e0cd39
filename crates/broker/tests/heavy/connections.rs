//! Connections by the ten thousand, half-open ones, and more requests than the queue holds.

use std::io::Write;
use std::net::TcpStream;

use rohrpost_protocol::encode_request;
use rohrpost_protocol::messages::ProduceRequest;

use super::*;

/// Connections in all.
const MANY: usize = 10_000;

/// Descriptors that this process may have, and has. The soft limit is raised as far as the system allows.
#[cfg(unix)]
fn descriptors_max() -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    getrlimit(Resource::RLIMIT_NOFILE).unwrap().0.min(1 << 20) as usize
}

#[cfg(not(unix))]
fn descriptors_max() -> usize {
    1024
}

#[cfg(target_os = "linux")]
fn descriptors_open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
#[allow(clippy::print_stdout, reason = "a test that does less than its name says must say so")]
fn ten_thousand_connections_are_opened_and_dropped() {
    let _turn = my_turn();
    let cluster = Cluster::builder()
        .topic("good", 1, 1)
        .config("socket.listen.backlog.size", "1000")
        .config("num.network.threads", "2")
        .start()
        .unwrap();
    let mut good = Good::of(&cluster);
    good.is_served();
    // both ends are in this process
    let at_once = (descriptors_max().saturating_sub(500) / 2).min(MANY);
    if at_once < MANY {
        println!("{MANY} connections in batches of {at_once}: there are no more file descriptors");
    }
    #[cfg(target_os = "linux")]
    let before = descriptors_open();
    let frame = encode_request(&produce_request("good", 0, Some(&batch(&["no"])), -1), 9, 1, None).unwrap();
    let growth = Growth::begin();
    let mut opened = 0;
    while opened < MANY {
        let count = at_once.min(MANY - opened);
        let mut streams = Vec::with_capacity(count);
        for n in 0..count {
            let mut stream = TcpStream::connect(cluster.address()).unwrap();
            // nothing, a part of a size, a part of a frame: half-open for as long as nobody looks
            match n % 3 {
                0 => {}
                1 => stream.write_all(&frame.bytes()[..3]).unwrap(),
                _ => stream.write_all(&frame.bytes()[..frame.len() - 1]).unwrap(),
            }
            streams.push(stream);
            if n % 1000 == 0 {
                good.is_served();
            }
        }
        eventually("all are accepted", || cluster.server().connections() == count + 1);
        good.is_served();
        // a connection costs what it has sent and little more; its place in a table stays for the next one
        let each = growth.now() / at_once as isize;
        assert!(each < 2048, "{each} bytes for a connection");
        drop(streams);
        eventually("all are gone", || cluster.server().connections() == 1);
        good.is_served();
        opened += count;
    }
    #[cfg(target_os = "linux")]
    eventually("all descriptors are back", || descriptors_open() <= before);
}

#[test]
fn half_open_connections_end_when_they_have_been_silent_too_long() {
    // N9
    let _turn = my_turn();
    let cluster = Cluster::builder().config("connections.max.idle.ms", "200").start().unwrap();
    let mut streams: Vec<TcpStream> =
        (0..400).map(|_| TcpStream::connect(cluster.address()).unwrap()).collect();
    for stream in streams.iter_mut().step_by(2) {
        stream.write_all(&[0, 0, 1]).unwrap();
    }
    eventually("they are closed although nobody said so", || cluster.server().connections() == 0);
    drop(streams);
}

#[test]
fn a_storm_of_requests_beyond_the_queue_is_answered_in_order() {
    // N4, N6: on disk, so that requests go through the queue
    const REQUESTS: usize = 40;
    let _turn = my_turn();
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::builder()
        .data_dir(dir.path())
        .topic("good", 1, 1)
        .topic("t", 1, 1)
        .config("queued.max.requests", "2")
        .config("num.network.threads", "2")
        .start()
        .unwrap();
    let mut good = Good::of(&cluster);
    let growth = Growth::begin();
    let bytes = batch(&["a record of a storm"]);
    let request = produce_request("t", 0, Some(&bytes), 1);
    let mut clients: Vec<Client> = (0..100).map(|_| Client::of(&cluster)).collect();
    for n in 0..REQUESTS {
        for client in &mut clients {
            client.send(&request, 9);
        }
        if n % 10 == 0 {
            good.is_served();
        }
    }
    for ago in (0..REQUESTS).rev() {
        for client in &mut clients {
            let response = client.receive::<ProduceRequest<'_>>(9, ago as i32);
            assert!(!response.responses[0].partition_responses[0].error_code.is_error());
        }
    }
    good.is_served();
    assert_eq!(cluster.log("t", 0).end_offset(), (REQUESTS * 100) as i64);
    assert!(growth.peak() < 20 << 20, "{} bytes more", growth.peak());
    // what a connection still holds is bytes, not buffers
    drop(clients);
    eventually("they are gone", || cluster.server().connections() == 1);
}

#[cfg(target_os = "linux")]
#[test]
fn an_embedded_broker_has_one_thread_of_each_kind_and_a_server_what_it_was_told() {
    let _turn = my_turn();
    let named = |prefix: &str| {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.starts_with(prefix)).count()
    };
    let counts = || (named("rohrpost-net"), named("rohrpost-io"));
    // a thread gets its name when it first runs
    let cluster = Cluster::builder().start().unwrap();
    eventually("one and one", || counts() == (1, 1));
    drop(cluster);
    eventually("none is left", || counts() == (0, 0));
    let builder = Cluster::builder().config("num.network.threads", "2").config("num.io.threads", "5");
    let _cluster = builder.start().unwrap();
    eventually("two and five", || counts() == (2, 5));
}
