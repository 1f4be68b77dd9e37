use super::*;
use crate::control::owner::{OwnerRoute, RefusedKind};
use crate::control::route::Publication;
use crate::daemon::owner_file;

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(std::time::Duration::from_secs(20), test).await.unwrap() });
}

fn route(weight: u8) -> OwnerRoute {
    OwnerRoute {
        destination: "10.1.0.0/16".parse().unwrap(),
        source: None,
        priority: None,
        connection: "vco-1".into(),
        weight,
        publication: Publication::Normal,
    }
}

fn set(session: &str, revision: u64, routes: Vec<OwnerRoute>) -> OwnerUpdate {
    OwnerUpdate::Set(OwnerSet { session: session.into(), revision, routes, ..OwnerSet::default() })
}

fn change(session: &str, from: u64, to: u64, routes: Vec<OwnerRoute>) -> OwnerUpdate {
    let mut change = OwnerChange { session: session.into(), from, to, ..OwnerChange::default() };
    change.routes.set = routes;
    OwnerUpdate::Change(change)
}

/// What a control task would be told, and the answer to the caller.
async fn update(
    keeper: &OwnerKeeper,
    kept: &mut mpsc::Receiver<Kept>,
    update: OwnerUpdate,
) -> Result<(OwnerChange, Option<Vec<Refusal>>), OwnerRefused> {
    let mut told = None;
    let control = async {
        let Kept { change, twice, answer } = kept.recv().await.unwrap();
        let _ = answer.send(Ok(OwnerReply { revision: change.to, refused: Vec::new() }));
        told = Some((change, twice));
        std::future::pending().await
    };
    tokio::select! {
        reply = keeper.update(update) => reply?,
        () = control => unreachable!(),
    };
    Ok(told.unwrap())
}

#[test]
fn a_set_and_a_change_are_handed_on_as_differences_when_they_are_on_the_disk() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let (keeper, mut kept) = OwnerKeeper::start(folder.path(), None).unwrap();
        let on_disk = || owner_file::restore(folder.path()).unwrap().unwrap();
        let (first, twice) = update(&keeper, &mut kept, set("a", 5, vec![route(100), route(0)])).await.unwrap();
        assert_eq!((first.from, first.to, first.routes.set.len()), (0, 5, 1));
        assert_eq!(twice.unwrap()[0].kind, RefusedKind::Route);
        assert_eq!(on_disk().routes.len(), 1);
        let (second, twice) = update(&keeper, &mut kept, change("a", 5, 8, vec![route(0)])).await.unwrap();
        assert_eq!((second.routes.set[0].weight, twice), (0, None));
        assert_eq!(on_disk().revision, 8);
        let (same, _) = update(&keeper, &mut kept, set("b", 3, vec![route(0)])).await.unwrap();
        assert!(same.is_empty(), "a whole set that says the same changes nothing");
        assert_eq!((on_disk().revision, &*on_disk().session), (3, "b"), "but the next change begins at it");
        update(&keeper, &mut kept, change("b", 3, 4, vec![])).await.unwrap();
    });
}

#[test]
fn a_change_that_begins_elsewhere_is_refused_and_a_question_answered() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let (keeper, mut kept) = OwnerKeeper::start(folder.path(), None).unwrap();
        let refused = update(&keeper, &mut kept, change("a", 0, 1, vec![])).await.unwrap_err();
        assert!(matches!(refused, OwnerRefused::Outdated { revision: 0, .. }));
        update(&keeper, &mut kept, set("a", 60, vec![])).await.unwrap();
        for (session, from) in [("a", 50), ("b", 60), ("", 60)] {
            let refused = update(&keeper, &mut kept, change(session, from, 61, vec![route(0)])).await.unwrap_err();
            assert!(matches!(refused, OwnerRefused::Outdated { revision: 60, .. }), "{refused}");
        }
        let length = std::fs::metadata(folder.path().join("cend.journal")).unwrap().len();
        update(&keeper, &mut kept, change("a", 60, 60, vec![])).await.unwrap();
        assert_eq!(std::fs::metadata(folder.path().join("cend.journal")).unwrap().len(), length, "nothing to keep");
    });
}

#[test]
fn what_the_disk_does_not_take_is_not_done() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let (keeper, mut kept) = OwnerKeeper::start(&state, None).unwrap();
        update(&keeper, &mut kept, set("a", 1, vec![])).await.unwrap();
        // Where the folder was there is a file.
        std::fs::remove_dir_all(&state).unwrap();
        std::fs::write(&state, "").unwrap();
        let refused = update(&keeper, &mut kept, change("a", 1, 2, vec![route(0)])).await.unwrap_err();
        assert!(matches!(refused, OwnerRefused::NotKept(_)), "{refused}");
        std::fs::remove_file(&state).unwrap();
        let (change, _) = update(&keeper, &mut kept, change("a", 1, 2, vec![route(0)])).await.unwrap();
        assert_eq!(change.routes.set.len(), 1);
        let restored = owner_file::restore(&state).unwrap().unwrap();
        assert_eq!((restored.revision, restored.routes.len()), (2, 1));
    });
}
