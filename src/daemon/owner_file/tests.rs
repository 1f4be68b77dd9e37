use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use super::*;
use crate::control::owner::{OwnerConnection, OwnerEsp, OwnerIke, OwnerRoute, OwnerStart, PresharedKey};
use crate::control::route::Publication;
use crate::io::fault::{self, Fault};

fn connection(name: &str, psk: &str) -> Arc<OwnerConnection> {
    Arc::new(OwnerConnection {
        name: name.into(),
        peer: "203.0.113.2".into(),
        local_id: "198.51.100.2".into(),
        peer_id: String::new(),
        psk: PresharedKey::new(psk),
        ike: OwnerIke {
            version: "ikev2".into(),
            mode: "main".into(),
            encryption: "aes".into(),
            integrity: "sha256".into(),
            group: "group14".into(),
            lifetime: 86_400,
        },
        esp: OwnerEsp { encryption: "aes".into(), integrity: "sha256".into(), pfs: "group14".into(), lifetime: 3600 },
        local_subnets: vec!["192.168.0.0/16".parse().unwrap()],
        peer_subnets: vec!["10.1.1.0/24".parse().unwrap()],
        start: OwnerStart::Now,
        liveness: true,
        nat_traversal: true,
    })
}

fn set(revision: u64, connections: Vec<Arc<OwnerConnection>>) -> OwnerEntries {
    let route = |connection: &Arc<OwnerConnection>| OwnerRoute {
        destination: "10.1.1.0/24".parse().unwrap(),
        source: None,
        priority: None,
        connection: connection.name.clone(),
        weight: 100,
        publication: Publication::Normal,
    };
    let routes = connections.iter().map(route).collect();
    OwnerEntries::new(OwnerSet { session: "a".into(), revision, connections, routes, ..OwnerSet::default() }).0
}

/// Three sets, each but the first told as a change of the one before.
fn life(file: &mut OwnerFile) -> Vec<OwnerEntries> {
    let (one, two) = (connection("one", "first key"), connection("two", "second key"));
    let sets = vec![set(5, vec![one.clone()]), set(6, vec![one, two.clone()]), set(9, vec![two])];
    let nothing = OwnerEntries::default();
    for (before, after) in std::iter::once(&nothing).chain(&sets).zip(&sets) {
        file.keep(before, &before.difference(after)).unwrap();
    }
    sets
}

#[test]
fn the_set_is_what_the_changes_made_of_it_and_private() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    assert_eq!(restore(&state), Ok(None));
    let sets = life(&mut OwnerFile::new(&state));
    assert_eq!(restore(&state), Ok(sets.last().cloned()));
    let path = state.join(OWNER_FILE);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let kept = fs::read_to_string(&path).unwrap();
    assert_eq!(kept.lines().count(), 4, "the format, the first set, two changes");
    assert_eq!(kept.matches("second key").count(), 1, "a change holds what it changes");
}

#[test]
fn a_torn_change_is_left_out_and_the_next_one_writes_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let sets = life(&mut OwnerFile::new(folder.path()));
    let path = folder.path().join(OWNER_FILE);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    assert_eq!(restore(folder.path()), Ok(Some(sets[1].clone())));
    let mut file = OwnerFile::new(folder.path());
    file.keep(&sets[1], &sets[1].difference(&sets[2])).unwrap();
    assert_eq!(restore(folder.path()), Ok(Some(sets[2].clone())));
    assert!(!fs::read_to_string(&path).unwrap().contains("first key"), "what has gone has gone from the disk");
}

#[test]
fn a_damaged_or_senseless_file_is_told_without_a_key() {
    let folder = tempfile::tempdir().unwrap();
    life(&mut OwnerFile::new(folder.path()));
    let path = folder.path().join(OWNER_FILE);
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.replacen("first key", "other key", 1)).unwrap();
    assert!(restore(folder.path()).unwrap_err().contains("damaged in line 2"));
    // A change is missing: each record by itself is sound.
    let lines: Vec<&str> = whole.lines().collect();
    fs::write(&path, format!("{}\n{}\n{}\n", lines[0], lines[1], lines[3])).unwrap();
    assert!(restore(folder.path()).unwrap_err().contains("do not follow each other"));
    let mut journal = Journal::new(path);
    journal.replace(br#"{"set":{"revision":1,"connections":["swordfish"]}}"#).unwrap();
    let error = restore(folder.path()).unwrap_err();
    assert!(error.contains("unreadable") && !error.contains("swordfish"), "{error}");
}

