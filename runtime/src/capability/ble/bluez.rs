//! What the gateway says to BlueZ over D-Bus, by the interfaces that it uses: ObjectManager, Adapter1, Device1, GattCharacteristic1, AgentManager1.

use std::collections::HashMap;
use std::future::poll_fn;
use std::os::unix::net::UnixDatagram;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::timeout;
use zbus::export::futures_core::Stream as _;
use zbus::{Connection, DBusError as _, Message, MessageStream, OwnedFd, OwnedObjectPath, OwnedVariant, Variant};

use super::sockets::timed;
use crate::contract::ble::Failure;
use crate::contract::printable;

pub(super) const BLUEZ: &str = "org.bluez";
pub(super) const ADAPTER: &str = "org.bluez.Adapter1";
pub(super) const DEVICE: &str = "org.bluez.Device1";
pub(super) const SERVICE: &str = "org.bluez.GattService1";
pub(super) const CHARACTERISTIC: &str = "org.bluez.GattCharacteristic1";
pub(super) const AGENT_MANAGER: &str = "org.bluez.AgentManager1";
pub(super) const OBJECT_MANAGER: &str = "org.freedesktop.DBus.ObjectManager";
pub(super) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";

/// A word to BlueZ that asks nothing of the air is answered at once.
const ANSWER_S_MAX: u64 = 5; // bluetoothd reads its adapter anew in less, right after it was started
/// BlueZ itself gives a connection up after some 40 s.
pub(super) const CONNECT_S_MAX: u64 = 30; // a peripheral that advertises once in 10 s is caught in that; longer keeps the radio from others
/// A request to a peripheral, its answer included.
pub(super) const OPERATION_S_MAX: u64 = 10; // the protocol gives 30; a ward's devices answer in one, and a plugin can go on sooner
/// Both sides confirm, and one of them may be a person.
pub(super) const PAIR_S_MAX: u64 = 60; // the protocol itself gives up after 30 s without a word

// BlueZ's own words, as its source has them: src/error.h, error.c, device.c, adapter.c and gatt-client.c of 5.66 (Debian 12) and 5.82 (Debian 13),
// which differ in `key-missing` alone. Why a low energy link did not come about neither tells: whatever the kernel says becomes ECONNABORTED
// (att_connect_cb), which is `le-connection-abort-by-local` to Connect, and strerror's words to Pair. The other words of error.h are what BlueZ may say
// of it all the same; those that begin with br- come where it takes a device for one of classic Bluetooth, or has given up for whatever bearer.

/// A connection that nobody took.
const OUT_OF_REACH: [&str; 4] =
    ["le-connection-abort-by-local", "Software caused connection abort", "le-connection-timeout", "br-connection-page-timeout"];
const BROKEN_OFF: [&str; 4] =
    ["le-connection-abort-by-remote", "le-connection-refused", "br-connection-aborted-by-remote", "br-connection-refused"];
const CALLED_OFF: &str = "br-connection-canceled"; // by somebody's Disconnect, of either bearer
const FULL: [&str; 2] = ["le-connection-concurrent-connection-limit", "br-connection-concurrent-connection-limit"];
const OFF: [&str; 2] = ["le-connection-adapter-not-powered", "br-connection-adapter-not-powered"];
/// strerror's words where a connection is on its way (device_connect_le).
const BUSY: [&str; 3] = ["Operation already in progress", "le-connection-busy", "br-connection-busy"];
const NO_KEY: [&str; 2] = ["le-connection-key-missing", "br-connection-key-missing"];
/// Of GattCharacteristic1 (create_gatt_dbus_error): what has no name of its own among D-Bus errors.
const WRONG_OFFSET: &str = "Invalid offset";
const WRONG_LENGTH: &str = "Invalid Length";
const INVALID_OFFSET: u8 = 0x07;
const INVALID_VALUE_LENGTH: u8 = 0x0d;

/// While a person pairs; then BlueZ itself lets nobody pair any more.
pub(super) const PAIRABLE_S_MAX: u32 = 90; // finding, connecting and pairing take less, and a person who was called away begins anew

pub(super) type Dictionary = HashMap<String, OwnedVariant>;
pub(super) type Interfaces = HashMap<String, Dictionary>;
pub(super) type Objects = HashMap<OwnedObjectPath, Interfaces>;

