//! A clock that was wrong: lifetimes end when their time has passed, what has ended is freed, and nothing that was
//! acknowledged is lost.

use std::io::Write;
use std::path::PathBuf;

use crate::support::Home;
use crate::support::patience::{until, while_it_lives};
use serde_json::Value;

/// A home whose programs have another clock, if the library for that is there.
struct Faked {
    home: Home,
    place: tempfile::TempDir,
}

impl Faked {
    fn new(offset: &str) -> Option<Self> {
        let library = crate::support::faketime()?;
        let place = tempfile::tempdir().unwrap();
        let home = Home::with_environment(&[
            ("LD_PRELOAD", &library),
            ("FAKETIME_TIMESTAMP_FILE", place.path().join("offset").to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]);
        let faked = Self { home, place };
        faked.jump(offset);
        faked.home.bring_up().ends(0);
        Some(faked)
    }

    /// Sets the clock of all that runs and of all that will.
    fn jump(&self, offset: &str) {
        let new: PathBuf = self.place.path().join("new");
        std::fs::File::create(&new).unwrap().write_all(offset.as_bytes()).unwrap();
        std::fs::rename(&new, self.place.path().join("offset")).unwrap();
    }

    fn status(&self) -> Value {
        self.home.run(&["status", "--json"]).ends(0).json()
    }

    /// Values in memory and blobs on disk.
    fn held(&self) -> (u64, u64) {
        let status = self.status();
        let count = |class: &str, what: &str| status["node"][class][what].as_u64().unwrap();
        (count("memory", "records"), count("disk", "blobs"))
    }

    /// Sets a value and a file that last a moment, and sees them end and be freed.
    fn lifetimes_end(&self) {
        let home = &self.home;
        let before = self.held();
        let (during, seconds) = while_it_lives(2, |seconds| {
            let ttl = format!("{seconds}s");
            home.run_with(&["put", "-", "/short", "--ttl", &ttl], &crate::support::noise(100_000, 7)).ends(0);
            home.run(&["value", "set", "short", "secret", "--ttl", &ttl]).ends(0);
            (self.held(), seconds)
        });
        assert!(during.0 > before.0 && during.1 > before.1, "{before:?} {during:?}");
        crate::support::pause(seconds * 1_000 + 300);
        home.run(&["value", "get", "short"]).ends(3);
        home.run(&["cat", "/short"]).ends(3);
        until("all of it is freed", || self.held() == before);
    }
}

#[test]
fn after_a_start_with_the_clock_far_ahead_lifetimes_still_end() {
    let Some(faked) = Faked::new("+1000d") else { return };
    let home = &faked.home;
    home.run_with(&["put", "-", "/kept"], b"kept").ends(0);
    home.run(&["down"]).ends(0);
    faked.jump("+0");
    home.bring_up().ends(0);
    home.run(&["value", "set", "long", "lasts", "--ttl", "1h"]).ends(0);
    faked.lifetimes_end();
    let words = home.run(&["doctor"]).ends(0).out;
    assert!(words.contains("goes on by the steady clock"), "{words}");
    home.run(&["down"]).ends(0);
    home.bring_up().ends(0);
    faked.lifetimes_end();
    assert_eq!(home.run(&["cat", "/kept"]).ends(0).out, "kept");
}

#[test]
fn a_clock_set_back_while_running_holds_no_lifetime_up() {
    let Some(faked) = Faked::new("+0") else { return };
    let home = &faked.home;
    home.run_with(&["put", "-", "/kept"], b"kept").ends(0);
    home.run(&["value", "set", "long", "lasts", "--ttl", "1h"]).ends(0);
    home.run(&["value", "set", "soon", "over", "--ttl", "2s"]).ends(0);
    faked.jump("-1h");
    crate::support::pause(2_300);
    home.run(&["value", "get", "soon"]).ends(3);
    faked.lifetimes_end();
    assert_eq!(home.run(&["value", "get", "long"]).ends(0).out.trim_end(), "lasts");
    home.run_with(&["put", "-", "/later"], b"later").ends(0);
    home.kill("node");
    home.bring_up().ends(0);
    assert_eq!(home.run(&["cat", "/kept"]).ends(0).out, "kept");
    assert_eq!(home.run(&["cat", "/later"]).ends(0).out, "later");
    faked.lifetimes_end();
}
