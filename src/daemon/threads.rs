//! The four threads of gatewayd and the channels between them.
//!
//! ```text
//!                       OutboundCommand ring                       NatTraversalSender, port 500 sockets
//!   TUN ─► outbound ◄──────────────┬──────────────────── ike ─────────────────────────────────► network
//!            │   └── Acquire ring ─┼───────────────────►  │ ▲ ▲
//!            ▼                     │   InboundCommand ring│ │ └─ IkeQueue (bytes, bounded) ─┐
//!   network ESP                    │                      ▼ │ Request queue + Waker         │
//!                                  │                   inbound ◄── port 4500, protocol 50   │
//!                                  │                      └────────────────────────────────┘
//!                                  └── FIB ── control (tokio, this thread) ◄── Notice (mpsc) ── ike
//!                                              └── Ask (mpsc) ◄── control socket      View (arc-swap), IkeSnapshot (asked of ike) ─► status
//! ```
//!
//! What is drawn as outbound is a loop; [`data_threads`](super::data_threads) tells which thread drives it when.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::sync::mpsc as tokio_mpsc;
use tracing::warn;

use super::config::Gateway as Settings;
use super::connections::ConnectionIds;
use super::data_threads::data_threads;
use super::ike_handle::IkeHandle;
use super::ike_thread::{IkeThread, Sockets};
use super::key_log::KeyLogFiles;
use super::metrics::Drops;
use super::request_queue::RequestQueue;
use super::send_failures::SendFailures;
use super::token_secret;
use super::wiring::path_mtu::Paths;
use super::wiring::{Channels, CommandRing, Notice, Wiring};
use crate::crypto::SystemEntropy;
use crate::dataplane::acquire::Acquires;
use crate::dataplane::command::{COMMAND_RING, OutboundCommand};
use crate::dataplane::fair_source::FairSource;
use crate::dataplane::ike_queue::ike_queue;
use crate::dataplane::inbound::{InboundLoop, InboundPorts};
use crate::dataplane::outbound::{OutboundLoop, OutboundPorts};
use crate::dataplane::parameters::{OutboundConfig, OwnAddresses};
use crate::ike::{self, Endpoint, KeyLog};
use crate::io::device::Device;
use crate::io::device_mtu::device_mtu;
use crate::io::esp_sockets::{EspSockets, EspSocketsConfig};
use crate::io::icmp::IcmpSocket;
use crate::io::send_refusals::refusals;
use crate::io::udp::{SocketOptions, UdpSocket};
use crate::io::wake::Waker;

/// IKE's port, and the port of NAT traversal (RFC 7296 section 2.23).
pub const IKE_PORT: u16 = 500;
/// See [`IKE_PORT`].
pub const NAT_PORT: u16 = 4500;

/// Threads that may end.
const THREADS: usize = 3;
/// Notices that may wait for the control task; more wait in the wiring.
const NOTICES: usize = 4096;

