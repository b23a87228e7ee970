//! What the texts of the monitor mean.

use ivy450c::alerts::{Place, absence, classify};
use ivy450c::decode::{Name, decode};
use wardgate_sdk::*;

use crate::generator::Second;

#[test]
fn a_line_says_why_it_has_no_value_as_far_as_its_texts_tell() {
    for (label, alarm, why) in [
        ("", "", Absence::NotMeasured),
        ("NO TRANSDUCER", "", Absence::SensorOff),
        ("", "LEADS OFF", Absence::SensorOff),
        ("", "PROBE OFF PATIENT", Absence::SensorOff),
        ("", "SENSOR DISCONNECTED", Absence::SensorOff),
        ("", "CAL FAIL", Absence::SensorFault),
        ("ZERO REQUIRED", "", Absence::NotMeasured),
        ("NO", "TRANSDUCER", Absence::NotMeasured),
        ("OFF LIMITS", "", Absence::NotMeasured),
    ] {
        assert_eq!(absence([label, alarm]), why, "{label} | {alarm}");
    }
}

#[test]
fn alarms_are_classified_by_their_place_and_words_only() {
    use {Concern as C, Priority as P};
    for (place, text, class) in [
        (Place::Label, "APNEA: 20 SEC", (P::Information, C::Physiological)),
        (Place::Label, "NO TRANSDUCER", (P::Information, C::Technical)),
        (Place::Alarm, "APNEA", (P::High, C::Physiological)),
        (Place::Alarm, "HIGH", (P::Medium, C::Physiological)),
        (Place::Alarm, "LEADS OFF", (P::Low, C::Technical)),
        (Place::Alarm, "anything new", (P::Medium, C::Physiological)),
    ] {
        assert_eq!(classify(place, text), class, "{text}");
    }
}

#[test]
fn the_pulse_rate_is_in_the_label_of_the_saturation() {
    let mut second = Second::usual(0);
    for (label, pulse, text) in
        [("PR=80 ", Some(80), ""), ("PR= ", None, ""), ("PROBE OFF", None, "PROBE OFF"), ("", None, ""), (" PR=7", Some(7), "")]
    {
        second.spo2.1 = label.into();
        let bytes = second.bytes();
        let message = decode(&bytes, &Name::ALL).expect("a good message");
        let line = message.lines.iter().find(|l| l.name == Name::Spo2).expect("the line");
        assert_eq!((line.values[1], line.label), (pulse.map(|p| Decimal::new(p, 0)), text), "{label:?}");
    }
    second.spo2.1 = "PR=x".into();
    assert!(decode(&second.bytes(), &Name::ALL).is_err());
}

#[test]
fn numbers_keep_their_precision() {
    let mut second = Second::usual(0);
    second.t1.0 = "37.20".into();
    second.p1.0[1] = "-5".into();
    let bytes = second.bytes();
    let message = decode(&bytes, &Name::ALL).expect("a good message");
    assert_eq!(message.lines[7].values, [Some(Decimal::new(3720, -2))]);
    assert_eq!(message.lines[5].values[1], Some(Decimal::new(-5, 0)));
    for wrong in ["-5", "3.", "1e2", "0x1", "1234", "1.234", "--1", "+1", "1 2", "٣"] {
        second.hr.0 = wrong.into();
        assert!(decode(&second.bytes(), &Name::ALL).is_err(), "{wrong}");
    }
}

#[test]
fn a_line_that_a_later_model_may_add_is_passed_over() {
    let mut bytes = Second::usual(0).bytes();
    let end = bytes.len() - 1;
    bytes.splice(end..end, *b"AG=2;1;2;;\r");
    assert_eq!(decode(&bytes, &Name::ALL).expect("a good message").lines.len(), 9);
    bytes.splice(end..end, *b"AG=3;1;2;;\r");
    assert!(decode(&bytes, &Name::ALL).is_err(), "but it must be well formed");
}
