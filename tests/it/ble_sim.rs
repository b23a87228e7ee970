//! The simulated BlueZ answers as the real one did (tests/ble/README.md), so that a gateway which fits it fits both. An ordinary D-Bus client asks.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use futures_util::StreamExt as _;
use wardgate_lab::sim::ble::{self, Bluez, Options};
use zbus::connection::Builder;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, Proxy};

use crate::ward::Folder;

const ADAPTER: &str = "/org/bluez/hci0";
const BELT: &str = "/org/bluez/hci0/dev_F0_00_00_00_01_01";
const METER: &str = "/org/bluez/hci0/dev_F0_00_00_00_04_01";
const RECORDS: usize = 12;

type Objects = HashMap<OwnedObjectPath, HashMap<String, HashMap<String, OwnedVariant>>>;

struct Bus(Connection);

impl Bus {
    async fn call<T>(&self, path: &str, interface: &str, method: &str, body: &(impl serde::Serialize + zbus::Type)) -> zbus::Result<T>
    where
        T: serde::de::DeserializeOwned + zbus::Type,
    {
        let reply = self.0.call_method(Some("org.bluez"), path, Some(interface), method, body).await?;
        reply.body().deserialize()
    }

    async fn adapter(&self, method: &str) -> zbus::Result<()> {
        self.call(ADAPTER, "org.bluez.Adapter1", method, &()).await
    }

    async fn device(&self, path: &str, method: &str) -> zbus::Result<()> {
        self.call(path, "org.bluez.Device1", method, &()).await
    }

    async fn power(&self) -> zbus::Result<()> {
        let body = ("org.bluez.Adapter1", "Powered", zbus::Variant::from(true));
        self.call(ADAPTER, "org.freedesktop.DBus.Properties", "Set", &body).await
    }

    async fn objects(&self) -> Objects {
        self.call("/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", &()).await.unwrap()
    }

    /// Characteristics of this name, by path.
    async fn characteristics(&self, short: &str) -> Vec<String> {
        let objects = self.objects().await;
        let named = |(path, all): (&OwnedObjectPath, &HashMap<String, HashMap<String, OwnedVariant>>)| {
            let uuid = all.get("org.bluez.GattCharacteristic1")?.get("UUID")?;
            let uuid = String::try_from(uuid.clone()).ok()?;
            uuid.starts_with(&format!("0000{short}")).then(|| path.to_string())
        };
        let mut found: Vec<_> = objects.iter().filter_map(named).collect();
        found.sort();
        found
    }
}

fn refused<T: std::fmt::Debug>(outcome: zbus::Result<T>) -> String {
    match outcome {
        Err(zbus::Error::MethodError(name, why, _)) => format!("{name}: {}", why.unwrap_or_default()),
        Err(why) => format!("{why:?}"),
        Ok(done) => panic!("it was to be refused: {done:?}"),
    }
}

