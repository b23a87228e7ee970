//! From the sandbox's exports to the traits: the plugin's one slot, the blanket implementations, the macro.

use crate::bindings::{ble_events, filter_events, lifecycle, modbus_events, serial_events};
use crate::{
    Alert, Ble, Channel, Description, Done, Filter, LinkState, Missing, Modbus, Moment, Observation, Opening, Outbox, Plugin, Problem,
    Serial, Tag, Waveform, ble, modbus, serial,
};

/// Where the plugin lives between calls; `plugin!` implements it.
#[doc(hidden)]
pub trait Slot {
    type Plugin: Plugin;
    fn cell() -> *mut Option<Self::Plugin>;
}

#[allow(unsafe_code)] // the one slot: exports are free functions, so the state must sit in a static
fn slot<S: Slot>() -> &'static mut Option<S::Plugin> {
    // SAFETY: a component instance has one thread, and no import calls back, so no two of these references live at once.
    unsafe { &mut *S::cell() }
}

fn on<S: Slot>(event: impl FnOnce(&mut S::Plugin, &mut Outbox) -> Done) -> Done {
    match slot::<S>() {
        Some(plugin) => event(plugin, &mut Outbox::default()),
        None => Err(Problem { fatal: true, ..Problem::internal("an event came before open, or after an open that failed") }),
    }
}

impl<S: Slot> lifecycle::Guest for S {
    fn open(now: Moment, start: Opening) -> Done {
        // without it the gateway sees only `unreachable`
        #[cfg(target_arch = "wasm32")]
        std::panic::set_hook(Box::new(|why| crate::gateway::log(crate::Level::Error, &why.to_string())));
        *slot::<S>() = Some(S::Plugin::open(now, start, &mut Outbox::default())?);
        Ok(())
    }
    fn timer(now: Moment, tag: Tag) -> Done {
        on::<S>(|p, out| p.timer(now, tag, out))
    }
    fn durable(now: Moment, tag: Tag) -> Done {
        on::<S>(|p, out| p.durable(now, tag, out))
    }
    fn command(now: Moment, tag: Tag, id: String, name: String, argument: Vec<u8>) -> Done {
        on::<S>(|p, out| p.command(now, tag, &id, &name, &argument, out))
    }
    fn close(now: Moment) -> Done {
        on::<S>(|p, out| p.close(now, out))
    }
}

impl<S: Slot> modbus_events::Guest for S
where
    S::Plugin: Modbus,
{
    fn link_changed(now: Moment, state: LinkState) -> Done {
        on::<S>(|p, out| Modbus::link_changed(p, now, state, out))
    }
    fn reply(now: Moment, tag: Tag, outcome: Result<modbus::Response, modbus::Failure>) -> Done {
        on::<S>(|p, out| Modbus::reply(p, now, tag, outcome, out))
    }
}

impl<S: Slot> serial_events::Guest for S
where
    S::Plugin: Serial,
{
    fn link_changed(now: Moment, state: LinkState) -> Done {
        on::<S>(|p, out| Serial::link_changed(p, now, state, out))
    }
    fn written(now: Moment, tag: Tag, outcome: Result<(), serial::Failure>) -> Done {
        on::<S>(|p, out| p.written(now, tag, outcome, out))
    }
    fn received(now: Moment, bytes: Vec<u8>) -> Done {
        on::<S>(|p, out| p.received(now, &bytes, out))
    }
    fn faulted(now: Moment, fault: serial::LineFault) -> Done {
        on::<S>(|p, out| p.faulted(now, fault, out))
    }
}

impl<S: Slot> ble_events::Guest for S
where
    S::Plugin: Ble,
{
    fn link_changed(now: Moment, state: LinkState) -> Done {
        on::<S>(|p, out| Ble::link_changed(p, now, state, out))
    }
    fn discovered(now: Moment, mtu: u16, found: Vec<ble::Characteristic>) -> Done {
        on::<S>(|p, out| p.discovered(now, mtu, found, out))
    }
    fn reply(now: Moment, tag: Tag, outcome: Result<Vec<u8>, ble::Failure>) -> Done {
        on::<S>(|p, out| Ble::reply(p, now, tag, outcome, out))
    }
    fn notified(now: Moment, handle: ble::Handle, bytes: Vec<u8>) -> Done {
        on::<S>(|p, out| p.notified(now, handle, &bytes, out))
    }
    fn advertised(now: Moment, rssi: i8, manufacturer: Vec<ble::ManufacturerData>, services: Vec<ble::ServiceData>) -> Done {
        on::<S>(|p, out| p.advertised(now, rssi, manufacturer, services, out))
    }
}

impl<S: Slot> filter_events::Guest for S
where
    S::Plugin: Filter,
{
    fn bound(now: Moment, input: Channel, meaning: Description) -> Done {
        on::<S>(|p, out| p.bound(now, input, meaning, out))
    }
    fn unbound(now: Moment, input: Channel) -> Done {
        on::<S>(|p, out| p.unbound(now, input, out))
    }
    fn observed(now: Moment, seen: Observation) -> Done {
        on::<S>(|p, out| p.observed(now, seen, out))
    }
    fn sampled(now: Moment, block: Waveform) -> Done {
        on::<S>(|p, out| p.sampled(now, block, out))
    }
    fn raised(now: Moment, input: Channel, alert: Alert) -> Done {
        on::<S>(|p, out| p.raised(now, input, alert, out))
    }
    fn missed(now: Moment, input: Channel, count: Option<u64>, because: Missing) -> Done {
        on::<S>(|p, out| p.missed(now, input, count, because, out))
    }
}

/// `plugin!(Monitor: serial);`, `plugin!(Gadget: modbus, serial);`, `plugin!(Tap: filter);`
#[macro_export]
macro_rules! plugin {
    ($plugin:ty : $($half:ident),+ $(,)?) => {
        #[doc(hidden)]
        #[allow(dead_code)]
        struct WardgateGlue;
        impl $crate::Slot for WardgateGlue {
            type Plugin = $plugin;
            fn cell() -> *mut Option<$plugin> {
                static mut CELL: Option<$plugin> = None;
                &raw mut CELL
            }
        }
        // natively nothing calls the exports; this names the plugin, so that nothing of it counts as unused
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn($crate::Moment, $crate::Opening, &mut $crate::Outbox) -> Result<$plugin, $crate::Problem> =
            <$plugin as $crate::Plugin>::open;
        #[cfg(target_arch = "wasm32")]
        $crate::core_half::export_core!(WardgateGlue with_types_in $crate::core_half);
        $( $crate::__half!($half); )+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __half {
    (modbus) => {
        #[cfg(target_arch = "wasm32")]
        $crate::modbus_half::export_modbus!(WardgateGlue with_types_in $crate::modbus_half);
    };
    (serial) => {
        #[cfg(target_arch = "wasm32")]
        $crate::serial_half::export_serial!(WardgateGlue with_types_in $crate::serial_half);
    };
    (ble) => {
        #[cfg(target_arch = "wasm32")]
        $crate::ble_half::export_ble!(WardgateGlue with_types_in $crate::ble_half);
    };
    (filter) => {
        #[cfg(target_arch = "wasm32")]
        $crate::filter_half::export_filter!(WardgateGlue with_types_in $crate::filter_half);
    };
}
