//! How a device's samples are coded is told on each link anew: what was not told, or is not known, is never guessed.

use wardgate_sdk::gatt::{Peripheral, Profile, polar, sig};
use wardgate_sdk::*;

use crate::ble::{at, characteristics, lines};

/// A device and its plugin.
struct Bench<P> {
    plugin: Peripheral<P>,
    found: Vec<u128>,
    now_ms: u64,
    boot: u64,
    said: Vec<Said>,
}

impl<P: Profile> Bench<P> {
    fn new(settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(name, value)| fact(name, *value)).collect();
        let mut out = Outbox::default();
        let start = Opening { settings, about: vec![], seed: 7, saved: None };
        let plugin = Peripheral::open(at(0), start, &mut out).expect("it opens");
        Self { plugin, found: Vec::new(), now_ms: 0, boot: at(0).boot, said: out.take() }
    }

    /// Anew, with what it kept last, as after a trap.
    fn reopen(&mut self) {
        let saved = self.said.iter().rev().find_map(|said| if let Said::Keep(bytes) = said { Some(bytes.clone()) } else { None });
        let start = Opening { settings: vec![], about: vec![], seed: 7, saved };
        let mut out = Outbox::default();
        self.plugin = Peripheral::open(at(self.now_ms), start, &mut out).expect("it opens");
        self.said.extend(out.take());
    }

    /// A link to what has these characteristics, and answers reads so; `None`: it does not.
    fn up(&mut self, device: &[(u128, Option<&[u8]>)]) {
        self.found = device.iter().map(|(uuid, _)| *uuid).collect();
        let found = characteristics(&self.found);
        let mut next = self.said.len();
        self.call(|p, now, out| Ble::link_changed(p, now, LinkState::Up, out));
        self.call(|p, now, out| p.discovered(now, 247, found, out));
        while let Some(said) = self.said.get(next).cloned() {
            next += 1;
            let read = |handle: ble::Handle| device[usize::from(handle) - 1].1.map(<[u8]>::to_vec).ok_or(ble::Failure::Timeout);
            match said {
                Said::BleRead(tag, handle) => self.call(|p, now, out| Ble::reply(p, now, tag, read(handle), out)),
                Said::BleSubscribe(tag, _) => self.call(|p, now, out| Ble::reply(p, now, tag, Ok(vec![]), out)),
                Said::SetTimer(tag, after_ms) => {
                    self.now_ms += after_ms;
                    self.call(|p, now, out| p.timer(now, tag, out));
                }
                _ => {}
            }
        }
    }

    fn down(&mut self) {
        self.call(|p, now, out| Ble::link_changed(p, now, LinkState::Down, out));
    }

    fn hears(&mut self, from: u128, bytes: &[u8]) {
        self.now_ms += 100;
        let handle = self.found.iter().position(|known| *known == from).expect("it was found") as u16 + 1;
        self.call(|p, now, out| p.notified(now, handle, bytes, out));
    }

    fn call(&mut self, event: impl FnOnce(&mut Peripheral<P>, Moment, &mut Outbox) -> Done) {
        let mut out = Outbox::default();
        event(&mut self.plugin, Moment { boot: self.boot, ..at(self.now_ms) }, &mut out).expect("no problem");
        self.said.extend(out.take());
    }

    fn health(&self) -> (Health, &str) {
        let told = |said: &Said| if let Said::Report(health, _) = said { Some(*health) } else { None };
        let words = self.said.iter().rev().find_map(|said| if let Said::Report(_, why) = said { Some(why.as_str()) } else { None });
        (self.said.iter().rev().find_map(told).expect("it told"), words.unwrap_or_default())
    }

    /// What is said of values and what is missing, since it was last asked.
    fn lines(&mut self) -> Vec<String> {
        let lines = lines(&self.said);
        self.said.retain(|said| !matches!(said, Said::Emit(_) | Said::EmitWaveform(_) | Said::Missed(..)));
        lines
    }

    fn period(&self, of: Channel) -> (u32, u32) {
        let described = |said: &Said| match said {
            Said::Describe(channel, meaning) if *channel == of => meaning.shape.map(|s| (s.period_numerator, s.period_denominator)),
            _ => None,
        };
        self.said.iter().rev().find_map(described).expect("a wave")
    }
}