/// The bus was to start bluetoothd for a call to it, and could not: what it tried itself, and what systemd answered it (`NoSuchUnit` of
/// dbus-org.bluez.service where bluetooth.service is not enabled).
const NOT_STARTED: [&str; 2] = ["org.freedesktop.DBus.Error.Spawn.", "org.freedesktop.systemd1."];
const WHY_BYTES_MAX: usize = 120; // of BlueZ's own words, in a line for people
const NOT_ALLOWED: &str = "this user may not speak to BlueZ: it must be root, or of the group bluetooth";

/// Why BlueZ did not do what it was asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BluezError {
    #[error("the D-Bus of this machine cannot be reached: {0}")]
    Bus(String),
    #[error("BlueZ (bluetoothd) does not run")]
    Absent,
    #[error("BlueZ has no adapter{}", .0.as_ref().map(|name| format!(" {name}")).unwrap_or_default())]
    NoAdapter(Option<String>),
    #[error("no answer to {asked} within {within_s} s")]
    Silent { asked: &'static str, within_s: u64 },
    #[error("BlueZ refuses {asked}: {name}: {why}")]
    Refused { asked: &'static str, name: String, why: String },
    #[error("BlueZ says something else than it should to {asked}: {why}")]
    Strange { asked: &'static str, why: String },
}

impl BluezError {
    /// An answer that is an error, of BlueZ or of the bus, or no connection any more. zbus keeps those apart that D-Bus itself defines.
    fn of(asked: &'static str, error: zbus::Error) -> Self {
        let (name, why) = match &error {
            zbus::Error::MethodError(name, why, _) => (name.to_string(), why.clone().unwrap_or_default()),
            zbus::Error::FDO(one) => (one.name().to_string(), one.description().unwrap_or_default().to_owned()),
            other => return Self::Bus(other.to_string()),
        };
        if NOT_STARTED.iter().any(|begin| name.starts_with(begin)) {
            return Self::Absent;
        }
        match name.strip_prefix("org.freedesktop.DBus.Error.") {
            Some("ServiceUnknown" | "NameHasNoOwner") => Self::Absent,
            Some("Disconnected") => Self::Bus(why),
            _ => Self::Refused { asked, name, why },
        }
    }

    /// The last part of the error's name.
    pub(super) fn is(&self, short: &str) -> bool {
        matches!(self, Self::Refused { name, .. } if name.rsplit('.').next() == Some(short))
    }

    /// The peripheral did not take the connection: nobody was there to take it.
    pub(super) fn is_out_of_reach(&self) -> bool {
        let Self::Refused { why, .. } = self else { return false };
        self.is("ConnectionAttemptFailed") || (self.is("Failed") && OUT_OF_REACH.contains(&why.as_str()))
    }

    /// It says one of these.
    fn says(&self, words: &[&str]) -> bool {
        matches!(self, Self::Refused { why, .. } if words.contains(&why.as_str()))
    }

    /// BlueZ is connecting or pairing it already, or has not finished with its adapter.
    pub(super) fn is_busy(&self) -> bool {
        self.is("InProgress") || self.is("Busy") || self.says(&BUSY)
    }

    /// Why there is no connection, for people.
    pub(super) fn unconnected(&self) -> String {
        let words = match self {
            _ if self.is_out_of_reach() => "it is not near, or switched off",
            Self::Silent { .. } => "it does not answer: it is not near, switched off, or connected to something else",
            _ if self.says(&BROKEN_OFF) => "it broke the connection off: it may be connected to something else, like a telephone",
            _ if self.says(&[CALLED_OFF]) => "somebody called the connection off, here or in another program",
            _ if self.says(&FULL) => "the adapter has as many links as it can take",
            _ if self.says(&NO_KEY) => {
                "it has lost the bond: `wardgate ble forget` with its address, let it forget this gateway too, then `wardgate ble pair`"
            }
            _ if self.says(&OFF) || self.is("NotReady") => "the adapter is switched off",
            _ if self.is_busy() => "BlueZ is busy with another connection",
            Self::Refused { name, .. } if name.ends_with("UnknownObject") => "it is not near any more, or switched off", // BlueZ forgot it
            Self::Refused { name, .. } if name.ends_with("AccessDenied") => NOT_ALLOWED,
            Self::Refused { name, why, .. } => {
                let short = name.rsplit('.').next().unwrap_or(name);
                return format!(
                    "BlueZ could not connect it ({}): `journalctl -u bluetooth` may say why",
                    printable(&format!("{short}: {why}"), WHY_BYTES_MAX)
                );
            }
            _ => return self.to_string(),
        };
        words.to_owned()
    }

    /// BlueZ has given what a characteristic says to somebody already: to another program, or to a link that is no more.
    pub(super) fn is_held(&self) -> bool {
        self.is("InProgress") || matches!(self, Self::Refused { why, .. } if self.is("NotPermitted") && why == "Notify acquired")
    }

    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Bus(_) => "install and start dbus; DBUS_SYSTEM_BUS_ADDRESS must be its address, or unset",
            Self::Absent => "`systemctl enable --now bluetooth`; where there is no such unit, install bluez",
            Self::NoAdapter(_) => "plug one in, or correct `adapter` below [ble]; `bluetoothctl list` shows them",
            Self::Silent { .. } => "is it near, switched on, and not connected to something else?",
            Self::Refused { name, .. } if name.ends_with("AccessDenied") => NOT_ALLOWED,
            Self::Refused { .. } if self.is("Blocked") => "`rfkill unblock bluetooth`: its switch, or this, keeps the adapter off",
            Self::Refused { .. } if self.is_busy() => "try again in half a minute: BlueZ is still at something else",
            Self::Refused { .. } if self.is("NotReady") => "`bluetoothctl power on`: the adapter is switched off",
            Self::Refused { .. } | Self::Strange { .. } => "look at `journalctl -u bluetooth`",
        }
    }

    /// For a plugin.
    pub(super) fn failure(&self) -> Failure {
        let (name, why) = match self {
            Self::Silent { .. } => return Failure::Timeout,
            Self::Refused { name, why, .. } => (name.rsplit('.').next().unwrap_or_default(), why),
            Self::Strange { .. } => return Failure::NotPermitted,
            _ => return Failure::LinkDown,
        };
        match name {
            "InProgress" | "Busy" => Failure::Busy,
            "NotPermitted" | "NotAuthorized" | "NotSupported" => Failure::NotPermitted,
            "InvalidArguments" if why == WRONG_OFFSET => Failure::Att(INVALID_OFFSET),
            "InvalidArguments" if why == WRONG_LENGTH => Failure::Att(INVALID_VALUE_LENGTH),
            "Failed" => att(why).map_or(Failure::LinkDown, Failure::Att),
            _ => Failure::LinkDown, // its objects are gone, or BlueZ is
        }
    }
}

