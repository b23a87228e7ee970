//! The corridor's list of who is on duty: starts instances, connects them with their links, ends them, and takes one configuration over into
//! the next without touching what did not change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{info, warn};
use wardgate_wire::GapReason;

use super::STOP_S_MAX;
use super::bindings::{Bindings, Kept};
use super::clock::moment;
use super::workshop::{Post, Posts};
use crate::capability::inbox::{Inbox, inbox};
use crate::capability::{ble, modbus, serial};
use crate::config;
use crate::console::{Reloaded, To};
use crate::fault::{Fault, Guilty};
use crate::pipeline::Binding;
use crate::plugin::{Asked, Command, Commands, INSTANCES_MAX, Left, Links, Posting, Supervisor, Taps, ToPipeline, Together, Wiring};
use crate::status::Status;

/// Words back to one instance: what became durable. It takes them at any time, so a few are enough.
const BACK_WAITING_MAX: usize = 16;
/// Commands and restarts that a busy instance has not taken yet; people give them, one at a time.
const ASKED_WAITING_MAX: usize = 4;

/// The gateway stops.
pub(super) const STOPPED: GapReason = GapReason::GatewayRestart;
/// Another package, other settings or other grants.
const SWAPPED: GapReason = GapReason::PluginSwap;
/// The site does not name it any more, so it is allowed nothing.
const REMOVED: GapReason = GapReason::NotGranted;

pub(super) struct Roster {
    spoken: mpsc::Sender<ToPipeline>,
    status: Status,
    seed: u64,
    on_duty: BTreeMap<String, OnDuty>,
    buses: BTreeMap<String, Bus>,
    /// What all peripherals share, while there is one.
    radio: Option<(ble::Radio, JoinHandle<()>)>,
    /// What those who are not on duty left: of this life, and of what the store held at the start.
    left: BTreeMap<String, Left>,
    bindings: Bindings,
    taps: Taps,
    together: Together,
}

struct OnDuty {
    post: Post,
    stop: watch::Sender<Option<GapReason>>,
    asked: mpsc::Sender<Asked>,
    supervisor: JoinHandle<Left>,
    /// Of its serial port and of its peripheral.
    owners: Vec<JoinHandle<()>>,
}

struct Bus {
    settings: config::Bus,
    asks: mpsc::Sender<modbus::Ask>,
    members: modbus::Members,
    task: JoinHandle<()>,
}

impl Roster {
    /// `kept`: what the store holds of each instance that ever kept anything.
    pub fn new(spoken: mpsc::Sender<ToPipeline>, status: Status, seed: u64, kept: Kept) -> Self {
        let left = kept.states.into_iter().map(|(name, state)| (name, Left { saved: Some(state), ..Left::default() })).collect();
        Self {
            spoken,
            status,
            seed,
            on_duty: BTreeMap::new(),
            buses: BTreeMap::new(),
            radio: None,
            left,
            bindings: kept.bindings,
            taps: Taps::default(),
            together: Together::default(),
        }
    }

    pub fn posts(&self) -> Posts {
        self.on_duty.iter().map(|(name, one)| (name.clone(), one.post.clone())).collect()
    }

    pub fn post(&self, instance: &str) -> Option<&Post> {
        self.on_duty.get(instance).map(|one| &one.post)
    }

    /// For a person who gave a wrong one.
    fn names(&self) -> String {
        let names: Vec<_> = self.on_duty.keys().map(String::as_str).collect();
        if names.is_empty() { "none".into() } else { names.join(", ") }
    }

    pub fn restart(&self, instance: &str, asker: oneshot::Sender<Result<(), Fault>>) {
        self.ask(instance, Asked::Restart(asker));
    }

    pub fn command(&self, instance: &str, command: Command) {
        let why = self.status.store(|s| (s.shortage() > 0).then(|| s.last_error.clone()));
        match why {
            None => self.ask(instance, Asked::Command(command)),
            // that it was done could not be kept, and it would be done twice
            Some(why) => {
                let what = format!("no commands while the store does not take everything: {why}");
                let refused = Fault::new(Guilty::Store, what, "make room as `wardgate status` says, and give the command again");
                drop(command.answer.send(Err(refused)));
            }
        }
    }

