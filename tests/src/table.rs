//! The table of plugins in `plugins/README.md`: what is known of each stands here, its size is that of the built component, and what a frame costs
//! is copied from the last `make bench`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::process::root;

/// One row, but for what is measured.
struct Known {
    plugin: &'static str,
    class: &'static str,
    protocol: &'static str,
    source: &'static str,
    simulated: &'static str,
}

const fn known(plugin: &'static str, class: &'static str, protocol: &'static str, source: &'static str, simulated: &'static str) -> Known {
    Known { plugin, class, protocol, source, simulated }
}

const ON_THE_STACK: &str = "the peripheral, on a real BlueZ and Bumble's stack";

const KNOWN: &[Known] = &[
    known(
        "ivy450c",
        "bedside monitor",
        "ANSAR-B, serial",
        "a public capture (OpenICE, BSD-2) and the protocol's description",
        "the monitor, from the capture's form",
    ),
    known(
        "modbus-map",
        "machines and rooms",
        "Modbus, any register map",
        "the makers' register lists, named in `modbus-map/maps`",
        "a chiller; each map's answers in its golden case",
    ),
    known(
        "condition-watch",
        "a part of a machine that fails slowly",
        "none: a filter over other instances' channels",
        "no protocol; statistics of its own, described there",
        "a chiller, whose log it is held against",
    ),
    known("ble-heart-rate", "heart rate belt, band", "180D", "SIG characteristics; a public capture", ON_THE_STACK),
    known("ble-activity", "fitness band", "1814", "SIG characteristics", "everything"),
    known("ble-oximeter", "oximeter", "1822", "SIG characteristics; HL7 PHD FLOATS.md (CC0)", ON_THE_STACK),
    known("ble-blood-pressure", "cuff", "1810", "SIG characteristics; vectors of a public library", "everything"),
    known(
        "ble-thermometer",
        "thermometer, ingestible too",
        "1809",
        "SIG characteristics; vectors of a public library",
        "the peripheral, on a real BlueZ and Bumble's stack; nothing about smart pills is public",
    ),
    known(
        "ble-glucose",
        "glucose meter",
        "1808 with RACP",
        "SIG characteristics; vectors of a public library",
        "a meter with a memory that is cut and crashes; one on a real BlueZ and Bumble's stack",
    ),
    known("ble-cgm", "continuous glucose", "181F with E2E-CRC", "SIG characteristics; vectors of a public library", "everything"),
    known("ble-weight", "scale", "181D", "SIG characteristics", "everything"),
    known(
        "ble-chest-ecg",
        "chest strap with ECG",
        "Polar measurement data; open Movesense firmware",
        "the maker's description; the firmware's source",
        "everything; the start request is remembered, not read",
    ),
    known(
        "ble-motion-belt",
        "motion belt",
        "OpenSeizureDetector data source; Polar acceleration",
        "their public descriptions",
        "everything; no belt's own protocol is public",
    ),
    known(
        "ble-stethoscope",
        "stethoscope",
        "in the shape of Omi's audio",
        "its public description",
        "everything; no stethoscope's own protocol is public",
    ),
];

const HEAD: &str = "| class of device | plugin | protocol | source of the facts | KiB | ns per frame | what is simulated |\n|---|---|---|---|---:|---:|---|\n";
/// Before the first row, and behind the last.
const BEGIN: &str = "<!-- written by `wardgate-lab table` -->\n";
const END: &str = "<!-- up to here -->\n";
const NOT_MEASURED: &str = "-";

/// Where `make bench` leaves what a frame costs: plugin and nanoseconds, a line each.
pub fn measured() -> PathBuf {
    root().join("target/frame-ns.txt")
}

