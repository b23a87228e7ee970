//! Frames of a bus as they were on the wire, where a site keeps them: ahead of the answer, outliving the run that asked, and only what is known to be its own.

use tokio::sync::watch;
use tokio::task::JoinSet;
use wardgate::capability::modbus::Grant;
use wardgate::contract::modbus::Failure;
use wardgate::contract::{Event, Frame};
use wardgate_lab::sim::modbus::serial::{Framing, SerialServer};
use wardgate_lab::sim::modbus::{Fault, Options};

use super::buses::{grant, serial};
use super::modbus::{Rig, holding};
use super::{Scratch, clock};

/// Register 11 of server 1, and its 200.
const ASKED: [u8; 8] = [1, 3, 0, 11, 0, 1, 0xF5, 0xC8];
const ANSWERED: [u8; 7] = [1, 3, 2, 0, 200, 0xB9, 0xD2];

fn both(frames: &[Frame]) -> Vec<(bool, &[u8])> {
    assert!(frames.is_sorted_by_key(|f| f.moment.monotonic_ns), "{frames:?}");
    frames.iter().map(|f| (f.sent, &f.bytes[..])).collect()
}

#[tokio::test]
async fn what_goes_over_a_bus_is_kept_as_it_was_on_the_wire_and_nothing_that_is_anothers() {
    let scratch = Scratch::new("frames");
    let server = SerialServer::new(&scratch.file("port"), Framing::Rtu, false, Options::new("127.0.0.1:0".parse().unwrap())).unwrap();
    let control = server.control();
    let (_stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(async { server.run(stopped).await.unwrap() });
    let one = |name: &str, keep| Grant::new(name, &grant()).unwrap().keeping_raw(keep);
    let rig = Rig::with(&serial(&scratch.file("port"), "rtu"), &["kept", "not"], vec![one("kept", true), one("not", false)]);
    let [kept, not] = &rig.instances[..] else { panic!() };
    kept.is_up().await;
    not.is_up().await;

    // nobody but whoever asked has the frames of it
    assert!(not.ask(1, holding(11, 1)).await.is_ok());
    assert_eq!(rig.status.instance("not", |i| i.raw_withheld), ANSWERED.len() as u64);
    kept.handle.submit(1, 1, holding(11, 1)).unwrap();
    let Event::ModbusFrames(frames) = kept.event().await else { panic!("the frames come ahead of the answer") };
    assert_eq!(both(&frames), [(true, &ASKED[..]), (false, &ANSWERED[..])]);
    assert!(kept.reply().await.1.is_ok());

    // another server's answer before its own is another's, and so may be what is damaged; never three failures in a row, which set it aside
    for (fault, came, outcome) in [
        (Fault::Noise, Some(&ANSWERED[..]), Ok(())),
        (Fault::WrongUnit, None, Err(Failure::Malformed)),
        (Fault::WrongChecksum, None, Err(Failure::Malformed)),
        (Fault::Joined, Some(&ANSWERED[..]), Ok(())),
        (Fault::Half, None, Err(Failure::Malformed)),
        (Fault::Silence, None, Err(Failure::Timeout)),
    ] {
        control.befall([Some(fault)]);
        kept.handle.submit(2, 1, holding(11, 1)).unwrap();
        let Event::ModbusFrames(frames) = kept.event().await else { panic!("{fault:?}") };
        let expected: Vec<_> = [(true, &ASKED[..])].into_iter().chain(came.map(|bytes| (false, bytes))).collect();
        assert_eq!(both(&frames), expected, "{fault:?}");
        assert_eq!(kept.reply().await.1.map(drop), outcome, "{fault:?}");
    }
    assert_eq!(rig.status.instance("kept", |i| i.raw_withheld), 0);

    // the run that asked has ended: the answer is nobody's, and the frames are the device's
    kept.handle.submit(3, 1, holding(11, 1)).unwrap();
    while rig.status.read().links["plant"].answered < 5 {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    kept.reopen(clock());
    kept.is_up().await;
    let Event::ModbusFrames(frames) = kept.event().await else { panic!("they outlive the run") };
    assert_eq!(both(&frames), [(true, &ASKED[..]), (false, &ANSWERED[..])]);
}
