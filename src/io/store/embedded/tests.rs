//! Reload equality, and a storage that forgets what was not synced, cut at every operation.

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::cen::command::{Command, CreateVSwitch, CreateVpc, Submission};
use crate::cen::network::UnixMillis;
use crate::cen::plan::plan;

/// The changes of a small cloud's life, one list for each commit.
fn life() -> Vec<Vec<Change>> {
    let mut commands = vec![Command::CreateVpc(CreateVpc {
        id: "vpc-a".into(),
        router: "vrt-a".into(),
        route_table: "vtb-a".into(),
        service_entry: "rte-service".into(),
        region: "cn-hangzhou".into(),
        cidr: "192.168.0.0/16".parse().unwrap(),
        name: "hangzhou".into(),
        description: "x".repeat(3000),
        tags: Vec::new(),
        user_cidrs: Vec::new(),
        resource_group: String::new(),
    })];
    for number in 0..5 {
        commands.push(Command::CreateVSwitch(CreateVSwitch {
            tags: Vec::new(),
            id: format!("vsw-{number}").into(),
            system_entry: format!("rte-{number}").into(),
            vpc: "vpc-a".into(),
            zone: "cn-hangzhou-a".into(),
            cidr: format!("192.168.{number}.0/24").parse().unwrap(),
            name: String::new(),
            description: "y".repeat(2000),
        }));
    }
    commands.push(Command::DeleteVSwitch { vswitch: "vsw-2".into() });
    let mut state = State::default();
    let plan_next = |command| {
        let changes =
            plan(&state, &Submission { command, client_token: None, dry_run: false, now: UnixMillis(7) }).unwrap();
        changes.iter().for_each(|change| apply(&mut state, change));
        changes
    };
    commands.into_iter().map(plan_next).collect()
}

/// The state after each commit of [`life`], the empty one first.
fn states(life: &[Vec<Change>]) -> Vec<State> {
    let mut state = State::default();
    let mut states = vec![state.clone()];
    for changes in life {
        changes.iter().for_each(|change| apply(&mut state, change));
        states.push(state.clone());
    }
    states
}

#[test]
fn a_reopened_store_has_the_state_that_was_committed() {
    let directory = tempfile::tempdir().unwrap();
    let life = life();
    let states = states(&life);
    for (number, changes) in life.iter().enumerate() {
        let mut store = EmbeddedStore::open(directory.path()).unwrap();
        let (revision, state) = store.load().unwrap();
        assert_eq!((revision.0, &state), (number as u64, &states[number]));
        assert_eq!(store.commit(revision, changes, None).unwrap(), revision.next());
        if number % 3 == 1 {
            store.fold(revision.next(), &states[number + 1]).unwrap();
        }
    }
    let (revision, state) = EmbeddedStore::open(directory.path()).unwrap().load().unwrap();
    assert_eq!((revision.0 as usize, &state), (life.len(), states.last().unwrap()));
}

#[test]
fn nonces_are_kept_with_their_commit_until_they_have_expired() {
    let directory = tempfile::tempdir().unwrap();
    let nonce = |text: &str, used, expires| UsedNonce::new("id", text, used, expires);
    let all =
        [nonce("late", 1000, 1900), nonce("early", 1001, 1100), nonce("next", 1101, 2000), nonce("end", 1901, 2800)];
    let kept = |count: usize| -> Vec<UsedNonce> {
        let mut kept = EmbeddedStore::open(directory.path()).unwrap().nonces().unwrap();
        kept.sort_by_key(|nonce| nonce.used);
        assert_eq!(kept.len(), count, "{kept:?}");
        kept
    };
    for (number, (changes, nonce)) in life().iter().zip(&all).enumerate() {
        let mut store = EmbeddedStore::open(directory.path()).unwrap();
        let revision = Revision(number as u64);
        // An outdated writer's nonce is not taken.
        assert!(store.commit(revision.next(), changes, Some(&all[3])).is_err());
        store.commit(revision, changes, Some(nonce)).unwrap();
        drop(store);
        match number {
            0 => assert_eq!(kept(1), all[..1]),
            1 => assert_eq!(kept(2), all[..2]),
            2 => assert_eq!(kept(2), [all[0], all[2]]),
            _ => assert_eq!(kept(2), all[2..]),
        }
    }
}

