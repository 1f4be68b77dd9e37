//! Floods of what strangers can send to an IKE port, for the labs: at a rate or as fast as it goes, from one address or from
//! many. Prints what was sent, and what came back, as JSON.
//!
//! Kinds that need no answer go through a raw socket, with forged sources if asked for. Those that need one (a cookie,
//! the responder's SPI) go through a socket for each of `--sources`. To be run in a network namespace:
//! `netns-scripts/floods.sh` does.
#![expect(clippy::disallowed_methods, reason = "one thread, which serves nobody else")]

use std::collections::HashMap;
use std::io::{IoSlice, Result};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use ipsec_gateway::wire::ike::{
    ExchangeType, Flags, Header, IkeSpi, KeyExchange, KeyExchangeId, Notify, NotifyType, Payload, PayloadType,
    Proposal, ProtocolId, Transform, TransformType, encode_message, parse_message,
};
use nix::sys::socket::{
    AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockProtocol, SockType, SockaddrIn, sendmmsg, setsockopt, socket,
    sockopt,
};
use serde_json::json;

/// Packets a system call.
const BATCH: usize = 64;
/// What makes a request a large one, in bytes.
const LARGE: usize = 50_000;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// IKE headers and nothing behind, on IKE SAs that there are not
    Junk,
    /// IKE_SA_INIT requests
    Init,
    /// Requests on IKE SAs that there are not
    UnknownIke,
    /// ESP packets on SAs that there are not: in UDP, or with --port 0 as IP protocol 50
    UnknownEsp,
    /// IKE_SA_INIT, with its cookie, and nothing after
    HalfOpen,
    /// The same, of 50 kB
    Large,
    /// The same and a rubbish IKE_AUTH, for which the responder has to derive the keys
    Auth,
    /// The same and the fragments of an IKE_AUTH that never is complete (RFC 7383)
    Fragments,
}

#[derive(Parser)]
struct Arguments {
    kind: Kind,
    to: Ipv4Addr,
    #[arg(long, default_value_t = 500)]
    port: u16,
    /// Datagrams a second; 0 is as many as go
    #[arg(long, default_value_t = 0)]
    rate: u32,
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// The first address to send from
    #[arg(long)]
    source: Ipv4Addr,
    /// How many addresses to send from, by turns; 0, with kinds that need no answer: all of 11.0.0.0/8, at random
    #[arg(long, default_value_t = 1)]
    sources: u32,
    /// The key exchange method's number (RFC 7296 section 3.3.2) and the length of its public value
    #[arg(long, default_value_t = 31)]
    group: u16,
    #[arg(long, default_value_t = 32)]
    public_len: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    nix::sys::prctl::set_timerslack(1000)?;
    match arguments.kind {
        Kind::HalfOpen | Kind::Large | Kind::Auth | Kind::Fragments => converse(&arguments),
        _ => shower(&arguments),
    }
}

/// An IKE_SA_INIT request, which is the same each time for an SPI.
fn init(arguments: &Arguments, spi: IkeSpi, cookie: Option<Vec<u8>>) -> Vec<u8> {
    // AES-GCM with 128 bits, and PRF-HMAC-SHA2-256.
    let transforms = vec![
        Transform::new(TransformType::ENCRYPTION, 20, Some(128)),
        Transform::new(TransformType::PSEUDORANDOM_FUNCTION, 5, None),
        Transform::new(TransformType::KEY_EXCHANGE, arguments.group, None),
    ];
    let proposal = Proposal { number: 1, protocol: ProtocolId::IKE, spi: Vec::new(), transforms };
    let public = KeyExchange { group: KeyExchangeId(arguments.group), data: vec![9; arguments.public_len] };
    let mut payloads: Vec<_> =
        cookie.map(|cookie| Payload::Notify(Notify::new(NotifyType::COOKIE, cookie))).into_iter().collect();
    payloads.extend([
        Payload::SecurityAssociation(vec![proposal]),
        Payload::KeyExchange(public),
        Payload::Nonce([spi.0; 4].concat()),
    ]);
    if arguments.kind == Kind::Fragments {
        payloads.push(Payload::Notify(Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, Vec::new())));
    }
    if arguments.kind == Kind::Large {
        payloads.push(Payload::VendorId(vec![7; LARGE]));
    }
    let flags = Flags { initiator: true, ..Flags::default() };
    encode_message(&Header::new(spi, IkeSpi::ZERO, ExchangeType::IKE_SA_INIT, flags, 0), &payloads)
        .expect("a message that fits")
}

