//! Tests of the Modbus grant.

use super::*;
use crate::config::ModbusRule;
use crate::contract::modbus::{Coil, Coils, IdentificationQuery, Mask, Raw, Register, Registers, Span};

fn config(rules: &[(u8, &[&str])]) -> ModbusGrant {
    let rule = |(function, addresses): &(u8, &[&str])| ModbusRule {
        function: *function,
        addresses: addresses.iter().map(|a| (*a).into()).collect(),
    };
    ModbusGrant {
        bus: "plant".into(),
        servers: vec![1, 7],
        allow: rules.iter().map(rule).collect(),
        requests_max: 4,
        at: crate::config::At("gateway.toml, line 7".into()),
        transactions: vec![],
        checksum_quirk: false,
    }
}

fn grant(rules: &[(u8, &[&str])]) -> Grant {
    Grant::new("ct", &config(rules)).unwrap()
}

fn holding(address: u16, count: u16) -> Request {
    Request::ReadHoldingRegisters(Span { address, count })
}

/// Every request kind at `address` where it has one.
fn every(address: u16) -> Vec<(u8, Request)> {
    let span = Span { address, count: 1 };
    vec![
        (1, Request::ReadCoils(span)),
        (2, Request::ReadDiscreteInputs(span)),
        (3, Request::ReadHoldingRegisters(span)),
        (4, Request::ReadInputRegisters(span)),
        (5, Request::WriteSingleCoil(Coil { address, on: true })),
        (6, Request::WriteSingleRegister(Register { address, value: 1 })),
        (15, Request::WriteMultipleCoils(Coils { address, on: vec![true] })),
        (16, Request::WriteMultipleRegisters(Registers { address, values: vec![1] })),
        (22, Request::MaskWriteRegister(Mask { address, and: 1, or: 2 })),
        (43, Request::ReadDeviceIdentification(IdentificationQuery { depth: 1, object: 0 })),
        (17, Request::Other(Raw { function: 17, data: vec![] })),
    ]
}

#[test]
fn a_rule_allows_its_own_function_and_no_other() {
    for (function, _) in every(5) {
        let addresses: &[&str] = if matches!(function, 17 | 43) { &[] } else { &["5"] };
        let g = grant(&[(function, addresses)]);
        for (asked, request) in every(5) {
            assert_eq!(g.permits(1, &request).is_ok(), asked == function, "rule {function}, asked {asked}");
            assert!(g.permits(2, &request).is_err(), "server 2 is not granted");
        }
        for (asked, request) in every(6) {
            assert_eq!(g.permits(1, &request).is_ok(), asked == function && addresses.is_empty(), "rule {function}, asked {asked} at 6");
        }
    }
    for (asked, request) in every(5) {
        assert!(grant(&[]).permits(1, &request).is_err(), "nothing is granted: {asked}");
    }
}

#[test]
fn a_span_lies_wholly_within_the_ranges_joined() {
    let g = grant(&[(3, &["10..12", "13..20", "30", "65530..65535"]), (3, &["31..33"])]);
    for (address, count, may) in [
        (10, 11, true),
        (10, 12, false),
        (9, 2, false),
        (9, 1, false),
        (20, 1, true),
        (21, 1, false),
        (20, 11, false), // both ends are granted, 21 to 29 are not
        (30, 4, true),
        (30, 5, false),
        (65530, 6, true),
        (65530, 7, false),
        (65535, 1, true),
        (65535, 2, false), // would begin at 0 again
    ] {
        assert_eq!(g.permits(1, &holding(address, count)).is_ok(), may, "{address} + {count}");
    }
}

