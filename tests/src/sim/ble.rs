//! A simulated BlueZ: a D-Bus of its own on a Unix socket, and org.bluez on it with an adapter, peripherals and faults. What is behind the
//! interfaces is invented; the real BlueZ is met in `tests/ble`. DBUS_SYSTEM_BUS_ADDRESS leads the gateway here.

mod bus;
mod devices;
mod methods;
mod orders;
mod pairing;
mod profiles;
mod tree;

use std::io::{self, BufRead as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Stop, stopped};
use bus::World;
pub use devices::{Device, Said, read};
pub use pairing::PASSKEY;
pub use profiles::{Kind, Says, Value};

/// How often a peripheral may say something: short beside what any of them says by itself.
const TICK_MS: u64 = 20;

/// What is simulated.
pub struct Options {
    /// Where the bus listens: a path in a folder that exists.
    pub socket: PathBuf,
    /// One send log for each peripheral, `NAME.jsonl`.
    pub sent: Option<PathBuf>,
    pub devices: Vec<Device>,
}

/// The simulated BlueZ, until it is dropped.
pub struct Bluez {
    world: Arc<Mutex<World>>,
    socket: PathBuf,
}

impl Bluez {
    /// Within a tokio runtime.
    pub fn start(options: Options, stop: Stop) -> io::Result<Self> {
        let _ = std::fs::remove_file(&options.socket);
        let listener = tokio::net::UnixListener::bind(&options.socket)?;
        let world = Arc::new(Mutex::new(World::new(options.devices, options.sent.as_deref())?));
        tokio::spawn(serve(listener, Arc::clone(&world), stop));
        Ok(Self { world, socket: options.socket })
    }

    /// For DBUS_SYSTEM_BUS_ADDRESS.
    pub fn address(&self) -> String {
        address(&self.socket)
    }

    /// How often a peripheral was connected.
    pub fn links(&self, name: &str) -> Option<u32> {
        lock(&self.world).peripherals.iter().find(|p| p.device.name == name).map(|p| p.links)
    }

    /// Whether peripherals are looked for: over the adapter, and over the other one.
    pub fn looks(&self) -> (bool, bool) {
        let world = lock(&self.world);
        (world.adapter.as_ref().is_some_and(|adapter| !adapter.looking.is_empty()), world.dongle_looks)
    }

    /// A line of the language that `wardgate-lab bluez --help` shows.
    pub fn order(&self, line: &str) -> Result<(), String> {
        lock(&self.world).order(line)
    }
}

/// `KIND:NAME:ADDRESS`, as `wardgate-lab bluez` takes it.
pub fn device(text: &str) -> Result<Device, String> {
    let mut parts = text.splitn(3, ':');
    let (Some(kind), Some(name), Some(address)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("write KIND:NAME:ADDRESS, like belt:belt-1:F0:00:00:00:01:01".into());
    };
    let many = |records: &str| records.parse().map_err(|_| format!("{kind}: write how many records"));
    let kind = match kind.split_once('=').unwrap_or((kind, "")) {
        ("belt", _) => Kind::Belt,
        ("twins", _) => Kind::Twins,
        ("oximeter", _) => Kind::Oximeter,
        ("thermometer", _) => Kind::Thermometer,
        ("beacon", _) => Kind::Beacon,
        ("meter", records) => Kind::Meter(many(records)?),
        ("diary", records) => Kind::Diary(many(records)?),
        (other, _) => {
            return Err(format!(
                "{other} is not simulated; write belt, twins, oximeter, thermometer, beacon, meter=RECORDS or diary=RECORDS"
            ));
        }
    };
    Ok(Device { name: name.into(), address: address.to_uppercase(), kind, clock_steps: None })
}

/// The process `wardgate-lab bluez`: one JSON line with the address, then `{"done": ORDER}` for each order.
pub fn main(folder: &Path, devices: Vec<Device>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(|e| e.to_string())?;
    let _inside = runtime.enter();
    let (_end, stop) = tokio::sync::watch::channel(false);
    let sent = folder.join("sent");
    std::fs::create_dir_all(&sent).map_err(|e| format!("{}: {e}", sent.display()))?;
    let bluez = Bluez::start(Options { socket: folder.join("bluez.sock"), sent: Some(sent), devices }, stop).map_err(|e| e.to_string())?;
    println!("{}", serde_json::json!({ "simulated": bluez.address() }));
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        match bluez.order(&line) {
            Ok(()) => println!("{}", serde_json::json!({ "done": line })),
            Err(why) => println!("{}", serde_json::json!({ "refused": why })),
        }
    }
    Ok(())
}

pub fn address(socket: &Path) -> String {
    format!("unix:path={}", socket.display())
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: tokio::net::UnixListener, world: Arc<Mutex<World>>, mut stop: Stop) {
    let mut clients = JoinSet::new();
    let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return,
            _ = tick.tick() => lock(&world).tick(TICK_MS),
            Ok((stream, _)) = listener.accept() => {
                clients.spawn(bus::client(stream, Arc::clone(&world)));
            }
            Some(_) = clients.join_next(), if !clients.is_empty() => {}
        }
    }
}
