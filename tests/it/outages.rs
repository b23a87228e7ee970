//! What the faults of a Modbus bus come to in the ledger: through the plugin, the gateway and the receiver. What they come to on the line is `links`'.

use tokio::sync::watch;
use wardgate::status::Snapshot;
use wardgate_lab::accountant;
use wardgate_lab::process::root;
use wardgate_lab::sim::modbus::serial::{Framing, SerialServer};
use wardgate_lab::sim::modbus::{Control, Fault, Options, Server};
use wardgate_lab::stage::Stage;

use crate::faults::wait_status;
use crate::ward::{Folder, wait_to_see};

const TCP: &str = "plant-tcp";
const RTU: &str = "plant-rtu";
const LOST: usize = 600; // requests that stay without an answer: more than are made

/// The devices of both buses, until they are dropped.
struct Plant {
    runtime: Option<tokio::runtime::Runtime>,
    tcp: Control,
    rtu: Control,
    stop_rtu: watch::Sender<bool>,
}

impl Plant {
    fn on(stage: &mut Stage) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let port = stage.folder.join("dev").join(RTU);
        let (stop_rtu, stopped) = watch::channel(false);
        let options = || Options::new("127.0.0.1:0".parse().unwrap());
        let (server, serial) = runtime.block_on(async {
            let server = Server::new(options()).await.expect("a server");
            (server, SerialServer::new(&port, Framing::Rtu, false, options()).expect("a pty"))
        });
        let (tcp, rtu, at) = (server.control(), serial.control(), server.address());
        let (hold, never) = watch::channel(false);
        runtime.spawn(async move {
            let _hold = hold;
            server.run(never).await.expect("it serves");
        });
        runtime.spawn(async move { serial.run(stopped).await.expect("it serves") });
        let package = root().join("plugins/target/packages/modbus-map-0.1.0");
        let instance = |name: &str, bus: &str| {
            format!(
                "[bus.{name}]\n{bus}\ntimeout_ms = 1500\n[instance.{name}]\npackage = \"{}\"\n\
                 grants.modbus = {{ bus = \"{name}\", servers = [1], allow = [{{ function = 3, addresses = [\"0..11\"] }}] }}\n\
                 settings = {{ map = {{ shipped = \"smc-hrs\" }}, period_ms = 500, tries = 1 }}\n",
                package.display()
            )
        };
        stage.more += "\n";
        stage.more += &instance(TCP, &format!("tcp = \"{at}\""));
        stage.more += &instance(RTU, &format!("serial = \"{}\"\nbaud = 115200", port.display()));
        Self { runtime: Some(runtime), tcp, rtu, stop_rtu }
    }

    fn befall(&self, instance: &str, faults: impl IntoIterator<Item = Fault>) {
        let control = if instance == TCP { &self.tcp } else { &self.rtu };
        control.befall(faults.into_iter().map(Some));
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        self.runtime.take().expect("once").shutdown_background();
    }
}

/// Why something of this instance is missing, as the receiver has it: each gap of one channel, in order. Rounds for which there was no time are
/// another matter.
fn reasons(stage: &Stage, instance: &str) -> Vec<String> {
    let gaps = accountant::read_gaps(&stage.output()).into_iter();
    let of = gaps.filter(|g| g.instance == instance && g.channel == "temperature" && g.reason != "device-skipped");
    of.map(|g| g.reason).collect()
}

/// Each gap has the reason that docs/faults.md tells for the fault, as soon as the fault is there and not when it is over.
//= PROMISES.md#P84
#[test]
fn each_fault_of_a_bus_is_a_gap_with_its_reason_while_it_lasts() {
    let folder = Folder::new("outages");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let plant = Plant::on(&mut stage);
    stage.start_all(&[]).expect("everything starts");
    for instance in [TCP, RTU] {
        // what is missing is told once until the device answers: the next fault must not fall into the hole of the one before. Of several requests
        // to a round the one that was missed must have been answered, too
        const ANSWERS: u64 = 8;
        const OVER: u64 = 40; // so many answers after a fault it is over, and its gap has come if ever
        const ATTEMPTS: usize = 3;
        let answered = |s: &Snapshot| s.links.get(instance).map_or(0, |l| l.answered);
        let well = |stage: &Stage| {
            let before = stage.gateway_status().map_or(0, |s| answered(&s));
            wait_status(stage, "answers", |s| answered(s) >= before + ANSWERS && s.instances[instance].state == "healthy")
        };
        well(&stage);
        for (fault, reason) in [
            (Fault::Silence, "device-off"),
            (Fault::Short, "line-fault"),
            (Fault::WrongCount, "line-fault"),
            (Fault::Half, "line-fault"),
            (Fault::WrongFunction, "line-fault"),
            (Fault::Late, "device-off"),
        ] {
            // on a busy machine one that lives may be late or garbled by itself, and what is made then falls into that hole: it is made once more
            let told = (0..ATTEMPTS).any(|_| {
                let (before, since) = (reasons(&stage, instance).len(), stage.gateway_status().map_or(0, |s| answered(&s)));
                plant.befall(instance, [fault]);
                println!("{instance} {fault:?}");
                let told = |all: &[String]| all.get(before..).is_some_and(|new| new.iter().any(|r| r == reason));
                let over = |s: &Snapshot| answered(s) >= since + OVER && s.instances[instance].state == "healthy";
                let look = || (reasons(&stage, instance), stage.gateway_status().is_some_and(|s| over(&s)));
                let (seen, _) = wait_to_see(&format!("a gap for {fault:?} of {instance}"), look, |(all, over)| told(all) || *over);
                well(&stage);
                told(&seen) || told(&reasons(&stage, instance))
            });
            assert!(told, "{instance} {fault:?}: no gap of {reason} in {ATTEMPTS} attempts: {:?}", reasons(&stage, instance));
        }
        let told = reasons(&stage, instance).len();
        plant.befall(instance, [Fault::Exception(4)]);
        wait_status(&stage, "the exception", |s| s.links[instance].exceptions > 0 && s.instances[instance].state == "healthy");
        let line_faults = |all: &[String]| all.iter().filter(|r| *r == "line-fault").count();
        let all = reasons(&stage, instance);
        assert_eq!(line_faults(&all), line_faults(&all[..told]), "{instance}: an exception is an absent value and no gap");
        // dead: told while it is, and the restart of the gateway explains nothing of it
        plant.befall(instance, std::iter::repeat_n(Fault::Silence, LOST));
        let all = reasons(&stage, instance).len();
        let dead = |now: &Vec<String>| now.len() > all && now[all..].iter().any(|r| r == "device-off");
        wait_to_see("the gap of one that is dead", || reasons(&stage, instance), dead);
    }
    let before: Vec<_> = [TCP, RTU].map(|instance| reasons(&stage, instance).len()).into();
    let status = stage.gateway.as_mut().expect("running").stop().expect("a clean stop");
    assert!(status.success(), "{status}");
    plant.stop_rtu.send(true).expect("it runs"); // and that line is unplugged
    stage.start_gateway().expect("it comes back");
    wait_status(&stage, "both down", |s| [TCP, RTU].iter().all(|i| s.instances.get(*i).is_some_and(|i| i.state == "degraded")));
    for (instance, before) in [TCP, RTU].into_iter().zip(before) {
        let told = |all: &Vec<String>| all[before..].iter().any(|reason| reason == "device-off");
        wait_to_see("that its device is off, besides the restart", || reasons(&stage, instance), told);
    }
}
