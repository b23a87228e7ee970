//! Raw frames of a Modbus bus at the receiver, against a wire tap that shares no code: all of them where the site keeps them, none elsewhere.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::Duration;

use wardgate_lab::accountant::lines_below;
use wardgate_lab::demo::drain_stage;
use wardgate_lab::process::root;
use wardgate_lab::stage::{CHILLER_UNIT, Stage};

use crate::faults::wait_status;
use crate::reload::reload;
use crate::supervision::{said, wardgate};
use crate::ward::Folder;

/// A wire with a tap in it: what went to the device, and what came from it.
struct Tap {
    at: SocketAddr,
    seen: Arc<[Mutex<Vec<u8>>; 2]>,
}

impl Tap {
    fn before(device: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let tap = Self { at: listener.local_addr().expect("bound"), seen: Arc::default() };
        let seen = tap.seen.clone();
        spawn(move || {
            for one in listener.incoming().map_while(Result::ok) {
                let Ok(other) = TcpStream::connect(device) else {
                    // the device is off: what was asked of it went out all the same
                    let (seen, mut one) = (seen.clone(), one);
                    spawn(move || {
                        let mut piece = [0; 4096];
                        while let Ok(n @ 1..) = one.read(&mut piece) {
                            seen[0].lock().expect("no holder panics").extend_from_slice(&piece[..n]);
                        }
                    });
                    continue;
                };
                let (back, forth) = (other.try_clone().expect("a copy"), one.try_clone().expect("a copy"));
                for (way, mut from, mut to) in [(0, one, other), (1, back, forth)] {
                    let seen = seen.clone();
                    spawn(move || {
                        let mut piece = [0; 4096];
                        while let Ok(n @ 1..) = from.read(&mut piece) {
                            seen[way].lock().expect("no holder panics").extend_from_slice(&piece[..n]);
                            if to.write_all(&piece[..n]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        tap
    }

    fn saw(&self, way: usize) -> Vec<u8> {
        self.seen[way].lock().expect("no holder panics").clone()
    }
}

/// In the order of their moments, joined: sent and received.
fn archived(stage: &Stage, instance: &str) -> [Vec<u8>; 2] {
    let mut lines = lines_below(&stage.output().join(instance).join("raw"));
    lines.sort_by_key(|l| l["monotonic_ns"].as_u64());
    let mut all = [Vec::new(), Vec::new()];
    for line in lines {
        let hex = line["raw"].as_str().expect("hex");
        let bytes = (0..hex.len()).step_by(2).map(|n| u8::from_str_radix(&hex[n..n + 2], 16).expect("hex"));
        all[usize::from(line["sent"].as_bool() != Some(true))].extend(bytes);
    }
    all
}

/// Three instances of one plugin, each with a bus of its own.
//= PROMISES.md#P129
#[test]
fn frames_of_a_bus_leave_only_where_they_are_granted_and_of_a_device_that_is_known() {
    let folder = Folder::new("frames");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.start_broker().expect("a broker");
    stage.start_ward(&[]).expect("devices");
    stage.start_receiver().expect("a receiver");
    let taps = ["kept", "unknown", "quiet"].map(|name| {
        let tap = Tap::before(([127, 0, 0, 1], stage.modbus_port).into());
        let package = root().join("plugins/target/packages/modbus-map-0.1.0");
        let serial = if name == "unknown" { "device_serial = \"A1\"\n" } else { "" };
        stage.more += &format!(
            "\n[bus.{name}]\ntcp = \"{}\"\n[instance.{name}]\npackage = \"{}\"\n{serial}settings = {{ map = {{ shipped = \"smc-hrs\" }}, period_ms = 200 }}\n\
             [instance.{name}.grants]\nkeep_raw = {}\n[instance.{name}.grants.modbus]\nbus = \"{name}\"\nservers = [{CHILLER_UNIT}]\n\
             allow = [{{ function = 3, addresses = [\"0..11\"] }}]\n",
            tap.at,
            package.display(),
            name != "quiet"
        );
        tap
    });
    stage.start_gateway().expect("a gateway");
    let check = said(&wardgate(&stage, &["check"]));
    assert!(check.contains("what goes over its Modbus bus for it leaves byte for byte"), "{check}");
    stage.ward.as_mut().expect("it runs").tell("on").expect("it hears");
    wait_status(&stage, "readings", |s| ["kept", "quiet"].iter().all(|name| s.instances.get(*name).is_some_and(|i| i.readings > 200)));
    stage.switch_off().expect("the ward is switched off");
    sleep(Duration::from_millis(1500)); // what came last is counted
    let status = stage.gateway_status().expect("it runs").instances;
    // they would ask for ever, and what is asked is kept too
    let more = std::mem::take(&mut stage.more);
    reload(&stage, &stage.configuration(), 0);
    stage.more = more;
    drain_stage(&mut stage).expect("it drains");

    let [kept, unknown, quiet] = &taps;
    let [sent, came] = archived(&stage, "kept");
    assert!(came.len() > 100 && came == kept.saw(1), "{} bytes kept of {} that came", came.len(), kept.saw(1).len());
    assert!(sent.len() > 100 && kept.saw(0).starts_with(&sent), "what was asked is kept too");
    println!("{} bytes asked and {} answered, as the tap saw them", sent.len(), came.len());
    for (name, tap) in [("unknown", unknown), ("quiet", quiet)] {
        assert_eq!(archived(&stage, name), <[Vec<u8>; 2]>::default(), "{name}");
        assert_eq!(status[name].raw_withheld as usize, tap.saw(1).len(), "{name}");
        assert!(status[name].raw_withheld > 0, "{name}");
    }
}
