//! Many clients at a time on both of cend's listeners, beside others that dribble.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::kill::signed;

/// Clients on each listener, and calls of each client.
const CLIENTS: usize = 200;
const CALLS: usize = 2;
/// Connections that send a byte each second.
const SLOW: usize = 500;
/// When a connection without a complete request is closed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Resident memory at most, in KiB: a debug build with 900 connections, 400 of them with TLS.
const RESIDENT: u64 = 256 << 10;

struct Cend {
    process: Child,
    http: SocketAddr,
    https: SocketAddr,
    tls: TlsConnector,
    _state: tempfile::TempDir,
}

impl Cend {
    fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_cend"))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--listen-tls",
                "127.0.0.1:0",
                "--access-key",
                "testak:testsk",
                "--state",
            ])
            .arg(state.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut address = |scheme: &str| {
            let line = lines.next().unwrap().unwrap();
            line.strip_prefix(&format!("cend listens on {scheme}://")).expect("an address").parse().unwrap()
        };
        let (http, https) = (address("http"), address("https"));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(state.path().join("ca.pem")).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Self { process, http, https, tls: TlsConnector::from(Arc::new(config)), _state: state }
    }

    /// `VmRSS` or `VmHWM`, in KiB.
    fn memory(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let found = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
        found.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// A signed call on a connection of its own: how long it took, and the status that came.
    fn call(&self, source: &str, secure: bool, query: String) -> JoinHandle<(Duration, u16)> {
        let address = if secure { self.https } else { self.http };
        let (source, tls) = (source.to_owned(), self.tls.clone());
        tokio::spawn(async move {
            let began = Instant::now();
            let stream = connect(&source, address).await;
            let status = match secure {
                true => ask(tls.connect(ServerName::from(address.ip()), stream).await.expect("TLS"), &query).await,
                false => ask(stream, &query).await,
            };
            (began.elapsed(), status)
        })
    }
}

impl Drop for Cend {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn connect(source: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, query: &str) -> u16 {
    let request = format!("GET /?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer).split(' ').nth(1).expect("a status").parse().unwrap()
}

/// Sends a byte each second, of what never becomes a request; how long the server bore it.
async fn dribble(source: String, to: SocketAddr, at_once: &'static [u8], byte: u8) -> Duration {
    let began = Instant::now();
    let (mut read, mut write) = connect(&source, to).await.into_split();
    let sending = async {
        write.write_all(at_once).await.unwrap();
        while write.write_all(&[byte]).await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
        // The reader sees the end.
        std::future::pending::<()>().await
    };
    let mut answer = Vec::new();
    tokio::select! {
        _ = read.read_to_end(&mut answer) => {}
        () = sending => {}
    }
    began.elapsed()
}

#[tokio::test]
async fn four_hundred_clients_are_answered_beside_five_hundred_that_dribble() {
    // Sockets of this process, which has other tests beside this one.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most.min(8192), most).unwrap();
    let cend = Cend::start();
    let slow: Vec<_> = (0..SLOW)
        .map(|number| {
            let source = format!("127.0.1.{}", 1 + number / 100);
            tokio::spawn(match number % 3 {
                // A head, a handshake, a body.
                0 => dribble(source, cend.http, b"GET /?Action=", b'x'),
                1 => dribble(source, cend.https, &[22, 3, 1, 2, 0], 1),
                _ => dribble(source, cend.http, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n", b'x'),
            })
        })
        .collect();
    sleep(Duration::from_secs(1)).await;

    let mut times = Vec::new();
    for round in 0..CALLS {
        let calls: Vec<_> = (0..2 * CLIENTS)
            .map(|client| {
                let secure = client % 2 == 1;
                let source = if secure { "127.0.0.3" } else { "127.0.0.2" };
                let query = match (client / 2 + round) % 20 {
                    0 => signed("CreateCen", "2017-09-12", &[("Name", &format!("c{client}-{round}"))]),
                    _ => signed("DescribeCens", "2017-09-12", &[]),
                };
                cend.call(source, secure, query)
            })
            .collect();
        for call in calls {
            let (took, status) = timeout(Duration::from_secs(30), call).await.expect("an answer").unwrap();
            assert_eq!(status, 200);
            times.push(took);
        }
    }
    times.sort();
    let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
    assert_eq!(times.len(), 2 * CLIENTS * CALLS);
    // Loosely: a machine may be busy with other tests.
    assert!(median < Duration::from_secs(5) && most < PATIENCE, "median {median:?}, at most {most:?}");

    let mut borne = Vec::new();
    for one in slow {
        borne.push(timeout(3 * PATIENCE, one).await.expect("it is left").unwrap());
    }
    borne.sort();
    let (first, last) = (borne[0], borne[SLOW - 1]);
    assert!(first >= PATIENCE - Duration::from_secs(1) && last < 2 * PATIENCE, "left after {first:?} to {last:?}");
    let (resident, peak) = (cend.memory("VmRSS"), cend.memory("VmHWM"));
    println!(
        "median {median:?}, at most {most:?}; left after {first:?} to {last:?}; {resident} KiB, at most {peak} KiB"
    );
    assert!(peak < RESIDENT, "{peak} KiB");
    let (_, status) = cend.call("127.0.0.1", true, signed("DescribeCens", "2017-09-12", &[])).await.unwrap();
    assert_eq!(status, 200, "who comes later is answered");
}