/// A message that claims to be encrypted: the header, and a payload of this type whose body is these bytes.
fn sealed(spis: (IkeSpi, IkeSpi), exchange: ExchangeType, kind: PayloadType, body: &[u8]) -> Vec<u8> {
    let flags = Flags { initiator: true, ..Flags::default() };
    let header = Header::new(spis.0, spis.1, exchange, flags, 1);
    let mut message = encode_message(&header, &[]).expect("a header");
    message[16] = kind.0;
    message.extend([0, 0]);
    message.extend(u16::to_be_bytes(4 + body.len() as u16));
    message.extend(body);
    let length = (message.len() as u32).to_be_bytes();
    message[24..28].copy_from_slice(&length);
    message
}

/// Numbers that look random, in turn (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn seeded() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(now.as_nanos() as u64 | 1)
    }

    fn spi(&mut self) -> IkeSpi {
        IkeSpi((self.next() | 1).to_be_bytes())
    }
}

/// How many are due now.
struct Pace {
    rate: f64,
    begin: Instant,
    end: Instant,
}

impl Pace {
    fn new(arguments: &Arguments) -> Self {
        let begin = Instant::now();
        Self { rate: arguments.rate.into(), begin, end: begin + Duration::from_secs_f64(arguments.seconds) }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// At most this many, `sent` being gone; waits a moment when it is none.
    fn due(&self, sent: u64, most: usize) -> usize {
        if self.rate == 0.0 {
            return most;
        }
        let due = self.rate * self.begin.elapsed().as_secs_f64() - sent as f64;
        if due < 1.0 {
            std::thread::sleep(Duration::from_micros(500));
        }
        (due.max(0.0) as usize).min(most)
    }
}

/// Sends what needs no answer.
fn shower(arguments: &Arguments) -> Result<()> {
    let (mut numbers, spi) = (Numbers::seeded(), IkeSpi([1; 8]));
    let raw_esp = arguments.port == 0;
    let marker: &[u8] = if arguments.port == 4500 && arguments.kind != Kind::UnknownEsp { &[0; 4] } else { &[] };
    let message = match arguments.kind {
        Kind::Junk => {
            let flags = Flags { initiator: true, ..Flags::default() };
            encode_message(&Header::new(spi, spi, ExchangeType::INFORMATIONAL, flags, 0), &[]).expect("a header")
        }
        Kind::UnknownIke => sealed((spi, spi), ExchangeType::INFORMATIONAL, PayloadType::ENCRYPTED, &[3; 60]),
        Kind::UnknownEsp => vec![5; 120],
        _ => init(arguments, spi, None),
    };
    let mut payload = Vec::new();
    if !raw_esp {
        payload.extend(40_000_u16.to_be_bytes());
        payload.extend(arguments.port.to_be_bytes());
        payload.extend(((8 + marker.len() + message.len()) as u16).to_be_bytes());
        payload.extend([0, 0]); // no checksum, as IPv4 allows
        payload.extend(marker);
    }
    let spi_at = payload.len();
    payload.extend(message);
    let protocol = if raw_esp { 50 } else { 17 };
    let mut packet = vec![0x45, 0];
    packet.extend(((20 + payload.len()) as u16).to_be_bytes());
    // The kernel fills in the identification and the checksum.
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    packet.extend(arguments.source.octets());
    packet.extend(arguments.to.octets());
    packet.extend(payload);
    let fd: OwnedFd = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Raw)?;
    setsockopt(&fd, sockopt::SndBufForce, &(8 << 20))?;
    let to = SockaddrIn::from(SocketAddrV4::new(arguments.to, 0));
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut packets = vec![packet; BATCH];
    let (pace, mut sent, mut refused) = (Pace::new(arguments), 0_u64, 0_u64);
    while !pace.is_over() {
        let count = pace.due(sent, BATCH);
        for packet in &mut packets[..count] {
            let source = match arguments.sources {
                0 => Ipv4Addr::from_bits(11 << 24 | (numbers.next() as u32 >> 8)),
                many => Ipv4Addr::from_bits(arguments.source.to_bits() + (numbers.next() % u64::from(many)) as u32),
            };
            packet[12..16].copy_from_slice(&source.octets());
            let spis = &mut packet[20 + spi_at..];
            spis[..8].copy_from_slice(&numbers.spi().0);
            if matches!(arguments.kind, Kind::Junk | Kind::UnknownIke) {
                spis[8..16].copy_from_slice(&numbers.spi().0);
            }
        }
        let slices: Vec<_> = packets[..count].iter().map(|packet| [IoSlice::new(packet)]).collect();
        match sendmmsg(fd.as_raw_fd(), &mut headers, slices.iter(), [Some(to); BATCH], [], MsgFlags::empty()) {
            Ok(_) => {}
            Err(nix::Error::ENOBUFS | nix::Error::EAGAIN) => refused += 1,
            Err(error) => return Err(error.into()),
        }
        sent += count as u64;
    }
    report(sent, pace.begin.elapsed(), refused, 0, 0)
}

