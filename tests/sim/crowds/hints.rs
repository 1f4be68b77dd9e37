//! Hints that anybody can send, in the names of many peers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ipsec_gateway::ike::Path;
use ipsec_gateway::wire::ike::{ExchangeType, Flags, Header, IkeSpi, Notify, NotifyType, Payload, encode_message};

use super::{Crowd, SECOND, back, count, peer_address};
use crate::setup::{LEFT, LEFT_ADDRESS, address};

/// Somebody says, in the name of this tunnel's peer, that it knows no such SPI. What that takes.
fn hint(crowd: &mut Crowd, number: usize) -> Duration {
    let flags = Flags { initiator: true, ..Flags::default() };
    let outbound = crowd.tunnels[number % crowd.tunnels.len()].pairs.last().map_or(7, |(_, outbound)| *outbound);
    let notify = Notify::new(NotifyType::INVALID_SPI, outbound.to_be_bytes().to_vec());
    let header = Header::new(IkeSpi([7; 8]), IkeSpi([9; 8]), ExchangeType::INFORMATIONAL, flags, 0);
    let hint = encode_message(&header, &[Payload::Notify(notify)]).expect("a short message");
    let [local, peer] = [address(LEFT_ADDRESS), peer_address(number % crowd.addresses)];
    let path = Path { local: SocketAddr::new(local, 500), peer: SocketAddr::new(peer, 500), non_esp_marker: false };
    let (began, now) = (Instant::now(), crowd.now);
    let _ = crowd.ends[LEFT].handle_datagram(&hint, path, now);
    crowd.collect(LEFT);
    began.elapsed()
}

/// A thousand a second, in all names by turns. What one takes.
fn hints(crowd: &mut Crowd, count: usize) -> Duration {
    let mut spent = Duration::ZERO;
    for number in 0..count {
        spent += hint(crowd, number);
        crowd.run_for(SECOND / 1_000);
    }
    spent / count as u32
}

#[test]
fn hints_in_the_names_of_others_do_not_keep_out_a_peer_that_returns_silently() {
    for returning in [300, 301] {
        let mut crowd = Crowd::new(400, 400);
        crowd.cut = true;
        crowd.run_for(60 * SECOND);
        // It has lost its state, and does not call.
        crowd.forget();
        for number in 0..60 * 100 {
            if number == 20 * 100 {
                crowd.alive = Some(returning);
            }
            hint(&mut crowd, number % 100);
            crowd.run_for(SECOND / 100);
        }
        assert!(crowd.passes(&crowd.tunnels[returning]), "tunnel {returning}");
    }
}

#[test]
fn forged_hints_among_many_tunnels_change_nothing() {
    for addresses in [1, count()] {
        let mut crowd = Crowd::new(count(), addresses);
        let before: Vec<_> = crowd.tunnels.iter().map(|tunnel| tunnel.pairs.clone()).collect();
        let (since, answering) = (crowd.now, hints(&mut crowd, 3_000));
        crowd.run_for(2 * SECOND);
        let busiest = crowd.busiest(since);
        assert!(busiest.datagrams <= 1_200 && busiest.begun == 0, "a check of each at most: {busiest:?}");
        crowd.cut = true;
        crowd.run_for(25 * SECOND);
        let (since, silent) = (crowd.now, hints(&mut crowd, 3_000));
        let busiest = crowd.busiest(since);
        println!(
            "{} tunnels to {addresses}: a hint takes {answering:?}, or {silent:?} of who is silent; {busiest:?}",
            count()
        );
        // Hints have no more begin than silence does.
        let bound = super::silent(addresses);
        assert!(busiest.datagrams <= bound.datagrams && busiest.begun <= bound.begun, "{busiest:?}");
        let kept = crowd.tunnels.iter().zip(before).filter(|(tunnel, before)| tunnel.pairs == *before).count();
        assert_eq!(kept, count());
        crowd.cut = false;
        crowd.run_for(back(count(), 32, 4));
        assert_eq!([crowd.away(true), crowd.away(false)], [0, 0]);
    }
}
