//! Fragments of who has authenticated nothing: what is kept of them has a bound, and they keep no configured peer out.

use super::*;
use crate::crypto::fake;
use crate::ike::half_open::MAX_BYTES;
use crate::ike::{LONGEST_INIT, UNAUTHENTICATED_LIMIT};
use crate::wire::ike::Identification;

/// Strangers, and from how many addresses they are.
const STRANGERS: u32 = 2_400;
const SOURCES: u32 = 300;

/// The gateway has a connection with one peer, and one that takes any.
const GATEWAY: usize = 1;

/// Of an initiator at this address: its IKE_AUTH request has such an identity, and goes in fragments.
fn initiator(at: IpAddr, identity: usize) -> Connection {
    let mut connection = connection(0);
    connection.local_address = Some(at);
    connection.local_id = Identification::KeyId(vec![b'x'; identity]);
    cheap(connection)
}

/// With algorithms that cost nothing.
fn cheap(mut connection: Connection) -> Connection {
    connection.ike_proposals[0].encryption = vec![&fake::ENCRYPTION];
    connection.ike_proposals[0].groups = vec![&fake::KEY_EXCHANGE];
    connection.extensions.fragment_size = Some(1_000);
    connection
}

fn end(connections: Vec<Connection>, seed: u32, now: Instant) -> Endpoint {
    let config = Config::new(connections.into_iter().map(Arc::new).collect());
    Endpoint::new(Arc::new(config), Box::new(SeededEntropy::new(seed.into())), now)
}

fn drained(end: &mut Endpoint) -> Vec<Vec<u8>> {
    let outputs = std::iter::from_fn(|| Some(end.poll_output()).filter(|it| !matches!(it, Output::Timeout(_))));
    let sent = outputs.filter_map(|output| match output {
        Output::Transmit(transmit) => Some(transmit.payload),
        Output::Event(_) | Output::Timeout(_) => None,
    });
    sent.collect()
}

fn path(local: IpAddr, peer: IpAddr) -> Path {
    Path { local: SocketAddr::new(local, 500), peer: SocketAddr::new(peer, 500), non_esp_marker: false }
}

/// One initiator and the gateway's end of its path.
struct Initiator {
    end: Endpoint,
    at: IpAddr,
}

impl Initiator {
    /// Goes through IKE_SA_INIT, with whatever cookie it is asked for. Gives the fragments of its IKE_AUTH request.
    fn fragments(&mut self, gateway: &mut Endpoint, now: Instant) -> Vec<Vec<u8>> {
        let here: IpAddr = ADDRESSES[GATEWAY].into();
        self.end.handle_timeout(now);
        let mut sent = drained(&mut self.end);
        while let [request] = &sent[..] {
            let _ = gateway.handle_datagram(request, path(here, self.at), now);
            for answer in drained(gateway) {
                let _ = self.end.handle_datagram(&answer, path(self.at, here), now);
            }
            sent = drained(&mut self.end);
        }
        sent
    }
}

/// What the gateway's half-open IKE SAs really keep, all of them and one.
fn kept(gateway: &Endpoint) -> (usize, usize) {
    let bytes = gateway.connections.ike_sas.all().values().filter_map(|sa| match sa {
        IkeSa::AwaitingAuth(state) => Some(state.kept_bytes()),
        _ => None,
    });
    bytes.fold((0, 0), |(all, most), bytes| (all + bytes, most.max(bytes)))
}

#[test]
fn what_is_kept_of_strangers_fragments_is_bounded_and_a_configured_peer_gets_through() {
    let mut now = Instant::now();
    let here: IpAddr = ADDRESSES[GATEWAY].into();
    let mut configured = cheap(connection(GATEWAY));
    configured.peer_id = Some(Identification::KeyId(vec![b'x'; 3_000]));
    let mut any = configured.clone();
    (any.name, any.peer, any.peer_id) = ("any".into(), Peer::Any, None);
    any.pre_shared_key = Arc::new(Secret::new(b"nobody knows this one".to_vec()));
    let mut gateway = end(vec![configured, any], 1, now);

    let at: IpAddr = ADDRESSES[0].into();
    let mut peer = Initiator { end: end(vec![initiator(at, 3_000)], 2, now), at };
    let mut of_peer = Vec::new();
    let (mut fullest, mut refused) = (0, 0);
    for number in 0..STRANGERS {
        now += Duration::from_millis(4);
        let at = IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + number % SOURCES));
        // Some have more than one message may have.
        let identity = if number % 10 == 0 { 3 * UNAUTHENTICATED_LIMIT } else { UNAUTHENTICATED_LIMIT - 1_000 };
        let mut stranger = Initiator { end: end(vec![initiator(at, identity)], 10 + number, now), at };
        let mut fragments = stranger.fragments(&mut gateway, now);
        assert!(fragments.len() > 10, "stranger {number} got as far as IKE_AUTH");
        // The message is never complete.
        fragments.pop();
        for fragment in fragments {
            refused += usize::from(gateway.handle_datagram(&fragment, path(here, at), now).is_err());
            assert_eq!(drained(&mut gateway), Vec::<Vec<u8>>::new());
            assert!(gateway.connections.ike_sas.half_open.bytes() <= MAX_BYTES);
        }
        fullest = fullest.max(gateway.connections.ike_sas.half_open.bytes());
        if number % 100 == 0 {
            let (all, most) = kept(&gateway);
            assert_eq!(all, gateway.connections.ike_sas.half_open.bytes(), "the book says what there is");
            assert!(most <= UNAUTHENTICATED_LIMIT + 3 * LONGEST_INIT, "one keeps {most}");
        }
        // The peer comes when everything is full, and each of its fragments after others of strangers.
        if number == STRANGERS - 200 {
            of_peer = peer.fragments(&mut gateway, now);
            assert!(of_peer.len() > 3, "{}", of_peer.len());
        }
        if number > STRANGERS - 200 && number % 10 == 0 && !of_peer.is_empty() {
            assert_eq!(gateway.handle_datagram(&of_peer.remove(0), path(here, peer.at), now), Ok(()));
            for answer in drained(&mut gateway) {
                peer.end.handle_datagram(&answer, path(peer.at, here), now).expect("its answer");
            }
            drained(&mut peer.end);
        }
    }
    assert!(fullest > MAX_BYTES - UNAUTHENTICATED_LIMIT, "the flood fills what there is: {fullest}");
    assert!(refused > STRANGERS as usize, "what is too long is not kept: {refused}");
    assert_eq!(peer.end.status()[0].state, ConnectionState::Established);
    // Nothing of it stays.
    gateway.handle_timeout(now + 31 * SECOND);
    while gateway.half_open() > 0 {
        drained(&mut gateway);
        gateway.handle_timeout(now + 31 * SECOND);
    }
    assert_eq!(gateway.connections.ike_sas.half_open.bytes(), 0);
}