#[test]
fn only_the_owner_may_read_the_file() {
    let directory = tempfile::tempdir().unwrap();
    drop(EmbeddedStore::open(directory.path()).unwrap());
    let path = directory.path().join(FILE);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    drop(EmbeddedStore::open(directory.path()).unwrap());
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn an_outdated_writer_is_refused_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let life = life();
    let mut store = EmbeddedStore::open(directory.path()).unwrap();
    store.commit(Revision(0), &life[0], None).unwrap();
    let refusal = store.commit(Revision(0), &life[1], None).unwrap_err();
    assert!(matches!(refusal, StoreError::Outdated { expected: Revision(0), found: Revision(1) }));
    assert!(store.fold(Revision(2), &State::default()).is_err());
    assert_eq!(store.load().unwrap(), (Revision(1), states(&life)[1].clone()));
}

#[test]
fn a_second_process_cannot_open_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let _first = EmbeddedStore::open(directory.path()).unwrap();
    assert!(matches!(EmbeddedStore::open(directory.path()), Err(StoreError::InUse)));
}

#[test]
fn a_crash_while_the_store_is_made_leaves_a_directory_that_works() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(format!("{FILE}.new")), vec![0; 4096]).unwrap();
    assert_eq!(EmbeddedStore::open(directory.path()).unwrap().load().unwrap(), (Revision(0), State::default()));
}

/// The number that stands in the file, which is set first if one is given.
fn format(directory: &Path, set: Option<u64>) -> u64 {
    let database = Database::open(directory.join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    let found = {
        let mut numbers = transaction.open_table(NUMBERS).unwrap();
        if let Some(format) = set {
            numbers.insert("format", format).unwrap();
        }
        numbers.get("format").unwrap().unwrap().value()
    };
    transaction.commit().unwrap();
    found
}

#[test]
fn an_older_format_is_read_and_the_first_change_makes_it_the_newest_which_older_versions_refuse() {
    let directory = tempfile::tempdir().unwrap();
    let (life, path) = (life(), directory.path());
    let states = states(&life);
    EmbeddedStore::open(path).unwrap().commit(Revision(0), &life[0], None).unwrap();
    assert_eq!(format(path, None), 2);

    let old = format(path, Some(1));
    assert_eq!(EmbeddedStore::open(path).unwrap().load().unwrap(), (Revision(1), states[1].clone()));
    assert_eq!(format(path, None), old, "nothing has been written that an older version would misread");
    EmbeddedStore::open(path).unwrap().commit(Revision(1), &life[1], None).unwrap();
    assert_eq!(format(path, None), 2);

    format(path, Some(1));
    EmbeddedStore::open(path).unwrap().fold(Revision(2), &states[2]).unwrap();
    assert_eq!(format(path, None), 2);

    for unknown in [0, 3] {
        format(path, Some(unknown));
        let refusal = EmbeddedStore::open(path).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refusal.contains(&format!("format {unknown}, expected 1 to 2")), "{refusal}");
    }
}

#[test]
fn a_file_of_something_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(FILE), vec![0x5a; 10_000]).unwrap();
    assert!(EmbeddedStore::open(directory.path()).is_err());
}

/// A disk that fails after a number of operations, and then holds only what was synced, and possibly some of the rest.
#[derive(Clone, Debug)]
struct Disk(Arc<Mutex<DiskState>>);

#[derive(Debug)]
struct DiskState {
    synced: Vec<u8>,
    cached: Vec<u8>,
    /// Writes and resizes since the last sync.
    pending: Vec<Pending>,
    /// Writes, resizes and syncs until the power fails.
    left: usize,
}

