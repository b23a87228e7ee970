//! `wardgate bind`: who says whose device it is. Nothing that was sent is rewritten; each change is a record in the ledger.

use clap::{Args, Subcommand};

use super::Whom;
use super::paint::{Paint, Tone, left, plain, right, table};
use crate::config::TOKEN_BYTES_MAX;
use crate::console::{self, ORDER_S_MAX, Question, To};
use crate::contract::printable;
use crate::fault::Fault;
use crate::status::{InstanceStatus, Snapshot};

/// A sentence with an instance, a bed and a serial in it.
const ANSWER_BYTES_MAX: usize = 1000;

#[derive(Args)]
#[command(after_help = "\
Examples:
  wardgate bind list                                  who stands where, who says who it is, and what waits
  wardgate bind confirm bed-1-monitor                 the device that is there now does stand at its bed
  wardgate bind set bed-1-monitor --bed bed-7         it stands at another bed from now on
  wardgate bind set bed-1-monitor --serial 4711       only the device 4711 counts; others are parked
  wardgate bind set bed-1-monitor --any-device        whatever stands there counts; never of one of a pool

What a person says here holds until the line of gateway.toml that it overrules changes.")]
pub struct Bind {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Each instance with its bed, the device that must stand there, the one that says it does, and what is parked
    List {
        /// JSON instead of a table
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        whom: Whom,
    },
    /// The device that is there now is the right one: what it said meanwhile goes out, marked late
    Confirm {
        /// As `wardgate status` and gateway.toml call it
        instance: String,
        #[command(flatten)]
        whom: Whom,
    },
    /// Another bed, or another device
    #[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["bed", "no_bed", "serial", "any_device"])))]
    Set {
        /// As `wardgate status` and gateway.toml call it
        instance: String,
        /// Opaque token, never a patient's name; without it the bed stays as it is
        #[arg(long, conflicts_with = "no_bed")]
        bed: Option<String>,
        /// It stands at no bed
        #[arg(long)]
        no_bed: bool,
        /// The serial that its device must say
        #[arg(long, conflicts_with = "any_device")]
        serial: Option<String>,
        /// Any device of its kind may stand there
        #[arg(long)]
        any_device: bool,
        #[command(flatten)]
        whom: Whom,
    },
}

pub fn run(args: &Bind) -> Result<(), Fault> {
    let (instance, whom, to) = match &args.verb {
        Verb::List { json, whom } => {
            let snapshot: Snapshot = console::ask(&whom.state()?, &Question::Status)?;
            if *json {
                let all: Vec<_> = snapshot.instances.iter().map(|(name, i)| as_json(name, i)).collect();
                println!("{}", serde_json::to_string(&all).expect("plain texts"));
            } else {
                println!("{}", page(&snapshot, Paint::of_stdout()).join("\n"));
            }
            return Ok(());
        }
        Verb::Confirm { instance, whom } => (instance, whom, To::Confirm),
        Verb::Set { instance, bed, no_bed, serial, any_device, whom } => {
            let (bed, serial) = (bed.clone(), serial.clone());
            (instance, whom, To::Set { bed, no_bed: *no_bed, serial, any_device: *any_device })
        }
    };
    let question = Question::Bind { instance: instance.clone(), to };
    println!("{}", printable(&console::ask_within::<String>(&whom.state()?, &question, ORDER_S_MAX)?, ANSWER_BYTES_MAX));
    Ok(())
}

fn as_json(name: &str, i: &InstanceStatus) -> serde_json::Value {
    serde_json::json!({
        "instance": name, "bed": i.bed, "unbound": i.unbound, "bound_serial": i.bound_serial, "device_serial": i.device_serial,
        "parked": i.parked, "parked_expired": i.parked_expired,
    })
}

fn page(s: &Snapshot, paint: Paint) -> Vec<String> {
    let columns = [left("instance", 16), left("bed", 12), left("must be", 12), left("says it is", 12), left("counts", 6), right("parked")];
    // whoever reads this decides who stands at a bed: what devices say of themselves is shown, and nothing of it is done
    let text = |text: &Option<String>, none: &str| plain(text.as_deref().map_or_else(|| none.to_owned(), shown));
    let rows: Vec<_> = (s.instances.iter())
        .map(|(name, i)| {
            [
                plain(name),
                text(&i.bed, "none"),
                if i.bound_serial.as_deref() == Some("") { plain("confirmed") } else { text(&i.bound_serial, "any device") },
                text(&i.device_serial, "-"),
                if i.unbound { ("PARKED".into(), Tone::Bad) } else { plain("yes") },
                plain(i.parked.to_string()),
            ]
        })
        .collect();
    let mut out = table(&columns, &rows, paint);
    for (name, i) in s.instances.iter().filter(|(_, i)| i.unbound) {
        out.push(String::new());
        out.push(waits(name, i));
    }
    out
}

fn shown(text: &str) -> String {
    printable(text, TOKEN_BYTES_MAX)
}

/// Why an instance's values are parked, and what a person can do.
pub fn waits(name: &str, i: &InstanceStatus) -> String {
    // out of a pool, and nobody has said yet which one
    let must = i.bound_serial.as_deref().filter(|serial| !serial.is_empty()).map_or_else(|| "none of its pool".to_owned(), shown);
    match i.device_serial.as_deref().map(shown) {
        Some(says) => format!(
            "{name} says it is {says}, and {must} is bound: what it says is parked. If {says} does stand there: `wardgate bind confirm {name}`"
        ),
        None if i.of_a_pool => format!(
            "{name} has one of a pool, which has not shown who it is, and {must} is bound: what it says is parked. One that says no serial number \
             and changes its address has to be paired first: `wardgate ble scan`, then `wardgate ble pair ADDRESS`"
        ),
        None => format!(
            "{name} has not said who it is, and {must} is bound: what it says is parked until it does. If its plugin never \
             does, or whatever stands there is right: `wardgate bind set {name} --any-device`"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_says_of_itself_does_nothing_to_the_terminal_of_whoever_decides() {
        let mut s = Snapshot::default();
        let i = InstanceStatus {
            bed: Some("bed-1\u{9b}2J".into()),
            unbound: true,
            bound_serial: Some("A1\u{202e}".into()),
            device_serial: Some(format!("A1\u{1b}[2J\u{1b}[H{}", "x".repeat(5000))),
            ..InstanceStatus::default()
        };
        s.instances.insert("bed-1-monitor".into(), i);
        let page = page(&s, Paint::none()).join("\n");
        assert!(!page.contains(['\u{1b}', '\u{9b}', '\u{202e}']) && page.len() < 1000, "{page:?}");
        assert!(page.contains("says it is A1\\u{1b}[2J\\u{1b}[Hxxx"), "{page}");
    }
}
