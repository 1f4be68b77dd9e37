use std::os::fd::AsFd;

use futures_util::StreamExt;

use super::*;
use crate::control::request::Request as Call;
use crate::control::status::Status;
use crate::daemon::ike_thread::Request;
use crate::daemon::owner_keeper::Kept;
use crate::daemon::request_queue::RequestQueue;
use crate::io::netns::Namespace;
use crate::io::nftables::OuterPorts;
use crate::io::unix::{CallError, ControlClient, ControlSocket};
use crate::io::wake::{Waker, wait_readable};

/// An API on a socket of its own, and the end where the control task would listen.
struct Served {
    client: ControlClient,
    asked: mpsc::Receiver<Ask>,
    kept: mpsc::Receiver<Kept>,
    events: EventLog,
    _folder: tempfile::TempDir,
}

/// An IKE thread without connections.
fn idle_ike() -> IkeHandle {
    let requests = RequestQueue::default();
    let (asked, waker) = (requests.clone(), Waker::new().unwrap());
    let woken = waker.clone();
    std::thread::spawn(move || {
        loop {
            wait_readable(&[woken.as_fd()], Duration::from_secs(1)).unwrap();
            woken.clear();
            while let Some(request) = asked.next() {
                if let Request::Snapshot(asker) | Request::SnapshotOf(_, asker) = request {
                    let _ = asker.send(Arc::default());
                }
            }
        }
    });
    IkeHandle { requests, waker }
}

fn serve() -> Served {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let (asks, asked) = mpsc::channel(4);
    let events = EventLog::default();
    let view = View { device: "gwd7".into(), mtu: 1400, ..View::default() };
    let (owner, kept) = OwnerKeeper::start(folder.path(), None).unwrap();
    let api = Api {
        asks,
        owner,
        view: Arc::new(ArcSwap::from_pointee(view)),
        ike: idle_ike(),
        drops: Drops::default(),
        filter: PlaintextFilter::new(Namespace::Own, "ig-none".into(), 0, OuterPorts { ike: 500, nat: 4500 }),
        events: events.clone(),
        started: Instant::now(),
        writers: Writers::default(),
    };
    let socket = ControlSocket::bind(&path).unwrap();
    tokio::spawn(socket.serve(api.router(), std::future::pending()));
    Served { client: ControlClient::new(&path).unwrap(), asked, kept, events, _folder: folder }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), test).await.unwrap() });
}

#[test]
fn status_is_answered_while_the_control_task_is_busy() {
    run(async {
        let served = serve();
        let reload = tokio::spawn({
            let client = served.client.clone();
            async move { client.call::<Reloaded>(&Call::Reload).await }
        });
        let status: Status = served.client.call(&Call::Status).await.unwrap();
        assert_eq!((status.device.as_str(), status.mtu), ("gwd7", 1400));
        let owner: OwnerReply = served.client.call(&Call::Owner).await.unwrap();
        assert_eq!(owner.revision, 0);
        assert!(!reload.is_finished(), "nobody has answered the reload");
    });
}

#[test]
fn long_answers_are_written_two_at_a_time() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    run(async {
        let writers = Writers::default();
        let (now, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let answers = (0..8).map(|_| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            writers.written(move || {
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(20));
                now.fetch_sub(1, Ordering::Relaxed);
                Ok(Vec::new())
            })
        });
        assert!(futures_util::future::join_all(answers).await.iter().all(Result::is_ok));
        assert_eq!(most.load(Ordering::Relaxed), WRITERS);
    });
}

#[test]
fn a_refusal_is_told_in_its_own_words() {
    run(async {
        let mut served = serve();
        let up = Call::Connection { name: "idc".into(), action: Action::Up };
        let control = async {
            let Some(Ask::Act { name, answer, .. }) = served.asked.recv().await else { panic!("no ask") };
            let _ = answer.send(Err(Refused::UnknownConnection { name, known: "branch".into() }));
        };
        let (answer, ()) = tokio::join!(served.client.call::<Accepted>(&up), control);
        assert_eq!(answer.unwrap_err().to_string(), "no connection is called \"idc\"; there are: branch");
        drop(served.asked);
        let stopping = served.client.call::<Accepted>(&up).await.unwrap_err();
        assert_eq!(stopping.to_string(), "gatewayd is stopping");
    });
}

