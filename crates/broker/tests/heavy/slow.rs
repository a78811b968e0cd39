//! Peers that write a byte at a time, and peers that never read what they asked for.

use std::io::Write;
use std::net::TcpStream;

use rohrpost_protocol::messages::FetchRequest;

use super::*;

#[test]
fn peers_that_declare_much_and_send_a_byte_at_a_time_cost_what_they_send() {
    // N8
    const PEERS: usize = 300;
    let _turn = my_turn();
    let cluster =
        Cluster::builder().topic("good", 1, 1).config("socket.listen.backlog.size", "300").start().unwrap();
    let mut good = Good::of(&cluster);
    good.is_served();
    let growth = Growth::begin();
    let mut peers: Vec<TcpStream> =
        (0..PEERS).map(|_| TcpStream::connect(cluster.address()).unwrap()).collect();
    // a frame of 100 MiB, the most that is allowed
    let mut bytes = (100 * 1024 * 1024i32).to_be_bytes().to_vec();
    bytes.resize(200, 0);
    for (n, byte) in bytes.iter().enumerate() {
        for peer in &mut peers {
            peer.write_all(&[*byte]).unwrap();
        }
        if n % 20 == 0 {
            good.is_served();
        }
    }
    good.is_served();
    let each = growth.peak() / PEERS as isize;
    assert!(
        each < 4096,
        "{each} bytes for each of {PEERS} peers that declared 100 MiB and sent {}",
        bytes.len()
    );
    drop(peers);
    eventually("they are gone", || cluster.server().connections() == 1);
}

#[test]
fn a_request_that_comes_a_byte_at_a_time_is_answered() {
    let _turn = my_turn();
    let cluster = Cluster::builder().topic("good", 1, 1).start().unwrap();
    let mut good = Good::of(&cluster);
    let mut slow = Client::of(&cluster);
    let bytes = batch(&["slow"]);
    let request =
        rohrpost_protocol::encode_request(&produce_request("good", 0, Some(&bytes), 1), 9, 0, None).unwrap();
    for (n, byte) in request.bytes().iter().enumerate() {
        if n == request.len() / 2 {
            good.is_served();
        }
        slow.stream.write_all(&[*byte]).unwrap();
    }
    let response = slow.receive::<rohrpost_protocol::messages::ProduceRequest<'_>>(9, 0);
    assert_eq!(response.responses[0].partition_responses[0].base_offset, 1);
}

#[test]
fn peers_that_never_read_large_answers_hold_a_bounded_part_of_memory() {
    // N4: one answer each; and beyond 128 MiB of them answers are short
    const READERS: usize = 12;
    const MIB: isize = 1 << 20;
    let _turn = my_turn();
    let cluster = Cluster::builder()
        .topic("good", 1, 1)
        .topic("large", 1, 1)
        .config("message.max.bytes", "2000000")
        .start()
        .unwrap();
    let mut good = Good::of(&cluster);
    let value = "x".repeat(1 << 20);
    for n in 0..50 {
        assert_eq!(good.client.produce("large", 0, Some(&batch(&[&value]))).base_offset, n);
    }
    good.is_served();
    let growth = Growth::begin();
    let fetch = || {
        let mut request = fetch_request("large", 0, 0, 0, 1);
        request.topics[0].partitions[0].partition_max_bytes = 50 << 20;
        request
    };
    let mut readers: Vec<Client> = (0..READERS).map(|_| Client::of(&cluster)).collect();
    for reader in &mut readers {
        // and more requests behind it, which nobody reads either
        for _ in 0..3 {
            reader.send(&fetch(), 12);
        }
        good.is_served();
    }
    eventually("the answers are made", || growth.now() > 128 * MIB);
    for _ in 0..20 {
        good.is_served();
    }
    let bound = (128 + 50 + READERS as isize * 2 + 20) * MIB;
    assert!(growth.peak() < bound, "{} MiB for {READERS} answers of 50 MiB", growth.peak() / MIB);
    // who reads late gets it whole
    let response = readers[0].receive::<FetchRequest<'_>>(12, 2);
    let records =
        response.responses[0].partitions[0].records.as_ref().and_then(|r| r.bytes()).unwrap_or_default();
    assert!(records.len() > 45 << 20, "{}", records.len());
    drop(readers);
    eventually("their memory is back", || growth.now() < 80 * MIB);
    good.is_served();
}
