use axum::http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::io::tls::{Identity, Tls};

async fn asked(endpoint: &str, trusted: RootCertStore) -> Result<(u16, Vec<u8>), ExchangeError> {
    let server = Server::of(&Url::parse(endpoint).unwrap(), trusted).unwrap().unwrap();
    let request = Request::builder().method(Method::POST).uri("/?a=b").body(Body::from("text")).unwrap();
    server.exchange(request).await
}

async fn told(endpoint: &str, trusted: RootCertStore) -> String {
    asked(endpoint, trusted).await.unwrap_err().to_string()
}

/// Takes one connection, with TLS if there is any, and answers what is sent with the same bytes every time.
async fn server(tls: Option<Tls>, answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream: Box<dyn Stream> = match tls {
            Some(tls) => match tls.acceptor.accept(stream).await {
                Ok(stream) => Box::new(stream),
                Err(_) => return,
            },
            None => Box::new(stream),
        };
        let mut asked = [0; 4096];
        let _ = stream.read(&mut asked).await;
        let _ = stream.write_all(answer).await;
        let _ = stream.shutdown().await;
    });
    port
}

const GREETING: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

fn own(directory: &Path) -> Tls {
    let identity = Identity::Own { directory: directory.to_owned() };
    Tls::new(&identity, &["localhost".to_owned()], &["127.0.0.1".parse().unwrap()]).unwrap()
}

#[tokio::test]
async fn an_answer_comes_over_tcp_and_tls() {
    let folder = tempfile::tempdir().unwrap();
    let tls = own(folder.path());
    let trusted = authorities(&folder.path().join("ca.pem")).unwrap();
    let port = server(None, GREETING).await;
    let (status, body) = asked(&format!("http://127.0.0.1:{port}"), RootCertStore::empty()).await.unwrap();
    assert_eq!((status, body.as_slice()), (200, b"hi".as_slice()));
    let port = server(Some(tls), GREETING).await;
    let (status, body) = asked(&format!("https://127.0.0.1:{port}"), trusted).await.unwrap();
    assert_eq!((status, body.as_slice()), (200, b"hi".as_slice()));
}

#[tokio::test]
async fn why_there_is_no_answer_is_told_in_plain_words() {
    let none = RootCertStore::empty;
    // Nobody listens on a port that was just given back.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let told_of = told(&format!("http://127.0.0.1:{port}"), none()).await;
    assert!(told_of.contains("refuses connections: nothing listens there"), "{told_of}");
    let told_of = told("http://no-such-host.invalid", none()).await;
    assert!(told_of.contains("the name of no-such-host.invalid is not found"), "{told_of}");

    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tls = own(folder.path());
    let https = |port: u16| format!("https://127.0.0.1:{port}");
    let told_of = told(&https(server(Some(tls.clone()), GREETING).await), none()).await;
    assert!(told_of.contains("authority that is not trusted") && told_of.contains("--ca-file"), "{told_of}");
    own(other.path());
    let others = authorities(&other.path().join("ca.pem")).unwrap();
    let told_of = told(&https(server(Some(tls.clone()), GREETING).await), others).await;
    assert!(told_of.contains("is not trusted") || told_of.contains("is not accepted"), "{told_of}");
    let trusted = || authorities(&folder.path().join("ca.pem")).unwrap();
    let port = server(Some(tls.clone()), GREETING).await;
    let told_of = told(&format!("https://127.0.0.2:{port}"), trusted()).await;
    assert!(told_of.contains("refuses connections"), "another address of the machine: {told_of}");

    let told_of = told(&https(server(None, b"220 mail\r\n").await), trusted()).await;
    assert!(told_of.contains("no TLS with") && told_of.contains("http://"), "{told_of}");
    let told_of = told(&format!("http://127.0.0.1:{}", server(Some(tls), GREETING).await), none()).await;
    assert!(told_of.contains("is not HTTP") && told_of.contains("https://"), "{told_of}");
    let told_of = told(&format!("http://127.0.0.1:{}", server(None, b"").await), none()).await;
    assert!(told_of.contains("is not HTTP"), "{told_of}");
}

#[tokio::test]
async fn a_server_that_keeps_silent_is_told() {
    // The kernel takes the connection, and nobody reads from it.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut server = Server::of(&Url::parse(&url).unwrap(), RootCertStore::empty()).unwrap().unwrap();
    server.patience = Duration::from_secs(1);
    let told_of = server.exchange(Request::new(Body::empty())).await.unwrap_err().to_string();
    assert!(told_of.contains("gives no answer within 1 s"), "{told_of}");
}

#[test]
fn what_is_trusted_is_a_file_with_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    assert!(authorities(&path).unwrap_err().to_string().contains("ca.pem"));
    std::fs::write(&path, "no certificate").unwrap();
    assert!(authorities(&path).unwrap_err().to_string().contains("there is no certificate in it"));
}
