//! From given bytes to readings, without a device: time is virtual, and requests are answered from a list.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::read::{Read, from_hex};
use super::{Outcome, Played, Prepared, Trial, show};
use crate::capability::ble::shown as ble_shown;
use crate::config::Link;
use crate::contract::types::{Channel, Description, DeviceTime, Fact, LinkState, Moment, Tag, Value};
use crate::contract::{Event, Said, ble, modbus};
use crate::plugin::timers::Timers;

const STEP_NS: u64 = 1_000_000_000; // between two inputs: what most devices and pollers wait
/// After the last input: so long a plugin may hold a value for what belongs to it and comes over another characteristic. Who asks a silent device for
/// that, three times and with the patience of its profile, needs two minutes.
const SETTLE_NS: u64 = 150_000_000_000;
const ANSWER_NS: u64 = 10_000_000; // a bus answers this long after it was asked
const TIMERS_MAX: usize = 10_000; // of a poller that asks for nothing: more would run for ever
const MTU: u16 = 247; // what BlueZ and a Bluetooth 4.2 device agree on
const BASE_UUID_LOW: u64 = 0x8000_0080_5f9b_34fb;

/// What comes to the plugin.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    Serial(Vec<u8>),
    /// The answer to the next request, or why there is none.
    Reply(Result<modbus::Response, modbus::Failure>),
    Notified(ble::Uuid, Vec<u8>),
}

pub struct Script {
    pub settings: Vec<Fact>,
    pub inputs: Vec<Input>,
}

/// JSON lines of what was read, and words for people about the rest.
#[derive(Debug, Default)]
pub struct Lines {
    pub readings: Vec<Json>,
    pub remarks: Vec<String>,
    /// Something else than readings came of it, or it is said why nothing did.
    pub explained: bool,
    /// The plugin came to an end before the inputs did.
    pub broken: Option<String>,
}

impl Script {
    pub fn run(&self, plugin: &Arc<Prepared>) -> Lines {
        let replies = self.inputs.iter().filter_map(|i| if let Input::Reply(answer) = i { Some(answer.clone()) } else { None }).collect();
        let links = plugin.manifest.links.clone();
        let mut desk = Desk {
            trial: Trial::new(plugin.clone(), self.settings.clone(), 1),
            now_ns: 0,
            timers: Timers::default(),
            waiting: VecDeque::new(),
            replies,
            channels: BTreeMap::new(),
            inputs: &self.inputs,
            read: BTreeSet::new(),
            asked_of: BTreeSet::new(),
            listens_to: BTreeSet::new(),
            lines: Lines::default(),
        };
        let opened = desk.trial.open(desk.now(), false);
        desk.take(opened);
        for link in &links {
            desk.link_up(*link);
        }
        for (at, input) in self.inputs.iter().enumerate() {
            if !desk.read.contains(&at) {
                desk.input(input);
            }
        }
        desk.poll();
        if links.contains(&Link::Ble) {
            desk.pass(desk.now_ns + SETTLE_NS);
            desk.tell_unheard(plugin.manifest.asks.get(&Link::Ble).map(|ask| ask.needs.as_str()));
        }
        desk.lines
    }
}

struct Desk<'a> {
    trial: Trial,
    now_ns: u64,
    timers: Timers,
    /// Answers to what it asked, in order.
    waiting: VecDeque<Event>,
    replies: VecDeque<Result<modbus::Response, modbus::Failure>>,
    channels: BTreeMap<Channel, Description>,
    inputs: &'a [Input],
    /// Of the inputs, what was asked for: it is no notification any more.
    read: BTreeSet<usize>,
    /// Of what it listens to, or reads.
    asked_of: BTreeSet<u16>,
    listens_to: BTreeSet<u16>,
    lines: Lines,
}