#[test]
fn what_the_protocol_cannot_say_is_refused_whatever_is_granted() {
    let g = grant(&[(1, &["0..65535"]), (3, &["0..65535"]), (15, &["0..65535"]), (16, &["0..65535"]), (43, &[]), (100, &[])]);
    let impossible = |r: Request| matches!(g.permits(1, &r), Err(Refusal::Impossible { .. }));
    assert!(impossible(holding(0, 0)) && impossible(holding(0, 126)) && !impossible(holding(0, 125)));
    assert!(impossible(holding(65535, 2)) && !impossible(holding(65411, 125)) && impossible(holding(65412, 125)));
    assert!(
        impossible(Request::ReadCoils(Span { address: 0, count: 2001 }))
            && !impossible(Request::ReadCoils(Span { address: 0, count: 2000 }))
    );
    let coils = |n| Request::WriteMultipleCoils(Coils { address: 0, on: vec![true; n] });
    assert!(impossible(coils(0)) && impossible(coils(1969)) && !impossible(coils(1968)));
    let registers = |n| Request::WriteMultipleRegisters(Registers { address: 0, values: vec![0; n] });
    assert!(impossible(registers(0)) && impossible(registers(124)) && !impossible(registers(123)) && impossible(registers(70_000)));
    let identify = |depth| Request::ReadDeviceIdentification(IdentificationQuery { depth, object: 0 });
    assert!(impossible(identify(0)) && impossible(identify(5)) && !impossible(identify(4)));
    let other = |function, n| Request::Other(Raw { function, data: vec![0; n] });
    assert!(impossible(other(100, 253)) && !impossible(other(100, 252)));
    assert!(impossible(other(0, 0)) && impossible(other(0x80, 0)) && impossible(other(0xFF, 0)));
}

/// `other` is raw bytes: were it let through for these, no address range would hold.
#[test]
fn raw_bytes_never_reach_a_function_whose_addresses_are_granted() {
    let everything: Vec<(u8, &[&str])> = TYPED.iter().map(|f| (*f, if *f == 43 { &[][..] } else { &["0..65535"][..] })).collect();
    let g = grant(&everything);
    for function in TYPED {
        assert!(matches!(g.permits(1, &Request::Other(Raw { function, data: vec![0; 4] })), Err(Refusal::Impossible { .. })), "{function}");
    }
}

#[test]
fn a_refusal_prints_the_line_that_allows_it() {
    let refused = |r: Request| grant(&[]).permits(1, &r).unwrap_err().to_string();
    assert_eq!(
        refused(holding(5, 2)),
        "asked to read holding registers 5..6 of server 1, which gateway.toml, line 7 does not grant. \
         To allow it, under [instance.ct.grants.modbus] add to allow: { function = 3, addresses = [\"5..6\"] }"
    );
    for (function, request) in every(9) {
        let said = refused(request.clone());
        let line = said.rsplit_once("allow: ").unwrap().1;
        let rule: ModbusRule =
            toml::from_str(&format!("r = {line}")).map(|t: std::collections::BTreeMap<String, ModbusRule>| t["r"].clone()).unwrap();
        assert_eq!(rule.function, function);
        let wider = Grant::new("ct", &ModbusGrant { allow: vec![rule], ..config(&[]) }).unwrap();
        assert_eq!(wider.permits(1, &request), Ok(()), "{line}");
    }
    let server = grant(&[(3, &["5"])]).permits(4, &holding(5, 1)).unwrap_err().to_string();
    assert!(server.ends_with("write: servers = [1, 4, 7]"), "{server}");
}

#[test]
fn what_is_wrong_is_named_by_its_key() {
    let wrong = |c: ModbusGrant| Grant::new("ct", &c).map(|_| ()).unwrap_err();
    for addresses in ["", "x", "1..", "..2", "1..2..3", "-1", "+1", "65536", "0..65536", " 1", "9..5", "0x10"] {
        let e = wrong(config(&[(3, &["0"]), (4, &[addresses])]));
        assert_eq!((e.instance.as_str(), e.key.as_str()), ("ct", "allow[1]"), "{addresses:?}: {e}");
    }
    assert!(wrong(config(&[(3, &["9..5"])])).why.contains("\"5..9\""));
    assert!(wrong(config(&[(3, &[])])).why.contains("touches addresses"));
    assert!(wrong(config(&[(43, &["1"])])).why.contains("no addresses"));
    assert!(wrong(config(&[(100, &["1"])])).why.contains("no addresses"));
    for function in [0, 128, 255] {
        assert_eq!(wrong(config(&[(function, &[])])).key, "allow[0]");
    }
    assert_eq!(wrong(ModbusGrant { servers: vec![], ..config(&[]) }).key, "servers");
    for requests_max in [0, REQUESTS_MAX + 1] {
        assert_eq!(wrong(ModbusGrant { requests_max, ..config(&[]) }).key, "requests_max");
    }
}