    /// Hands on what a person asks of an instance, or says why not.
    fn ask(&self, instance: &str, asked: Asked) {
        let (fault, asked) = match self.on_duty.get(instance) {
            None => (self.unknown(instance), asked),
            Some(one) => match one.asked.try_send(asked) {
                Ok(()) => return,
                Err(refused) => {
                    let what = format!("instance \"{instance}\" has not taken the {ASKED_WAITING_MAX} requests before this one");
                    let remedy = "it is busy, or waits for the store: look at `wardgate status` and try again";
                    (Fault::new(Guilty::Plugin, what, remedy), refused.into_inner())
                }
            },
        };
        match asked {
            Asked::Command(command) => drop(command.answer.send(Err(fault))),
            Asked::Restart(asker) => drop(asker.send(Err(fault))),
        }
    }

    /// From those who are on duty to these. What is changed or removed ends first and at once, so that a port or a bus may change hands.
    pub async fn change_to(&mut self, posts: Posts) -> Result<Reloaded, Fault> {
        let mut done = Reloaded::default();
        let mut stuck = Vec::new();
        let ending = self.ending(&posts);
        for (name, why) in &ending {
            self.on_duty[name].stop.send_replace(Some(*why));
        }
        for (name, why) in &ending {
            match self.end(name).await {
                Ok(()) if *why == REMOVED => {
                    self.bind(name, Binding::default(), None).await;
                    self.left.entry(name.clone()).or_default().commands = Commands::default(); // nobody is left to answer them
                    done.removed.push(name.clone());
                }
                Ok(()) => {}
                Err(()) => stuck.push(name.clone()),
            }
        }
        self.end_buses().await;
        // filters last: they stand where their sources stand
        let (filters, sources): (Posts, Posts) = posts.into_iter().partition(|(_, post)| post.is_filter());
        for (name, post) in sources.into_iter().chain(filters) {
            match self.on_duty.get_mut(&name) {
                Some(_) if stuck.contains(&name) => {}
                Some(one) => {
                    let written = |post: &Post| (post.instance.bed.clone(), post.instance.device_serial.clone());
                    let rebound = written(&one.post) != written(&post);
                    let adjusted = one.post.silent_after_s() != post.silent_after_s();
                    one.post = post;
                    self.tell_outside(&name).await;
                    match (rebound, adjusted) {
                        (true, _) => done.rebound.push(name),
                        (_, true) => done.adjusted.push(name),
                        _ => done.unchanged.push(name),
                    }
                }
                None => {
                    let swapped = ending.contains_key(&name);
                    self.start(&name, post).await;
                    if swapped { &mut done.restarted } else { &mut done.added }.push(name);
                }
            }
        }
        self.bind_filters().await;
        self.forget(&done.removed);
        if stuck.is_empty() {
            return Ok(done);
        }
        let what = format!("{} did not close within {STOP_S_MAX} s; everything else is as gateway.toml says", stuck.join(", "));
        Err(Fault::new(
            Guilty::Store,
            what,
            "an instance that waits for the store cannot close: look at `wardgate status`, then reload again",
        ))
    }

    /// Who has to end, and what that is for its streams. A bus that changed takes its members with it.
    fn ending(&self, posts: &Posts) -> BTreeMap<String, GapReason> {
        let why = |(name, one): (&String, &OnDuty)| match posts.get(name) {
            None => Some((name.clone(), REMOVED)),
            Some(post) if !post.runs_like(&one.post) || one.stop.borrow().is_some() => Some((name.clone(), SWAPPED)),
            Some(_) => None,
        };
        self.on_duty.iter().filter_map(why).collect()
    }

    /// What is known of an instance outside of its plugin: its binding, and when it counts as silent.
    async fn tell_outside(&mut self, name: &str) {
        let one = &self.on_duty[name];
        let (binding, silent_after_s) = (self.binding(name, &one.post), one.post.silent_after_s());
        let of_a_pool = one.post.instance.is_of_a_pool();
        self.status.instance(name, |i| (i.silent_after_s, i.of_a_pool) = (silent_after_s, of_a_pool));
        self.bind(name, binding, None).await;
    }

    /// What holds for an instance: a filter stands where all that it hears stands.
    fn binding(&self, name: &str, post: &Post) -> Binding {
        if !post.is_filter() {
            return self.bindings.of(name, &post.instance);
        }
        let mut beds: Vec<_> = self.roots(post).iter().map(|(name, post)| self.bindings.of(name, &post.instance).bed).collect();
        beds.dedup();
        Binding { bed: beds.pop().filter(|_| beds.is_empty()).flatten(), serial: None }
    }

    /// The devices behind a filter, through other filters too. The configuration has no circles.
    fn roots(&self, filter: &Post) -> Vec<(&str, &Post)> {
        let heard = filter.taps.iter().flatten().filter_map(|tap| self.on_duty.get_key_value(&tap.from.instance));
        let roots =
            heard.flat_map(|(name, one)| if one.post.is_filter() { self.roots(&one.post) } else { vec![(name.as_str(), &one.post)] });
        roots.collect()
    }

