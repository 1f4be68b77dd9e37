//! TLS for the cloud's API: a certificate from files, or from a small certificate authority in the state directory.
//!
//! Clients insist on HTTPS and on the cloud's own host names. The authority's key therefore stays where it was made
//! (0600). Its certificate is good for names under aliyuncs.com, for localhost and for private addresses, and for nothing
//! else (RFC 5280 section 4.2.1.10): who trusts it trusts this machine with the cloud's names. It belongs on machines for
//! rehearsal, and into the clients' own trust (`SSL_CERT_FILE` and the like) rather than the system's.

use std::fs::Permissions;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

use super::private_file;

/// Name of the file with the authority's certificate in the state directory,
pub const CA_CERTIFICATE: &str = "ca.pem";
/// and of that with its key.
const CA_KEY: &str = "ca-key.pem";
/// The largest file that is read, in bytes.
const LIMIT: u64 = 1 << 20;
/// How long the authority's certificate holds. A server's, which is made anew at each start, holds for as long as
/// clients accept (398 days).
const CA_LIFE: Duration = Duration::from_secs(3650 * 86_400);
const SERVER_LIFE: Duration = Duration::from_secs(397 * 86_400);
/// Certificates hold since before they are made: clocks of clients differ.
const EARLIER: Duration = Duration::from_secs(86_400);

/// Addresses that the authority certifies: loopback, link-local, private use, and for documentation, which simulations use.
const PRIVATE: &[(&str, u8)] = &[
    ("127.0.0.0", 8),
    ("10.0.0.0", 8),
    ("172.16.0.0", 12),
    ("192.168.0.0", 16),
    ("169.254.0.0", 16),
    ("192.0.2.0", 24),
    ("198.51.100.0", 24),
    ("203.0.113.0", 24),
    ("::1", 128),
    ("fc00::", 7),
    ("fe80::", 10),
];

/// Whether the authority certifies an address.
pub fn certifies(address: IpAddr) -> bool {
    let networks = PRIVATE.iter().filter_map(|(network, bits)| IpNet::new(network.parse().ok()?, *bits).ok());
    networks.into_iter().any(|network| network.contains(&address))
}

/// The addresses of this machine's interfaces; none if the system does not tell.
pub fn interface_addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let addresses = interfaces.filter_map(|interface| interface.address).filter_map(|address| {
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    addresses.collect()
}

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// PEM files: the certificate with those that lead to its root, and its private key.
    Files {
        /// The certificates.
        certificate: PathBuf,
        /// The private key, which nobody else may read.
        key: PathBuf,
    },
    /// The authority in this directory, which is made at the first start.
    Own {
        /// The state directory.
        directory: PathBuf,
    },
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not readable, or others may read it.
    #[error("{0}")]
    File(String),
    /// A file cannot be written.
    #[error("{path}: {source}")]
    Write {
        /// Which one.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {reason}")]
    Content {
        /// Which one.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// Certificate and key do not make a server.
    #[error("certificate and key do not fit: {0}")]
    Server(#[from] rustls::Error),
}

/// What a listener needs.
#[derive(Clone)]
pub struct Tls {
    /// Takes connections.
    pub acceptor: TlsAcceptor,
    /// The authority's certificate as PEM, where it is our own.
    pub ca: Option<Arc<str>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("ca", &self.ca.is_some()).finish_non_exhaustive()
    }
}

impl Tls {
    /// For a server of these names and addresses.
    ///
    /// # Errors
    /// The files are not there, or not what they should be.
    pub fn new(identity: &Identity, names: &[String], addresses: &[IpAddr]) -> Result<Self, TlsError> {
        let (chain, key, ca) = match identity {
            Identity::Files { certificate, key } => {
                let (chain, key) = from_files(certificate, key)?;
                (chain, key, None)
            }
            Identity::Own { directory } => {
                let authority = Authority::open(directory)?;
                let (certificate, key) = authority.issue(names, addresses)?;
                authority.check(&certificate).map_err(|reason| TlsError::Content {
                    path: directory.join(CA_CERTIFICATE).display().to_string(),
                    reason: format!(
                        "it does not certify what {CA_KEY} beside it signs ({reason}); remove both, and give clients the new one"
                    ),
                })?;
                (vec![certificate], key, Some(authority.certificate.into()))
            }
        };
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), ca })
    }
}