impl Desk<'_> {
    fn now(&self) -> Moment {
        Moment { boot: 1, monotonic_ns: self.now_ns, wall: None }
    }

    fn link_up(&mut self, link: Link) {
        match link {
            Link::Modbus => self.event(&Event::ModbusLink(LinkState::Up)),
            Link::Serial => self.event(&Event::SerialLink(LinkState::Up)),
            Link::Ble => {
                self.event(&Event::BleLink(LinkState::Up));
                let properties = ble::Properties::READ | ble::Properties::WRITE | ble::Properties::NOTIFY;
                let service = ble::Uuid { high: 0, low: 0 };
                let found = characteristics(self.inputs).into_iter().zip(1..);
                let found = found.map(|(uuid, handle)| ble::Characteristic { handle, service, uuid, properties }).collect();
                self.event(&Event::BleDiscovered { mtu: MTU, found, who: None });
            }
        }
    }

    fn input(&mut self, input: &Input) {
        let event = match input {
            Input::Reply(_) => return, // given when it is asked for
            Input::Serial(bytes) => Event::SerialReceived(bytes.clone()),
            Input::Notified(uuid, bytes) => {
                let handle = characteristics(self.inputs).iter().position(|known| known == uuid).map_or(0, |at| at as u16 + 1);
                if self.asked_of.contains(&handle) && !self.listens_to.contains(&handle) {
                    let uuid = ble_shown(uuid);
                    self.lines.remarks.push(format!("this plugin only reads {uuid}: of several values the first is what it reads"));
                    self.lines.explained = true;
                    return;
                }
                Event::BleNotified(handle, bytes.clone())
            }
        };
        self.pass(self.now_ns + STEP_NS);
        self.event(&event);
    }

    /// Timers up to `until_ns`, in their order.
    fn pass(&mut self, until_ns: u64) {
        for _ in 0..TIMERS_MAX {
            let Some((due_ns, tag)) = self.timers.take_due(until_ns) else { break };
            self.now_ns = due_ns.max(self.now_ns);
            self.event(&Event::Timer(tag));
        }
        self.now_ns = self.now_ns.max(until_ns);
    }

    /// Time goes from timer to timer until every answer was asked for.
    fn poll(&mut self) {
        for _ in 0..TIMERS_MAX {
            if self.replies.is_empty() || self.lines.broken.is_some() {
                return;
            }
            let Some((due_ns, tag)) = self.timers.take_due(u64::MAX) else { break };
            self.now_ns = due_ns.max(self.now_ns);
            self.event(&Event::Timer(tag));
        }
        self.lines.remarks.push(format!("{} replies are left: the plugin asks for nothing more", self.replies.len()));
    }

    /// One event, and the answers to all that it asks.
    fn event(&mut self, event: &Event) {
        let mut next = Some(event.clone());
        while let Some(event) = next.take().or_else(|| self.waiting.pop_front()) {
            if self.lines.broken.is_some() {
                return;
            }
            let played = self.trial.call(self.now(), &event);
            self.take(played);
        }
    }

    fn take(&mut self, played: Played) {
        for log in &played.logs {
            self.lines.remarks.push(format!("log {}: {}", show::name(&log.level), log.text));
        }
        match &played.outcome {
            Outcome::Ok => {}
            Outcome::Problem(problem) if !problem.fatal => self.lines.remarks.push(format!("problem: {}", problem.detail)),
            Outcome::Problem(problem) => self.lines.broken = Some(format!("gave up: {}", problem.detail)),
            Outcome::Broken(why) => self.lines.broken = Some(why.clone()),
        }
        for said in played.said {
            self.said(said);
        }
    }

    fn said(&mut self, said: Said) {
        match said {
            Said::Describe(channel, meaning) => drop(self.channels.insert(channel, meaning)),
            Said::SetTimer(tag, after_ms) => {
                if let Err(breach) = self.timers.set(tag, self.now_ns, after_ms) {
                    self.lines.broken = Some(breach.to_string());
                }
            }
            Said::CancelTimer(tag) => self.timers.cancel(tag),
            Said::WhenDurable(tag) => self.waiting.push_back(Event::Durable(tag)),
            Said::SerialWrite(tag, _) => self.asked(&said, Event::SerialWritten(tag, Ok(()))),
            Said::ModbusSubmit(tag, ..) => self.submitted(tag, &said),
            Said::BleSubscribe(tag, handle) => {
                self.asked_of.insert(handle);
                self.listens_to.insert(handle);
                self.asked(&said, Event::BleReply(tag, Ok(Vec::new())));
            }
            Said::BleWrite(tag, ..) | Said::BleUnsubscribe(tag, _) => self.asked(&said, Event::BleReply(tag, Ok(Vec::new()))),
            Said::BleRead(tag, handle) => {
                let answer = self.read(handle);
                self.asked(&said, Event::BleReply(tag, answer));
            }
            Said::Report(..) | Said::Identify(_) | Said::Answer(..) => {
                self.lines.explained |= matches!(said, Said::Identify(_));
                self.lines.remarks.push(show::said(&said).to_string());
            }
            Said::Keep(_) | Said::ModbusCancel(_) => {}
            Said::Emit(observations) => {
                for observation in observations {
                    for reading in observation.readings {
                        let line = self.line(reading.channel, value(&reading.value), &observation.at);
                        self.lines.readings.push(with(line, "quality", show::quality(reading.quality)));
                    }
                }
            }
            Said::EmitWaveform(blocks) => {
                for block in blocks {
                    let fields = vec![("first", json!(block.first)), ("counts", json!(block.counts))];
                    let line = self.line(block.channel, fields, &block.at);
                    self.lines.readings.push(with(line, "quality", show::quality(block.quality)));
                }
            }
            Said::Missed(channel, count, because) => {
                let line = json!({"channel": self.name(channel), "missed": count, "because": show::name(&because)});
                self.lines.readings.push(line);
            }
            Said::Raise(alert) => {
                let mut shown = show::alert(&alert);
                shown["channel"] = alert.channel.map_or(Json::Null, |channel| self.name(channel));
                self.lines.readings.push(json!({"alert": shown}));
            }
        }
    }

    /// The first value that was given for it, as often as it is read; that is no notification then.
    fn read(&mut self, handle: u16) -> Result<Vec<u8>, ble::Failure> {
        self.asked_of.insert(handle);
        let uuid = characteristics(self.inputs).get(usize::from(handle).wrapping_sub(1)).copied();
        let of_it = |input: &Input| if let Input::Notified(of, bytes) = input { (Some(*of) == uuid).then(|| bytes.clone()) } else { None };
        let first = self.inputs.iter().enumerate().find_map(|(at, input)| Some((at, of_it(input)?)));
        let (at, bytes) = first.ok_or(ble::Failure::NotFound)?;
        self.read.insert(at);
        Ok(bytes)
    }

    /// Whoever took another plugin's characteristic is to see that, and not to doubt the bytes.
    fn tell_unheard(&mut self, needs: Option<&str>) {
        let needs = needs.map_or("its README names what it does".to_owned(), |needs| format!("what it asks of a device is: {needs}"));
        for (uuid, handle) in characteristics(self.inputs).into_iter().zip(1..) {
            if !self.asked_of.contains(&handle) {
                let uuid = ble_shown(&uuid);
                self.lines.remarks.push(format!("this plugin neither reads {uuid} nor listens to it; {needs}"));
                self.lines.explained = true;
            }
        }
    }

    fn asked(&mut self, said: &Said, answer: Event) {
        self.lines.remarks.push(format!("asks {}", show::said(said)));
        self.waiting.push_back(answer);
    }

    /// Without an answer left, the request stays open: the script ends here.
    fn submitted(&mut self, tag: Tag, said: &Said) {
        if let Some(answer) = self.replies.pop_front() {
            self.now_ns += ANSWER_NS;
            self.asked(said, Event::ModbusReply(tag, answer));
        }
    }

    fn name(&self, channel: Channel) -> Json {
        self.channels.get(&channel).map_or(json!(channel), |meaning| json!(meaning.name))
    }

    fn line(&self, channel: Channel, value: Vec<(&str, Json)>, at: &DeviceTime) -> Json {
        let mut line = Map::new();
        line.insert("channel".into(), self.name(channel));
        line.extend(value.into_iter().map(|(key, value)| (key.to_owned(), value)));
        line.insert("unit".into(), self.channels.get(&channel).map_or(Json::Null, |meaning| json!(meaning.unit)));
        if *at != DeviceTime::NotTold {
            line.insert("at".into(), show::time(at));
        }
        Json::Object(line)
    }
}