    async fn bind(&mut self, name: &str, binding: Binding, kept: Option<(String, Vec<u8>)>) {
        self.taps.bind(name, binding.serial.as_deref(), moment());
        if !self.bindings.is_news(name, &binding) && kept.is_none() {
            return;
        }
        let Binding { bed, serial } = binding;
        info!(instance = name, bed, serial, by_hand = kept.is_some(), "bound");
        let bound = ToPipeline::Bound { instance: name.into(), moment: moment(), bed, serial, kept };
        let _ = self.spoken.send(bound).await; // without a scribe the gateway ends
    }

    /// Filters follow what they hear.
    async fn bind_filters(&mut self) {
        let filters: Vec<_> = self.on_duty.iter().filter(|(_, one)| one.post.is_filter()).map(|(name, _)| name.clone()).collect();
        for name in filters {
            let binding = self.binding(&name, &self.on_duty[&name].post);
            self.bind(&name, binding, None).await;
        }
    }

    /// What holds where a person says whose device it is, and what that means, in words. Nothing is done.
    pub fn rebinding(&self, name: &str, to: To) -> Result<(Binding, String), Fault> {
        let Some(one) = self.on_duty.get(name) else { return Err(self.unknown(name)) };
        if one.post.is_filter() {
            let heard: BTreeSet<_> = self.roots(&one.post).into_iter().map(|(name, _)| name).collect();
            let heard = heard.into_iter().collect::<Vec<_>>().join(", ");
            let what = format!("\"{name}\" has no device of its own: it stands where {heard} stands");
            return Err(Fault::new(Guilty::Configuration, what, format!("bind {heard}")));
        }
        let was = self.bindings.of(name, &one.post.instance);
        let shown = self.status.instance(name, |i| i.clone());
        let binding = match to {
            To::Set { any_device: true, .. } if one.post.instance.is_of_a_pool() => {
                let what = format!(
                    "\"{name}\" has one of a pool of peripherals: if any of them counted, what one patient's says would go to another's bed"
                );
                let remedy = format!(
                    "`wardgate bind list` shows which one it has, by its serial number or else its address; `wardgate bind confirm {name}` binds \
                     that one. A peripheral that shows neither has to be paired first: `wardgate ble pair ADDRESS`"
                );
                return Err(Fault::new(Guilty::Configuration, what, remedy));
            }
            To::Set { bed, no_bed, serial, any_device } => {
                for (what, said) in [("bed", &bed), ("serial", &serial)] {
                    said.as_deref().map_or(Ok(()), |text| token(what, text))?;
                }
                Binding { bed: bed.or(was.bed.clone()).filter(|_| !no_bed), serial: serial.or(was.serial.clone()).filter(|_| !any_device) }
            }
            To::Confirm if !shown.unbound => {
                let what = format!("there is nothing to confirm: what \"{name}\" says counts already");
                return Err(Fault::new(Guilty::Configuration, what, "`wardgate bind list` shows what waits"));
            }
            To::Confirm => match shown.device_serial.clone() {
                Some(serial) => {
                    token("serial", &serial)?;
                    Binding { serial: Some(serial), ..was.clone() }
                }
                None if shown.of_a_pool => {
                    let what = format!("the peripheral of \"{name}\" has shown neither a serial number nor an address that is its own");
                    let remedy =
                        "look whether it is near; one that changes its address has to be paired first: `wardgate ble pair ADDRESS`";
                    return Err(Fault::new(Guilty::Configuration, what, remedy));
                }
                None => {
                    let what = format!("the device of \"{name}\" has not said who it is since its link came up or a silence ended");
                    let remedy = format!("look at the device; if whatever stands there is right: wardgate bind set {name} --any-device");
                    return Err(Fault::new(Guilty::Configuration, what, remedy));
                }
            },
        };
        let at = binding.bed.as_ref().map_or("at no bed".to_owned(), |bed| format!("at bed {bed}"));
        let who = match binding.serial.as_deref() {
            None => "any device".to_owned(),
            Some("") => "nobody yet of its pool".to_owned(),
            Some(serial) => format!("the device {serial}"),
        };
        let known = binding.serial.is_none() || binding.serial == shown.device_serial;
        let late = if shown.parked > 0 && known { "; what it said while that was not known goes out, marked late" } else { "" };
        Ok((binding, format!("{name}: {who} stands {at}{late}")))
    }