fn readme() -> PathBuf {
    root().join("plugins/README.md")
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// Text before the table, the table, and what follows.
fn parts(text: &str) -> Result<[&str; 3], String> {
    let missing = || format!("plugins/README.md has no lines {BEGIN:?} and {END:?}");
    let (before, rest) = text.split_once(BEGIN).ok_or_else(missing)?;
    let (table, behind) = rest.split_once(END).ok_or_else(missing)?;
    Ok([before, table, behind])
}

/// The cells of a row; none for the head and for lines around it.
fn cells(row: &str) -> Vec<&str> {
    row.trim().trim_matches('|').split('|').map(str::trim).collect()
}

fn row(known: &Known, kib: u64, ns: &str) -> String {
    let plugin = known.plugin;
    format!(
        "| {} | [{plugin}]({plugin}/README.md) | {} | {} | {kib} | {ns} | {} |\n",
        known.class, known.protocol, known.source, known.simulated
    )
}

/// Which plugins are there, with the size of the component of each.
fn sizes() -> Result<BTreeMap<String, u64>, String> {
    let mut sizes = BTreeMap::new();
    let folder = root().join("plugins");
    for entry in fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?.flatten() {
        if !entry.path().join("manifest.toml").exists() {
            continue;
        }
        let built = wardgate::plugin::build(&entry.path()).map_err(|e| e.to_string())?;
        let size = fs::metadata(built.folder.join("plugin.wasm")).map_err(|e| e.to_string())?.len();
        sizes.insert(entry.file_name().to_string_lossy().into_owned(), size.div_ceil(1024));
    }
    Ok(sizes)
}

/// Writes the table anew: `wardgate-lab table`.
pub fn write() -> Result<(), String> {
    let (text, sizes) = (read(&readme())?, sizes()?);
    let [before, old, behind] = parts(&text)?;
    let fresh = fs::read_to_string(measured()).unwrap_or_default(); // none yet: what stands there stays
    let ns = |plugin: &str| -> String {
        let fresh = fresh.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| *name == plugin).map(|(_, ns)| ns);
        let old = old.lines().map(cells).find(|cells| cells.get(1).is_some_and(|c| c.starts_with(&format!("[{plugin}]"))));
        fresh.or_else(|| old.and_then(|cells| cells.get(5).copied())).unwrap_or(NOT_MEASURED).to_owned()
    };
    let rows: String = KNOWN.iter().map(|k| row(k, sizes.get(k.plugin).copied().unwrap_or(0), &ns(k.plugin))).collect();
    fs::write(readme(), format!("{before}{BEGIN}{HEAD}{rows}{END}{behind}")).map_err(|e| e.to_string())
}

/// What is not as it would be written now, what a frame costs apart: another machine takes another time, and another compiler some KiB more or less.
pub fn differences() -> Result<Vec<String>, String> {
    let (text, sizes) = (read(&readme())?, sizes()?);
    let [_, table, _] = parts(&text)?;
    let mut wrong: Vec<_> = sizes
        .keys()
        .filter(|name| KNOWN.iter().all(|k| k.plugin != *name))
        .map(|name| format!("{name} has no row in tests/src/table.rs"))
        .collect();
    if !table.starts_with(HEAD) {
        wrong.push("its head is another".to_owned());
    }
    let rows: Vec<_> = table.lines().skip(2).map(cells).collect();
    if rows.len() != KNOWN.len() {
        wrong.push(format!("it has {} rows, not {}", rows.len(), KNOWN.len()));
    }
    for (known, found) in KNOWN.iter().zip(&rows) {
        let Some(kib) = sizes.get(known.plugin).copied() else {
            wrong.push(format!("{} is no plugin here", known.plugin));
            continue;
        };
        let told = found.get(4).and_then(|told| told.parse::<u64>().ok()).unwrap_or(0);
        let ns = found.get(5).copied().unwrap_or_default();
        if told.abs_diff(kib) > told / 10 + 1 {
            wrong.push(format!("{} has {kib} KiB; its row says {told}", known.plugin));
        }
        if ns != NOT_MEASURED && ns.parse::<u64>().is_err() {
            wrong.push(format!("{}: {ns:?} are no nanoseconds", known.plugin));
        }
        if *found != cells(&row(known, told, ns)) {
            wrong.push(format!("the row of {} reads {found:?}", known.plugin));
        }
    }
    Ok(wrong)
}
