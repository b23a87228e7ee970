//! What a plugin that burns the processor costs the others: the longest time between two readings of theirs, with it and without it.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use wardgate_lab::accountant;
use wardgate_lab::process::root;

use super::{Done, Figure, UNITS, WARM_S, device, over_tcp, stage};

/// As often as eight of them are admitted on one bus, so that a delay shows.
const PERIOD_MS: u64 = 250;
/// Readings from the steady state on.
const FROM: usize = 20;

/// One computes for as long as a call may, again and again, and is never quarantined; one loops for ever, and is quiet after five faults.
const ORDERS: [(&str, &str); 2] =
    [("burn", "worst gap of others beside a burning plugin"), ("loop", "worst gap of others beside an endless loop")];

fn burning(folder: &Path, order: &str) -> Done<String> {
    let guest = wardgate::plugin::build(&root().join("tests/guests/hostile")).map_err(|e| e.to_string())?.folder;
    Ok(format!(
        "\n[instance.burning]\npackage = \"{}\"\nsettings = {{ each-second = \"{order}\" }}\n[instance.burning.grants.serial]\nport = \"{}/dev/none\"\n\
         [instance.burning.grants.modbus]\nbus = \"plant\"\nservers = [99]\nallow = []\n",
        guest.display(),
        folder.display()
    ))
}

//= PROMISES.md#P92
pub fn figures(folder: &Path, seconds: u64) -> Done<Vec<Figure>> {
    let alone = worst_gap_ms(&folder.join("alone"), seconds, None)?;
    let figure = |(order, what): (&str, &'static str)| {
        let beside = worst_gap_ms(&folder.join(order), seconds, Some(order))?;
        let how = format!("{beside:.0} ms beside it, {alone:.0} ms without it, at a reading each {PERIOD_MS} ms; none lost");
        Ok(Figure { what, measured: beside / alone, at_most: 1.2, unit: "x", how })
    };
    ORDERS.into_iter().map(figure).collect()
}

fn worst_gap_ms(folder: &Path, seconds: u64, with: Option<&str>) -> Done<f64> {
    let mut text = over_tcp(device::start()).replace("server = ", &format!("period_ms = {PERIOD_MS}\nserver = "));
    if let Some(order) = with {
        text += &burning(folder, order)?;
    }
    let stage = stage(folder, &text)?;
    sleep(Duration::from_secs(WARM_S + seconds));
    let gaps = accountant::read_gaps(&stage.output());
    if let Some(lost) = gaps.iter().find(|g| g.instance.starts_with("unit-")) {
        return Err(format!("something was lost: {lost:?}"));
    }
    let mut worst = 0;
    for unit in 1..=UNITS {
        let tracks = accountant::read_received(&stage.output(), &format!("unit-{unit}"));
        let mut moments: Vec<u64> = tracks.get("r0").into_iter().flatten().map(|(at, _)| *at).collect();
        moments.sort_unstable();
        let steady = moments.get(FROM..).ok_or("too few readings")?;
        worst = steady.windows(2).map(|pair| pair[1] - pair[0]).chain([worst]).max().unwrap_or_default();
    }
    Ok(worst as f64 / 1e6)
}
