//! Datagrams over loopback.

use std::net::Ipv4Addr;

use super::tests::World;
use super::*;

fn bind(world: &mut World) -> (u64, SocketAddr) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let id = world.net.bind_datagrams(address).expect("bound");
    (id, world.net.datagram_address(id).expect("address"))
}

/// Turns until so many datagrams are there.
fn receive(world: &mut World, count: usize) -> Vec<Datagram> {
    let mut got = Vec::new();
    for _ in 0..2000 {
        world.spin();
        got.extend(std::iter::from_fn(|| world.net.poll_datagram()));
        if got.len() >= count {
            return got;
        }
    }
    panic!("{} of {count} datagrams", got.len());
}

#[test]
fn datagrams_go_both_ways_with_their_senders() {
    let mut world = World::new();
    let ((a, at_a), (b, at_b)) = (bind(&mut world), bind(&mut world));
    for n in 0..20u8 {
        world.net.send_datagram(a, at_b, &vec![n; usize::from(n)]);
        world.net.send_datagram(b, at_a, &[n; 40]);
    }
    let got = receive(&mut world, 40);
    let of = |socket| got.iter().filter(move |datagram| datagram.socket == socket);
    assert!(of(a).all(|datagram| datagram.from == at_b));
    assert!(of(b).all(|datagram| datagram.from == at_a));
    let lengths: Vec<_> = of(b).map(|datagram| datagram.bytes.len()).collect();
    assert_eq!(lengths, (0..20).collect::<Vec<_>>());
    assert!(of(a).enumerate().all(|(n, datagram)| datagram.bytes == [n as u8; 40]));
}

#[test]
fn long_ones_are_cut_and_of_too_many_the_newest_leave() {
    let mut world = World::new();
    let ((a, _), (_, at_b)) = (bind(&mut world), bind(&mut world));
    world.net.send_datagram(a, at_b, &[1; DATAGRAM_BYTES_MAX + 1000]);
    assert_eq!(receive(&mut world, 1)[0].bytes.len(), DATAGRAM_BYTES_MAX);
    for n in 0..500u16 {
        world.net.send_datagram(a, at_b, &n.to_be_bytes());
    }
    let numbers: Vec<_> =
        receive(&mut world, 100).into_iter().map(|datagram| datagram.bytes).collect();
    assert!(numbers[0][..] >= 300u16.to_be_bytes()[..], "{:?}", numbers[0]);
}

#[test]
fn a_closed_socket_goes_and_one_in_flight_survives_its_owner() {
    let mut world = World::new();
    let ((a, at_a), (b, at_b)) = (bind(&mut world), bind(&mut world));
    // Nobody is there: the refusal comes back to the sender and changes nothing.
    world.spin(); // A receive is in flight.
    world.net.close_datagrams(b);
    assert!(world.net.datagram_address(b).is_some(), "freed while the kernel has it");
    while world.net.datagram_address(b).is_some() {
        world.spin();
    }
    world.net.send_datagram(a, at_b, b"refused");
    world.net.send_datagram(a, at_a, b"to itself");
    assert_eq!(receive(&mut world, 1)[0].bytes, b"to itself");
    let World { net, ring } = world;
    drop(net); // A receive is in flight.
    drop(ring);
}

#[test]
fn a_name_is_resolved_on_the_way() {
    let mut world = World::new();
    let ((a, at_a), (b, at_b)) = (bind(&mut world), bind(&mut world));
    world.net.send_datagram_to(a, "no.such.host.invalid", at_b.port(), b"lost");
    world.net.send_datagram_to(a, "localhost", at_b.port(), b"by name");
    world.net.send_datagram_to(b, "127.0.0.1", at_a.port(), b"by number");
    let mut got = receive(&mut world, 2);
    got.sort_by_key(|datagram| datagram.bytes.len());
    assert_eq!((got[0].socket, &got[0].bytes[..]), (b, &b"by name"[..]));
    assert_eq!((got[1].socket, &got[1].bytes[..]), (a, &b"by number"[..]));
}