#[derive(Clone, Debug)]
enum Pending {
    Write(usize, Vec<u8>),
    Resize(usize),
}

impl Pending {
    fn perform(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                if bytes.len() < offset + data.len() {
                    bytes.resize(offset + data.len(), 0);
                }
                bytes[*offset..offset + data.len()].copy_from_slice(data);
            }
            Self::Resize(length) => bytes.resize(*length, 0),
        }
    }
}

impl Disk {
    fn new(content: Vec<u8>, left: usize) -> Self {
        Self(Arc::new(Mutex::new(DiskState { synced: content.clone(), cached: content, pending: Vec::new(), left })))
    }

    fn spend(state: &mut DiskState) -> io::Result<()> {
        state.left = state.left.checked_sub(1).ok_or_else(|| io::Error::other("no power"))?;
        Ok(())
    }

    /// What is on the disk after the power failed: every unsynced operation survives with chance `survival`.
    fn remains(&self, survival: f64, seed: u64) -> Vec<u8> {
        let state = self.0.lock().unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut content = state.synced.clone();
        for pending in &state.pending {
            if random.random_bool(survival) {
                pending.perform(&mut content);
            }
        }
        content
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (state, offset) = (self.0.lock().unwrap(), offset as usize);
        let source = state.cached.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(source);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        Self::spend(&mut state)?;
        let resize = Pending::Resize(len as usize);
        resize.perform(&mut state.cached);
        state.pending.push(resize);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        Self::spend(&mut state)?;
        state.synced = state.cached.clone();
        state.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        Self::spend(&mut state)?;
        let write = Pending::Write(offset as usize, data.to_vec());
        write.perform(&mut state.cached);
        state.pending.push(write);
        Ok(())
    }
}

/// Lives as far as the disk allows; the number of commits that were acknowledged.
fn live(disk: &Disk, life: &[Vec<Change>], states: &[State]) -> usize {
    let Ok(mut store) = EmbeddedStore::with_backend(disk.clone()) else { return 0 };
    let Ok((mut revision, _)) = store.load() else { return 0 };
    let mut acknowledged = revision.0 as usize;
    while let Some(changes) = life.get(acknowledged) {
        match store.commit(revision, changes, None) {
            Ok(next) => revision = next,
            Err(_) => break,
        }
        acknowledged += 1;
        if acknowledged == 4 && store.fold(revision, &states[4]).is_err() {
            break;
        }
    }
    acknowledged
}

#[test]
fn whenever_the_power_fails_every_acknowledged_commit_is_there_and_no_half_of_one() {
    let life = life();
    let states = states(&life);
    let empty = Disk::new(Vec::new(), usize::MAX);
    drop(EmbeddedStore::with_backend(empty.clone()).unwrap());
    let empty = empty.remains(0.0, 0);
    let whole = Disk::new(empty.clone(), usize::MAX);
    assert_eq!(live(&whole, &life, &states), life.len());
    let operations = usize::MAX - whole.0.lock().unwrap().left;
    assert!(operations > 20, "{operations} operations are too few to mean anything");

    for cut in 0..operations {
        for (survival, seed) in [(0.0, 0), (1.0, 0), (0.5, 1), (0.5, 2)] {
            let disk = Disk::new(empty.clone(), cut);
            let acknowledged = live(&disk, &life, &states);
            let after = Disk::new(disk.remains(survival, seed), usize::MAX);
            let store = EmbeddedStore::with_backend(after.clone())
                .unwrap_or_else(|error| panic!("cut at {cut}, survival {survival}: {error}"));
            let (revision, state) = store.load().unwrap();
            let revision = revision.0 as usize;
            // The commit that was under way may have arrived, though nobody was told.
            assert!((acknowledged..=acknowledged + 1).contains(&revision), "cut at {cut}: {acknowledged}, {revision}");
            assert_eq!(state, states[revision], "cut at {cut}");
            drop(store);
            // And life goes on.
            assert_eq!(live(&after, &life, &states), life.len(), "cut at {cut}");
        }
    }
}
