//! What a test needs and a machine may lack: privileges, devices, other programs, a way to a package index.
//!
//! Every test binary takes this file by `#[path]`, so that there is one way to skip a test. Where `CI` is set to anything
//! but the empty text, as `.ci/run` and `netns-scripts/test.sh --require` do, nothing is skipped: what is missing fails.

use std::ffi::OsStr;
use std::fmt::Display;

/// Says that a test, or a part of it, is not run for want of something.
///
/// # Panics
/// When nothing may be skipped.
#[track_caller]
pub fn skipped(missing: impl Display) {
    match verdict(std::env::var_os("CI").as_deref(), &missing) {
        Ok(skipped) => eprintln!("{skipped}"),
        Err(failure) => panic!("{failure}"),
    }
}

fn verdict(ci: Option<&OsStr>, missing: &dyn Display) -> Result<String, String> {
    if ci.is_some_and(|ci| !ci.is_empty()) {
        return Err(format!(
            "nothing may be skipped while CI is set, and this machine lacks what the test needs: {missing}"
        ));
    }
    Ok(format!("SKIPPED: {missing}"))
}

#[test]
fn what_is_missing_fails_where_ci_is_set() {
    for ci in [None, Some("")] {
        assert_eq!(verdict(ci.map(OsStr::new), &"no raw sockets"), Ok("SKIPPED: no raw sockets".to_owned()));
    }
    for ci in ["1", "true", "0"] {
        let failure = verdict(Some(OsStr::new(ci)), &"no raw sockets").unwrap_err();
        assert!(failure.contains("lacks what the test needs: no raw sockets"), "{failure}");
    }
}
