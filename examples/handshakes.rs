//! Sets up and takes down tunnels as fast as a responder can, and says what that costs the responder.
//!
//! The initiator is the library's own `ike::Endpoint` over two UDP sockets, without a data path: each of `--at-once`
//! connections negotiates an IKE SA with a Child SA, deletes both, and begins again. So one "handshake" is IKE_SA_INIT,
//! IKE_AUTH and the deletion, three exchanges, and four where the responder asks for a cookie; and the responder holds few
//! SAs at a time, however long it goes on. On machines of few cores the initiator needs as much time as the responder, so
//! what compares is the processor time of the responder (`--pid`), not the handshakes of a second.
//!
//! To be run in a network namespace: it takes UDP ports 500 and 4500. `netns-scripts/handshakes.sh` does all of it.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use ipnet::{IpNet, Ipv4Net};
use ipsec_gateway::crypto::{Secret, SystemEntropy, encryption, ke, prf};
use ipsec_gateway::ike::{
    Child, Command, Config, Connection, Endpoint, EspProposal, Event, Extensions, IkeProposal, Output, Path, Peer,
    Start,
};
use ipsec_gateway::io::udp::{SocketOptions, UdpSocket};
use ipsec_gateway::io::wake::wait_readable;
use ipsec_gateway::wire::ike::{Identification, TrafficSelector};

const NON_ESP_MARKER: [u8; 4] = [0; 4];

#[derive(Parser)]
struct Arguments {
    /// The responder's address
    #[arg(long)]
    peer: IpAddr,
    /// Addresses to send from, by turns: responders count half-open IKE SAs by address before they ask for cookies
    #[arg(long, required = true, value_delimiter = ',')]
    sources: Vec<IpAddr>,
    /// Negotiations under way at a time
    #[arg(long, default_value_t = 32)]
    at_once: usize,
    /// How long to measure, after half a second to warm up
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// The key exchange method, such as x25519 or modp2048
    #[arg(long, default_value = "x25519")]
    group: String,
    #[arg(long)]
    psk: String,
    /// The length of our identity, a key ID (RFC 7296 section 3.5) of so many bytes in place of a name
    #[arg(long)]
    local_id_bytes: Option<usize>,
    /// Seconds after which an attempt that gets no answer begins anew; what is too large for the responder gets none
    #[arg(long)]
    give_up_after: Option<f64>,
    /// The responder's process, whose time is taken
    #[arg(long)]
    pid: Option<u32>,
}

struct Initiator {
    endpoint: Endpoint,
    ike: UdpSocket,
    nat: UdpSocket,
    peer: IpAddr,
    handshakes: u64,
    /// IKE_SA_INIT requests sent: one more for each cookie, and for each repetition.
    requests: u64,
    /// IKE_AUTH requests sent, in fragments or not, and all datagrams.
    auth_requests: u64,
    datagrams: u64,
    failures: u64,
    deadline: Option<Instant>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let group = ke::by_name(&arguments.group).ok_or("no such key exchange method")?;
    let proposal = IkeProposal {
        encryption: vec![&encryption::AES128_GCM_16],
        integrity: Vec::new(),
        prf: vec![&prf::HMAC_SHA2_256],
        groups: vec![group],
    };
    let connections: Result<Vec<_>, Box<dyn Error>> =
        (0..arguments.at_once).map(|number| connection(number, &arguments, proposal.clone()).map(Arc::new)).collect();
    let connections = connections?;
    let names: Vec<Arc<str>> = connections.iter().map(|connection| Arc::clone(&connection.name)).collect();
    let mut config = Config::new(connections);
    if let Some(seconds) = arguments.give_up_after {
        config.retransmission.timeout = Duration::from_secs_f64(seconds);
    }
    let bind = |port| UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), SocketOptions::default());
    let mut initiator = Initiator {
        endpoint: Endpoint::new(Arc::new(config), Box::new(SystemEntropy::new()), Instant::now()),
        ike: bind(500)?,
        nat: bind(4500)?,
        peer: arguments.peer,
        handshakes: 0,
        requests: 0,
        auth_requests: 0,
        datagrams: 0,
        failures: 0,
        deadline: None,
    };
    for name in names {
        initiator.command(Command::Up { connection: name });
    }
    initiator.run(Duration::from_millis(500))?;
    let before = (initiator.handshakes, initiator.requests, initiator.failures);
    let sent_before = (initiator.auth_requests, initiator.datagrams);
    let (responder, own) = (arguments.pid.map(processor_time).transpose()?, processor_time(std::process::id())?);
    let began = Instant::now();
    initiator.run(Duration::from_secs_f64(arguments.seconds))?;
    let seconds = began.elapsed().as_secs_f64();
    let own = processor_time(std::process::id())? - own;
    let responder = match (responder, arguments.pid) {
        (Some(before), Some(pid)) => Some(processor_time(pid)? - before),
        _ => None,
    };
    let handshakes = initiator.handshakes - before.0;
    let figures = serde_json::json!({
        "handshakes": handshakes,
        "seconds": seconds,
        "per_second": handshakes as f64 / seconds,
        "responder_cpu_s": responder,
        "per_responder_cpu_second": responder.map(|spent| handshakes as f64 / spent),
        "initiator_cpu_s": own,
        "init_requests_per_handshake": (initiator.requests - before.1) as f64 / handshakes.max(1) as f64,
        "failures": initiator.failures - before.2,
        "auth_requests": initiator.auth_requests - sent_before.0,
        "datagrams": initiator.datagrams - sent_before.1,
    });
    println!("{figures}");
    Ok(())
}