#[test]
fn what_an_older_version_kept_is_read_until_the_first_change() {
    let folder = tempfile::tempdir().unwrap();
    let former = folder.path().join(FORMER_FILE);
    // As that version wrote it: no session.
    let text = serde_json::to_string(&set(7, vec![connection("old", "x")]).set()).unwrap();
    private_file::replace(&former, text.replace("\"session\":\"a\",", "").as_bytes()).unwrap();
    let restored = restore(folder.path()).unwrap().unwrap();
    assert_eq!((restored.revision, &*restored.session, restored.connections.len()), (7, "", 1));
    let new = set(1, vec![connection("new", "y")]);
    OwnerFile::new(folder.path()).keep(&restored, &restored.difference(&new)).unwrap();
    assert!(!former.exists());
    assert_eq!(restore(folder.path()), Ok(Some(new.clone())));
    // That version has run again: what it kept is newer.
    private_file::replace(&former, text.as_bytes()).unwrap();
    assert_eq!(restore(folder.path()).unwrap().unwrap().revision, 7);
}

#[test]
fn it_is_written_anew_when_it_is_twice_the_set() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = OwnerFile::new(folder.path());
    let many: Vec<_> = (0..300).map(|number| connection(&format!("vco-{number}"), "key")).collect();
    let mut now = set(1, many);
    file.keep(&OwnerEntries::default(), &OwnerEntries::default().difference(&now)).unwrap();
    let length = || fs::metadata(folder.path().join(OWNER_FILE)).unwrap().len();
    let (least, mut most) = (length(), 0);
    for number in 0..1000 {
        let mut after = now.clone();
        after.revision += 1;
        let key = format!("key {number}");
        after.connections.insert("vco-7".into(), connection("vco-7", &key));
        file.keep(&now, &now.difference(&after)).unwrap();
        most = most.max(length());
        file.compact(&after).unwrap();
        now = after;
    }
    assert!(most > least * 3 / 2 && most < least * 9 / 4 && length() <= most, "{least} to {most} bytes");
    assert_eq!(restore(folder.path()), Ok(Some(now)));
}

#[test]
fn nothing_is_kept_while_what_an_older_version_kept_would_be_read_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let former = folder.path().join(FORMER_FILE);
    // Nobody can remove this as a file, not even root.
    fs::create_dir(&former).unwrap();
    let mut file = OwnerFile::new(folder.path());
    let sets = [set(1, vec![connection("one", "x")]), set(2, vec![connection("two", "y")])];
    let nothing = OwnerEntries::default();
    for (before, after) in [(&nothing, &sets[0]), (&sets[0], &sets[1])] {
        let error = file.keep(before, &before.difference(after)).unwrap_err().to_string();
        assert!(error.contains("cend.json cannot be removed"), "{error}");
    }
    fs::remove_dir(&former).unwrap();
    file.keep(&sets[0], &sets[0].difference(&sets[1])).unwrap();
    assert_eq!(restore(folder.path()), Ok(Some(sets[1].clone())));
}

#[test]
fn wherever_the_disk_refuses_or_the_process_ends_a_kept_set_is_not_older_than_what_an_older_version_kept() {
    let (old, new) = (set(7, vec![connection("old", "x")]), set(1, vec![connection("new", "y")]));
    let text = serde_json::to_vec(&old.set()).unwrap();
    for fault in [Fault::Refused, Fault::Killed] {
        for places in 0.. {
            let folder = tempfile::tempdir().unwrap();
            private_file::replace(&folder.path().join(FORMER_FILE), &text).unwrap();
            let mut file = OwnerFile::new(folder.path());
            fault::after(places, fault);
            let change = old.difference(&new);
            let kept = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| file.keep(&old, &change)));
            let happened = fault::clear();
            let kept = matches!(kept, Ok(Ok(())));
            let restored = restore(folder.path()).unwrap().unwrap();
            assert!(restored == new || !kept && restored == old, "{fault:?} at {places}");
            if !happened {
                assert!(kept && places == 8, "every place of a write and of a removal");
                break;
            }
            // The next change is kept, or refused as well.
            if fault == Fault::Refused {
                file.keep(&old, &change).unwrap();
                assert_eq!(restore(folder.path()).unwrap().unwrap(), new);
            }
        }
    }
}