fn with(mut line: Json, key: &str, value: Json) -> Json {
    line[key] = value;
    line
}

/// Exactly as it was said; never through a float.
fn value(value: &Value) -> Vec<(&'static str, Json)> {
    match value {
        Value::Number(d) => vec![("mantissa", json!(d.mantissa)), ("exponent", json!(d.exponent))],
        Value::Absent(why) => vec![("absent", json!(show::name(why)))],
        Value::Code(code) => vec![("code", json!(code))],
        Value::Bits(bits) => vec![("bits", json!(bits))],
        Value::Text(text) => vec![("text", json!(text))],
        Value::Octets(bytes) => vec![("octets", json!(show::hex(bytes)))],
    }
}

/// Each once, in the order of their first notification: their handles are 1, 2 ...
fn characteristics(inputs: &[Input]) -> Vec<ble::Uuid> {
    let mut known: Vec<ble::Uuid> = Vec::new();
    for input in inputs {
        if let Input::Notified(uuid, _) = input
            && !known.contains(uuid)
        {
            known.push(*uuid);
        }
    }
    known
}

/// `2A37`, or all 128 bits with or without hyphens.
pub fn uuid(text: &str) -> Read<ble::Uuid> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let wrong = || format!("\"{text}\" is no UUID: write 2A37, or all 32 digits");
    let number = u128::from_str_radix(&digits, 16).map_err(|_| wrong())?;
    match digits.len() {
        4 | 8 => Ok(ble::Uuid { high: (number as u64) << 32 | 0x1000, low: BASE_UUID_LOW }),
        32 => Ok(ble::Uuid { high: (number >> 64) as u64, low: number as u64 }),
        _ => Err(wrong()),
    }
}

