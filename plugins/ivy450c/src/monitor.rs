//! What the monitor's messages make the plugin say.

use wardgate_sdk::frame::Found;
use wardgate_sdk::serial::LineFault;
use wardgate_sdk::*;

use crate::alerts::{Change, Place, Screen, absence, classify, is_label};
use crate::channels::{Units, WAVE_LINES, describe_numerics, describe_wave, numerics};
use crate::decode::{HEADER, Line, Message, Name, WAVES, decode};
use crate::loss::Loss;

const SILENCE: Tag = 1;
const SILENCE_MS: u64 = 5000; // five messages: longer than any pause of a healthy monitor
const DAMAGED_IN_A_ROW: u32 = 3; // a single one is noise, three are a fault that a person should look at
const WAITING: &str = "waiting for the first message";
const LINES: &str = "HR RR ETCO2 SPO2 NIBP P1 P2 T1 T2";

pub struct Monitor {
    lines: Vec<Name>,
    units: Units,
    /// What each line calls its channels, by `Name as usize`.
    labels: [String; Name::ALL.len()],
    /// Next index of each wave.
    next: [u64; WAVES.len()],
    screen: Screen,
    loss: Loss,
    damaged: u32,
    told: (Health, String),
}

impl Monitor {
    pub fn open(start: &Opening, out: &mut Outbox) -> Result<Self, Problem> {
        let settings = Settings::new(&start.settings);
        settings.only(&["lines", "co2_unit", "temperature_unit"])?;
        let units = Units {
            co2: settings.one_of("co2_unit", "", &["", "mm[Hg]", "kPa", "%"])?.into(),
            temperature: settings.one_of("temperature_unit", "", &["", "Cel", "[degF]"])?.into(),
        };
        let monitor = Self {
            lines: lines(settings.text("lines", LINES))?,
            units,
            labels: Default::default(),
            next: [0; WAVES.len()],
            screen: screen(start, out),
            loss: Loss::default(),
            damaged: 0,
            told: (Health::Starting, WAITING.into()),
        };
        for n in 0..WAVES.len() {
            out.describe(n as Channel, &describe_wave(n, ""));
        }
        for line in &monitor.lines {
            monitor.describe(*line, out);
        }
        out.set_timer(SILENCE, SILENCE_MS);
        out.report(Health::Starting, WAITING);
        Ok(monitor)
    }

    fn describe(&self, line: Name, out: &mut Outbox) {
        for (channel, meaning) in describe_numerics(line, &self.labels[line as usize], &self.units) {
            out.describe(channel, &meaning);
        }
    }

    pub fn found(&mut self, now: Moment, found: Found<'_>, out: &mut Outbox) {
        match found {
            Found::Noise(bytes) => self.loss.noise(bytes),
            Found::Torn(bytes) => self.damage(&format!("only {bytes} bytes of it came"), out),
            Found::Frame(frame) => match decode(frame, &self.lines) {
                Ok(message) => self.message(now, &message, out),
                Err(why) => self.damage(&why.to_string(), out),
            },
        }
    }

    /// Without a checksum a message is trusted whole or not at all.
    fn damage(&mut self, why: &str, out: &mut Outbox) {
        self.loss.broken();
        self.damaged = self.damaged.saturating_add(1);
        out.log(Level::Warn, &format!("message dropped: {why}"));
        if self.damaged == DAMAGED_IN_A_ROW {
            self.report(Health::Degraded, &format!("messages are damaged; the last: {why}"), out);
        }
    }

    fn message(&mut self, now: Moment, message: &Message<'_>, out: &mut Outbox) {
        let missing = self.loss.before(now);
        self.say_missing(missing, out);
        if let Some((Some(count), _)) = missing {
            for (next, samples) in self.next.iter_mut().zip(WAVES) {
                *next += count * samples as u64;
            }
        }
        let mut changes = Vec::new();
        for line in &message.lines {
            self.label(line, out);
            let text = if is_label(line.name, line.label) { "" } else { line.label };
            self.screen.show(line.name, Place::Label, text, &mut changes);
            self.screen.show(line.name, Place::Alarm, line.alarm, &mut changes);
        }
        out.emit(&message.lines.iter().map(observation).collect::<Vec<_>>());
        out.emit_waveform(&self.blocks(message));
        if !changes.is_empty() {
            changes.iter().for_each(|change| out.raise(&alert(change)));
            out.keep(&self.screen.to_bytes());
        }
        self.loss.good(now);
        self.damaged = 0;
        self.report(Health::Healthy, "", out);
        out.set_timer(SILENCE, SILENCE_MS);
    }

