//! The bus against a device that misbehaves on demand.

use std::net::SocketAddr;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use wardgate::capability::Flooded;
use wardgate::capability::inbox::{Inbox, Sender, inbox};
use wardgate::capability::modbus::{Ask, Bus, Grant, Handle};
use wardgate::config::{self, ModbusGrant, ModbusRule};
use wardgate::contract::Event;
use wardgate::contract::modbus::{Failure, Register, Request, Response, Span};
use wardgate::contract::types::{LinkState, Tag};
use wardgate::status::Status;
use wardgate_lab::ports;
use wardgate_lab::sim::modbus::{Control, Fault, Options, Server};

use super::{clock, within};

const TIMEOUT_MS: u64 = 500; // the simulator answers within 2 ms, on a machine that has nothing else to do

pub(super) struct Instance {
    pub(super) handle: Handle,
    pub(super) inbox: Inbox,
}

/// A bus with its members, as the corridor would set them up.
pub(super) struct Rig {
    pub(super) instances: Vec<Instance>,
    pub(super) status: Status,
    _tasks: JoinSet<()>,
}

fn rule(function: u8, addresses: &[&str]) -> ModbusRule {
    ModbusRule { function, addresses: addresses.iter().map(|a| (*a).into()).collect() }
}

pub(super) fn allow_all() -> Vec<ModbusRule> {
    let typed = [1, 2, 3, 4, 5, 6, 15, 16, 22].map(|f| rule(f, &["0..65535"]));
    typed.into_iter().chain([43, 17, 23].map(|f| rule(f, &[]))).collect()
}

pub(super) fn tcp(target: SocketAddr) -> config::Bus {
    config::Bus {
        tcp: Some(target.to_string()),
        serial: None,
        protocol: None,
        baud: 9600,
        framing: "8E1".into(),
        echo: false,
        gap_us: 0,
        timeout_ms: TIMEOUT_MS,
        pause_ms: 1,
        answer_ms: 20,
    }
}

fn grant(allow: Vec<ModbusRule>, requests_max: u16) -> ModbusGrant {
    ModbusGrant {
        bus: "plant".into(),
        servers: vec![1, 2, 9],
        allow,
        requests_max,
        transactions: vec![],
        checksum_quirk: false,
        at: Default::default(),
    }
}

impl Rig {
    pub(super) fn new(target: SocketAddr, names: &[&str]) -> Self {
        Self::granted(target, names, allow_all(), 8)
    }

    fn granted(target: SocketAddr, names: &[&str], allow: Vec<ModbusRule>, requests_max: u16) -> Self {
        Self::on(&tcp(target), names, &grant(allow, requests_max))
    }

    /// A bus of any kind.
    pub(super) fn on(settings: &config::Bus, names: &[&str], config: &ModbusGrant) -> Self {
        Self::with(settings, names, names.iter().map(|n| Grant::new(n, config).unwrap()).collect())
    }

    pub(super) fn with(settings: &config::Bus, names: &[&str], grants: Vec<Grant>) -> Self {
        let status = Status::default();
        let (asks, asked) = mpsc::channel::<Ask>(grants.iter().map(Grant::room).sum());
        let boxes: Vec<(Sender, Inbox)> = names.iter().map(|n| inbox((*n).into(), 0)).collect();
        let members = boxes.iter().map(|(tx, _)| tx.clone()).collect();
        let mut tasks = JoinSet::new();
        tasks.spawn(Bus::new("plant", settings, asked, members, clock, status.clone()).unwrap().run());
        let instance = |(grant, (tx, rx))| Instance { handle: Handle::new(grant, asks.clone(), tx, clock, status.clone()), inbox: rx };
        Self { instances: grants.into_iter().zip(boxes).map(instance).collect(), status: status.clone(), _tasks: tasks }
    }

    pub(super) fn only(&self) -> &Instance {
        &self.instances[0]
    }
}

