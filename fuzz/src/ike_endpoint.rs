//! Two endpoints and a network that does to their messages what the input says.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use ipsec_gateway::crypto::fake::{self, SeededEntropy};
use ipsec_gateway::crypto::{Secret, prf};
use ipsec_gateway::daemon::config::Config;
use ipsec_gateway::ike::{self, Connection, ConnectionState, Endpoint, IkeProposal, Output};

const ADDRESSES: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

/// Messages that are delivered at most.
const MOST: usize = 100;

/// Both ends' configurations of a connection whose messages do not fit 576 bytes.
static CONFIGS: LazyLock<[Arc<ike::Config>; 2]> = LazyLock::new(|| {
    let subnets: Vec<String> = (0..40).map(|number| format!("\"10.0.{number}.0/24\"")).collect();
    let subnets = subnets.join(", ");
    [0, 1].map(|side| {
        let (local, peer, start) = (ADDRESSES[side], ADDRESSES[1 - side], ["now", "wait"][side]);
        let text = format!(
            "[[connection]]\nname = \"one\"\nlocal_address = \"{local}\"\npeer = \"{peer}\"\npsk = \"secret\"\n\
             start = \"{start}\"\nfragment_size = 576\nlocal_subnets = [{subnets}]\npeer_subnets = [{subnets}]\n"
        );
        let config = Config::parse(&text, Path::new("gatewayd.toml")).expect("a configuration");
        let ike_proposals = vec![IkeProposal {
            encryption: vec![&fake::ENCRYPTION],
            integrity: Vec::new(),
            prf: vec![&prf::HMAC_SHA2_256],
            groups: vec![&fake::KEY_EXCHANGE],
        }];
        let connection = Connection { ike_proposals, ..config.connections[0].template().clone() };
        Arc::new(ike::Config::new(vec![Arc::new(connection)]))
    })
});

fn endpoint(side: usize, now: Instant) -> Endpoint {
    let endpoint = Endpoint::new(CONFIGS[side].clone(), Box::new(SeededEntropy::new(side as u64)), now);
    endpoint.with_token_secret(Some(Secret::new(vec![side as u8; 32])))
}

/// Each four bytes of the input are about one message: its number, what is done to it, where, and with which byte. Tells
/// whether both ends have an IKE SA in spite of that.
pub fn ike_endpoint(data: &[u8]) -> bool {
    let mut now = Instant::now();
    let mut ends = [endpoint(0, now), endpoint(1, now)];
    let (mut wire, mut delivered) = (VecDeque::<(ike::Path, Vec<u8>)>::new(), 0);
    for _ in 0..20 {
        for end in &mut ends {
            end.handle_timeout(now);
            drain(end, &mut wire);
        }
        while let Some((path, mut message)) = wire.pop_front().filter(|_| delivered < MOST) {
            let mut copies = 1;
            let (edits, _) = data.as_chunks::<4>();
            for [_, action, at, byte] in edits.iter().filter(|[number, ..]| usize::from(*number) == delivered) {
                let at = usize::from(*at) * message.len() / 256;
                match action % 6 {
                    0 => copies = 0,
                    1 => copies = 2,
                    2 => message.truncate(at),
                    3 => message.insert(at, *byte),
                    4 => message.extend([*byte; 20]),
                    _ => message.iter_mut().skip(at).take(1).for_each(|there| *there ^= byte),
                }
            }
            delivered += 1;
            let arrived = ike::Path { local: path.peer, peer: path.local, ..path };
            let to = usize::from(path.peer.ip().to_string() == ADDRESSES[1]);
            for _ in 0..copies {
                // Dropped or not, it must not end the program.
                let _ = ends[to].handle_datagram(&message, arrived, now);
                drain(&mut ends[to], &mut wire);
            }
        }
        now += Duration::from_secs(2);
    }
    ends.iter().all(|end| end.status().iter().all(|status| status.state == ConnectionState::Established))
}

fn drain(end: &mut Endpoint, wire: &mut VecDeque<(ike::Path, Vec<u8>)>) {
    loop {
        match end.poll_output() {
            Output::Transmit(transmit) => wire.push_back((transmit.path, transmit.payload)),
            Output::Event(_) => {}
            Output::Timeout(_) => return,
        }
    }
}
