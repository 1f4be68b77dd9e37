//! Which gatewayd runs in this network namespace.
//!
//! A gatewayd holds an abstract Unix socket (unix(7)), whose name belongs to the network namespace: whoever asks needs
//! neither its configuration nor its control socket, and the name is free again the moment that the process is gone.
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use tokio::task::JoinHandle;
use tracing::warn;

/// The socket's name.
const NAME: &[u8] = b"ipsec-gateway/gatewayd";

/// The gatewayd that runs in this network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its process.
    pub process: i32,
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
    /// Claims the network namespace; who asks is answered on the runtime of the caller. A process of another user that holds the name is no gatewayd: it is told in the log,
    /// and does not keep this one from running.
    ///
    /// # Errors
    /// `AddrInUse` if another gatewayd runs here; what the system refused otherwise.
    pub fn claim() -> io::Result<Self> {
        match UnixListener::bind_addr(&address()?) {
            Ok(listener) => {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::UnixListener::from_std(listener)?;
                Ok(Instance(Some(tokio::spawn(answer(listener)))))
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => match running()? {
                Some(Running { process }) => {
                    let told = format!("a gatewayd runs in this network namespace already, as process {process}");
                    Err(io::Error::new(io::ErrorKind::AddrInUse, told))
                }
                None => {
                    warn!("somebody who may not run a gatewayd holds its name in this network namespace");
                    Ok(Instance(None))
                }
            },
            Err(error) => Err(error),
        }
    }
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

/// The gatewayd of this network namespace, if one runs.
///
/// # Errors
/// The system refuses to tell.
pub fn running() -> io::Result<Option<Running>> {
    let stream = match UnixStream::connect_addr(&address()?) {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
        Err(error) => return Err(error),
    };
    let credentials = getsockopt(&stream, PeerCredentials)?;
    let trusted = credentials.uid() == 0 || credentials.uid() == nix::unistd::geteuid().as_raw();
    Ok(trusted.then(|| Running { process: credentials.pid() }))
}

fn address() -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(NAME)
}