//= PROMISES.md#P356
#[test]
fn what_a_belt_sends_in_a_format_that_is_not_known_or_not_told_is_missing_and_not_guessed() {
    use ble_motion_belt::decode::{ACCELERATION, FORMAT};
    let axes = [1, 0, 2, 0, 3, 0];
    let mut belt = Bench::<ble_motion_belt::MotionBelt>::new(&[]);
    belt.up(&[(ACCELERATION, None), (FORMAT, Some(&[2]))]);
    assert_eq!(belt.health(), (Health::Degraded, "the belt's format 2 is not known here: what it sends is dropped"));
    (0..3).for_each(|_| belt.hears(ACCELERATION, &axes));
    let unknown = ["acceleration-x missed None Unknown", "acceleration-y missed None Unknown", "acceleration-z missed None Unknown"];
    assert_eq!(belt.lines(), unknown, "once");
    belt.down();
    belt.lines();
    // the next one tells format 0; the one after that may tell another, and cannot be heard
    belt.up(&[(ACCELERATION, None), (FORMAT, Some(&[0]))]);
    belt.hears(ACCELERATION, &[64, 65]);
    assert_eq!((belt.health().0, belt.lines()), (Health::Healthy, vec!["acceleration 0: [64, 65]".to_owned()]));
    belt.down();
    belt.lines();
    belt.up(&[(ACCELERATION, None), (FORMAT, None)]);
    belt.hears(ACCELERATION, &axes);
    belt.hears(ACCELERATION, &axes);
    let why = "the belt's format (000085e90005100080000080"; // and so on
    let (health, words) = belt.health();
    assert!(
        health == Health::Degraded && words.starts_with(why) && words.ends_with("could not be read: what it sends is dropped"),
        "{words}"
    );
    assert_eq!(belt.lines(), ["acceleration missed None Unknown"]);
    belt.down();
    belt.lines();
    // it has no such characteristic: then it is the reference device
    belt.up(&[(ACCELERATION, None)]);
    belt.hears(ACCELERATION, &axes);
    let expected = ["acceleration-x 0: [1]", "acceleration-y 0: [2]", "acceleration-z 0: [3]"];
    assert_eq!((belt.health().0, belt.lines()), (Health::Healthy, expected.map(String::from).to_vec()));
}

//= PROMISES.md#P356
#[test]
fn a_stethoscopes_codec_and_a_straps_interval_hold_for_one_link() {
    use ble_stethoscope::decode::{AUDIO, CODEC};
    let packet = [0, 0, 0, 0x7f, 0x80];
    let mut scope = Bench::<ble_stethoscope::Stethoscope>::new(&[("codec", "pcm-16k")]);
    scope.up(&[(AUDIO, None), (CODEC, Some(&[11]))]);
    scope.hears(AUDIO, &packet);
    assert_eq!((scope.period(0), scope.lines()), ((1, 8_000), vec!["sound 0: [0, 32124]".to_owned()]));
    for codec in [None, Some(&[20][..])] {
        scope.down();
        scope.lines();
        scope.up(&[(AUDIO, None), (CODEC, codec)]);
        (0..3).for_each(|_| scope.hears(AUDIO, &packet));
        assert_eq!((scope.health().0, scope.lines()), (Health::Degraded, vec!["sound missed None Unknown".to_owned()]));
    }
    scope.down();
    scope.lines();
    scope.up(&[(AUDIO, None)]);
    scope.hears(AUDIO, &packet);
    assert_eq!((scope.period(0), scope.lines()), ((1, 16_000), vec!["sound 0: [-32641]".to_owned()]), "the setting");

    use ble_chest_ecg::decode::{OPEN_ECG, OPEN_INTERVAL};
    let message = [0, 0, 0, 0, 1, 0];
    let mut strap = Bench::<ble_chest_ecg::ChestEcg>::new(&[]);
    strap.up(&[(OPEN_ECG, None), (OPEN_INTERVAL, Some(&[4, 0]))]);
    strap.hears(OPEN_ECG, &message);
    assert_eq!((strap.period(1), strap.lines()), ((4, 1000), vec!["ecg-counts 0: [1] at counter 0".to_owned()]));
    strap.down();
    strap.up(&[(OPEN_ECG, None), (OPEN_INTERVAL, None)]);
    (0..3).for_each(|_| strap.hears(OPEN_ECG, &message));
    assert_eq!((strap.health().0, strap.lines()), (Health::Degraded, vec!["ecg-counts missed None Unknown".to_owned()]));
    strap.down();
    strap.up(&[(OPEN_ECG, None)]);
    strap.hears(OPEN_ECG, &message);
    assert_eq!((strap.period(1), strap.lines()), ((8, 1000), vec!["ecg-counts 0: [1] at counter 0".to_owned()]), "the firmware's own");
}

