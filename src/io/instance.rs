//! Which gatewayd runs in this network namespace.
//!
//! A gatewayd holds an abstract Unix socket (unix(7)), whose name belongs to the network namespace: whoever asks needs
//! neither its configuration nor its control socket, and the name is free again the moment that the process is gone.
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::task::JoinHandle;
use tracing::warn;

/// The socket's name.
const NAME: &[u8] = b"ipsec-gateway/gatewayd";

/// Bit of `CapEff` in /proc/PID/status of who may change a network namespace (CAP_NET_ADMIN, capabilities(7)).
const NET_ADMIN: u32 = 12;

/// Who holds the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process; 0 if that is hidden.
    pub process: i32,
    /// Its user; none if it does not say.
    pub user: Option<u32>,
    /// Whether it may run a gatewayd: it is root's, ours, or may change the network.
    pub trusted: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.user {
            Some(user) => write!(f, "process {} of user {user}", self.process),
            None => f.write_str("a process that does not say which"),
        }
    }
}

/// That this process is the gatewayd of its network namespace, for as long as the value lives.
#[derive(Debug)]
pub struct Instance(Option<JoinHandle<()>>);

impl Drop for Instance {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl Instance {
    /// Claims the network namespace; who asks is answered on the runtime of the caller. A process that may not run a
    /// gatewayd and holds the name all the same is told in the log, and does not keep this one from running.
    ///
    /// # Errors
    /// `AddrInUse` if another gatewayd runs here. Whatever else goes wrong is told in the log only: it must not keep what is
    /// protected from being closed.
    pub fn claim() -> io::Result<Self> {
        match listen().or_else(once_more) {
            Ok(listener) => Ok(Instance(Some(tokio::spawn(answer(listener))))),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => match holder() {
                Ok(Some(holder)) if holder.trusted => {
                    let told = format!("a gatewayd runs in this network namespace already: {holder}");
                    Err(io::Error::new(io::ErrorKind::AddrInUse, told))
                }
                Ok(Some(holder)) => {
                    warn!("gatewayd's name in this network namespace is held by {holder}, who may not run a gatewayd");
                    Ok(Instance(None))
                }
                // It never listened, as a gatewayd does.
                Ok(None) => {
                    warn!("gatewayd's name in this network namespace is held by somebody who does not answer");
                    Ok(Instance(None))
                }
                Err(error) => Ok(Self::unknown(&error)),
            },
            Err(error) => Ok(Self::unknown(&error)),
        }
    }

    fn unknown(error: &io::Error) -> Self {
        warn!(%error, "it is not known whether another gatewayd runs in this network namespace");
        Instance(None)
    }
}

/// The holder may have gone this moment.
fn once_more(error: io::Error) -> io::Result<tokio::net::UnixListener> {
    if error.kind() == io::ErrorKind::AddrInUse && holder().is_ok_and(|holder| holder.is_none()) {
        listen()
    } else {
        Err(error)
    }
}

fn listen() -> io::Result<tokio::net::UnixListener> {
    let listener = UnixListener::bind_addr(&std::os::unix::net::SocketAddr::from_abstract_name(NAME)?)?;
    listener.set_nonblocking(true)?;
    tokio::net::UnixListener::from_std(listener)
}

/// That a connection comes about is the answer; it ends at once.
async fn answer(listener: tokio::net::UnixListener) {
    loop {
        if listener.accept().await.is_err() {
            // Out of descriptors, say: the kernel's queue answers as well.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Who holds the name in this network namespace, if anybody does. It does not wait for them.
///
/// # Errors
/// The system refuses to tell.
pub fn holder() -> io::Result<Option<Holder>> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    // An abstract name begins with a zero byte.
    let name = [&[0], NAME].concat();
    match socket.connect(&SockAddr::unix(OsStr::from_bytes(&name))?) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
        // Its queue is full: a gatewayd empties it.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Ok(Some(Holder { process: 0, user: None, trusted: false }));
        }
        Err(error) => return Err(error),
    }
    let credentials = getsockopt(&socket, PeerCredentials)?;
    let (process, user) = (credentials.pid(), credentials.uid());
    let trusted = user == 0 || user == nix::unistd::geteuid().as_raw() || may_change_networks(process);
    Ok(Some(Holder { process, user: Some(user), trusted }))
}

/// A capability counts in our own user namespace only: in one of its own anybody has all.
fn may_change_networks(process: i32) -> bool {
    let users = |process: &str| std::fs::metadata(format!("/proc/{process}/ns/user")).map(|users| users.ino());
    let ours = users("self").ok();
    if ours.is_none() || users(&process.to_string()).ok() != ours {
        return false;
    }
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
        .is_some_and(|set| set & 1 << NET_ADMIN != 0)
}