impl Instance {
    pub(super) async fn event(&self) -> Event {
        within(self.inbox.recv()).await.1
    }

    pub(super) async fn reply(&self) -> (Tag, Result<Response, Failure>) {
        match self.event().await {
            Event::ModbusReply(tag, outcome) => (tag, outcome),
            other => panic!("{other:?} instead of a reply"),
        }
    }

    pub(super) async fn is_up(&self) {
        assert_eq!(self.event().await, Event::ModbusLink(LinkState::Up));
    }

    /// The next run of it.
    pub(super) fn reopen(&self, now: wardgate::contract::types::Moment) {
        self.inbox.reopen(now);
    }

    pub(super) async fn is_down(&self) {
        assert_eq!(self.event().await, Event::ModbusLink(LinkState::Down));
    }

    /// Asks and waits for the answer.
    pub(super) async fn ask(&self, server: u8, request: Request) -> Result<Response, Failure> {
        self.handle.submit(77, server, request).unwrap();
        let (tag, outcome) = self.reply().await;
        assert_eq!(tag, 77);
        outcome
    }
}

pub(super) fn holding(address: u16, count: u16) -> Request {
    Request::ReadHoldingRegisters(Span { address, count })
}

pub(super) fn registers(outcome: Result<Response, Failure>) -> Vec<u16> {
    match outcome {
        Ok(Response::Registers(r)) => r,
        other => panic!("{other:?} instead of registers"),
    }
}

/// A device and the hand that troubles it.
struct Device {
    at: SocketAddr,
    control: Control,
    _stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Device {
    async fn new(units: &[u8]) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), units).await
    }

    async fn at(listen: SocketAddr, units: &[u8]) -> Self {
        let server = Server::new(Options { units: units.to_vec(), ..Options::new(listen) }).await.unwrap();
        let (at, control) = (server.address(), server.control());
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(async { server.run(stopped).await.unwrap() });
        Self { at, control, _stop: stop, tasks }
    }
}

/// Over TCP it even has the right number.
#[tokio::test]
async fn an_answer_that_comes_before_its_request_is_nobodys() {
    let device = Device::new(&[1]).await;
    let rig = Rig::new(device.at, &["ct"]);
    rig.only().is_up().await;
    for _ in 0..5 {
        device.control.befall([Some(Fault::Early)]);
        assert_eq!(registers(rig.only().ask(1, holding(11, 1)).await), [200]);
        assert_eq!(registers(rig.only().ask(1, holding(8, 1)).await), [0], "register 11 holds 200");
    }
    assert_eq!(rig.status.read().links["plant"].malformed, 0);
}

#[tokio::test]
async fn each_outcome_is_its_own() {
    let device = Device::new(&[1]).await;
    let rig = Rig::new(device.at, &["ct"]);
    let ct = rig.only();
    ct.is_up().await;
    assert_eq!(registers(ct.ask(1, holding(11, 1)).await), [200]);
    assert_eq!(ct.ask(1, holding(12, 1)).await, Err(Failure::Exception(2)));
    assert_eq!(ct.ask(9, holding(0, 1)).await, Err(Failure::Timeout), "nobody is unit 9");
    assert_eq!(ct.ask(4, holding(0, 1)).await, Err(Failure::NotGranted));
    device.control.befall([Some(Fault::Exception(99)), Some(Fault::Cut)]);
    assert_eq!(ct.ask(1, holding(0, 1)).await, Err(Failure::Exception(99)));
    assert_eq!(ct.ask(1, holding(0, 1)).await, Err(Failure::LinkDown));
    assert_eq!(registers(ct.ask(1, holding(11, 1)).await), [200]);
    let counted = rig.status.read().links["plant"].clone();
    assert_eq!((counted.exceptions, counted.timeouts, counted.refused), (2, 1, 1));
    assert!(counted.bytes_in > 0 && counted.bytes_out > 0);
    assert_eq!(rig.status.read().instances["ct"].refusals, 1);
}