/// The values that a socket has.
async fn read(socket: &OwnedFd, least: usize) -> Vec<Vec<u8>> {
    let mut values = Vec::new();
    for _ in 0..500 {
        let mut bytes = [0; 512];
        match rustix::io::read(socket, &mut bytes) {
            Ok(n) if n > 0 => values.push(bytes[..n].to_vec()),
            Ok(_) => break, // the link is gone
            Err(_) if values.len() >= least => break,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    values
}

//= PROMISES.md#P192
#[tokio::test]
async fn the_simulated_bluez_answers_as_the_real_one_did() {
    let folder = Folder::new("ble-sim");
    std::fs::create_dir_all(&folder.0).unwrap();
    let devices = ["belt:belt:F0:00:00:00:01:01", &format!("meter={RECORDS}:meter:F0:00:00:00:04:01"), "twins:twins:F0:00:00:00:06:01"];
    let devices = devices.map(|text| ble::device(text).unwrap()).into();
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    let bluez = Bluez::start(Options { socket: folder.0.join("bluez.sock"), sent: Some(folder.0.clone()), devices }, stopped).unwrap();
    let bus = Bus(Builder::address(bluez.address().as_str()).build().await.unwrap());
    let owner = Proxy::new(&bus.0, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus").await.unwrap();
    let mut owners = owner.receive_signal("NameOwnerChanged").await.unwrap();

    bluez.order("busy 2").unwrap();
    for _ in 0..2 {
        assert!(refused(bus.power().await).starts_with("org.bluez.Error.Busy"));
    }
    assert!(refused(bus.adapter("StartDiscovery").await).starts_with("org.bluez.Error.NotReady"));
    bus.power().await.unwrap();
    bus.adapter("StartDiscovery").await.unwrap();
    while bus.objects().await.len() < 5 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    assert!(refused(bus.device(METER, "Pair").await).starts_with("org.bluez.Error.AuthenticationFailed"), "nobody is there to ask");
    bus.device(BELT, "Connect").await.unwrap();
    bus.device(METER, "Connect").await.unwrap();
    bus.device("/org/bluez/hci0/dev_F0_00_00_00_06_01", "Connect").await.unwrap();
    assert_eq!(bus.characteristics("2a37").await.len(), 3, "one of the belt, two of the twins");

    let gatt = "org.bluez.GattCharacteristic1";
    let nothing: HashMap<String, OwnedVariant> = HashMap::new();
    let rate = bus.characteristics("2a37").await.remove(0);
    let (theirs, _mtu): (zbus::OwnedFd, u16) = bus.call(&rate, gatt, "AcquireNotify", &(&nothing,)).await.unwrap();
    assert!(refused(bus.call::<(zbus::OwnedFd, u16)>(&rate, gatt, "AcquireNotify", &(&nothing,)).await).contains("Notify acquired"));
    assert!(refused(bus.call::<Vec<u8>>(&rate, gatt, "ReadValue", &(&nothing,)).await).contains("NotPermitted"));
    let control = bus.characteristics("2a52").await.remove(0);
    assert!(refused(bus.call::<(zbus::OwnedFd, u16)>(&control, gatt, "AcquireNotify", &(&nothing,)).await).contains("NotSupported"));
    bus.call::<()>(&control, gatt, "StartNotify", &()).await.unwrap();

    bluez.order("on").unwrap();
    let theirs = OwnedFd::from(theirs);
    let values = read(&theirs, 4).await;
    bluez.order("vanish belt").unwrap();
    let values: Vec<_> = values.into_iter().chain(read(&theirs, usize::MAX).await).collect();
    let hex = |value: &Vec<u8>| value.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let sent: Vec<_> = ble::read(&folder.0, "belt").into_iter().map(|said| said.hex).collect();
    assert_eq!(values.iter().map(hex).collect::<Vec<_>>(), sent, "what came, what went out");
    assert!(refused(bus.device(BELT, "Connect").await).contains("le-connection-abort-by-local"), "it is out of reach");

    // a memory that is cut in its middle
    let measured = bus.characteristics("2a18").await.remove(0);
    let (theirs, _): (zbus::OwnedFd, u16) = bus.call(&measured, gatt, "AcquireNotify", &(&nothing,)).await.unwrap();
    bluez.order("cut meter 5").unwrap();
    bus.call::<()>(&control, gatt, "WriteValue", &(vec![1u8, 1], &nothing)).await.unwrap();
    assert_eq!(read(&OwnedFd::from(theirs), usize::MAX).await.len(), 5, "then it vanished, and the socket ended");

    // who is bonded is not paired again; and whoever listens by signals is subscribed again with the next link
    bluez.order("return meter").unwrap();
    bus.device(METER, "Connect").await.unwrap();
    assert!(refused(bus.call::<()>(&control, gatt, "StartNotify", &()).await).starts_with("org.bluez.Error.InProgress"));
    bluez.order("bond meter").unwrap();
    assert!(refused(bus.device(METER, "Pair").await).starts_with("org.bluez.Error.AlreadyExists"));
    bus.call::<()>(ADAPTER, "org.bluez.Adapter1", "RemoveDevice", &(OwnedObjectPath::try_from(METER).unwrap(),)).await.unwrap();

    bluez.order("bluetoothd down").unwrap();
    let gone = owners.next().await.unwrap();
    let (name, _, new): (String, String, String) = gone.body().deserialize().unwrap();
    assert_eq!((name.as_str(), new.as_str()), ("org.bluez", ""));
    assert!(refused(bus.power().await).contains("ServiceUnknown"));
    bluez.order("bluetoothd up").unwrap();
    assert!(owners.next().await.is_some());
    bus.power().await.unwrap();
    assert!(bus.objects().await.keys().all(|path| !path.contains("dev_")), "what was not paired is forgotten");
}
