//! One HTTP exchange with a server, over TCP or TLS, and in plain words why there was none.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use reqwest::Url;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, CertificateError, ClientConfig, RootCertStore};

/// How long a name, a connection and a TLS handshake may take, all together,
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// and how long the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest answer, in bytes.
const ANSWER_LIMIT: usize = 64 << 20;

/// Why there is no answer. Each text says what to look at.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// No address is known for the host's name.
    #[error("the name of {server} is not found: {source}")]
    Name {
        /// The host, or host and port, that was asked for; so below.
        server: String,
        /// What the system says; so below.
        source: io::Error,
    },
    /// The machine answers, and nothing listens on the port.
    #[error("{server} refuses connections: nothing listens there; is cend running, and is it the port that it told?")]
    Refused {
        /// Who.
        server: String,
    },
    /// There is no way to the machine, or the connection broke off.
    #[error("no connection to {server}: {source}")]
    Unreachable {
        /// Who.
        server: String,
        /// Why.
        source: io::Error,
    },
    /// No connection within the time for it.
    #[error("no connection to {server} within 10 s: is it the right address, and does a firewall let it pass?")]
    ConnectTimeout {
        /// Who.
        server: String,
    },
    /// The authority of the server's certificate is not among those that are trusted.
    #[error(
        "the certificate of {server} comes from an authority that is not trusted here; if that is cend's own, its \
         certificate is ca.pem in cend's state directory, which its HTTP listener also serves at /ca.pem: name a copy \
         that you trust with --ca-file FILE"
    )]
    UnknownAuthority {
        /// Who.
        server: String,
    },
    /// The server's certificate is not good for this server, or not now.
    #[error("the certificate of {server} is not accepted: {reason}")]
    Certificate {
        /// Who.
        server: String,
        /// What is wrong with it.
        reason: CertificateError,
    },
    /// What answers does not speak TLS, or not as we do.
    #[error("no TLS with {server}: {source}; where cend listens without TLS, the endpoint begins with http://")]
    Handshake {
        /// Who.
        server: String,
        /// Why.
        source: io::Error,
    },
    /// No answer within the time for it.
    #[error("{server} has taken the call, and gives no answer within {} s", .limit.as_secs())]
    AnswerTimeout {
        /// Who.
        server: String,
        /// How long it had.
        limit: Duration,
    },
    /// What came is not HTTP, or breaks off.
    #[error("the answer of {server} is not HTTP: {reason}{}", of_scheme(.tls))]
    NotHttp {
        /// Who.
        server: String,
        /// Over TLS.
        tls: bool,
        /// Why.
        reason: String,
    },
}

/// Why there are no certificates to trust.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read, or what is in it is no certificate in PEM.
    #[error("{path}: {reason}")]
    File {
        /// Which one.
        path: String,
        /// Why.
        reason: String,
    },
    /// This TLS library cannot do what is asked.
    #[error("no TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Reads the certificates of the authorities that are trusted, in PEM.
///
/// # Errors
/// [`TrustError::File`].
pub fn authorities(path: &Path) -> Result<RootCertStore, TrustError> {
    let failed = |reason: String| TrustError::File { path: path.display().to_string(), reason };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))? {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        store.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    if store.is_empty() { Err(failed("there is no certificate in it".to_owned())) } else { Ok(store) }
}

/// A server, and how it is spoken to.
pub struct Server {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    patience: Duration,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("authority", &self.authority()).field("tls", &self.tls.is_some()).finish()
    }
}

