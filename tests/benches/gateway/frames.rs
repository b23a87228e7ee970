//! What one message of a device costs in the sandbox, for each plugin: its golden cases, played again and again.

use std::fmt::Write as _;
use std::time::Instant;

use wardgate::contract::Event;
use wardgate::plugin::{Package, build, trial};
use wardgate_lab::process::root;
use wardgate_lab::table;

use super::{Done, Figure};

/// The fastest turn of each case counts: the others were disturbed.
const TURNS: usize = 200;
/// A hundredth of the shortest time that a manifest gives one call.
const FRAME_US_MAX: f64 = 1000.0;

pub fn figures() -> Done<Vec<Figure>> {
    let mut plugins: Vec<_> = std::fs::read_dir(root().join("plugins")).map_err(|e| e.to_string())?.flatten().map(|e| e.path()).collect();
    plugins.retain(|folder| folder.join("manifest.toml").exists());
    plugins.sort();
    let (mut copied, mut slowest): (String, Option<(f64, String)>) = (String::new(), None);
    for folder in plugins {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let built = build(&folder).map_err(|e| e.to_string())?;
        let package = Package::open(&built.folder, true).map_err(|e| e.to_string())?;
        let plugin = trial::ready(&package).map_err(|e| e.to_string())?;
        let (mut frames, mut ns) = (0, 0);
        for case in trial::cases(&folder) {
            let mut fastest = u128::MAX;
            let mut heard = 0;
            for _ in 0..TURNS {
                let mut turn = 0;
                heard = 0;
                trial::replay(&plugin, &case, &mut |event, play| {
                    if !frame(event) {
                        return play();
                    }
                    let begun = Instant::now();
                    play();
                    turn += begun.elapsed().as_nanos();
                    heard += 1;
                })
                .map_err(|why| format!("{}: {why}", case.display()))?;
                fastest = fastest.min(turn);
            }
            frames += heard;
            ns += fastest;
        }
        if frames == 0 {
            return Err(format!("{name}: no golden case holds a message of its device"));
        }
        let each = ns / frames;
        let _ = writeln!(copied, "{name} {each}"); // into a text
        eprintln!("{name:18} {each:6} ns a frame, of {frames} in its golden cases");
        if slowest.as_ref().is_none_or(|(was, _)| *was < each as f64) {
            slowest = Some((each as f64, name));
        }
    }
    std::fs::write(table::measured(), copied).map_err(|e| e.to_string())?;
    let (ns, name) = slowest.ok_or("there is no plugin")?;
    Ok(vec![Figure { what: "frame: the plugin that takes longest", measured: ns / 1000.0, at_most: FRAME_US_MAX, unit: "us", how: name }])
}

/// What a device, or another instance, said.
fn frame(event: &Event) -> bool {
    use Event as E;
    let ble = matches!(event, E::BleNotified(..) | E::BleIndicated(..) | E::BleAdvertised { .. });
    ble || matches!(event, E::SerialReceived(_) | E::ModbusReply(..) | E::FilterObserved(_) | E::FilterSampled(_))
}