#[tokio::test]
async fn whatever_is_wrong_with_a_reply_it_is_malformed_and_the_next_one_is_right() {
    let device = Device::new(&[1]).await;
    let rig = Rig::new(device.at, &["ct"]);
    let ct = rig.only();
    ct.is_up().await;
    let wrong = [Fault::Short, Fault::WrongCount, Fault::WrongFunction, Fault::WrongTransaction, Fault::WrongUnit, Fault::Endless];
    for (n, fault) in wrong.into_iter().enumerate() {
        device.control.befall([Some(fault)]);
        assert_eq!(ct.ask(1, holding(8, 4)).await, Err(Failure::Malformed), "{fault:?}");
        assert_eq!(registers(ct.ask(1, holding(11, 1)).await), [200], "after {fault:?}");
        assert_eq!(device.control.connections(), n as u64 + 2, "a new connection after {fault:?}");
    }
    device.control.befall([Some(Fault::Half)]);
    assert_eq!(ct.ask(1, holding(8, 4)).await, Err(Failure::Malformed), "half a reply is damage, and no silence");
    assert_eq!(registers(ct.ask(1, holding(11, 1)).await), [200]);
}

/// The device answers a request after its timeout, and like a converter to a serial bus it puts the next request's id on that answer:
/// nothing in the frame tells it from the right one. Only the new connection does.
#[tokio::test]
async fn a_late_reply_is_never_given_to_the_next_request() {
    let device = Device::new(&[1]).await;
    let rig = Rig::new(device.at, &["ct"]);
    let ct = rig.only();
    ct.is_up().await;
    assert_eq!(ct.ask(1, Request::WriteSingleRegister(Register { address: 11, value: 333 })).await, Ok(Response::Written));
    for _ in 0..3 {
        device.control.befall([Some(Fault::Late)]);
        assert_eq!(ct.ask(1, holding(8, 1)).await, Err(Failure::Timeout));
        assert_eq!(registers(ct.ask(1, holding(11, 1)).await), [333], "register 8 holds 0");
    }
}

#[tokio::test]
async fn a_dead_device_is_told_and_its_return_too() {
    let at = SocketAddr::from(([127, 0, 0, 1], ports::own().unwrap()));
    let rig = Rig::new(at, &["ct", "mr"]);
    let ct = rig.only();
    for i in &rig.instances {
        i.is_down().await;
    }
    assert_eq!(ct.ask(1, holding(11, 1)).await, Err(Failure::LinkDown));
    let mut device = Device::at(at, &[1]).await;
    for i in &rig.instances {
        i.is_up().await;
    }
    assert_eq!(registers(ct.ask(1, holding(11, 1)).await), [200]);
    device.tasks.shutdown().await;
    ct.handle.submit(1, 1, holding(11, 1)).unwrap();
    for i in &rig.instances {
        i.is_down().await;
    }
    assert_eq!(ct.reply().await, (1, Err(Failure::LinkDown)));
    drop(device);
    let _device = Device::at(at, &[1]).await;
    ct.is_up().await;
    assert_eq!(registers(ct.ask(1, holding(11, 1)).await), [200]);
}

#[tokio::test]
async fn a_cut_connection_fails_its_request_and_the_next_one_makes_another() {
    let device = Device::new(&[1]).await;
    let rig = Rig::new(device.at, &["ct"]);
    let ct = rig.only();
    ct.is_up().await;
    assert_eq!(registers(ct.ask(1, holding(11, 1)).await), [200]);
    device.control.befall([Some(Fault::Cut)]);
    assert_eq!(ct.ask(1, holding(11, 1)).await, Err(Failure::LinkDown));
    assert_eq!(registers(ct.ask(1, holding(11, 1)).await), [200]);
    assert_eq!(device.control.connections(), 2);
    // The link as a whole was never down, so nobody was told so: `ask` would have met the event.
}

