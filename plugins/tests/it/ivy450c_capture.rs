//! The real capture, when it is there: 27 messages after a torn one. It is not ours to publish, so nothing of it stands here.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::ivy450c::{said, values, waves};
use crate::random::Random;
use wardgate_sdk::*;

/// `shared/data` beside the repository, or one or more folders further up.
fn capture() -> Option<Vec<u8>> {
    let found = |up: &Path| -> Option<PathBuf> { Some(up.join("shared/data/serial/Ivy450C.1.data")).filter(|p| p.exists()) };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find_map(found);
    if path.is_none() {
        // past the harness, which shows no print of a test that passes
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: the capture shared/data/serial/Ivy450C.1.data is not there; the generated streams prove the same path"
        );
    }
    path.map(|p| std::fs::read(p).expect("readable"))
}

/// An independent reading: cut at the header, waves by position, values by splitting at semicolons.
fn read(capture: &[u8]) -> Vec<(Vec<u8>, Vec<String>)> {
    let starts: Vec<usize> = (0..capture.len()).filter(|at| capture[*at..].starts_with(b"\xFFANSAR-B ")).collect();
    let ends = starts.iter().skip(1).copied().chain([capture.len()]);
    let message = |(start, end): (usize, usize)| {
        let text = String::from_utf8_lossy(&capture[start + 409..end - 1]).into_owned();
        let mut all = Vec::new();
        for line in text.split('\r').filter(|l| !l.is_empty()) {
            let fields: Vec<&str> = line.split(';').collect();
            let count: usize = fields[0].split('=').nth(1).expect("a count").parse().expect("a count");
            all.extend(fields[1..=count].iter().map(|f| f.trim().to_owned()));
            if let Some(pulse) = fields[count + 1].strip_prefix("PR=") {
                all.push(pulse.trim().to_owned());
            }
        }
        (capture[start + 9..start + 409].to_vec(), all)
    };
    starts.iter().copied().zip(ends).map(message).collect()
}

#[test]
fn the_real_capture_arrives_whole_however_it_is_cut() {
    let Some(capture) = capture() else { return };
    let whole = said(&capture, || usize::MAX);
    let expected = read(&capture);
    assert_eq!(expected.len(), 27);
    assert_eq!(values(&whole), expected.iter().map(|m| m.1.clone()).collect::<Vec<_>>());
    let waves = waves(&whole);
    assert_eq!(waves.iter().map(|w| &w.0).collect::<Vec<_>>(), expected.iter().map(|m| &m.0).collect::<Vec<_>>());
    assert_eq!(waves[26].1, [5200, 1300, 1300, 1300, 1300]);
    assert!(!whole.iter().any(|s| matches!(s, Said::Missed(..))), "the torn beginning is before the first message: nothing is missing");
    let alerts: Vec<_> =
        whole.iter().filter_map(|s| if let Said::Raise(a) = s { Some((a.text.as_str(), a.state, a.priority)) } else { None }).collect();
    let information = |text| (text, AlertState::Active, Priority::Information);
    assert_eq!(alerts, [information("APNEA: 20 SEC"), information("NO TRANSDUCER")]);
    let absent = whole.iter().filter_map(|s| if let Said::Emit(o) = s { Some(&o[6].readings) } else { None });
    for readings in absent {
        assert!(readings.iter().all(|r| r.value == Value::Absent(Absence::SensorOff)), "P2 has no transducer");
    }
    assert!(said(&capture, || 1) == whole);
    let mut random = Random(77);
    for _ in 0..10 {
        assert!(said(&capture, || random.below(600) + 1) == whole);
    }
}