    /// A new lead, filter or site is another meaning of the same channel. A message in the label's place tells nothing about it.
    fn label(&mut self, line: &Line<'_>, out: &mut Outbox) {
        let known = &mut self.labels[line.name as usize];
        let other = is_label(line.name, line.label) || (line.label.is_empty() && line.name != Name::Hr);
        if !other || known == line.label {
            return;
        }
        line.label.clone_into(known);
        for n in (0..WAVES.len()).filter(|n| WAVE_LINES[*n] == line.name) {
            out.describe(n as Channel, &describe_wave(n, line.label));
            self.next[n] = 0;
        }
        if line.name != Name::Hr {
            self.describe(line.name, out);
        }
    }

    fn blocks(&mut self, message: &Message<'_>) -> Vec<Waveform> {
        let mut blocks = Vec::with_capacity(WAVES.len());
        for (n, wave) in message.waves.iter().enumerate() {
            let mut block = Waveform::of(n as Channel, self.next[n], wave.iter().map(|b| i32::from(*b)).collect());
            let off = |l: &Line<'_>| l.name == WAVE_LINES[n] && absence([l.label, l.alarm]) == Absence::SensorOff;
            if message.lines.iter().any(off) {
                block.quality |= Quality::UNAVAILABLE;
            }
            self.next[n] += wave.len() as u64;
            blocks.push(block);
        }
        blocks
    }

    fn say_missing(&self, missing: Option<(Option<u64>, Missing)>, out: &mut Outbox) {
        let Some((messages, why)) = missing else { return };
        for (n, samples) in WAVES.iter().enumerate() {
            out.missed(n as Channel, messages.map(|m| m * *samples as u64), why);
        }
        for line in &self.lines {
            let numerics = numerics(*line);
            (0..numerics.values.len()).for_each(|n| out.missed(numerics.first + n as Channel, messages, why));
        }
    }

    pub fn line_fault(&mut self, held: usize, fault: LineFault, out: &mut Outbox) {
        if fault == LineFault::Overrun {
            self.loss.told(Missing::Overrun);
        }
        if held >= HEADER.len() {
            let name = match fault {
                LineFault::Parity => "a parity error",
                LineFault::Framing => "a framing error",
                LineFault::Overrun => "lost bytes",
                LineFault::BreakSeen => "a break",
            };
            self.damage(&format!("the line reported {name}"), out);
        } else {
            self.loss.noise(held);
        }
    }

    pub fn link(&mut self, state: LinkState, out: &mut Outbox) {
        if state == LinkState::Down {
            self.loss.told(Missing::DeviceOff);
            self.report(Health::Degraded, "the serial port is gone", out);
        }
    }

    /// Nothing good came for a while. Alerts stay as they are: a monitor that is silent has not said that they ended.
    pub fn silent(&mut self, out: &mut Outbox) {
        let detail = match self.loss.anything_came() {
            true => "bytes come, but no good message for 5 s: is the port set to the monitor's speed (9600 8N1)?",
            false => "no message for 5 s: is the monitor on and connected?",
        };
        self.report(Health::Degraded, detail, out);
        out.set_timer(SILENCE, SILENCE_MS);
    }

    pub fn close(&mut self, now: Moment, out: &mut Outbox) {
        self.say_missing(self.loss.seen(now), out);
    }

    fn report(&mut self, health: Health, detail: &str, out: &mut Outbox) {
        if self.told.0 != health || self.told.1 != detail {
            out.report(health, detail);
            self.told = (health, detail.into());
        }
    }
}

fn lines(text: &str) -> Result<Vec<Name>, Problem> {
    let unknown = |word: &str| Problem::setting(format!("setting \"lines\" names {word:?}; allowed: some of {LINES}, each once"));
    let mut lines = Vec::new();
    for word in text.split_whitespace() {
        lines.push(Name::find(word).filter(|name| !lines.contains(name)).ok_or_else(|| unknown(word))?);
    }
    if lines.is_empty() { Err(unknown("")) } else { Ok(lines) }
}

fn screen(start: &Opening, out: &mut Outbox) -> Screen {
    let Some(bytes) = &start.saved else { return Screen::blank(1) };
    Screen::from_bytes(bytes).unwrap_or_else(|| {
        // other identifiers than those of the alerts that are lost with the state
        out.log(Level::Error, "the kept state cannot be read: alerts that were active stay so at the receiver");
        Screen::blank((start.seed as u32) | 1 << 31)
    })
}

fn observation(line: &Line<'_>) -> Observation {
    let why = absence([line.label, line.alarm]);
    let first = numerics(line.name).first;
    let value = |value: &Option<Decimal>| value.map_or(Value::Absent(why), Value::Number);
    Observation::of(line.values.iter().zip(first..).map(|(v, channel)| reading(channel, value(v))).collect())
}

fn alert(change: &Change) -> Alert {
    let shown = &change.shown;
    let (priority, concern) = classify(shown.place, &shown.text);
    Alert {
        id: shown.id,
        at: DeviceTime::NotTold,
        channel: Some(numerics(shown.line).first),
        priority,
        concern,
        state: if change.active { AlertState::Active } else { AlertState::Inactive },
        code: None,
        low: None,
        high: None,
        text: shown.text.clone(),
    }
}