/// One instance asks a silent unit as often as it may; the other is served between any two of those.
#[tokio::test]
async fn no_instance_starves_another() {
    let device = Device::new(&[1]).await;
    let rig = Rig::new(device.at, &["greedy", "modest"]);
    let [greedy, modest] = &rig.instances[..] else { unreachable!() };
    greedy.is_up().await;
    modest.is_up().await;
    for tag in 0..6 {
        greedy.handle.submit(tag, 9, holding(0, 1)).unwrap();
    }
    for tag in 0..4 {
        modest.handle.submit(tag, 1, holding(11, 1)).unwrap();
    }
    for tag in 0..4 {
        assert_eq!(modest.reply().await, (tag, Ok(Response::Registers(vec![200]))));
    }
    let asked = device.control.asked();
    for (n, at) in asked.iter().enumerate().filter(|(_, a)| a.0 == 1).map(|(at, _)| at).enumerate() {
        let before = asked[..at].iter().filter(|a| a.0 == 9).count();
        assert!(before <= n + 1, "{before} requests of the greedy one before number {n} of the modest one: {asked:?}");
    }
    for tag in 0..6 {
        let why = if tag < 3 { Failure::Timeout } else { Failure::LinkDown }; // then its server is set aside
        assert_eq!(greedy.reply().await, (tag, Err(why)));
    }
}

