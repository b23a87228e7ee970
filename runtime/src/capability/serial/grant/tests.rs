//! Tests of the serial grant.

use super::*;

fn config(framing: &str, baud: u32, writes: &[&str]) -> SerialGrant {
    SerialGrant {
        port: "/dev/serial/by-id/usb-FTDI-0".into(),
        baud,
        framing: framing.into(),
        flow: "none".into(),
        writes: writes.iter().map(|w| (*w).into()).collect(),
        at: crate::config::At("gateway.toml, line 7".into()),
    }
}

#[test]
fn framings_and_the_inbox_that_holds_ten_seconds() {
    for (text, bits, baud, bytes) in
        [("8N1", 10, 9600, 9600), ("7E1", 10, 9600, 9600), ("8O1", 11, 19200, 17455), ("8N2", 11, 300, 273), ("5N1", 7, 50, 72)]
    {
        let g = Grant::new("bed-1", &config(text, baud, &[])).unwrap();
        assert_eq!((g.settings().framing.to_string().as_str(), g.settings().framing.bits(), g.inbox_bytes()), (text, bits, bytes));
    }
    for wrong in ["", "8", "8N", "8n1", "9N1", "4N1", "8X1", "8N3", "8N0", "8N11", "8N1 ", "8é1"] {
        let e = Grant::new("bed-1", &config(wrong, 9600, &[])).unwrap_err();
        assert_eq!((e.instance.as_str(), e.key.as_str()), ("bed-1", "framing"), "{wrong}");
    }
}

#[test]
fn what_is_wrong_is_named_by_its_key() {
    let key = |c: SerialGrant| Grant::new("bed-1", &c).unwrap_err().key;
    assert_eq!(key(config("8N1", 49, &[])), "baud");
    assert_eq!(key(config("8N1", 4_000_001, &[])), "baud");
    assert_eq!(key(config("8N1", 9600, &["01", "zz"])), "writes[1]");
    assert_eq!(key(config("8N1", 9600, &["01"; 65])), "writes");
    assert_eq!(key(SerialGrant { port: "ttyUSB0".into(), ..config("8N1", 9600, &[]) }), "port");
}

#[test]
fn a_refusal_prints_the_line_that_allows_exactly_that_frame() {
    for frame in [&b"!INF_START|38F3\r"[..], b"\x1b\x00", b"it's"] {
        let g = Grant::new("bed-1", &config("8N1", 9600, &["\"!INF|4961\\r\""])).unwrap();
        let said = g.permits(frame).unwrap_err().to_string();
        assert!(said.contains("[instance.bed-1.grants.serial] add to writes: '"), "{said}");
        let line = said.rsplit_once("writes: '").unwrap().1.strip_suffix('\'').unwrap();
        let wider = Grant::new("bed-1", &config("8N1", 9600, &[line])).unwrap();
        assert_eq!(wider.permits(frame), Ok(()));
    }
    let listens = Grant::new("bed-1", &config("8N1", 9600, &[])).unwrap();
    assert!(matches!(listens.permits(b"x"), Err(Refusal::NoPattern { .. })));
    assert_eq!(listens.permits(b""), Err(Refusal::Impossible { bytes: 0 }));
    assert_eq!(listens.permits(&[0; 257]), Err(Refusal::Impossible { bytes: 257 }));
}

#[test]
fn check_says_in_words_what_it_may() {
    let listens = Grant::new("bed-1", &config("8N1", 9600, &[])).unwrap().explain();
    assert_eq!(
        listens,
        "on serial port /dev/serial/by-id/usb-FTDI-0 at 9600 baud 8N1, it may read all that comes; it only listens: it may write nothing"
    );
    let writes = Grant::new("bed-1", &config("8N1", 9600, &["05", "\"A\""])).unwrap().explain();
    assert!(writes.ends_with("IT MAY WRITE whole frames to the device: 05, or \"A\""), "{writes}");
}

//= PROMISES.md#P328
#[test]
fn what_the_package_does_not_ask_to_write_no_grant_allows() {
    let wide = || Grant::new("bed-1", &config("8N1", 9600, &["01 ??", "02"])).unwrap();
    let narrow = wide().asked(Some(&config("7E1", 300, &["00-01 02", "04"]))).unwrap();
    assert_eq!(narrow.permits(&[1, 2]), Ok(()), "however its line is set");
    for frame in [&[1, 3][..], &[2]] {
        let said = narrow.permits(frame).unwrap_err().to_string();
        assert!(said.contains("allows, and its own package does not ask for") && said.contains("[asks.serial]"), "{said}");
    }
    assert!(matches!(narrow.permits(&[4]), Err(Refusal::NoPattern { .. })), "the site's side refuses");
    assert!(narrow.permits(&[3]).unwrap_err().to_string().contains("neither gateway.toml, line 7 allows nor its own package asks for"));
    assert!(narrow.explain().ends_with("IT MAY WRITE whole frames to the device: 01 02"), "{}", narrow.explain());
    let listens = wide().asked(Some(&config("8N1", 9600, &[]))).unwrap();
    assert!(listens.permits(&[2]).is_err() && wide().asked(None).unwrap().permits(&[2]).is_ok());
    assert!(listens.explain().ends_with("it only listens: it may write nothing"));
}
