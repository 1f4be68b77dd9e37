//! Probes of the path MTU.

use super::*;

/// What became of the probes of end 0: sizes asked for and sent, and whether they were answered in time.
fn outcomes(lab: &mut Lab) -> Vec<(u16, u16, bool)> {
    let told = lab.events[0].drain(..).filter_map(|event| match event {
        Event::PathProbed { peer, asked, sent, in_time } => {
            assert_eq!(peer, IpAddr::from(ADDRESSES[1]));
            Some((asked, sent, in_time))
        }
        _ => None,
    });
    told.collect()
}

fn probe(lab: &mut Lab, size: u16) {
    let inbound_spi = *lab.pairs[0].keys().next().expect("a pair");
    lab.command(0, Command::ProbePath { inbound_spi, size });
}

/// Bytes of the IP packet that holds a message.
fn packet_len(transmit: &Transmit) -> usize {
    20 + 8 + transmit.payload.len() + if transmit.path.non_esp_marker { 4 } else { 0 }
}

#[test]
fn a_probe_has_the_size_that_was_asked_for_and_df() {
    for size in [576, 1280, 1499, 1500, 9000] {
        let mut lab = Lab::up();
        probe(&mut lab, size);
        let (_, transmit) = lab.wire.back().expect("the probe");
        assert!(transmit.dont_fragment);
        assert_eq!(packet_len(transmit), usize::from(size));
        lab.settle();
        assert_eq!(outcomes(&mut lab), [(size, size, true)]);
    }
}

#[test]
fn a_cipher_with_blocks_makes_it_a_little_smaller() {
    let configs = [0, 1].map(|side| {
        let mut connection = connection(side);
        connection.ike_proposals[0].encryption = vec![&encryption::AES256_CBC];
        connection.ike_proposals[0].integrity = vec![&integ::HMAC_SHA2_256_128];
        config(connection)
    });
    let mut lab = Lab::new(configs);
    lab.settle();
    for size in 1480..1500 {
        probe(&mut lab, size);
        let sent = packet_len(&lab.wire.back().expect("the probe").1);
        assert!(sent <= size.into() && sent + 16 > size.into(), "{sent} of {size}");
        lab.settle();
        assert_eq!(outcomes(&mut lab), [(size, sent as u16, true)]);
    }
}

#[test]
fn a_probe_that_is_lost_is_repeated_without_df_and_its_answer_is_late() {
    let mut lab = Lab::up();
    probe(&mut lab, 1500);
    let (_, first) = lab.wire.pop_back().expect("the probe");
    lab.now += SECOND * 9 / 10;
    lab.tick(0);
    assert!(lab.wire.is_empty());
    lab.now += SECOND / 10;
    lab.tick(0);
    let (_, again) = lab.wire.front().expect("the probe again").clone();
    assert_eq!((again.payload.clone(), again.dont_fragment), (first.payload, false));
    lab.settle();
    assert_eq!(outcomes(&mut lab), [(1500, 1500, false)]);
    lab.assert_paired(1);
}

#[test]
fn a_probe_that_never_arrives_ends_by_the_empty_request_beside_it() {
    let mut lab = Lab::up();
    probe(&mut lab, 1500);
    lab.wire.clear();
    // The path takes no fragments either, and the empty request is lost once as well.
    for lost in [true, false] {
        lab.now += SECOND * 3;
        lab.tick(0);
        let (_, large) = lab.wire.pop_front().expect("the probe again");
        let (_, empty) = lab.wire.back().expect("the empty request");
        assert!(packet_len(&large) == 1500 && packet_len(empty) < 150);
        if lost {
            lab.wire.clear();
        }
    }
    lab.settle();
    assert_eq!(outcomes(&mut lab), [(1500, 1500, false)]);
    lab.assert_paired(1);
    // Nothing waits for it any more.
    probe(&mut lab, 576);
    lab.settle();
    assert_eq!(outcomes(&mut lab), [(576, 576, true)]);
}

#[test]
fn probes_wait_for_the_exchange_that_is_under_way() {
    let mut lab = Lab::up();
    probe(&mut lab, 1500);
    probe(&mut lab, 1400);
    probe(&mut lab, 1400);
    lab.settle();
    assert_eq!(outcomes(&mut lab), [(1500, 1500, true), (1400, 1400, true)]);
}

#[test]
fn a_size_that_the_headers_fill_is_not_probed() {
    let mut lab = Lab::up();
    probe(&mut lab, 60);
    assert!(lab.wire.is_empty());
    // And nothing waits for it.
    probe(&mut lab, 1500);
    lab.settle();
    assert_eq!(outcomes(&mut lab), [(1500, 1500, true)]);
}