fn report(sent: u64, time: Duration, refused: u64, cookies: u64, accepted: u64) -> Result<()> {
    let rate = sent as f64 / time.as_secs_f64();
    println!(
        "{}",
        json!({"sent": sent, "rate": rate.round(), "refused": refused, "cookies": cookies, "accepted": accepted})
    );
    Ok(())
}

/// One address of ours, and what it has asked.
struct Stranger {
    socket: UdpSocket,
    /// Nothing, or the non-ESP marker.
    marker: &'static [u8],
    to: SocketAddr,
}

impl Stranger {
    fn send(&self, message: &[u8]) -> bool {
        self.socket.send_to(&[self.marker, message].concat(), self.to).is_ok()
    }
}

/// Negotiates as far as it takes to cost something. Each request counts as sent, the first ones and what follows alike.
fn converse(arguments: &Arguments) -> Result<()> {
    let mut numbers = Numbers::seeded();
    let marker: &'static [u8] = if arguments.port == 4500 { &[0; 4] } else { &[] };
    let to = SocketAddr::from((arguments.to, arguments.port));
    let strangers: Vec<Stranger> = (0..arguments.sources.max(1))
        .map(|number| {
            let address = Ipv4Addr::from_bits(arguments.source.to_bits() + number);
            let socket = UdpSocket::bind((address, 0))?;
            socket.set_nonblocking(true)?;
            Ok(Stranger { socket, marker, to })
        })
        .collect::<Result<_>>()?;
    let (pace, mut sent, mut refused) = (Pace::new(arguments), 0_u64, 0_u64);
    let (mut cookies, mut accepted) = (0, 0);
    let mut buffer = vec![0; 65_535];
    let mut answered: HashMap<IkeSpi, ()> = HashMap::new();
    'flood: loop {
        for stranger in &strangers {
            if pace.is_over() {
                break 'flood;
            }
            for _ in 0..pace.due(sent, 8) {
                refused += u64::from(!stranger.send(&init(arguments, numbers.spi(), None)));
                sent += 1;
            }
            while let Ok(length) = stranger.socket.recv(&mut buffer) {
                let Some(datagram) = buffer[..length].strip_prefix(marker) else { continue };
                let Ok(answer) = parse_message(datagram) else { continue };
                let (ours, theirs) = (answer.header.initiator_spi, answer.header.responder_spi);
                let cookie = answer.payloads.iter().find_map(|payload| match payload {
                    Payload::Notify(notify) if notify.kind == NotifyType::COOKIE => Some(notify.data.clone()),
                    _ => None,
                });
                if let Some(cookie) = cookie {
                    cookies += 1;
                    sent += 1;
                    refused += u64::from(!stranger.send(&init(arguments, ours, Some(cookie))));
                } else if !theirs.is_zero() && answered.insert(ours, ()).is_none() {
                    accepted += 1;
                    sent += follow(arguments, stranger, (ours, theirs));
                }
            }
        }
    }
    report(sent, pace.begin.elapsed(), refused, cookies, accepted)
}

/// Sends what comes after an accepted IKE_SA_INIT; returns how many datagrams.
fn follow(arguments: &Arguments, stranger: &Stranger, spis: (IkeSpi, IkeSpi)) -> u64 {
    match arguments.kind {
        Kind::Auth => {
            stranger.send(&sealed(spis, ExchangeType::IKE_AUTH, PayloadType::ENCRYPTED, &[4; 200]));
            1
        }
        Kind::Fragments => {
            for number in 1..=32_u16 {
                let body = [&number.to_be_bytes()[..], &64_u16.to_be_bytes(), &[4; 400]].concat();
                stranger.send(&sealed(spis, ExchangeType::IKE_AUTH, PayloadType::ENCRYPTED_FRAGMENT, &body));
            }
            32
        }
        _ => 0,
    }
}