/// One answer of a Modbus device: `00E8,0190` register words, `bits:1011`, `written`, `exception:2`, `timeout`, `link-down`.
pub fn reply(text: &str) -> Read<Result<modbus::Response, modbus::Failure>> {
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    Ok(match kind {
        "timeout" => Err(modbus::Failure::Timeout),
        "link-down" => Err(modbus::Failure::LinkDown),
        "written" => Ok(modbus::Response::Written),
        "exception" => Err(modbus::Failure::Exception(rest.parse().map_err(|_| format!("\"{rest}\" is no exception code: 1 to 255"))?)),
        "bits" if rest.bytes().all(|c| matches!(c, b'0' | b'1')) => Ok(modbus::Response::Bits(rest.bytes().map(|c| c == b'1').collect())),
        _ => {
            let wrong = || format!("\"{text}\" is no reply: write 00E8,0190 (register words), bits:1011, written, exception:2 or timeout");
            let bytes = from_hex(text).map_err(|_| wrong())?;
            if bytes.is_empty() || bytes.len() % 2 != 0 {
                return Err(wrong());
            }
            let words = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            Ok(modbus::Response::Registers(words.collect()))
        }
    })
}

/// Bytes of a serial line or a notification.
impl Input {
    pub fn serial(hex: &str) -> Read<Self> {
        from_hex(hex).map(Self::Serial)
    }

    pub fn notified(uuid: ble::Uuid, hex: &str) -> Read<Self> {
        from_hex(hex).map(|bytes| Self::Notified(uuid, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_and_names_are_read_or_refused_with_an_example() {
        assert_eq!(reply("00E8,0190"), Ok(Ok(modbus::Response::Registers(vec![0xe8, 0x190]))));
        assert_eq!(reply("bits:10"), Ok(Ok(modbus::Response::Bits(vec![true, false]))));
        assert_eq!(reply("exception:2"), Ok(Err(modbus::Failure::Exception(2))));
        assert_eq!(reply("timeout"), Ok(Err(modbus::Failure::Timeout)));
        for wrong in ["", "00E", "00E8,01", "exception:x", "bits:12", "nonsense"] {
            assert!(reply(wrong).is_err(), "{wrong}");
        }
        assert_eq!(uuid("2A37"), uuid("00002a37-0000-1000-8000-00805f9b34fb"));
        assert!(uuid("2A3").is_err() && uuid("heart").is_err());
    }
}