//= PROMISES.md#P358
#[test]
fn samples_of_a_stream_that_somebody_else_started_are_questionable() {
    let frame = |at_ns: u64| [&[2][..], &at_ns.to_le_bytes(), &[1, 1, 0, 2, 0, 3, 0]].concat();
    let mut band = Bench::<ble_motion_belt::MotionBelt>::new(&[]);
    let ecg = |at_ns: u64| [&[0][..], &at_ns.to_le_bytes(), &[0, 1, 0, 0]].concat();
    let mut strap = Bench::<ble_chest_ecg::ChestEcg>::new(&[]);
    let told = |said: &[Said]| -> Vec<Quality> {
        said.iter().filter_map(|s| if let Said::EmitWaveform(w) = s { Some(w[0].quality) } else { None }).collect()
    };
    let (doubt, good) = (Quality::QUESTIONABLE, Quality::empty());
    let answers = [(6u8, Health::Degraded, doubt), (0, Health::Healthy, good), (3, Health::Degraded, doubt), (0, Health::Healthy, good)];
    for (link, (status, health, expected)) in (0..).zip(answers) {
        // what comes before the device has answered on this link is nobody's yet, whatever it answered on the one before
        let times = [2 * link, 2 * link + 1].map(|n: u64| n * 40_000_000);
        band.up(&[(polar::DATA, None), (polar::CONTROL, Some(&[]))]);
        band.hears(polar::DATA, &frame(times[0]));
        band.hears(polar::CONTROL, &[0xf0, 2, 2, status, 0]);
        band.hears(polar::DATA, &frame(times[1]));
        strap.up(&[(polar::DATA, None), (polar::CONTROL, Some(&[]))]);
        strap.hears(polar::DATA, &ecg(times[0]));
        strap.hears(polar::CONTROL, &[0xf0, 2, 0, status, 0]);
        strap.hears(polar::DATA, &ecg(times[1]));
        assert_eq!((band.health().0, told(&band.said)), (health, vec![doubt, expected]), "{status}: {}", band.health().1);
        assert_eq!((strap.health().0, told(&strap.said)), (health, vec![doubt, expected]), "{status}: {}", strap.health().1);
        band.down();
        strap.down();
        band.lines();
        strap.lines();
    }
    // one that never answers is told as soon as it streams; what says something by itself there, or is damaged, is no sample that is missing
    band.up(&[(polar::DATA, None), (polar::CONTROL, Some(&[]))]);
    assert_eq!(band.health().0, Health::Healthy);
    for answer in [&[1, 2, 2, 0][..], &[0xf0, 2], &[]] {
        band.hears(polar::CONTROL, answer);
    }
    band.hears(polar::DATA, &frame(390_000_000));
    let missed = |said: &[Said]| said.iter().any(|s| matches!(s, Said::Missed(_, _, Missing::Corrupted)));
    assert!(band.health().1.contains("has not answered the request to start") && !missed(&band.said), "{:?}", band.said);
    band.down();
    band.lines();
    // nor is it ours where nothing can be asked, before it was asked, or where the answer is about something else
    let why = "the device cannot be asked to start: it has no control point, or `wardgate check` does not list it as allowed";
    band.up(&[(polar::DATA, None)]);
    band.hears(polar::DATA, &frame(400_000_000));
    strap.up(&[(polar::DATA, None)]);
    strap.hears(polar::DATA, &ecg(400_000_000));
    assert_eq!((band.health(), told(&band.said)), ((Health::Degraded, why), vec![doubt]));
    assert_eq!((strap.health(), told(&strap.said)), ((Health::Degraded, why), vec![doubt]));
    band.down();
    band.lines();
    band.found = vec![polar::DATA, polar::CONTROL];
    band.call(|p, now, out| p.discovered(now, 247, characteristics(&[polar::DATA, polar::CONTROL]), out));
    band.hears(polar::CONTROL, &[0xf0, 2, 2, 0, 0]);
    band.hears(polar::DATA, &frame(440_000_000));
    band.up(&[(polar::DATA, None), (polar::CONTROL, Some(&[]))]);
    [[0xf0, 2, 0, 0, 0], [0xf0, 3, 2, 0, 0]].iter().for_each(|answer| band.hears(polar::CONTROL, answer));
    band.hears(polar::DATA, &frame(480_000_000));
    assert_eq!(told(&band.said), [doubt, doubt]);
}