    /// It takes effect, and is kept.
    pub async fn rebind(&mut self, name: &str, binding: Binding) {
        let written = &self.on_duty[name].post.instance;
        let kept = self.bindings.say(name, written, &binding);
        self.bind(name, binding, Some(kept)).await;
        self.bind_filters().await;
    }

    fn unknown(&self, instance: &str) -> Fault {
        if let Some(absent) = self.status.read().instances.get(instance) {
            let what = format!("instance \"{instance}\" does not run, it is {}: {}", absent.state, absent.detail);
            return Fault::new(Guilty::Plugin, what, format!("mend that, then `wardgate instance restart {instance}`"));
        }
        let what = format!("there is no instance \"{instance}\"; there are {}", self.names());
        let near = config::nearest(instance, self.on_duty.keys().map(String::as_str)).unwrap_or("one of them");
        Fault::new(Guilty::Configuration, what, format!("name {near}, or add it to gateway.toml and `wardgate reload`"))
    }

    async fn start(&mut self, name: &str, post: Post) {
        let (instance, now): (Arc<str>, _) = (name.into(), moment());
        let (links, inbox, owners) = self.connect(&instance, &post);
        let (stop, stopping) = watch::channel(None);
        let (asked, asks) = mpsc::channel(ASKED_WAITING_MAX);
        let (back, from_pipeline) = mpsc::channel(BACK_WAITING_MAX);
        let _ = self.spoken.send(ToPipeline::Posted { instance: instance.clone(), terms: post.terms(), back }).await; // as above
        let binding = self.binding(name, &post);
        let bed = binding.bed.clone();
        self.status.instance(name, |i| i.of_a_pool = post.instance.is_of_a_pool());
        self.bind(name, binding, None).await;
        let posting = Posting {
            instance,
            plugin: post.plugin.clone(),
            settings: post.settings.clone(),
            bed,
            binding: post.instance.ble_binding(),
            silent_after_s: post.silent_after_s(),
            keep_raw: post.instance.grants.keep_raw,
            seed: self.seed ^ now.monotonic_ns, // whoever is posted again gets another
            left: self.left.remove(name).unwrap_or_default(),
        };
        let wiring = Wiring {
            inbox,
            pipeline: self.spoken.clone(),
            back: from_pipeline,
            links,
            taps: self.taps.clone(),
            together: self.together.clone(),
            clock: moment,
            status: self.status.clone(),
            asked: asks,
            stop: stopping,
        };
        let supervisor = tokio::spawn(Supervisor::new(posting, wiring).run());
        self.on_duty.insert(name.to_owned(), OnDuty { post, stop, asked, supervisor, owners });
    }

    fn connect(&mut self, name: &Arc<str>, post: &Post) -> (Links, Inbox, Vec<JoinHandle<()>>) {
        let bytes = post.serial.as_ref().map_or(0, serial::Grant::inbox_bytes) + post.ble.as_ref().map_or(0, |_| ble::INBOX_BYTES);
        let (events, inbox) = inbox(name.clone(), bytes);
        let (mut links, mut port, mut peripheral) = (Links::default(), None, None);
        if post.is_filter() {
            self.taps.listen(name, post.taps.clone(), post.instance.grants.personal, events.clone());
        }
        if let Some(grant) = post.serial.clone() {
            let (writes, taken) = mpsc::channel(serial::WRITES_OPEN_MAX);
            links.serial = Some(serial::Handle::new(grant.clone(), writes, events.clone(), moment, self.status.clone()));
            port = Some(tokio::spawn(serial::Port::new(grant, taken, events.clone(), moment, self.status.clone()).run()));
        }
        if let Some((grant, settings)) = &post.ble {
            let radio = self.radio(settings);
            let (asks, taken) = mpsc::channel(ble::ASKS_OPEN_MAX);
            let known = ble::Known::default();
            let owner = ble::Peripheral::new(grant.clone(), &radio, known.clone(), taken, events.clone(), moment, self.status.clone());
            links.ble = Some(ble::Handle::new(grant.clone(), known, asks, events.clone(), moment, self.status.clone()));
            peripheral = Some(tokio::spawn(owner.run()));
        }
        if let Some((grant, settings)) = &post.modbus {
            let bus = self.bus(grant.bus(), settings);
            let (asks, members) = (bus.asks.clone(), bus.members.clone());
            members.join(events.clone(), moment(), &self.status);
            links.modbus = Some(modbus::Handle::new(grant.clone(), asks, events, moment, self.status.clone()));
        }
        (links, inbox, port.into_iter().chain(peripheral).collect())
    }