/// What the control task holds of the other threads.
pub struct Threads {
    /// The way to the IKE thread.
    pub ike: IkeHandle,
    /// The ring of the outbound thread's commands.
    pub outbound: Arc<CommandRing<OutboundCommand>>,
    /// The connections' numbers in the data path.
    pub ids: Arc<ConnectionIds>,
    /// What the data threads drop.
    pub drops: Drops,
    /// Grows with every round of the IKE thread; the watchdog looks whether it does.
    pub heartbeat: Arc<AtomicU64>,
    /// What the wiring tells.
    pub notices: tokio_mpsc::Receiver<Notice>,
    /// Why a thread ended that should not have.
    pub failures: tokio_mpsc::Receiver<String>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Opens the sockets and starts the outbound, the inbound and the IKE thread, with no connection yet.
    ///
    /// # Errors
    /// A port is taken, or privileges are missing.
    pub fn start(settings: &Settings, device: &Device) -> io::Result<Self> {
        let config = EspSocketsConfig { port: NAT_PORT, mark: Some(settings.mark), raw: true };
        let sockets = EspSockets::bind(config).map_err(|error| about(&format!("UDP port {NAT_PORT}"), &error))?;
        let ike = port_500(settings.mark)?;
        let families = ike.iter().map(|socket| socket.local_address().ip());
        let icmp = families.map(IcmpSocket::open).collect::<io::Result<_>>().map_err(|error| about("ICMP", &error))?;
        let ike_sockets = Sockets { ike, nat: sockets.ike_sender(), icmp };
        let key_log = settings.key_log.as_deref().map(KeyLogFiles::open).transpose()?;
        let key_log = key_log.map(|files| Box::new(files) as Box<dyn KeyLog>);
        let token_secret = token_secret::read_or_make(&settings.state).inspect_err(|error| {
            warn!(error, "no tokens of quick crash detection are given: peers notice a restart later");
        });
        let waker = Waker::new()?;
        let drops = Drops::default();
        let (acquires, acquire_reader) = Acquires::new();
        let (queue, nat_queue) = ike_queue();
        let (refusal_writer, refusals) = refusals();
        let (outbound_ring, outbound_commands) = rtrb::RingBuffer::new(COMMAND_RING);
        let (inbound_ring, inbound_commands) = rtrb::RingBuffer::new(COMMAND_RING);
        let (notice_sender, notices) = tokio_mpsc::channel(NOTICES);
        let (failure_sender, failures) = tokio_mpsc::channel(THREADS);

        let outbound_ports = OutboundPorts {
            source: FairSource::new(device.source(), Arc::clone(&drops.outbound), Instant::now),
            replies: device.sink(),
            sink: sockets.sink().telling(refusal_writer),
            commands: outbound_commands,
            acquires,
            wake: Box::new(waker.clone()),
            drops: Arc::clone(&drops.outbound),
        };
        let outbound_loop = OutboundLoop::new(outbound_ports, outbound_config(settings));
        let source = sockets.source()?;
        let tun = source.companion(device.descriptor()?);
        let inbound_ports = InboundPorts {
            source,
            sink: device.sink(),
            commands: inbound_commands,
            ike: queue,
            wake: Box::new(waker.clone()),
            drops: Arc::clone(&drops.inbound),
        };
        let inbound_loop = InboundLoop::new(inbound_ports, Instant::now);
        let (outbound_thread, inbound_thread) = data_threads(Box::new(outbound_loop), inbound_loop, tun);

        let outbound = Arc::new(CommandRing::new(outbound_ring));
        let ids = Arc::new(ConnectionIds::default());
        let heartbeat = Arc::new(AtomicU64::new(0));
        let requests = RequestQueue::default();
        let entropy = || Box::new(SystemEntropy::new());
        let channels = Channels {
            outbound: Arc::clone(&outbound),
            inbound: CommandRing::new(inbound_ring),
            ids: Arc::clone(&ids),
            notices: notice_sender,
        };
        let mark = settings.mark;
        let device_mtu = Box::new(move |local, peer| device_mtu(local, peer, Some(mark)));
        let paths = Paths::new(settings.mtu, settings.pmtu_raise, Arc::clone(&drops.outbound), device_mtu);
        let mut config = ike::Config::new(Vec::new());
        config.retransmission.timeout = settings.retransmission_timeout;
        let ike_thread = IkeThread {
            endpoint: Endpoint::new(Arc::new(config), entropy(), Instant::now())
                .with_key_log(key_log)
                .with_token_secret(token_secret.ok()),
            wiring: Wiring::new(channels, paths, entropy()),
            sockets: ike_sockets,
            nat_queue,
            acquires: acquire_reader,
            refusals,
            send_failures: SendFailures::new(Instant::now()),
            requests: requests.clone(),
            waker: waker.clone(),
            heartbeat: Arc::clone(&heartbeat),
        };
        let handles = vec![
            spawn("outbound", &failure_sender, move || outbound_thread.run())?,
            spawn("inbound", &failure_sender, move || inbound_thread.run())?,
            spawn("ike", &failure_sender, move || ike_thread.run())?,
        ];
        let ike = IkeHandle { requests, waker };
        Ok(Self { ike, outbound, ids, drops, heartbeat, notices, failures, handles })
    }

    /// Whether every thread has ended.
    pub fn ended(&self) -> bool {
        self.handles.iter().all(JoinHandle::is_finished)
    }
}

fn port_500(mark: u32) -> io::Result<Vec<UdpSocket>> {
    let mut sockets = Vec::new();
    for address in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
        let options = SocketOptions { mark: Some(mark), gro: false };
        match UdpSocket::bind(SocketAddr::new(address, IKE_PORT), options) {
            Ok(socket) => sockets.push(socket),
            // A machine without IPv6 does without.
            Err(error)
                if address.is_ipv6()
                    && matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => {}
            Err(error) => return Err(about(&format!("UDP port {IKE_PORT}"), &error)),
        }
    }
    Ok(sockets)
}

fn about(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn outbound_config(settings: &Settings) -> OutboundConfig {
    let mut own_addresses = OwnAddresses::default();
    for address in settings.inner_addresses.iter().map(ipnet::IpNet::addr).rev() {
        match address {
            IpAddr::V4(address) => own_addresses.ipv4 = Some(address),
            IpAddr::V6(address) => own_addresses.ipv6 = Some(address),
        }
    }
    OutboundConfig { own_addresses, ..OutboundConfig::default() }
}

/// A thread that ends without having been told to is a failure of the whole.
fn spawn(
    name: &'static str,
    failures: &tokio_mpsc::Sender<String>,
    body: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let guard = Guard { name, failures: failures.clone(), reason: Some("panicked".to_owned()) };
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let mut guard = guard;
        guard.reason = body().err().map(|error| error.to_string());
    })
}

/// Tells of a thread that ends, whether it returns or panics.
struct Guard {
    name: &'static str,
    failures: tokio_mpsc::Sender<String>,
    reason: Option<String>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(reason) = self.reason.take() {
            // Each thread ends once. Without a control task the process is about to end.
            let _ = self.failures.try_send(format!("the {} thread has ended: {reason}", self.name));
        }
    }
}
