use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::fault::{Fault, after, clear};
use super::*;

const LIMIT: u64 = 1 << 20;

fn texts(path: &Path) -> Result<(Vec<String>, bool), JournalError> {
    let Contents { records, torn } = read(path, LIMIT)?;
    Ok((records.iter().map(|record| String::from_utf8(record.to_vec()).unwrap()).collect(), torn))
}

/// A journal with the records "first", "second", "third".
fn three(folder: &Path) -> (PathBuf, Journal) {
    let path = folder.join("journal");
    let mut journal = Journal::new(path.clone());
    assert!(!journal.takes_more());
    journal.replace(b"first").unwrap();
    journal.append(b"second").unwrap();
    journal.append(b"third").unwrap();
    (path, journal)
}

#[test]
fn what_was_appended_is_read_and_private() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut journal) = three(folder.path());
    assert_eq!(texts(&path).unwrap(), (["first", "second", "third"].map(String::from).to_vec(), false));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    journal.replace(b"all").unwrap();
    journal.append(b"more").unwrap();
    assert_eq!(texts(&path).unwrap().0, ["all", "more"]);
    assert!(journal.append(b"two\nlines").is_err());
    assert!(journal.takes_more(), "what never came to the disk spoils nothing");
}

#[test]
fn a_last_record_that_is_not_whole_is_left_out_wherever_it_was_cut() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = three(folder.path());
    let whole = fs::read(&path).unwrap();
    let second = whole.len() - head(b"third").unwrap().len() - 6;
    for length in second..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let (records, torn) = texts(&path).unwrap();
        assert_eq!((records.len(), torn), (2, length > second), "cut at {length}");
        // The length grew before the data came.
        let mut zeros = whole[..length].to_vec();
        zeros.resize(whole.len(), 0);
        fs::write(&path, &zeros).unwrap();
        assert_eq!(texts(&path).unwrap().0.len(), 2, "zeros from {length}");
    }
}

#[test]
fn damage_before_the_last_record_is_no_older_state() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = three(folder.path());
    let whole = fs::read(&path).unwrap();
    let third = whole.len() - head(b"third").unwrap().len() - 6;
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            fs::write(&path, &damaged).unwrap();
            match texts(&path) {
                Err(JournalError::Damaged { .. }) => {}
                // Only of the last record one can think that a crash cut it.
                Ok((records, true)) if at >= third => assert_eq!(records, ["first", "second"]),
                other => panic!("bit {bit} of byte {at}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_file_that_begins_otherwise_or_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = three(folder.path());
    let whole = fs::read(&path).unwrap();
    for (content, wrong_line) in [(&b""[..], 1), (b"{}", 1), (FORMAT.as_bytes(), 1), (b"gatewayd journal 1\n", 1)] {
        fs::write(&path, content).unwrap();
        assert!(matches!(texts(&path), Err(JournalError::Damaged { line, .. }) if line == wrong_line), "{content:?}");
    }
    fs::write(&path, whole).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    assert!(matches!(texts(&path), Err(JournalError::File(_))));
}

#[test]
fn it_is_long_when_it_is_twice_what_it_was_and_never_while_it_is_small() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::new(folder.path().join("journal"));
    journal.replace(b"x").unwrap();
    journal.append(&[b'y'; 1000]).unwrap();
    assert!(!journal.is_long());
    journal.replace(&[b'x'; 100_000]).unwrap();
    assert!(!journal.is_long());
    journal.append(&[b'y'; 90_000]).unwrap();
    assert!(!journal.is_long());
    journal.append(&[b'y'; 11_000]).unwrap();
    assert!(journal.is_long());
    journal.replace(&[b'x'; 100_000]).unwrap();
    assert!(!journal.is_long());
}

#[test]
fn a_file_that_was_taken_away_is_not_written_on() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut journal) = three(folder.path());
    fs::remove_file(&path).unwrap();
    assert!(!journal.takes_more());
    journal.replace(b"again").unwrap();
    assert_eq!(texts(&path).unwrap().0, ["again"]);
}

/// At every place a fault: what was acknowledged is read back afterwards, with what was under way at most.
#[test]
fn between_any_two_writes_a_fault_loses_nothing_that_was_acknowledged() {
    for fault in [Fault::Refused, Fault::Killed] {
        for places in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("journal");
            let mut journal = Journal::new(path.clone());
            journal.replace(b"0").unwrap();
            let mut acknowledged = vec!["0".to_owned()];
            let mut attempt = acknowledged.clone();
            after(places, fault);
            let _ = catch_unwind(AssertUnwindSafe(|| {
                for step in 1..6 {
                    let record = step.to_string();
                    let done = if step == 3 || !journal.takes_more() {
                        attempt = vec![record.clone()];
                        journal.replace(record.as_bytes())
                    } else {
                        attempt = acknowledged.iter().cloned().chain([record.clone()]).collect();
                        journal.append(record.as_bytes())
                    };
                    match done {
                        Ok(()) => acknowledged.clone_from(&attempt),
                        Err(_) => assert_eq!(fault, Fault::Refused),
                    }
                    let (records, _) = texts(&path).unwrap();
                    assert!(records == acknowledged || records == attempt, "step {step}: {records:?}");
                }
            }));
            let happened = clear();
            let (records, _) = texts(&path).unwrap();
            assert!(
                records == acknowledged || records == attempt,
                "{fault:?} after {places} places: {records:?}, acknowledged {acknowledged:?}"
            );
            if !happened {
                assert!(places > 15, "only {places} places were tried");
                break;
            }
        }
    }
}