type CertificateAndKey<C> = (C, PrivateKeyDer<'static>);

fn from_files(certificate: &Path, key: &Path) -> Result<CertificateAndKey<Vec<CertificateDer<'static>>>, TlsError> {
    let content = |path: &Path, reason: String| TlsError::Content { path: path.display().to_string(), reason };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| content(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(content(certificate, "it holds no certificate in PEM".to_owned()));
    }
    let text = private_file::read(key, LIMIT).map_err(|error| TlsError::File(error.to_string()))?;
    let key_der = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| content(key, error.to_string()))?;
    Ok((chain, key_der))
}

/// A certificate authority.
struct Authority {
    key: KeyPair,
    certificate: String,
}

impl Authority {
    /// Opens that of a directory, or makes it.
    fn open(directory: &Path) -> Result<Self, TlsError> {
        let (certificate_path, key_path) = (directory.join(CA_CERTIFICATE), directory.join(CA_KEY));
        let there =
            |path: &Path| path.try_exists().map_err(|error| TlsError::File(format!("{}: {error}", path.display())));
        let key = if there(&key_path)? {
            let text = private_file::read(&key_path, LIMIT).map_err(|error| TlsError::File(error.to_string()))?;
            KeyPair::from_pem(&text).map_err(|error| TlsError::Content {
                path: key_path.display().to_string(),
                reason: error.to_string(),
            })?
        } else {
            let key = KeyPair::generate()?;
            private_file::replace(&key_path, key.serialize_pem().as_bytes())
                .map_err(|source| TlsError::Write { path: key_path.display().to_string(), source })?;
            key
        };
        let certificate = if there(&certificate_path)? {
            std::fs::read_to_string(&certificate_path)
                .map_err(|error| TlsError::File(format!("{}: {error}", certificate_path.display())))?
        } else {
            let text = Self::params().self_signed(&key)?.pem();
            private_file::replace(&certificate_path, text.as_bytes())
                .and_then(|()| std::fs::set_permissions(&certificate_path, Permissions::from_mode(0o644)))
                .map_err(|source| TlsError::Write { path: certificate_path.display().to_string(), source })?;
            text
        };
        Ok(Self { key, certificate })
    }

    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = named("cend, a simulated cloud");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let names = ["aliyuncs.com", "localhost"].map(|name| GeneralSubtree::DnsName(name.to_owned()));
        let networks = PRIVATE.iter().filter_map(|(address, bits)| {
            Some(GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address.parse().ok()?, *bits)))
        });
        let permitted_subtrees = names.into_iter().chain(networks).collect();
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
        lives(&mut params, CA_LIFE);
        params
    }

    /// Whether who trusts the authority's certificate trusts this one.
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), String> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.certificate.as_bytes()).map_err(|error| error.to_string())?;
        roots.add(root).map_err(|error| error.to_string())?;
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let verifier = verifier.map_err(|error| error.to_string())?;
        let name = ServerName::try_from("localhost").map_err(|error| error.to_string())?;
        let verified = verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now());
        verified.map(|_| ()).map_err(|error| error.to_string())
    }

    /// A server's certificate, and its key, which is kept in memory only.
    fn issue(
        &self,
        names: &[String],
        addresses: &[IpAddr],
    ) -> Result<CertificateAndKey<CertificateDer<'static>>, TlsError> {
        let mut params = CertificateParams::new(names)?;
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        params.distinguished_name = named("cend");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        lives(&mut params, SERVER_LIFE);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &Issuer::new(Self::params(), &self.key))?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|reason| TlsError::Content {
            path: "the server's new key".to_owned(),
            reason: reason.to_owned(),
        })?;
        Ok((certificate.der().clone(), key))
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn lives(params: &mut CertificateParams, life: Duration) {
    let now = SystemTime::now();
    params.not_before = now.checked_sub(EARLIER).unwrap_or(now).into();
    params.not_after = (now + life).into();
}

#[cfg(test)]
mod tests;