/// "Operation failed with ATT error: 0x80"
fn att(why: &str) -> Option<u8> {
    u8::from_str_radix(why.rsplit_once("0x")?.1.get(..2)?, 16).ok()
}

/// A connection to the system's bus. Cheap to clone.
#[derive(Clone)]
pub(super) struct Bluez(pub(super) Connection);

impl Bluez {
    /// The system's bus, or the one that DBUS_SYSTEM_BUS_ADDRESS names; and all that comes from BlueZ.
    pub(super) async fn open(at: Option<&str>) -> Result<(Self, MessageStream), BluezError> {
        let bus = |e: zbus::Error| BluezError::Bus(e.to_string());
        let builder = at.map_or_else(zbus::connection::Builder::system, zbus::connection::Builder::address);
        let built = builder.build();
        let late = |_| BluezError::Bus(format!("no answer within {ANSWER_S_MAX} s"));
        let connection = timeout(Duration::from_secs(ANSWER_S_MAX), built).await.map_err(late)?.map_err(bus)?;
        let stream = MessageStream::from(&connection);
        let this = Self(connection);
        Ok((this, stream))
    }

    /// From here on the stream brings what BlueZ signals. Whoever holds it must be reading it meanwhile.
    pub(super) async fn listen(&self) -> Result<(), BluezError> {
        let changes = "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.bluez'";
        for rule in ["type='signal',sender='org.bluez'", changes] {
            self.bus("AddMatch", &rule).await?;
        }
        Ok(())
    }

    async fn bus(&self, method: &'static str, body: &(impl serde::Serialize + zbus::DynamicType)) -> Result<Message, BluezError> {
        self.call_at(BUS, BUS_PATH, BUS, method, body, ANSWER_S_MAX).await
    }

