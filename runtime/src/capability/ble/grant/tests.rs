//! Grants: which peripheral fits, what is refused and what would allow it, what a grant says in words.

use super::*;

fn read(text: &str) -> Result<Grant, GrantError> {
    Grant::new("bed-1", &parse(text))
}

fn parse(text: &str) -> BleGrant {
    let mut grant =
        BleGrant { address: Some("C0:98:E5:00:00:01".into()), services: vec!["1808".into(), "180a".into()], ..BleGrant::default() };
    for word in text.split(';').filter(|w| !w.is_empty()) {
        let (key, value) = word.split_once('=').unwrap();
        let list = || value.split(',').filter(|v| !v.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        match key {
            "services" => grant.services = list(),
            "characteristics" => grant.characteristics = list(),
            "reads" => grant.reads = Some(list()),
            "notifies" => grant.notifies = Some(list()),
            uuid => drop(grant.writes.insert(uuid.to_owned(), list())),
        }
    }
    grant
}

#[test]
fn uuids_are_read_in_every_length_and_shown_as_short_as_they_can_be() {
    for (text, shown) in [
        ("1808", "1808"),
        ("180A", "180a"),
        ("00001808-0000-1000-8000-00805f9b34fb", "1808"),
        ("fb005c80-02e7-f387-1cad-8acd2d8df0c8", "fb005c80-02e7-f387-1cad-8acd2d8df0c8"),
        ("12345678", "12345678"),
    ] {
        assert_eq!(uuid(text).map(short).as_deref(), Some(shown), "{text}");
    }
    for wrong in ["", "180", "+180", "18080", "zzzz", "0x1808"] {
        assert_eq!(uuid(wrong), None, "{wrong}");
    }
    let wit = as_wit(uuid("180d").unwrap());
    assert_eq!((wit.high, wit.low), (0x180d << 32 | 0x1000, 0x8000_0080_5f9b_34fb));
}

#[test]
fn a_write_matches_one_pattern_as_a_whole_and_of_this_characteristic() {
    let grant = read("2a52=04 01,01 03 01 ?? ??").unwrap();
    let (point, other) = (uuid("2a52").unwrap(), uuid("2a18").unwrap());
    for good in [&[4, 1][..], &[1, 3, 1, 9, 9]] {
        assert_eq!(grant.permits_write(point, good), Ok(()));
    }
    // delete; joined; cut; padded
    for bad in [&[2, 1][..], &[4, 1, 4, 1], &[4], &[4, 1, 0], &[1, 3, 1, 9], &[2, 3, 1, 9, 9]] {
        assert!(matches!(grant.permits_write(point, bad), Err(Refusal::Write { .. })), "{bad:?}");
    }
    assert!(grant.permits_write(other, &[4, 1]).is_err());
    let refusal = grant.permits_write(point, &[2, 1]).unwrap_err().to_string();
    assert!(refusal.ends_with("under [instance.bed-1.grants.ble] add to writes: \"2a52\" = ['02 01']"), "{refusal}");
}

#[test]
fn the_line_that_a_refusal_names_allows_it() {
    let narrow = read("reads=;notifies=").unwrap();
    let id = uuid("2a18").unwrap();
    let refusal = narrow.permits_read(id).unwrap_err().to_string();
    assert!(refusal.ends_with("add to reads: \"2a18\""), "{refusal}");
    assert!(narrow.permits_notify(id).unwrap_err().to_string().ends_with("add to notifies: \"2a18\""));
    let wide = read("reads=2a18;notifies=2a18").unwrap();
    assert_eq!((wide.permits_read(id), wide.permits_notify(id)), (Ok(()), Ok(())));
    assert_eq!(read("").unwrap().permits_read(id), Ok(()), "not narrowed: all that it sees");
    assert!(wide.permits_read(uuid("2a19").unwrap()).is_err());
}

#[test]
fn what_is_wrong_is_named_by_its_key() {
    for (text, key, says) in [
        ("services=", "services", "names no service"),
        ("services=xyz", "services", "\"xyz\" is no UUID"),
        ("reads=12345", "reads", "no UUID"),
        ("2a52=zz", "writes.2a52", "pattern zz"),
        ("2a5=04 01", "writes", "no UUID"),
        ("2a52=?? ??", "writes.2a52", "any 2 bytes"),
    ] {
        let why = read(text).unwrap_err();
        assert!(why.key == key && why.why.contains(says), "{text}: {why}");
    }
}

#[test]
fn a_pool_needs_everything_that_it_names() {
    let pool = BlePool { service: Some("1808".into()), name: Some("Meter*".into()), manufacturer: Some(76) };
    let grant = Grant::new("x", &BleGrant { address: None, pool: Some(pool), ..parse("") }).unwrap();
    let meter =
        Device { name: "Meter 7".into(), services: vec![uuid("1808").unwrap()], manufacturer: vec![(76, vec![])], ..Device::default() };
    assert!(grant.fits(&meter));
    assert!(!grant.fits(&Device { name: "Other".into(), ..meter.clone() }));
    assert!(!grant.fits(&Device { services: vec![], ..meter.clone() }));
    assert!(!grant.fits(&Device { manufacturer: vec![(77, vec![])], ..meter }));
    assert!(grant.explain().contains("advertises the service 1808 and is called Meter* and carries data of the maker 76"));
}

//= PROMISES.md#P221
#[test]
fn what_is_allowed_of_a_characteristic_that_the_plugin_never_sees_is_told() {
    let unseen = read("characteristics=2a18;reads=2a18;2a52=04 01").unwrap().unseen();
    assert!(matches!(&unseen[..], [one] if one.starts_with("writes names 2a52, which is not among characteristics")), "{unseen:?}");
    assert!(read("characteristics=2a18,2a52;2a52=04 01").unwrap().unseen().is_empty() && read("2a52=04 01").unwrap().unseen().is_empty());
}

#[test]
fn in_words_a_grant_hides_nothing() {
    let words = read("reads=2a25;notifies=;2a52=04 01").unwrap().explain();
    assert_eq!(
        words,
        "of the Bluetooth peripheral C0:98:E5:00:00:01: it sees the services 1808, 180a; it may read 2a25, and be notified of nothing; \
         IT MAY WRITE whole values to the peripheral: to 2a52 04 01"
    );
    assert!(read("").unwrap().explain().ends_with("it may write nothing"));
}

/// The smaller counts on each side: what is refused names the side that refuses it.
//= PROMISES.md#P328
#[test]
fn what_the_package_does_not_ask_for_no_grant_allows() {
    let wide = || read("services=1808,180a,1810;2a52=04 01,02 ?? ??").unwrap();
    let asks = |text: &str| wide().asked(Some(&parse(text))).unwrap();
    let (service, id, point) = (uuid("1808").unwrap(), uuid("2a18").unwrap(), uuid("2a52").unwrap());
    let narrow = asks("reads=2a19;notifies=2a18;2a52=04 ??");
    assert_eq!((narrow.permits_notify(id), narrow.permits_read(uuid("2a19").unwrap())), (Ok(()), Ok(())));
    assert_eq!(narrow.permits_write(point, &[4, 1]), Ok(()), "both allow it");
    for (refusal, wish, line) in [
        (narrow.permits_read(id), "asked to read 2a18", "its maker adds \"2a18\" to the reads of [asks.ble] in manifest.toml"),
        (asks("notifies=").permits_notify(id), "asked to be notified of 2a18", "adds \"2a18\" to the notifies of [asks.ble]"),
        (
            narrow.permits_write(point, &[2, 1, 9]),
            "asked to write 02 01 09 to 2a52",
            "adds \"2a52\" = ['02 01 09'] to the writes of [asks.ble]",
        ),
    ] {
        let said = refusal.unwrap_err().to_string();
        assert!(said.starts_with(wish) && said.contains("allows, and its own package does not ask for") && said.contains(line), "{said}");
    }
    assert!(matches!(narrow.permits_write(point, &[4, 2]), Err(Refusal::Write { .. })), "the site's side refuses");
    let neither = narrow.permits_write(point, &[9]).unwrap_err().to_string();
    assert!(
        neither.contains("asked to write 09 to 2a52, which neither ") && neither.contains(" allows nor its own package asks for"),
        "{neither}"
    );
    let words = narrow.explain();
    assert!(words.contains("sees the services 1808, 180a; it may read 2a19, and be notified of 2a18; IT MAY WRITE"), "{words}");
    assert!(words.ends_with("to 2a52 04 01"), "{words}");
    assert!(narrow.shows(service, id) && !narrow.shows(uuid("1810").unwrap(), id) && wide().shows(uuid("1810").unwrap(), id));
    let seen = asks("characteristics=2a19");
    assert!(!seen.shows(service, id) && seen.shows(service, uuid("2a19").unwrap()));
    // and is shown so: nothing in common is not all, and what is not seen is not written
    let only = read("characteristics=2a51,2a52;2a52=04 01").unwrap();
    for (asks, words) in [
        ("characteristics=2a18,2a34;2a52=04 01", "it sees NOTHING of that"),
        ("services=1810;2a52=04 01", "it sees NOTHING of that"),
        (
            "characteristics=2a51;reads=2a52,2a51;2a52=04 01",
            "of them 2a51 only; it may read 2a51, and be notified of all of that; it may write nothing",
        ),
    ] {
        let said = only.clone().asked(Some(&parse(asks))).unwrap().explain();
        assert!(said.contains(words) && !said.contains("MAY WRITE"), "{asks}: {said}");
    }
    let hears = BleGrant { services: Vec::new(), broadcast: true, ..parse("") };
    let hears = wide().asked(Some(&hears)).unwrap();
    assert!(hears.broadcast && !hears.shows(service, id));
    assert_eq!(wide().asked(None).unwrap().permits_write(point, &[2, 1, 9]), Ok(()), "a package that does not say");
}