#[test]
fn check_says_in_words_what_it_may() {
    assert_eq!(
        grant(&[(3, &["0..12", "20"]), (43, &[])]).explain(),
        "on Modbus bus \"plant\", servers 1 and 7, it may read holding registers 0..12 and 20 and read the device identification; \
         it changes nothing on the device; at most 4 requests at once"
    );
    let writes = grant(&[(6, &["11"]), (100, &[])]).explain();
    assert!(
        writes
            .contains("it may read nothing; IT MAY CHANGE THE DEVICE: write the single register 11 and use function 100 with any content"),
        "{writes}"
    );
}

#[test]
fn what_its_bus_cannot_do_is_named_by_its_key() {
    use super::super::settings::tests::bus;
    let misfit = |servers: &[u8], function, quirk, bus: &crate::config::Bus| {
        let rule = ModbusRule { function, addresses: if function == 43 { vec![] } else { vec!["0..9".into()] } };
        let from = ModbusGrant { servers: servers.to_vec(), checksum_quirk: quirk, allow: vec![rule], ..config(&[]) };
        Grant::new("ct", &from).unwrap().misfit(bus).map(|(key, ..)| key)
    };
    let (tcp, rtu) = (bus(Some("h:1"), None), bus(None, Some("/dev/x")));
    let ascii = crate::config::Bus { protocol: Some("ascii".into()), ..rtu.clone() };
    for bus in [&tcp, &rtu] {
        assert_eq!(misfit(&[1], 3, true, bus), Some("checksum_quirk"));
    }
    assert_eq!((misfit(&[1], 3, true, &ascii), misfit(&[1], 3, false, &rtu)), (None, None));
    for bus in [&rtu, &ascii] {
        assert_eq!(misfit(&[1, 0], 3, false, bus), Some("servers"), "nobody answers");
        assert_eq!(misfit(&[0], 43, false, bus), Some("servers"));
        assert_eq!(misfit(&[0], 6, false, bus), None, "all are told");
    }
    assert_eq!(misfit(&[0], 3, false, &tcp), None, "over TCP it is a device that has no number");
}

//= PROMISES.md#P328
#[test]
fn what_changes_a_device_is_asked_for_by_the_package_and_what_is_read_is_the_sites() {
    let addresses = |function| if matches!(function, 17 | 43) { &[][..] } else { &["5..6"][..] };
    let all: Vec<(u8, &[&str])> = every(5).iter().map(|(function, _)| (*function, addresses(*function))).collect();
    let asked = grant(&all).asked(Some(&config(&[(3, &["0..4"]), (6, &["5", "9"])]))).unwrap();
    for (at, function, request) in
        [5, 6].into_iter().flat_map(|at| every(at).into_iter().map(move |(function, request)| (at, function, request)))
    {
        let refused = asked.permits(1, &request);
        if matches!((function, at), (1..=4 | 43, _) | (6, 5)) {
            assert_eq!(refused, Ok(()), "{function} at {at}");
            continue;
        }
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("allows, and its own package does not ask for") && said.contains("[asks.modbus]"), "{said}");
    }
    let neither = asked.permits(1, &Request::WriteSingleRegister(Register { address: 7, value: 1 })).unwrap_err().to_string();
    assert!(neither.contains("which neither gateway.toml, line 7 allows nor its own package asks for"), "{neither}");
    let site = asked.permits(1, &Request::WriteSingleRegister(Register { address: 9, value: 1 })).unwrap_err().to_string();
    assert!(site.contains("add to allow: "), "{site}");
    assert!(
        asked.explain().ends_with("IT MAY CHANGE THE DEVICE: write the single register 5; at most 4 requests at once"),
        "{}",
        asked.explain()
    );
    assert_eq!(grant(&all).asked(None).unwrap().permits(1, &every(5)[5].1), Ok(()), "a package that does not say");
}