/// A device that this gateway asked answers "already" to a plugin that was opened anew on the same link.
//= PROMISES.md#P319
#[test]
fn a_stream_that_this_gateway_started_stays_its_own_when_the_plugin_is_opened_anew() {
    let ecg = |at_ns: u64| [&[0][..], &at_ns.to_le_bytes(), &[0, 1, 0, 0]].concat();
    let told = |said: &[Said]| -> Vec<Quality> {
        said.iter().filter_map(|s| if let Said::EmitWaveform(w) = s { Some(w[0].quality) } else { None }).collect()
    };
    let mut strap = Bench::<ble_chest_ecg::ChestEcg>::new(&[]);
    let streams = |strap: &mut Bench<ble_chest_ecg::ChestEcg>, status: u8, at_ns: u64| {
        strap.up(&[(polar::DATA, None), (polar::CONTROL, Some(&[]))]);
        strap.hears(polar::CONTROL, &[0xf0, 2, 0, status, 0]);
        strap.hears(polar::DATA, &ecg(at_ns));
        (strap.health().0, *told(&strap.said).last().unwrap())
    };
    let (ours, doubt) = ((Health::Healthy, Quality::empty()), (Health::Degraded, Quality::QUESTIONABLE));
    assert_eq!(streams(&mut strap, 0, 40_000_000), ours);
    strap.reopen();
    assert_eq!(streams(&mut strap, 6, 80_000_000), ours);
    // after a start of the machine nobody knows who started it, nor behind a lost link
    strap.boot += 1;
    strap.reopen();
    assert_eq!(streams(&mut strap, 6, 120_000_000), doubt);
    assert_eq!(streams(&mut strap, 0, 160_000_000), ours);
    strap.down();
    assert_eq!(streams(&mut strap, 6, 200_000_000), doubt);
}

//= PROMISES.md#P359
#[test]
fn of_two_characteristics_of_one_name_the_first_is_heard() {
    let rate = sig(0x2a37);
    let mut belt = Bench::<ble_heart_rate::HeartRate>::new(&[]);
    belt.up(&[(rate, None), (rate, None)]);
    let subscribed: Vec<_> =
        belt.said.iter().filter_map(|s| if let Said::BleSubscribe(_, handle) = s { Some(*handle) } else { None }).collect();
    assert_eq!(subscribed, [1]);
    let told = |said: &Said| matches!(said, Said::Log(Level::Warn, words) if words.contains("2 characteristics 2a37"));
    assert!(belt.said.iter().any(told), "{:?}", belt.said);
}