    async fn call_at(
        &self,
        to: &str,
        path: &str,
        interface: &str,
        method: &'static str,
        body: &(impl serde::Serialize + zbus::DynamicType),
        within_s: u64,
    ) -> Result<Message, BluezError> {
        let called = self.0.call_method(Some(to), path, Some(interface), method, body);
        match timeout(Duration::from_secs(within_s), called).await {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(e)) => Err(BluezError::of(method, e)),
            Err(_) => Err(BluezError::Silent { asked: method, within_s }),
        }
    }

    async fn call(
        &self,
        path: &str,
        interface: &str,
        method: &'static str,
        body: &(impl serde::Serialize + zbus::DynamicType),
    ) -> Result<Message, BluezError> {
        self.call_at(BLUEZ, path, interface, method, body, ANSWER_S_MAX).await
    }

    /// The unique name of who is org.bluez now; signals of anybody else are not its.
    pub(super) async fn owner(&self) -> Result<String, BluezError> {
        read("GetNameOwner", &self.bus("GetNameOwner", &BLUEZ).await?)
    }

    pub(super) async fn objects(&self) -> Result<Objects, BluezError> {
        read("GetManagedObjects", &self.call("/", OBJECT_MANAGER, "GetManagedObjects", &()).await?)
    }

    async fn set(&self, path: &str, interface: &str, name: &str, value: bool) -> Result<(), BluezError> {
        self.call(path, PROPERTIES, "Set", &(interface, name, Variant::from(value))).await.map(drop)
    }

    pub(super) async fn power(&self, adapter: &str) -> Result<(), BluezError> {
        self.set(adapter, ADAPTER, "Powered", true).await
    }

    /// Whether a link that is encrypted for the first time leaves a bond behind; for so long at most, whatever becomes of who asked for it.
    pub(super) async fn let_pair(&self, adapter: &str, yes: bool) -> Result<(), BluezError> {
        if yes {
            let within = (ADAPTER, "PairableTimeout", Variant::from(PAIRABLE_S_MAX));
            self.call(adapter, PROPERTIES, "Set", &within).await?;
        }
        self.set(adapter, ADAPTER, "Pairable", yes).await
    }

    /// Low energy only. `repeats`: what only broadcasts is heard each time, and not once.
    pub(super) async fn discover(&self, adapter: &str, repeats: bool) -> Result<(), BluezError> {
        let filter = HashMap::from([("Transport", Variant::from("le")), ("DuplicateData", Variant::from(repeats))]);
        self.call(adapter, ADAPTER, "SetDiscoveryFilter", &(filter,)).await?;
        match self.call(adapter, ADAPTER, "StartDiscovery", &()).await {
            Err(e) if e.is("InProgress") => Ok(()),
            done => done.map(drop),
        }
    }

    pub(super) async fn rest(&self, adapter: &str) -> Result<(), BluezError> {
        self.call(adapter, ADAPTER, "StopDiscovery", &()).await.map(drop)
    }

    pub(super) async fn remove(&self, adapter: &str, device: &str) -> Result<(), BluezError> {
        let path = OwnedObjectPath::try_from(device).map_err(|e| BluezError::Strange { asked: "RemoveDevice", why: e.to_string() })?;
        self.call(adapter, ADAPTER, "RemoveDevice", &(path,)).await.map(drop)
    }

    pub(super) async fn connect(&self, device: &str) -> Result<(), BluezError> {
        match self.call_at(BLUEZ, device, DEVICE, "Connect", &(), CONNECT_S_MAX).await {
            Err(e) if e.is("AlreadyConnected") => Ok(()),
            done => done.map(drop),
        }
    }

    /// What a device is now, whatever was signalled of it.
    pub(super) async fn device(&self, path: &str) -> Result<Dictionary, BluezError> {
        read("GetAll", &self.call(path, PROPERTIES, "GetAll", &DEVICE).await?)
    }

    pub(super) async fn disconnect(&self, device: &str) -> Result<(), BluezError> {
        self.call(device, DEVICE, "Disconnect", &()).await.map(drop)
    }

    pub(super) async fn pair(&self, device: &str) -> Result<(), BluezError> {
        self.call_at(BLUEZ, device, DEVICE, "Pair", &(), PAIR_S_MAX).await.map(drop)
    }

    /// It may come back by itself, and needs no consent each time.
    pub(super) async fn trust(&self, device: &str) -> Result<(), BluezError> {
        self.set(device, DEVICE, "Trusted", true).await
    }

    /// The agent at this path of our connection is asked in pairings that this connection begins.
    pub(super) async fn register_agent(&self, path: &str, capability: &str) -> Result<(), BluezError> {
        let path = OwnedObjectPath::try_from(path).map_err(|e| BluezError::Strange { asked: "RegisterAgent", why: e.to_string() })?;
        self.call("/org/bluez", AGENT_MANAGER, "RegisterAgent", &(&path, capability)).await?;
        self.call("/org/bluez", AGENT_MANAGER, "RequestDefaultAgent", &(&path,)).await.map(drop)
    }

    async fn operate(
        &self,
        path: &str,
        method: &'static str,
        body: &(impl serde::Serialize + zbus::DynamicType),
    ) -> Result<Message, BluezError> {
        self.call_at(BLUEZ, path, CHARACTERISTIC, method, body, OPERATION_S_MAX).await
    }

    pub(super) async fn read_value(&self, path: &str) -> Result<Vec<u8>, BluezError> {
        let none: HashMap<&str, Variant<'_>> = HashMap::new();
        read("ReadValue", &self.operate(path, "ReadValue", &(none,)).await?)
    }

    pub(super) async fn write_value(&self, path: &str, bytes: &[u8], with_response: bool) -> Result<(), BluezError> {
        let kind = if with_response { "request" } else { "command" };
        let options = HashMap::from([("type", Variant::from(kind))]);
        self.operate(path, "WriteValue", &(bytes, options)).await.map(drop)
    }

    /// A socket of its own for what a characteristic notifies: a packet each, nothing lost or joined on the way.
    pub(super) async fn acquire_notify(&self, path: &str) -> Result<(UnixDatagram, u16), BluezError> {
        let none: HashMap<&str, Variant<'_>> = HashMap::new();
        let message = self.operate(path, "AcquireNotify", &(none,)).await?;
        let (socket, mtu): (OwnedFd, u16) = read("AcquireNotify", &message)?;
        // of the kind SEQPACKET; it is only ever received from, which is the same for both
        let socket = UnixDatagram::from(std::os::fd::OwnedFd::from(socket));
        let strange = |e: std::io::Error| BluezError::Strange { asked: "AcquireNotify", why: e.to_string() };
        timed(&socket).map_err(strange)?; // first of all: each packet from here on has its time
        socket.set_nonblocking(true).map_err(strange)?;
        Ok((socket, mtu))
    }

    pub(super) async fn start_notify(&self, path: &str) -> Result<(), BluezError> {
        match self.operate(path, "StartNotify", &()).await {
            Err(e) if e.is("InProgress") => Ok(()), // BlueZ subscribes again by itself when a link comes back
            done => done.map(drop),
        }
    }

    pub(super) async fn stop_notify(&self, path: &str) -> Result<(), BluezError> {
        self.operate(path, "StopNotify", &()).await.map(drop)
    }
}