/// As on a serial line: the dead one is asked three times, and heard again when it is back.
#[tokio::test]
async fn a_dead_server_is_set_aside_over_tcp_too() {
    let mut device = Device::new(&[1]).await;
    let at = device.at;
    let rig = Rig::new(at, &["ct"]);
    let ct = rig.only();
    ct.is_up().await;
    assert_eq!(registers(ct.ask(1, holding(11, 1)).await), [200]);
    for why in [Failure::Timeout, Failure::Timeout, Failure::Timeout, Failure::LinkDown] {
        assert_eq!(ct.ask(9, holding(11, 1)).await, Err(why));
        assert_eq!(registers(ct.ask(1, holding(11, 1)).await), [200]);
    }
    assert_eq!(rig.status.read().links["plant"].aside, [9]);
    device.tasks.shutdown().await;
    drop(device);
    let _device = Device::at(at, &[1, 9]).await;
    let mut links = 0;
    loop {
        ct.handle.submit(5, 9, holding(11, 1)).unwrap();
        let outcome = loop {
            match ct.event().await {
                Event::ModbusReply(5, outcome) => break outcome,
                Event::ModbusLink(_) => links += 1, // as it comes: it was away for a moment
                other => panic!("{other:?}"),
            }
        };
        if outcome.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(links % 2 == 0 && rig.status.read().links["plant"].aside.is_empty());
}

/// One instance asks, within its grant, what the server does not answer: a wrong map, or malice. Its server is set aside for it alone.
//= PROMISES.md#P238
#[tokio::test]
async fn an_instance_that_is_not_answered_takes_its_server_from_nobody_else() {
    let device = Device::new(&[1, 2]).await;
    let rig = Rig::new(device.at, &["good", "evil"]);
    let [good, evil] = &rig.instances[..] else { unreachable!() };
    good.is_up().await;
    evil.is_up().await;
    for server in [1, 2] {
        assert_eq!(registers(good.ask(server, holding(11, 1)).await), [200]);
    }
    for _ in 0..3 {
        device.control.befall([Some(Fault::Silence)]);
        assert_eq!(evil.ask(1, holding(0, 1)).await, Err(Failure::Timeout));
    }
    for _ in 0..5 {
        assert_eq!(evil.ask(1, holding(0, 1)).await, Err(Failure::LinkDown), "set aside");
        assert_eq!(registers(good.ask(1, holding(11, 1)).await), [200]);
    }
    let counted = rig.status.read().links["plant"].clone();
    assert_eq!((counted.aside, counted.skipped), (vec![1], 5));
    assert_eq!(counted.aside_for, [(1, vec!["evil".to_owned()])].into());
}

#[tokio::test]
async fn what_is_not_granted_never_reaches_the_device() {
    let device = Device::new(&[1]).await;
    let rig = Rig::granted(device.at, &["ct"], vec![rule(3, &["0..11"])], 8);
    let ct = rig.only();
    ct.is_up().await;
    let write = Request::WriteSingleRegister(Register { address: 11, value: 150 });
    assert_eq!(ct.ask(1, write).await, Err(Failure::NotGranted));
    assert_eq!(ct.ask(1, holding(11, 2)).await, Err(Failure::NotGranted));
    assert_eq!(ct.ask(2, holding(11, 1)).await, Err(Failure::Timeout), "granted, and not there");
    assert_eq!(registers(ct.ask(1, holding(11, 1)).await), [200]);
    assert_eq!(device.control.asked(), [(2, 11), (1, 11)]);
}

#[tokio::test]
async fn over_the_granted_rate_is_answered_so_and_a_flood_of_refusals_ends_the_instance() {
    let device = Device::new(&[1]).await;
    let rig = Rig::granted(device.at, &["ct"], vec![rule(3, &["0..11"])], 2);
    let ct = rig.only();
    ct.is_up().await;
    for tag in 0..5 {
        ct.handle.submit(tag, 1, holding(11, 1)).unwrap();
    }
    let mut replies = Vec::new();
    for _ in 0..5 {
        replies.push(ct.reply().await);
    }
    replies.sort_by_key(|(tag, _)| *tag);
    let good = Ok(Response::Registers(vec![200]));
    let over = Err(Failure::OverRate);
    assert_eq!(replies, [(0, good.clone()), (1, good), (2, over.clone()), (3, over.clone()), (4, over)]);
    // Taken answers make room again; refusals that nobody takes do not pile up for ever.
    assert_eq!(registers(ct.ask(1, holding(11, 1)).await), [200]);
    let refused = (0..1000).take_while(|tag| ct.handle.submit(*tag, 1, holding(12, 1)) != Err(Flooded)).count();
    assert_eq!(refused, wardgate::capability::REFUSED_WAITING_MAX);
}

#[tokio::test]
async fn a_cancelled_request_is_answered_once_and_its_late_answer_is_nobodys() {
    let device = Device::new(&[1]).await;
    let rig = Rig::new(device.at, &["ct"]);
    let ct = rig.only();
    ct.is_up().await;
    ct.handle.submit(1, 9, holding(0, 1)).unwrap();
    ct.handle.submit(2, 1, holding(8, 1)).unwrap();
    ct.handle.submit(3, 1, holding(11, 1)).unwrap();
    ct.handle.cancel(1);
    ct.handle.cancel(2);
    let mut replies = [ct.reply().await, ct.reply().await, ct.reply().await];
    replies.sort_by_key(|(tag, _)| *tag);
    assert_eq!(replies, [(1, Err(Failure::Cancelled)), (2, Err(Failure::Cancelled)), (3, Ok(Response::Registers(vec![200])))]);
    assert!(device.control.asked().iter().all(|(_, address)| *address != 8), "the device was never asked for the second");
    assert!(ct.inbox.is_empty());
}

/// After a trap the instance opens anew: it hears the link's state first, and nothing that the run before it asked for.
#[tokio::test]
async fn an_instance_opened_anew_hears_nothing_of_the_run_before() {
    let device = Device::new(&[1]).await;
    let rig = Rig::new(device.at, &["ct"]);
    let ct = rig.only();
    ct.is_up().await;
    for tag in 0..8 {
        ct.handle.submit(tag, 1, holding(tag as u16, 1)).unwrap();
    }
    ct.inbox.reopen(clock());
    ct.is_up().await;
    assert_eq!(registers(ct.ask(1, holding(11, 1)).await), [200]);
    assert!(ct.inbox.is_empty());
}
