//! cend as a process of its own, and its clients.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ipsec_gateway::io::openapi_client::signed_query;
use socket2::{Domain, Socket, Type};

use super::Outcome;

/// Names and values of parameters.
pub type Given<'a> = &'a [(&'a str, &'a str)];

/// The cend that is measured: `CEND`, or the one that was built with the benchmark.
pub fn program() -> OsString {
    std::env::var_os("CEND").unwrap_or_else(|| env!("CARGO_BIN_EXE_cend").into())
}

/// A running cend, killed when it is dropped.
pub struct Cend {
    process: Child,
    pub address: SocketAddr,
    /// How long the start took.
    pub started: Duration,
}

impl Cend {
    /// Starts it by a command line, to which the access key is added, and waits until it listens.
    pub fn run(command: &mut Command) -> Outcome<Self> {
        let begun = Instant::now();
        let mut process =
            command.args(["--access-key", "bench:secret"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let address = line.trim().rsplit('/').next().ok_or("no address")?.parse()?;
        Ok(Self { process, address, started: begun.elapsed() })
    }

    /// What is resident, in bytes.
    pub fn resident(&self) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    }
}

impl Drop for Cend {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A client with one connection.
pub struct Client {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Outcome<Self> {
        Self::connect_from(1, address)
    }

    /// From 127.0.0.`last`: connections of one address are bounded.
    pub fn connect_from(last: u32, address: SocketAddr) -> Outcome<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let [.., last] = last.to_be_bytes();
        socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into())?;
        socket.connect(&address.into())?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), address })
    }

    /// Calls an action; how long it took, and the length of the answer.
    pub fn call(&mut self, version: &str, action: &str, given: Given<'_>) -> Outcome<(Duration, usize)> {
        self.ask(version, action, given).map(|(took, body)| (took, body.len()))
    }

    /// Calls an action; how long it took, and the answer.
    pub fn ask(&mut self, version: &str, action: &str, given: Given<'_>) -> Outcome<(Duration, Vec<u8>)> {
        let query = signed_query(("bench", b"secret"), version, action, given);
        let begun = Instant::now();
        let request = format!("GET /?{query} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut length, mut status) = (0, String::new());
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            if status.is_empty() {
                status.clone_from(&line);
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        let took = begun.elapsed();
        if !status.contains(" 200 ") {
            return Err(format!("{action}: {status}{}", String::from_utf8_lossy(&body)).into());
        }
        Ok((took, body))
    }
}