impl Server {
    /// The server of a URL with the scheme `http` or `https`, a host and no path; `None` of any other. Of `trusted`
    /// authorities one must have signed its certificate, where it is `https`.
    ///
    /// # Errors
    /// [`TrustError::Tls`].
    pub fn of(url: &Url, trusted: RootCertStore) -> Result<Option<Self>, TrustError> {
        let plain = url.path() == "/" && url.query().is_none() && url.username().is_empty();
        let (Some(host), Some(port)) = (url.host_str().filter(|_| plain), url.port_or_known_default()) else {
            return Ok(None);
        };
        // A URL has an IPv6 address in brackets.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = match url.scheme() {
            "http" => None,
            "https" => {
                let Ok(name) = ServerName::try_from(host.clone()) else { return Ok(None) };
                let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                    .with_safe_default_protocol_versions()?
                    .with_root_certificates(trusted)
                    .with_no_client_auth();
                Some((TlsConnector::from(Arc::new(config)), name))
            }
            _ => return Ok(None),
        };
        Ok(Some(Self { host, port, tls, patience: ANSWER_TIMEOUT }))
    }

    /// Host and port, the port only where it is not the scheme's: as `Host` has it.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let default = if self.tls.is_some() { 443 } else { 80 };
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }

    /// Sends a request on a connection of its own; answers the status and what came. `Host` is this server's.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn exchange(&self, mut request: Request<Body>) -> Result<(u16, Vec<u8>), ExchangeError> {
        let server = self.authority();
        // What a host name or an address may hold, a header may.
        let host = self.authority().parse().map_err(|_| self.not_http(&"it cannot be named in a request"))?;
        request.headers_mut().insert(header::HOST, host);
        let connected = timeout(CONNECT_TIMEOUT, self.connect()).await;
        let stream = connected.map_err(|_| ExchangeError::ConnectTimeout { server: server.clone() })??;
        let answered = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            let asked = async {
                let (head, body) = sender.send_request(request).await?.into_parts();
                Ok::<_, hyper::Error>((head.status.as_u16(), to_bytes(Body::new(body), ANSWER_LIMIT).await))
            };
            let mut asked = std::pin::pin!(asked);
            // The connection is driven until the answer is there; it ends by itself only where no answer comes.
            tokio::select! {
                answer = &mut asked => answer,
                ended = connection => { ended?; asked.await }
            }
        };
        let answer = timeout(self.patience, answered).await;
        let (status, body) = answer
            .map_err(|_| ExchangeError::AnswerTimeout { server, limit: self.patience })?
            .map_err(|error| self.not_http(&error))?;
        Ok((status, body.map_err(|error| self.not_http(&error))?.to_vec()))
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, ExchangeError> {
        let server = self.authority();
        let addresses = lookup_host((self.host.as_str(), self.port)).await;
        let addresses: Vec<_> =
            addresses.map_err(|source| ExchangeError::Name { server: self.host.clone(), source })?.collect();
        let stream = TcpStream::connect(addresses.as_slice()).await.map_err(|source| match source.kind() {
            io::ErrorKind::ConnectionRefused => ExchangeError::Refused { server: server.clone() },
            _ => ExchangeError::Unreachable { server: server.clone(), source },
        })?;
        let Some((connector, name)) = &self.tls else { return Ok(Box::new(stream)) };
        match connector.connect(name.clone(), stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(source) => Err(refused_tls(server, source)),
        }
    }

    fn not_http(&self, reason: &dyn std::fmt::Display) -> ExchangeError {
        ExchangeError::NotHttp { server: self.authority(), tls: self.tls.is_some(), reason: reason.to_string() }
    }
}

/// What may be wrong where what answers does not speak HTTP.
fn of_scheme(tls: &bool) -> &'static str {
    if *tls { "" } else { "; if that is cend's listener with TLS, the endpoint begins with https://" }
}

/// What a failed TLS handshake means.
fn refused_tls(server: String, source: io::Error) -> ExchangeError {
    match source.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            ExchangeError::UnknownAuthority { server }
        }
        Some(rustls::Error::InvalidCertificate(reason)) => {
            ExchangeError::Certificate { server, reason: reason.clone() }
        }
        _ => ExchangeError::Handshake { server, source },
    }
}

/// TCP, or TLS over it.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

#[cfg(test)]
mod tests;
