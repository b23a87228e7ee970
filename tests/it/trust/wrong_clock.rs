//! A gateway's clock that was never set, or is a year ahead: what is taken back takes effect, and nothing that is written down keeps the error.

use super::site::{LATER, LONG_AFTER, NEVER_SET, NOW, Site};

//= PROMISES.md#P144
#[test]
fn a_clock_at_1970_takes_over_news_and_believes_the_signed_time() {
    let site = Site::new("clock-1970");
    let said = site.update_from("fleet/repository", NEVER_SET).expect("it is newer than anything here");
    assert!(said.contains("this machine's clock is before what was signed"), "{said}");
    let fleet = site.fleet();
    assert_eq!((fleet["checked"].as_str(), fleet["issued"].as_str()), (None, Some("2026-12-01T12:00:00Z")));
    assert_eq!(fleet["floor"], fleet["issued"]);
    // 40 days later, by stick, still at 1970: a key is taken back
    let after = "2027-01-10T12:00:00Z";
    let words = ["trust", "revoke", "--vendor", "acme", "--key", "acme.pub", "--reason", "stolen laptop", "--fleet", "fleet"];
    let done = site.run(&words, Some(after));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    site.update_from("fleet/repository/fleet.bundle", NEVER_SET).expect("signed, and newer");
    let fleet = site.fleet();
    assert_eq!((fleet["revoked_keys"][0]["reason"].as_str(), fleet["floor"].as_str()), (Some("stolen laptop"), Some(after)));
    // what was signed before that floor's end is over, though the clock says 1970
    let why = site.run(&["trust", "status", "gw"], Some(NEVER_SET));
    assert!(!String::from_utf8_lossy(&why.stdout).contains("trust-stale"), "{why:?}");
}

//= PROMISES.md#P145
#[test]
fn a_clock_a_year_ahead_refuses_installs_and_heals_when_it_is_set() {
    let site = Site::new("clock-ahead");
    let why = site.update_from("fleet/repository", LONG_AFTER).expect_err("it has ended, by that clock");
    assert!(
        why.contains("if this machine's clock is right, bring newer metadata") && why.contains("this machine's clock says 2027-12-01"),
        "{why}"
    );
    let ahead = site.fleet();
    assert_eq!((ahead["checked"].as_str(), ahead["floor"].as_str()), (None, Some("2026-12-01T12:00:00Z")), "nothing of it is kept");
    // the clock is set, and all is well
    let said = site.update_from("fleet/repository", LATER).expect("healed");
    assert!(said.contains("new packages are installed until 2027-01-30"), "{said}");
    assert_eq!(site.fleet()["checked"], LATER);
    // and a clock that then falls back to 1970 does not make ended metadata fresh
    let over = "2027-01-30T11:00:00Z";
    site.update_from("fleet/repository", over).expect("an hour before its end");
    assert_eq!(site.fleet()["floor"], over);
}

/// A clock that is ahead within the metadata's term is like a right one, so it is remembered; and a person has a way back.
//= PROMISES.md#P145
#[test]
fn a_clock_that_was_ahead_within_the_term_is_forgotten_when_a_person_says_so() {
    let site = Site::new("clock-within");
    let ahead = "2027-01-15T12:00:00Z";
    site.update_from("fleet/repository", ahead).expect("it has not ended");
    site.well(&["trust", "publish", "--fleet", "fleet"]);
    let said = site.update_from("fleet/repository", LATER).expect("newer");
    assert!(said.contains("clock is before 2027-01-15T12:00:00Z") && said.contains("--clock-was-wrong"), "{said}");
    assert_eq!(site.fleet()["floor"], ahead, "nobody here can tell which clock is right");
    let words = ["trust", "update", "--from", "fleet/repository", "--to", "gw", "--clock-was-wrong"];
    assert!(site.run(&words, Some(LATER)).status.success());
    assert_eq!((&site.fleet()["floor"], &site.fleet()["checked"]), (&LATER.into(), &LATER.into()));
    // the gateway hears of it, and of that once, whatever comes later
    assert_eq!(site.fleet()["forgotten"], LATER);
    site.update_from("fleet/repository", LATER).expect("the same");
    assert_eq!(site.fleet()["forgotten"], LATER);
    // what is signed holds all the same
    assert!(site.run(&words, Some(NEVER_SET)).status.success());
    assert_eq!((site.fleet()["floor"].as_str(), site.fleet()["checked"].as_str()), (Some(NOW), None));
}