fn read<T: serde::de::DeserializeOwned + zbus::Type>(asked: &'static str, message: &Message) -> Result<T, BluezError> {
    message.body().deserialize().map_err(|e| BluezError::Strange { asked, why: e.to_string() })
}

/// The next message; None when the bus is gone.
pub(super) async fn next(stream: &mut MessageStream) -> Option<Message> {
    poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    //= PROMISES.md#P266
    #[test]
    fn why_there_is_no_connection_is_told_in_words() {
        let failed = |why: &str| BluezError::Refused { asked: "Connect", name: "org.bluez.Error.Failed".into(), why: why.into() };
        let refused = |name: &str| BluezError::Refused { asked: "Connect", name: name.into(), why: String::new() };
        for (why, says) in [
            (failed("le-connection-abort-by-local"), "not near, or switched off"),
            (failed("Software caused connection abort"), "not near, or switched off"),
            (failed("br-connection-page-timeout"), "not near, or switched off"),
            (failed("br-connection-canceled"), "called the connection off"),
            (failed("le-connection-key-missing"), "has lost the bond: `wardgate ble forget`"),
            (failed("Operation already in progress"), "busy with another"),
            (refused("org.freedesktop.DBus.Error.AccessDenied"), "of the group bluetooth"),
            (refused("org.bluez.Error.ConnectionAttemptFailed"), "not near, or switched off"),
            (refused("org.freedesktop.DBus.Error.UnknownObject"), "not near any more"),
            (BluezError::Silent { asked: "Connect", within_s: 30 }, "does not answer"),
            (failed("le-connection-abort-by-remote"), "broke the connection off"),
            (failed("le-connection-concurrent-connection-limit"), "as many links as it can take"),
            (failed("le-connection-busy"), "busy with another"),
            (refused("org.bluez.Error.InProgress"), "busy with another"),
            (refused("org.bluez.Error.NotReady"), "adapter is switched off"),
            // what nobody here has words for is told as it is
            (failed("Input/output error"), "could not connect it (Failed: Input/output error): `journalctl"),
            (BluezError::Absent, "does not run"),
        ] {
            let told = why.unconnected();
            assert!(told.contains(says) && !told.contains("org.") && !told.contains("-connection-"), "{why}: {told}");
        }
    }

    /// What D-Bus itself defines is an answer too: the bus is there.
    //= PROMISES.md#P292
    //= PROMISES.md#P325
    #[test]
    fn an_error_that_dbus_itself_defines_is_no_loss_of_the_bus() {
        use zbus::fdo::Error;
        let of = |error: Error| BluezError::of("Connect", zbus::Error::FDO(Box::new(error)));
        let refused = |name: &str, why: &str| BluezError::Refused {
            asked: "Connect",
            name: format!("org.freedesktop.DBus.Error.{name}"),
            why: why.into(),
        };
        assert_eq!(of(Error::UnknownObject("gone".into())), refused("UnknownObject", "gone"));
        let denied = of(Error::AccessDenied("rejected".into()));
        assert_eq!(denied, refused("AccessDenied", "rejected"));
        assert!(denied.remedy().contains("of the group bluetooth"), "{}", denied.remedy());
        for absent in [Error::ServiceUnknown("no such name".into()), Error::NameHasNoOwner("nobody".into())] {
            assert_eq!(of(absent), BluezError::Absent);
        }
        // as the bus passes on why it could not start bluetoothd for us
        for name in
            ["org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.systemd1.LoadFailed", "org.freedesktop.DBus.Error.Spawn.ChildExited"]
        {
            let call = Message::method_call("/", "GetManagedObjects").build(&()).unwrap();
            let answer = Message::error(&call.header(), name).build(&"Unit dbus-org.bluez.service not found.").unwrap();
            assert_eq!(BluezError::of("GetManagedObjects", answer.into()), BluezError::Absent, "{name}");
        }
        assert!(BluezError::Absent.remedy().contains("systemctl enable --now bluetooth"));
        assert!(matches!(of(Error::Disconnected("closed".into())), BluezError::Bus(_)));
        assert!(matches!(BluezError::of("Connect", zbus::Error::InvalidReply), BluezError::Bus(_)));
    }

    #[test]
    fn errors_of_bluez_become_what_a_plugin_can_act_on() {
        let refused = |name: &str, why: &str| {
            BluezError::Refused { asked: "ReadValue", name: format!("org.bluez.Error.{name}"), why: why.into() }.failure()
        };
        for (name, why, failure) in [
            ("NotPermitted", "Read not permitted", Failure::NotPermitted),
            ("NotSupported", "", Failure::NotPermitted),
            ("InProgress", "", Failure::Busy),
            ("InvalidArguments", "Invalid Length", Failure::Att(0x0d)),
            ("InvalidArguments", "Invalid offset", Failure::Att(0x07)),
            ("InvalidArguments", "Invalid arguments in method call", Failure::LinkDown),
            ("NotPermitted", "Not paired", Failure::NotPermitted),
            ("NotAuthorized", "Operation Not Authorized", Failure::NotPermitted),
            ("InProgress", "In Progress", Failure::Busy),
            ("Failed", "Operation failed with ATT error: 0x80", Failure::Att(0x80)),
            ("Failed", "Operation failed", Failure::LinkDown),
            ("Failed", "Not connected", Failure::LinkDown),
            ("Failed", "ends in 0x", Failure::LinkDown),
            ("NotConnected", "Not Connected", Failure::LinkDown),
        ] {
            assert_eq!(refused(name, why), failure, "{name} {why}");
        }
        assert_eq!(BluezError::Silent { asked: "ReadValue", within_s: 10 }.failure(), Failure::Timeout);
        let held = |name: &str, why: &str| {
            BluezError::Refused { asked: "AcquireNotify", name: format!("org.bluez.Error.{name}"), why: why.into() }.is_held()
        };
        assert!(held("NotPermitted", "Notify acquired") && held("InProgress", "In Progress"));
        assert!(!held("NotPermitted", "Write not permitted") && !held("Failed", "Notify acquired"));
    }
}
