//! Buses on serial lines, RTU and ASCII, against a device that misbehaves on demand; each fault as docs/faults.md has it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch;
use tokio::task::JoinSet;
use wardgate::config::{self, ModbusGrant};
use wardgate::contract::Event;
use wardgate::contract::modbus::{Coils, Failure, Register, Registers, Request, Response, Span};
use wardgate_lab::pty::Pty;
use wardgate_lab::sim::modbus::serial::{Framing, SerialServer};
use wardgate_lab::sim::modbus::{Control, Fault, Options};

use super::Scratch;
use super::modbus::{Rig, allow_all, holding, registers};

const TIMEOUT_MS: u64 = 300; // the device answers within some milliseconds, on a machine that has nothing else to do

struct Device {
    control: Control,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Device {
    fn new(link: &Path, framing: Framing, echo: bool, units: &[u8]) -> Self {
        let options = Options { units: units.to_vec(), ..Options::new("127.0.0.1:0".parse().unwrap()) };
        let server = SerialServer::new(link, framing, echo, options).unwrap();
        let control = server.control();
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(async { server.run(stopped).await.unwrap() });
        Self { control, stop, tasks }
    }

    async fn unplug(mut self) {
        self.stop.send(true).unwrap();
        while self.tasks.join_next().await.is_some() {}
    }
}

pub(super) fn serial(port: &Path, protocol: &str) -> config::Bus {
    config::Bus {
        tcp: None,
        serial: Some(port.into()),
        protocol: Some(protocol.into()),
        baud: 115_200,
        framing: if protocol == "rtu" { "8E1".into() } else { "7E1".into() },
        echo: false,
        gap_us: 0,
        timeout_ms: TIMEOUT_MS,
        pause_ms: 1,
        answer_ms: 20,
    }
}

pub(super) fn grant() -> ModbusGrant {
    ModbusGrant {
        bus: "plant".into(),
        servers: (0..=20).collect(),
        allow: allow_all(),
        requests_max: 8,
        transactions: vec![],
        checksum_quirk: false,
        at: Default::default(),
    }
}

/// A bus with one instance on it, its device, and the folder that both meet in.
struct Bed {
    rig: Rig,
    device: Device,
    scratch: Scratch,
}

impl Bed {
    async fn new(name: &str, framing: Framing, echo: bool, change: impl FnOnce(&mut config::Bus, &mut ModbusGrant)) -> Self {
        let scratch = Scratch::new(name);
        let device = Device::new(&scratch.file("port"), framing, echo, &[1, 2]);
        let mut bus = serial(&scratch.file("port"), if framing == Framing::Rtu { "rtu" } else { "ascii" });
        let mut grant = grant();
        change(&mut bus, &mut grant);
        let rig = Rig::on(&bus, &["ct"], &grant);
        rig.only().is_up().await;
        Self { rig, device, scratch }
    }

    fn befall(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.device.control.befall(faults);
    }

    async fn ask(&self, server: u8, request: Request) -> Result<Response, Failure> {
        self.rig.only().ask(server, request).await
    }

    async fn is_right(&self, after: &str) {
        assert_eq!(registers(self.ask(1, holding(11, 1)).await), [200], "after {after}");
    }