    /// It is there as long as somebody has a peripheral.
    fn radio(&mut self, settings: &config::Ble) -> ble::Radio {
        let (radio, _) = self.radio.get_or_insert_with(|| {
            let radio = ble::Radio::new(settings, moment, self.status.clone());
            (radio.clone(), tokio::spawn(radio.run()))
        });
        radio.clone()
    }

    /// A bus is there as long as somebody is a member of it. It has room for all that all instances may have open.
    fn bus(&mut self, name: &str, settings: &config::Bus) -> &Bus {
        let status = &self.status;
        self.buses.entry(name.to_owned()).or_insert_with(|| {
            let (asks, taken) = mpsc::channel(modbus::ROOM_MAX * INSTANCES_MAX as usize);
            let members = modbus::Members::default();
            let bus = modbus::Bus::new(name, settings, taken, members.clone(), moment, status.clone()).expect("checked in the workshop");
            Bus { settings: settings.clone(), asks, members, task: tokio::spawn(bus.run()) }
        })
    }

    /// It was told to stop. An error: it did not within the time, and stays on the list.
    async fn end(&mut self, name: &str) -> Result<(), ()> {
        let patience = Duration::from_secs(STOP_S_MAX);
        let one = self.on_duty.get_mut(name).expect("on the list of those who end");
        let Ok(left) = tokio::time::timeout(patience, &mut one.supervisor).await else {
            warn!(instance = name, "has not closed within {STOP_S_MAX} s");
            return Err(());
        };
        let one = self.on_duty.remove(name).expect("just seen");
        self.taps.leave(name);
        for owner in one.owners {
            let_end(owner).await; // the next one finds port and peripheral free
        }
        if let Some((grant, _)) = &one.post.modbus
            && let Some(bus) = self.buses.get(grant.bus())
        {
            bus.members.leave(name);
        }
        match left {
            Ok(left) => drop(self.left.insert(name.to_owned(), left)),
            Err(e) => warn!(instance = name, "its supervisor ended by itself: {e}; it will open without state; please report this"),
        }
        Ok(())
    }

    /// Buses that nobody is a member of: not named any more, or changed, which ended all their members.
    async fn end_buses(&mut self) {
        let deserted: Vec<String> = self.buses.iter().filter(|(_, bus)| bus.members.is_empty()).map(|(name, _)| name.clone()).collect();
        for name in deserted {
            let Bus { asks, task, settings, .. } = self.buses.remove(&name).expect("just seen");
            drop(asks);
            let_end(task).await;
            info!(bus = name, target = modbus::target(&settings), "nobody needs this bus any more");
        }
        if self.on_duty.values().all(|one| one.post.ble.is_none())
            && let Some((_, task)) = self.radio.take()
        {
            task.abort(); // it has nothing in hand
            info!("nobody needs Bluetooth any more");
        }
    }

    /// What nobody names any more is not shown any more.
    fn forget(&self, removed: &[String]) {
        let links: BTreeSet<String> = (self.on_duty.values())
            .flat_map(|one| {
                [
                    one.post.serial.as_ref().map(|g| g.port().display().to_string()),
                    one.post.modbus.as_ref().map(|(g, _)| g.bus().to_owned()),
                    one.post.ble.as_ref().map(|(g, _)| g.link()),
                ]
            })
            .flatten()
            .collect();
        self.status.with(|s| {
            s.instances.retain(|name, _| !removed.contains(name));
            s.links.retain(|name, _| links.contains(name));
        });
    }

    /// Last words of all. Those that hang are left behind: the gateway around them ends.
    pub async fn end_all(mut self) {
        for one in self.on_duty.values() {
            one.stop.send_replace(Some(STOPPED));
        }
        let names: Vec<_> = self.on_duty.keys().cloned().collect();
        let all = async {
            for name in names {
                let _ = self.end(&name).await; // told in the log
            }
            self.end_buses().await;
        };
        let _ = tokio::time::timeout(Duration::from_secs(STOP_S_MAX), all).await;
    }
}

fn token(what: &str, text: &str) -> Result<(), Fault> {
    config::token(text).map_err(|why| {
        let most = config::TOKEN_BYTES_MAX;
        let remedy =
            format!("say 1 to {most} bytes of letters, digits, punctuation and spaces; whatever stands there is right with --any-device");
        Fault::new(Guilty::Configuration, format!("the {what} {why}"), remedy)
    })
}

/// A link whose owner has gone ends by itself; what does not is cut off, and has nothing in hand.
async fn let_end(mut link: JoinHandle<()>) {
    if tokio::time::timeout(Duration::from_secs(STOP_S_MAX), &mut link).await.is_err() {
        link.abort();
    }
}
