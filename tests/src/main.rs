//! The binary `wardgate-lab`: the demo ward, and the processes that it is made of.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use wardgate_lab::{demo, proxy, serve, sim, table, ward};

/// The demo ward and the fault lab of wardgate. Nothing shipped links it.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// A ward that runs: simulated devices, broker, gateway and receiver, with a live summary and books that must balance
    Demo {
        /// How long the devices are switched on: 20s, 5m; without it until Ctrl-C
        #[arg(long = "for", value_parser = seconds)]
        seconds: Option<u64>,
        /// Only the result on standard output, as one line of JSON
        #[arg(long)]
        json: bool,
        /// Keep the folder with logs, store and output, and say where it is
        #[arg(long)]
        keep: bool,
        /// One more device: the plugin in this folder, built, on a serial line of its own; with --serial
        #[arg(long, value_name = "DIR", requires = "serial")]
        plugin: Option<PathBuf>,
        /// What that device says every second; \\n, \\r, \\t, \\\\ and \\x41 as in Rust
        #[arg(long, value_name = "TEXT", requires = "plugin", allow_hyphen_values = true)]
        serial: Option<String>,
        /// Faults on every serial and Modbus line, at random from SEED: bit errors, cut messages, stray bytes, pauses, silence, pulled plugs; wrong,
        /// late, early, slow, cut and missing answers, refusals; and a thermometer whose clock is set. What is lost must lie in a gap
        #[arg(long, value_name = "SEED", num_args = 0..=1, default_missing_value = "0")]
        faults: Option<u64>,
        /// A real Bluetooth device through this machine's BlueZ, instead of the simulated ones: one of plugins/ble-* and its address, like
        /// ble-heart-rate=AA:BB:CC:DD:EE:FF. Without this the ward's Bluetooth is simulated, and the devices that this machine's BlueZ hears are listed
        #[arg(long, value_name = "PLUGIN=ADDRESS", value_parser = real, conflicts_with = "plugin")]
        ble: Option<(String, String)>,
    },
    /// Faults on a line: between a device, or its simulator, and the gateway, over TCP or serial. Each fault is printed as a line of JSON
    #[command(after_help = about_faults())]
    Proxy(proxy::Options),
    /// The embedded MQTT broker, with TLS and a certificate of its own
    #[command(hide = true)]
    Broker {
        #[arg(long)]
        folder: PathBuf,
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
    /// Writes the table of plugins in plugins/README.md anew
    Table,
    /// A simulated BlueZ with peripherals, on a D-Bus of its own: for DBUS_SYSTEM_BUS_ADDRESS, which it prints. Orders on standard input: on, off,
    /// busy TIMES, adapter gone|back|on|off, dongle in|bonded, bluetoothd down|up, vanish|return|mute|unmute|opaque|unsignal|clear|deafen|blank|forget|guard|bond NAME, flap NAME
    /// TIMES, cut NAME RECORDS, together NAME VALUES, hold NAME TIMES, rssi NAME DBM, burst NAME TIMES, crowd STRANGERS
    Bluez {
        /// Where the socket is made, and the send logs below `sent`
        #[arg(long)]
        folder: PathBuf,
        /// KIND:NAME:ADDRESS of a peripheral; KIND is belt, twins, oximeter, thermometer, beacon, or meter with how many records, meter=40, or
        /// the same with a context each, diary=40
        #[arg(long = "device", value_parser = sim::ble::device, required = true)]
        devices: Vec<sim::ble::Device>,
    },
    /// The simulated devices; `on` and `off` on standard input
    #[command(hide = true)]
    Ward {
        #[arg(long)]
        folder: PathBuf,
        #[command(flatten)]
        options: ward::Options,
    },
}

fn about_faults() -> String {
    format!(
        "Faults, of one frame of the device each:\n{}\n\
         A device's clock is not the line's: its steps are simulated by `wardgate-lab demo --faults`.\n\n\
         A chiller on Modbus TCP, one answer in ten late or a refusal; in gateway.toml: tcp = \"127.0.0.1:1502\"\n  \
         wardgate-lab proxy --gateway 127.0.0.1:1502 --device 192.168.7.20:502 --fault late=5% --fault exception=5% --seed 7\n\
         A bedside monitor on a serial port whose plug is pulled now and then; in gateway.toml: port = \"/tmp/monitor\"\n  \
         wardgate-lab proxy --gateway /tmp/monitor --device /dev/serial/by-id/usb-FTDI_1234 --frames end=FE --fault unplug=2%",
        sim::fault::Kind::list()
    )
}

fn real(text: &str) -> Result<(String, String), String> {
    let (plugin, address) = text.split_once('=').ok_or("write PLUGIN=ADDRESS")?;
    if !wardgate::config::is_address(address) {
        return Err(format!("\"{address}\" is no address: write six octets, as `wardgate ble scan` shows them"));
    }
    Ok((plugin.into(), address.to_uppercase()))
}

fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let n: u64 = number.parse().map_err(|_| format!("\"{text}\" is no time; write 20s or 5m"))?;
    match unit {
        "s" | "" => Ok(n),
        "m" => Ok(n * 60),
        _ => Err(format!("\"{unit}\" is no unit; write 20s or 5m")),
    }
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Demo { seconds, json, keep, plugin, serial, faults, ble } => {
            let options =
                demo::Options { seconds, json, keep, folder: demo::folder(), guest: plugin.zip(serial), faults: faults.map(drawn), ble };
            return show_demo(&options);
        }
        Verb::Broker { folder, port } => serve::main(&folder, port),
        Verb::Proxy(options) => {
            let seed = drawn(options.seed().unwrap_or(0));
            eprintln!("faults from seed {seed}; the same again: --seed {seed}");
            proxy::main(&options, seed)
        }
        Verb::Table => table::write(),
        Verb::Bluez { folder, devices } => sim::ble::main(&folder, devices),
        Verb::Ward { folder, options } => ward::main(&folder, &options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("wardgate-lab: {what}");
            ExitCode::FAILURE
        }
    }
}

/// 0: another one each time.
fn drawn(seed: u64) -> u64 {
    if seed == 0 { u64::from(std::process::id()) } else { seed }
}

fn show_demo(options: &demo::Options) -> ExitCode {
    demo::stop_in_order();
    if let Some(seed) = options.faults {
        eprintln!("faults from seed {seed}; the same again: --faults {seed}");
    }
    match demo::run(options) {
        Ok(report) => {
            report.complaints.iter().for_each(|c| eprintln!("{c}"));
            for step in &report.clock_steps {
                let said = if step.recorded { "and the ledger tells of it" } else { "which the ledger does not tell yet" };
                eprintln!("the clock of {} was set by {} s, {said}", step.device, step.by_s);
            }
            if options.keep {
                eprintln!("logs, store and output: {}", options.folder.display());
            }
            println!("{}", serde_json::to_string(&report).expect("plain numbers and texts"));
            if report.well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(what) => {
            eprintln!("wardgate-lab: {what}\nlogs: {}", options.folder.join("log").display());
            ExitCode::FAILURE
        }
    }
}