fn connection(number: usize, arguments: &Arguments, proposal: IkeProposal) -> Result<Connection, Box<dyn Error>> {
    // Sixteen addresses of 10.64.0.0/12 each, so that no two ask for the same traffic.
    let first = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 64, 0, 0)) + 16 * number as u32);
    let subnet = IpNet::V4(Ipv4Net::new(first, 28)?);
    Ok(Connection {
        name: format!("client-{number}").into(),
        local_address: arguments.sources.get(number % arguments.sources.len()).copied(),
        peer: Peer::Address(arguments.peer),
        local_id: match arguments.local_id_bytes {
            Some(length) => Identification::KeyId(vec![number as u8; length]),
            None => format!("client-{number}.example").parse()?,
        },
        peer_id: Some("responder.example".parse()?),
        pre_shared_key: Arc::new(Secret::new(arguments.psk.clone().into_bytes())),
        ike_proposals: vec![proposal],
        children: vec![Child {
            name: "net".into(),
            local_selectors: vec![TrafficSelector::from_net(subnet)],
            peer_selectors: vec![TrafficSelector::from_net("10.2.0.0/24".parse()?)],
            esp_proposals: vec![EspProposal {
                encryption: vec![&encryption::AES128_GCM_16],
                integrity: Vec::new(),
                groups: Vec::new(),
                esn: vec![false],
            }],
        }],
        start: Start::Wait,
        ike_lifetime: Duration::from_secs(4 * 3600),
        child_lifetime: Duration::from_secs(3600),
        liveness_interval: None,
        nat_traversal: true,
        force_encapsulation: true,
        nat_keepalive: Duration::ZERO,
        extensions: Extensions::default(),
    })
}

impl Initiator {
    fn command(&mut self, command: Command) {
        self.endpoint.handle_command(command, Instant::now());
        self.drain();
    }

    fn run(&mut self, time: Duration) -> std::io::Result<()> {
        let end = Instant::now() + time;
        let mut buffer = vec![0; 65_535];
        while Instant::now() < end {
            let until = self.deadline.map_or(end, |deadline| deadline.min(end));
            let wait = until.saturating_duration_since(Instant::now());
            wait_readable(&[self.ike.as_fd(), self.nat.as_fd()], wait)?;
            while let Some(arrival) = self.ike.receive(&mut buffer)? {
                let path = Path { local: arrival.local, peer: arrival.peer, non_esp_marker: false };
                self.datagram(&buffer[..arrival.len], path);
            }
            while let Some(arrival) = self.nat.receive(&mut buffer)? {
                let path = Path { local: arrival.local, peer: arrival.peer, non_esp_marker: true };
                if let Some(message) = buffer[..arrival.len].strip_prefix(&NON_ESP_MARKER) {
                    self.datagram(message, path);
                }
            }
            if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                self.endpoint.handle_timeout(Instant::now());
                self.drain();
            }
        }
        Ok(())
    }

    fn datagram(&mut self, datagram: &[u8], path: Path) {
        // What is dropped was a repetition; the endpoint repeats what mattered.
        let _ = self.endpoint.handle_datagram(datagram, path, Instant::now());
        self.drain();
    }

    /// Sends what the endpoint says, and turns every tunnel that is up into one that goes down, and back.
    fn drain(&mut self) {
        let mut next = Vec::new();
        loop {
            match self.endpoint.poll_output() {
                Output::Transmit(transmit) => {
                    let path = transmit.path;
                    self.requests += u64::from(is_first_request(&transmit.payload));
                    self.auth_requests += u64::from(is_auth_request(&transmit.payload));
                    self.datagrams += 1;
                    let parts: &[&[u8]] =
                        if path.non_esp_marker { &[&NON_ESP_MARKER, &transmit.payload] } else { &[&transmit.payload] };
                    let socket = if path.non_esp_marker { &self.nat } else { &self.ike };
                    let peer = SocketAddr::new(self.peer, path.peer.port());
                    // What is not sent is repeated.
                    let _ = socket.send(parts, path.local.ip(), peer, false);
                }
                Output::Event(Event::ChildInstalled(child)) => {
                    self.handshakes += 1;
                    next.push(Command::Down { connection: child.connection });
                }
                Output::Event(Event::ConnectionDown { connection, error, .. }) => {
                    self.failures += u64::from(error.is_some());
                    next.push(Command::Up { connection });
                }
                Output::Event(Event::Failure { failure, .. }) => {
                    if self.failures == 0 {
                        eprintln!("{failure}");
                    }
                    self.failures += 1;
                }
                Output::Event(_) => {}
                Output::Timeout(deadline) => {
                    self.deadline = deadline.map(|deadline| deadline.at);
                    match next.pop() {
                        Some(command) => self.endpoint.handle_command(command, Instant::now()),
                        None => return,
                    }
                }
            }
        }
    }
}

/// An IKE_SA_INIT request: exchange type 34, and no responder SPI yet.
fn is_first_request(message: &[u8]) -> bool {
    message.get(18) == Some(&34) && message.get(8..16).is_some_and(|spi| spi == [0; 8])
}

/// An IKE_AUTH request: exchange type 35, and an encrypted payload, or the first fragment of one (RFC 7383 section 2.5).
fn is_auth_request(message: &[u8]) -> bool {
    let fragment = message.get(32..34).is_some_and(|number| number == [0, 1]);
    message.get(18) == Some(&35) && (message.get(16) == Some(&46) || message.get(16) == Some(&53) && fragment)
}

/// What the threads of a process have spent, in seconds.
fn processor_time(pid: u32) -> std::io::Result<f64> {
    let mut spent = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that ends meanwhile takes its time with it; neither responder ends any.
        let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        spent += text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(spent as f64 / 1e9)
}
