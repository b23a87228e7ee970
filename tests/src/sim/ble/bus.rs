//! The bus: who is connected, what the bus itself answers, and signals. A bus would keep signals from those who did not ask for them; this one
//! tells everybody everything, and clients sort them out themselves.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::sync::mpsc;
use zbus::connection::Builder;
use zbus::message::{Header, Message, Type};
use zbus::{Connection, Guid};

use super::devices::{Device, Peripheral};
use super::lock;
use super::pairing::Pairing;
use super::tree::{Adapter, Dongle};

pub(super) const BUS: &str = "org.freedesktop.DBus";
pub(super) const BLUEZ: &str = "org.bluez";
const MESSAGES_MAX: usize = 4096; // for a client that reads nothing: what eight peripherals say in a minute

/// Everything that is behind the bus.
pub(super) struct World {
    clients: HashMap<u32, mpsc::Sender<Message>>,
    count: u32,
    /// The unique name of bluetoothd; none while it is down.
    pub owner: Option<String>,
    pub adapter: Option<Adapter>,
    pub dongle: Dongle,
    /// Somebody looks for peripherals over it.
    pub dongle_looks: bool,
    pub peripherals: Vec<Peripheral>,
    /// The pairing agent: who registered it, and where it is.
    pub agent: Option<(u32, String)>,
    pub pairing: Option<Pairing>,
    /// So many times more `Powered` cannot be set.
    pub busy: u32,
    pub speaking: bool,
    /// Strangers that walked by, and how many still will.
    pub crowd: (u32, u32),
    /// Of bluetoothd.
    pub lives: u32,
}

impl World {
    pub fn new(devices: Vec<Device>, sent: Option<&Path>) -> io::Result<Self> {
        let peripherals = devices.into_iter().map(|device| Peripheral::new(device, sent)).collect::<io::Result<_>>()?;
        Ok(Self {
            clients: HashMap::new(),
            count: 0,
            owner: Some(":0.0".into()),
            adapter: Some(Adapter::default()),
            dongle: Dongle::Away,
            dongle_looks: false,
            peripherals,
            agent: None,
            pairing: None,
            busy: 0,
            speaking: false,
            crowd: (0, 0),
            lives: 0,
        })
    }

    pub fn send(&self, client: u32, message: zbus::Result<Message>) {
        let (Some(to), Ok(message)) = (self.clients.get(&client), message) else { return };
        let _ = to.try_send(message); // one that reads nothing has itself to blame
    }

    /// A signal of bluetoothd, to everybody.
    pub fn signal(&self, path: &str, interface: &str, member: &str, body: &(impl Serialize + zbus::Type)) {
        let Some(owner) = &self.owner else { return };
        self.tell_all(Message::signal(path, interface, member).sender(owner.as_str()).build(body));
    }

    pub fn tell_all(&self, message: zbus::Result<Message>) {
        if let Ok(message) = message {
            self.clients.keys().for_each(|client| self.send(*client, Ok(message.clone())));
        }
    }

    /// bluetoothd comes or goes.
    pub fn owned_by(&mut self, owner: Option<String>) {
        let (old, new) = (self.owner.take().unwrap_or_default(), owner.clone().unwrap_or_default());
        self.owner = owner;
        self.tell_all(Message::signal("/org/freedesktop/DBus", BUS, "NameOwnerChanged").sender(BUS).build(&(BLUEZ, old, new)));
    }

    fn reply(&self, client: u32, to: &Header<'_>, body: &(impl Serialize + zbus::Type)) {
        self.send(client, Message::method_return(to).sender(BUS).build(body));
    }

    /// What is asked of the bus itself.
    fn bus(&mut self, client: u32, asked: &Message) {
        let header = asked.header();
        let member = header.member().map(|m| m.to_string()).unwrap_or_default();
        let me = format!(":1.{client}");
        match member.as_str() {
            "Hello" => self.reply(client, &header, &me),
            "RequestName" | "ReleaseName" | "StartServiceByName" => self.reply(client, &header, &1u32),
            "GetNameOwner" | "NameHasOwner" => {
                let name: String = asked.body().deserialize().unwrap_or_default();
                let owner = self.owner.clone().filter(|owner| name == BLUEZ || name == *owner);
                match (member.as_str(), owner) {
                    ("NameHasOwner", owner) => self.reply(client, &header, &owner.is_some()),
                    (_, Some(owner)) => self.reply(client, &header, &owner),
                    (_, None) => self.refuse(client, &header, "org.freedesktop.DBus.Error.NameHasNoOwner", "nobody owns that name"),
                }
            }
            "ListNames" => self.reply(client, &header, &vec![BUS, BLUEZ, &me]),
            _ => self.reply(client, &header, &()), // AddMatch, RemoveMatch, Ping
        }
    }

    pub fn refuse(&self, client: u32, to: &Header<'_>, name: &str, why: &str) {
        let sender = self.owner.as_deref().unwrap_or(BUS);
        self.send(client, Message::error(to, name).sender(sender).build(&why));
    }

    fn heard(&mut self, client: u32, message: &Message) {
        let header = message.header();
        match (message.message_type(), header.destination().map(|d| d.to_string())) {
            (Type::MethodCall, Some(to)) if to == BUS => self.bus(client, message),
            (Type::MethodCall, _) if self.owner.is_none() => {
                self.refuse(client, &header, "org.freedesktop.DBus.Error.ServiceUnknown", "bluetoothd does not run");
            }
            (Type::MethodCall, _) => self.call(client, message),
            (Type::MethodReturn | Type::Error, _) => self.answered(message),
            _ => {}
        }
    }

    fn gone(&mut self, client: u32) {
        self.clients.remove(&client);
        self.agent.take_if(|(owner, _)| *owner == client);
        self.left(client);
    }
}

/// One connection, from its handshake to its end.
pub(super) async fn client(stream: tokio::net::UnixStream, world: Arc<Mutex<World>>) {
    let Ok(stream) = stream.into_std() else { return };
    let built = Builder::unix_stream(stream).server(Guid::generate()).p2p().build_message_stream().await;
    let Ok(mut messages) = built else { return };
    let connection = Connection::from(&messages);
    let (to, mut outgoing) = mpsc::channel(MESSAGES_MAX);
    let me = {
        let mut world = lock(&world);
        world.count += 1;
        let me = world.count;
        world.clients.insert(me, to);
        me
    };
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(Ok(message)) => lock(&world).heard(me, &message),
                _ => break,
            },
            Some(message) = outgoing.recv() => {
                if connection.send(&message).await.is_err() {
                    break;
                }
            }
        }
    }
    lock(&world).gone(me);
}
