//! What a dead server costs the living ones on its RTU bus: their readings beside it, against all alive.

use std::path::Path;
use std::thread::{self, sleep};
use std::time::Duration;

use tokio::sync::watch;
use wardgate_lab::sim::modbus::Options;
use wardgate_lab::sim::modbus::chiller::POINTS;
use wardgate_lab::sim::modbus::serial::{Framing, SerialServer};

use super::{Done, Figure, UNITS, WARM_S, pollers, stage};

/// As often as eight of them are admitted on this bus: eight timeouts and their questions fit into it, and little else.
const PERIOD_MS: u64 = 900;
const REGISTERS: u16 = POINTS[POINTS.len() - 1] + 1; // all that the device has
const TIMEOUT_MS: u64 = 100; // what the dead one takes each time that it is asked
const LOST_PERCENT_MAX: f64 = 10.0;

pub fn figures(folder: &Path, seconds: u64) -> Done<[Figure; 2]> {
    let alive = readings(&folder.join("alive"), seconds, UNITS)?;
    let beside = readings(&folder.join("beside"), seconds, UNITS - 1)?;
    let lost = |beside: u64, alive: u64| 100.0 - beside as f64 * 100.0 / alive.max(1) as f64;
    let all = (beside.iter().sum::<u64>(), alive.iter().sum::<u64>());
    let how = format!("{} readings of seven servers beside a dead eighth, {} beside a living one", all.0, all.1);
    let worst = beside.iter().zip(&alive).map(|(b, a)| lost(*b, *a)).fold(f64::MIN, f64::max);
    let figure = |what, measured, how| Figure { what, measured, at_most: LOST_PERCENT_MAX, unit: "%", how };
    Ok([
        figure("readings lost beside a dead server", lost(all.0, all.1), how),
        figure("and of the server that lost most", worst, "the worst of the seven".into()),
    ])
}

/// Of each unit but the last, in so many seconds; as many as are living answer.
fn readings(folder: &Path, seconds: u64, living: u8) -> Done<Vec<u64>> {
    std::fs::create_dir_all(folder.join("dev")).map_err(|e| e.to_string())?;
    let port = folder.join("dev/bus");
    let options = Options { units: (1..=living).collect(), ..Options::new(([127, 0, 0, 1], 0).into()) };
    let server = SerialServer::new(&port, Framing::Rtu, false, options).map_err(|e| e.to_string())?;
    let (stop, stopped) = watch::channel(false);
    let device = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(server.run(stopped))
    });
    let bus = format!("serial = {:?}\nprotocol = \"rtu\"\nbaud = 115200\ntimeout_ms = {TIMEOUT_MS}", port.display().to_string());
    let text = pollers(&bus, REGISTERS).replace("server = ", &format!("period_ms = {PERIOD_MS}\nserver = "));
    let stage = stage(folder, &text)?;
    sleep(Duration::from_secs(WARM_S));
    let count = || {
        let status = stage.gateway_status().ok_or("the gateway does not answer")?;
        Ok((1..UNITS).map(|unit| status.instances[&format!("unit-{unit}")].readings).collect::<Vec<_>>())
    };
    let before: Done<Vec<u64>> = count();
    sleep(Duration::from_secs(seconds));
    let after: Done<Vec<u64>> = count();
    let _ = stop.send(true);
    device.join().map_err(|_| "the device failed")?.map_err(|e| e.to_string())?;
    let readings: Vec<u64> = after?.into_iter().zip(before?).map(|(after, before)| after - before).collect();
    // one that the bus had no room for would be compared with nothing
    if readings.contains(&0) { Err(format!("a living server was not read: {readings:?}")) } else { Ok(readings) }
}
