use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;

use super::*;

const NAME: &str = "vpc.cn-hangzhou.aliyuncs.com";

fn own(directory: &Path) -> Tls {
    let identity = Identity::Own { directory: directory.to_owned() };
    let names = ["localhost".to_owned(), "*.cn-hangzhou.aliyuncs.com".to_owned()];
    Tls::new(&identity, &names, &["127.0.0.1".parse().unwrap()]).unwrap()
}

/// Whether a client that trusts only `ca` talks to a server under this name.
async fn trusted(tls: &Tls, ca: &str, name: &str) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let connector = TlsConnector::from(Arc::new(config.with_no_client_auth()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = tls.acceptor.clone();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = acceptor.accept(stream).await else { return };
        let _ = stream.write_all(b"here").await;
        let _ = stream.shutdown().await;
    });
    let stream = TcpStream::connect(address).await.unwrap();
    let connected = connector.connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await;
    let mut text = String::new();
    let read = match connected {
        Ok(mut stream) => stream.read_to_string(&mut text).await.is_ok() && text == "here",
        Err(_) => false,
    };
    server.await.unwrap();
    read
}

#[tokio::test]
async fn who_trusts_the_authority_trusts_the_server_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = own(folder.path());
    let ca = first.ca.clone().unwrap();
    assert!(trusted(&first, &ca, NAME).await && trusted(&first, &ca, "127.0.0.1").await);
    assert!(!trusted(&first, &ca, "vpc.cn-beijing.aliyuncs.com").await, "a name that is not the server's");
    let mode = std::fs::metadata(folder.path().join(CA_KEY)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = own(folder.path());
    assert_eq!(second.ca.as_deref(), Some(&*ca));
    assert!(trusted(&second, &ca, NAME).await, "the copy that a client has stays good");
    let other = tempfile::tempdir().unwrap();
    assert!(!trusted(&own(other.path()), &ca, NAME).await, "another authority");
}

#[tokio::test]
async fn a_certificate_and_a_key_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path()).unwrap();
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(Authority::params(), &authority.key);
    let certificate = CertificateParams::new([NAME.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let (certificate_path, key_path) = (folder.path().join("server.pem"), folder.path().join("server-key.pem"));
    std::fs::write(&certificate_path, certificate.pem()).unwrap();
    private_file::replace(&key_path, key.serialize_pem().as_bytes()).unwrap();
    let files = |certificate: &Path, key: &Path| {
        let identity = Identity::Files { certificate: certificate.to_owned(), key: key.to_owned() };
        Tls::new(&identity, &[], &[])
    };
    let tls = files(&certificate_path, &key_path).unwrap();
    assert!(tls.ca.is_none() && trusted(&tls, &authority.certificate, NAME).await);

    let told = |result: Result<Tls, TlsError>| result.unwrap_err().to_string();
    assert!(told(files(&key_path, &key_path)).contains("server-key.pem: it holds no certificate"));
    assert!(told(files(&certificate_path, &certificate_path)).contains("server.pem"));
    assert!(told(files(&certificate_path, &folder.path().join(CA_KEY))).contains("do not fit"));
    std::fs::set_permissions(&key_path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(told(files(&certificate_path, &key_path)).contains("0644"));
    std::fs::write(folder.path().join(CA_KEY), "rubbish").unwrap();
    assert!(Authority::open(folder.path()).err().unwrap().to_string().contains("ca-key.pem"));
}

#[tokio::test]
async fn the_authority_is_good_for_the_clouds_names_and_private_addresses_only() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::Own { directory: folder.path().to_owned() };
    let with = |name: &str, address: &str| {
        let names = ["localhost".to_owned(), "vpc.aliyuncs.com".to_owned(), name.to_owned()];
        Tls::new(&identity, &names, &[address.parse().unwrap()])
    };
    let tls = with("cbn.aliyuncs.com", "10.1.2.3").unwrap();
    let ca = tls.ca.clone().unwrap();
    assert!(trusted(&tls, &ca, "cbn.aliyuncs.com").await && trusted(&tls, &ca, "10.1.2.3").await);
    assert!(with("bank.example", "10.1.2.3").is_err() && with("cbn.aliyuncs.com", "8.8.8.8").is_err());
    assert!(certifies("fd00::1".parse().unwrap()) && !certifies("8.8.8.8".parse().unwrap()));
}

#[test]
fn a_certificate_that_is_not_the_authoritys_is_told() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    own(folder.path());
    own(other.path());
    let told = || {
        let identity = Identity::Own { directory: folder.path().to_owned() };
        Tls::new(&identity, &["localhost".to_owned()], &[]).unwrap_err().to_string()
    };
    std::fs::copy(other.path().join(CA_CERTIFICATE), folder.path().join(CA_CERTIFICATE)).unwrap();
    assert!(told().contains("ca.pem: it does not certify"), "{}", told());
    std::fs::write(folder.path().join(CA_CERTIFICATE), "").unwrap();
    assert!(told().contains("ca.pem: it does not certify"), "{}", told());
}