#[test]
fn a_rekey_may_be_of_one_sa_alone() {
    run(async {
        let mut served = serve();
        for which in [Rekeyed::Ike, Rekeyed::Child("net".into())] {
            let call = Call::Rekey { name: "idc".into(), which: which.clone() };
            let control = async {
                let Some(Ask::Rekey { name, which, answer }) = served.asked.recv().await else { panic!("no ask") };
                let _ = answer.send(Ok(Accepted { connection: name, action: Action::Rekey, event: 7 }));
                which
            };
            let (answer, asked) = tokio::join!(served.client.call::<Accepted>(&call), control);
            assert_eq!((answer.unwrap().connection.as_str(), asked), ("idc", which));
        }
        let all = Call::Rekey { name: "idc".into(), which: Rekeyed::All };
        let control = async {
            let Some(Ask::Act { name, action, answer }) = served.asked.recv().await else { panic!("no ask") };
            let _ = answer.send(Ok(Accepted { connection: name, action, event: 7 }));
        };
        assert_eq!(tokio::join!(served.client.call::<Accepted>(&all), control).0.unwrap().action, Action::Rekey);
        let http = reqwest::Client::builder().unix_socket(served._folder.path().join("control.sock")).build().unwrap();
        for query in ["rekey?sa=ike&child=net", "rekey?sa=esp", "rekey?other=1", "down?child=net"] {
            let answer = http.post(format!("http://gatewayd/v1/connections/idc/{query}")).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{query}");
            assert!(!answer.json::<Problem>().await.expect("the API's JSON").error.is_empty(), "{query}");
        }
        for query in ["status?other=1", "events?since=yesterday", "events?connection=a&connection=b"] {
            let answer = http.get(format!("http://gatewayd/v1/{query}")).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{query}");
            assert!(!answer.json::<Problem>().await.expect("the API's JSON").error.is_empty(), "{query}");
        }
    });
}

#[test]
fn a_listener_may_hear_what_has_happened_to_a_connection() {
    run(async {
        let served = serve();
        for name in ["idc", "branch", "idc"] {
            served.events.happened(EventKind::ConnectionUp, Some(name), None, None);
        }
        let since = Some(Timestamp::UNIX_EPOCH);
        let stream = served.client.events_of(Some("idc".into()), since).await.unwrap();
        let told: Vec<_> = stream.take(3).map(|event| (event.sequence, event.kind)).collect().await;
        let expected = [(1, EventKind::ConnectionUp), (3, EventKind::ConnectionUp), (3, EventKind::Started)];
        assert_eq!(told, expected);
    });
}

#[test]
fn a_change_of_another_set_is_a_conflict_and_says_which_revision_is_in_force() {
    run(async {
        let mut served = serve();
        let control = tokio::spawn(async move {
            while let Some(Kept { change, answer, .. }) = served.kept.recv().await {
                let _ = answer.send(Ok(OwnerReply { revision: change.to, refused: Vec::new() }));
            }
        });
        let change =
            |session: &str, from, to| OwnerChange { session: session.into(), from, to, ..OwnerChange::default() };
        let (client, path) = (served.client, served._folder.path().join("control.sock"));
        let patch = async |change| client.call_with::<OwnerReply>(&Call::PatchOwner, &change).await;
        let refused = patch(change("a", 0, 1)).await.unwrap_err();
        assert!(matches!(&refused, CallError::Conflict(reason) if reason.contains("revision 0")), "{refused}");
        let set = OwnerSet { session: "a".into(), revision: 41, ..OwnerSet::default() };
        let reply: OwnerReply = client.call_with(&Call::PutOwner, &set).await.unwrap();
        assert_eq!(reply.revision, 41);
        assert_eq!(patch(change("a", 41, 43)).await.unwrap().revision, 43);
        for wrong in [change("a", 41, 44), change("b", 43, 44)] {
            assert!(matches!(patch(wrong).await, Err(CallError::Conflict(_))));
        }
        let http = reqwest::Client::builder().unix_socket(path).build().unwrap();
        let url = "http://gatewayd/v1/owners/cend";
        let answer = http.patch(url).json(&change("b", 1, 2)).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 409);
        assert_eq!(answer.json::<Problem>().await.unwrap().revision, Some(43));
        let senseless = http.patch(url).header("content-type", "application/json").body("{").send().await.unwrap();
        assert_eq!(senseless.status().as_u16(), 400);
        control.abort();
    });
}

#[test]
fn a_listener_is_told_where_it_begins_and_what_comes() {
    run(async {
        let served = serve();
        served.events.happened(EventKind::Reloaded, None, None, None);
        let mut stream = std::pin::pin!(served.client.events().await.unwrap());
        let first = stream.next().await.unwrap();
        assert_eq!((first.kind, first.sequence), (EventKind::Started, 1));
        served.events.happened(EventKind::ConnectionDown, Some("idc"), None, Some("no answer".into()));
        let next = stream.next().await.unwrap();
        assert_eq!((next.sequence, next.reason.as_deref()), (2, Some("no answer")));
    });
}

#[tokio::test]
async fn a_listener_that_falls_behind_is_told_and_blocks_nobody() {
    let events = EventLog::default();
    let (first, mut listener) = events.listen(None);
    for _ in 0..5000 {
        events.happened(EventKind::RoutesChanged, None, None, None);
    }
    let missed = next_event(&mut listener, first[0].sequence, None).await.unwrap();
    assert_eq!((missed.kind, missed.sequence), (EventKind::Missed, 5000 - 1024));
    assert!(missed.reason.as_deref().unwrap().starts_with("3976 events before this one"));
    let next = next_event(&mut listener, missed.sequence, None).await.unwrap();
    assert_eq!((next.kind, next.sequence), (EventKind::RoutesChanged, 5000 - 1024 + 1));
}