    fn counted(&self) -> wardgate::status::LinkStatus {
        self.rig.status.read().links["plant"].clone()
    }
}

const BOTH: [(Framing, &str); 2] = [(Framing::Rtu, "rtu"), (Framing::Ascii, "ascii")];

//= PROMISES.md#P82
#[tokio::test]
async fn on_a_serial_line_exception_silence_and_damage_are_three_things() {
    for (framing, name) in BOTH {
        let bed = Bed::new(&format!("three-{name}"), framing, false, |_, _| ()).await;
        bed.is_right("the start").await;
        assert_eq!(bed.ask(1, holding(12, 1)).await, Err(Failure::Exception(2)));
        assert_eq!(bed.ask(9, holding(0, 1)).await, Err(Failure::Timeout), "nobody is unit 9");
        for fault in [Fault::WrongChecksum, Fault::Short, Fault::WrongCount, Fault::Half] {
            bed.befall([Some(fault)]);
            assert_eq!(bed.ask(1, holding(8, 4)).await, Err(Failure::Malformed), "{name} {fault:?}");
            bed.is_right(&format!("{fault:?}")).await;
        }
        let counted = bed.counted();
        assert_eq!((counted.exceptions, counted.timeouts, counted.malformed, counted.answered), (1, 1, 4, 5), "{name}");
        assert_eq!(counted.kind, format!("modbus-{name}"));
    }
}

/// A frame of another unit, or of another function, is nobody's answer; when the right one comes behind it, that one is taken.
#[tokio::test]
async fn a_foreign_frame_is_never_the_answer_and_the_right_one_behind_it_is() {
    for (framing, name) in BOTH {
        let bed = Bed::new(&format!("foreign-{name}"), framing, false, |_, _| ()).await;
        bed.befall([Some(Fault::Joined)]);
        bed.is_right("a foreign frame before it").await;
        for fault in [Fault::WrongUnit, Fault::WrongFunction] {
            bed.befall([Some(fault)]);
            assert_eq!(bed.ask(1, holding(8, 1)).await, Err(Failure::Malformed), "{name} {fault:?}");
            bed.is_right(&format!("{fault:?}")).await;
        }
        assert_eq!(bed.counted().strays, 3, "{name}");
        if framing == Framing::Rtu {
            bed.befall([Some(Fault::Noise)]);
            bed.is_right("noise of a driver").await;
        }
    }
}

/// The answer to a request that was not made yet is not the answer to it.
#[tokio::test]
async fn an_answer_that_comes_before_its_request_is_nobodys() {
    for (framing, name) in BOTH {
        let bed = Bed::new(&format!("early-{name}"), framing, false, |_, _| ()).await;
        for _ in 0..5 {
            bed.befall([Some(Fault::Early)]);
            bed.is_right("nothing").await;
            assert_eq!(registers(bed.ask(1, holding(8, 1)).await), [0], "{name}: register 11 holds 200");
        }
        assert_eq!((bed.counted().strays, bed.counted().malformed), (5, 0), "{name}");
    }
}

/// The device answers after its timeout. On a serial line nothing in the frame tells it from the answer to the next request: so the
/// server is left alone for another timeout, and whatever it says until then is dropped.
//= PROMISES.md#P80
#[tokio::test]
async fn a_late_reply_on_a_serial_line_is_never_given_to_the_next_request() {
    for (framing, name) in BOTH {
        let scratch = Scratch::new(&format!("late-{name}"));
        let slow = Options { delay_ms: TIMEOUT_MS + TIMEOUT_MS / 2, ..Options::new("127.0.0.1:0".parse().unwrap()) };
        let server = SerialServer::new(&scratch.file("port"), framing, false, slow).unwrap();
        let (_stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(async { server.run(stopped).await.unwrap() });
        let rig = Rig::on(&serial(&scratch.file("port"), name), &["ct"], &grant());
        let ct = rig.only();
        ct.is_up().await;
        for tag in 0..4 {
            // register 8 holds 0 and register 11 holds 200: an answer given to the wrong one shows
            ct.handle.submit(tag, 1, holding(if tag % 2 == 0 { 8 } else { 11 }, 1)).unwrap();
        }
        for tag in 0..4 {
            assert_eq!(ct.reply().await, (tag, Err(Failure::Timeout)), "{name}");
        }
        let counted = rig.status.read().links["plant"].clone();
        assert!(counted.strays >= 3, "{name}: the late ones were heard, and dropped: {counted:?}");
    }
}

#[tokio::test]
async fn an_adapter_that_hears_itself_is_understood_and_one_that_does_not_is_named() {
    for (framing, name) in BOTH {
        let bed = Bed::new(&format!("echo-{name}"), framing, true, |bus, _| bus.echo = true).await;
        bed.is_right("the echo").await;
        let write = Request::WriteSingleRegister(Register { address: 11, value: 210 });
        assert_eq!(bed.ask(1, write.clone()).await, Ok(Response::Written));
        assert_eq!(registers(bed.ask(1, holding(11, 1)).await), [210]);
        // Nobody answers: the echo of a write, which looks like its answer, is none.
        bed.befall([Some(Fault::Silence)]);
        assert_eq!(bed.ask(1, write).await, Err(Failure::Timeout), "{name}");
        let bed = Bed::new(&format!("no-echo-{name}"), framing, false, |bus, _| bus.echo = true).await;
        assert_eq!(bed.ask(1, holding(11, 1)).await, Err(Failure::Malformed));
        assert!(bed.counted().last_error.contains("echo = false"), "{}", bed.counted().last_error);
    }
}

/// The site does not say that its adapter hears itself: no answer is taken for one that was never given, and the setting is named. A write of one
/// coil or register is answered with the very same bytes: there nothing can be told.
//= PROMISES.md#P237
#[tokio::test]
async fn an_adapter_that_hears_itself_unknown_to_the_site_is_named() {
    let coils = Request::WriteMultipleCoils(Coils { address: 0, on: vec![true; 9] });
    let words = Request::WriteMultipleRegisters(Registers { address: 0, values: vec![7; 3] });
    let asks = [holding(11, 1), Request::ReadCoils(Span { address: 0x0301, count: 17 }), coils, words];
    for (framing, name) in BOTH {
        for (n, ask) in asks.iter().enumerate() {
            for fault in [None, Some(Fault::Silence)] {
                let bed = Bed::new(&format!("own-{name}-{n}-{}", fault.is_some()), framing, true, |_, _| ()).await;
                bed.befall([fault]);
                assert_eq!(bed.ask(1, ask.clone()).await, Err(Failure::Malformed), "{name} {ask:?} {fault:?}");
                assert!(bed.counted().last_error.contains("set echo = true"), "{name} {ask:?}: {}", bed.counted().last_error);
            }
        }
        let bed = Bed::new(&format!("own-{name}-write"), framing, true, |_, _| ()).await;
        let write = Request::WriteSingleRegister(Register { address: 11, value: 210 });
        assert_eq!(bed.ask(1, write).await, Ok(Response::Written), "its own words, or the answer");
    }
}

#[tokio::test]
async fn the_checksum_quirk_is_refused_and_counted_or_taken_and_marked() {
    let bed = Bed::new("quirk-off", Framing::Ascii, false, |_, _| ()).await;
    bed.befall([Some(Fault::ShortChecksum)]);
    assert_eq!(bed.ask(1, holding(10, 2)).await, Err(Failure::Malformed));
    assert_eq!((bed.counted().malformed, bed.counted().questionable), (1, 0));
    let bed = Bed::new("quirk-on", Framing::Ascii, false, |_, grant| grant.checksum_quirk = true).await;
    bed.befall([Some(Fault::ShortChecksum)]);
    bed.rig.only().handle.submit(5, 1, holding(10, 2)).unwrap();
    assert_eq!(bed.rig.only().event().await, Event::ModbusQuestionable(5, Response::Registers(vec![0, 200])));
    bed.befall([Some(Fault::WrongChecksum)]);
    assert_eq!(bed.ask(1, holding(10, 2)).await, Err(Failure::Malformed), "no other wrong checksum passes");
    assert_eq!((bed.counted().malformed, bed.counted().questionable), (1, 1));
}

/// A stuck driver, or a pair without bias: bytes come without end, and no pause lets a drain end. Counted by what the babbler says meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_is_never_silent_is_named_and_costs_each_request_one_more_timeout() {
    const ASKED: usize = 5;
    const EACH_MS: u64 = 20;
    let scratch = Scratch::new("babbles");
    let line = std::sync::Arc::new(Pty::plug_in(&scratch.file("port")).unwrap());
    let rig = Rig::on(&serial(&scratch.file("port"), "rtu"), &["ct"], &grant());
    let ct = rig.only();
    ct.is_up().await;
    let (said, stop) = (std::sync::Arc::new(AtomicU64::new(0)), std::sync::Arc::new(AtomicBool::new(false)));
    let babbler = std::thread::spawn({
        let (line, said, stop) = (line.clone(), said.clone(), stop.clone());
        move || {
            while !stop.load(Ordering::Relaxed) {
                line.send(&[0x55]);
                said.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(std::time::Duration::from_millis(EACH_MS));
            }
        }
    });
    let before = said.load(Ordering::Relaxed);
    for _ in 0..ASKED {
        let none = ct.ask(1, holding(11, 1)).await;
        assert!(matches!(none, Err(Failure::Malformed | Failure::Timeout)), "{none:?}");
    }
    let meanwhile = said.load(Ordering::Relaxed) - before;
    // two timeouts each and the time that it is left alone; without a bound of time each drain lasts for thousands of bytes
    let at_most = ASKED as u64 * (4 * TIMEOUT_MS / EACH_MS);
    assert!(meanwhile <= at_most, "{meanwhile} bytes for {ASKED} requests, {at_most} are allowed");
    let counted = rig.status.read().links["plant"].clone();
    assert!(counted.last_error.contains("never silent") && counted.strays > 0, "{counted:#?}");
    stop.store(true, Ordering::Relaxed);
    babbler.join().unwrap();
}

/// Three in a row are a bad contact; a server that says nothing else costs its bus as a dead one does.
#[tokio::test]
async fn a_server_that_never_gives_a_whole_answer_is_set_aside_and_a_bad_contact_is_not() {
    for (framing, name) in BOTH {
        let bed = Bed::new(&format!("contact-{name}"), framing, false, |_, _| ()).await;
        assert_eq!(registers(bed.ask(2, holding(11, 1)).await), [200], "there is another one, who would have to wait");
        bed.befall([Some(Fault::WrongChecksum); 9]);
        for _ in 0..9 {
            assert_eq!(bed.ask(1, holding(11, 1)).await, Err(Failure::Malformed));
        }
        bed.is_right("nine damaged answers").await;
        bed.befall([Some(Fault::WrongChecksum); 10]);
        for _ in 0..10 {
            assert_eq!(bed.ask(1, holding(11, 1)).await, Err(Failure::Malformed));
        }
        assert_eq!(bed.ask(1, holding(11, 1)).await, Err(Failure::LinkDown), "{name}: it is set aside");
        let counted = bed.counted();
        assert_eq!((counted.malformed, counted.skipped, counted.aside.contains(&1)), (19, 1, true));
    }
}

/// Nobody answers server 0, and the next request waits until all have done it.
#[tokio::test]
async fn what_is_written_to_all_servers_is_done_when_it_is_sent() {
    for (framing, name) in BOTH {
        let bed = Bed::new(&format!("all-{name}"), framing, false, |_, _| ()).await;
        for _ in 0..4 {
            let write = Request::WriteSingleRegister(Register { address: 3, value: 7 });
            assert_eq!(bed.ask(0, write).await, Ok(Response::Written), "{name}");
        }
        bed.is_right("four broadcasts").await;
        let counted = bed.counted();
        assert_eq!((counted.timeouts, counted.skipped, counted.requests, counted.answered), (0, 0, 5, 5));
        assert_eq!(bed.device.control.asked().iter().filter(|(unit, _)| *unit == 0).count(), 4, "{name}");
    }
}

/// Eight servers, one of them dead. What counts is the wire: the dead one is asked a few times, and then only to see whether it is back.
//= PROMISES.md#P81
#[tokio::test]
async fn a_dead_server_is_set_aside_and_heard_again_when_it_is_back() {
    for (framing, name) in BOTH {
        dead_and_back(framing, name).await;
    }
}

async fn dead_and_back(framing: Framing, name: &str) {
    let scratch = Scratch::new(&format!("aside-{name}"));
    let device = Device::new(&scratch.file("port"), framing, false, &[1, 2, 3, 4, 5, 6, 7]);
    let bus = config::Bus { timeout_ms: 50, ..serial(&scratch.file("port"), name) };
    let rig = Rig::on(&bus, &["ct"], &grant());
    let ct = rig.only();
    ct.is_up().await;
    let mut dead = Vec::new();
    for _ in 0..20 {
        for server in 1..=8 {
            match ct.ask(server, holding(11, 1)).await {
                Ok(_) => assert_ne!(server, 8),
                Err(why) => {
                    // a server that lives may miss one on a busy machine
                    if server == 8 {
                        dead.push(why);
                    }
                }
            }
        }
    }
    assert_eq!(dead[..3], [Failure::Timeout; 3]);
    let asked = device.control.asked().iter().filter(|(unit, _)| *unit == 8).count();
    let probes = dead[3..].iter().filter(|why| **why == Failure::Timeout).count();
    assert_eq!(asked, 3 + probes);
    assert!(dead[3..].contains(&Failure::LinkDown), "{dead:?}");
    let counted = rig.status.read().links["plant"].clone();
    assert_eq!((counted.skipped as usize, counted.aside.contains(&8)), (dead.len() - asked, true));
    assert!(counted.busy_us > 0);
    device.unplug().await;
    ct.is_down().await;
    let _device = Device::new(&scratch.file("port"), framing, false, &[8]);
    ct.is_up().await;
    while ct.ask(8, holding(11, 1)).await != Ok(Response::Registers(vec![200])) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(!rig.status.read().links["plant"].aside.contains(&8));
}

#[tokio::test]
async fn an_unplugged_bus_is_told_at_once_and_its_return_too() {
    for (framing, name) in BOTH {
        let Bed { rig, device, scratch } = Bed::new(&format!("unplug-{name}"), framing, false, |_, _| ()).await;
        let ct = rig.only();
        assert_eq!(registers(ct.ask(1, holding(11, 1)).await), [200]);
        device.unplug().await;
        ct.is_down().await;
        assert_eq!(ct.ask(1, holding(11, 1)).await, Err(Failure::LinkDown));
        let _device = Device::new(&scratch.file("port"), framing, false, &[1]);
        ct.is_up().await;
        assert_eq!(registers(ct.ask(1, holding(11, 1)).await), [200]);
        assert_eq!(rig.status.read().links["plant"].reconnects, 1);
    }
}

#[tokio::test]
async fn a_bus_that_vanishes_while_a_late_reply_is_waited_out_is_told_too() {
    let Bed { rig, device, scratch } = Bed::new("unplug-in-doubt", Framing::Rtu, false, |bus, _| bus.timeout_ms = 50).await;
    let ct = rig.only();
    assert_eq!(ct.ask(8, holding(11, 1)).await, Err(Failure::Timeout)); // the line is drained behind this
    device.unplug().await;
    ct.is_down().await;
    let _device = Device::new(&scratch.file("port"), Framing::Rtu, false, &[1]);
    ct.is_up().await;
}
