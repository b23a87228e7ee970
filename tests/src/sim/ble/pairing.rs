//! Pairing: the agent is asked what a person at the gateway would be, and the peripheral believes the right answer only.

use std::num::NonZeroU32;

use zbus::message::{Message, Type};

use super::bus::World;
use super::methods::{Answer, NO_OBJECT, Refusal};
use super::profiles::Kind;
use super::tree::DEVICE1;

/// What the simulated peripherals show.
pub const PASSKEY: u32 = 123_456;
const FAILED: Refusal = ("org.bluez.Error.AuthenticationFailed", "Authentication Failed");
const UNREACHABLE: Refusal = ("org.bluez.Error.Failed", "Software caused connection abort");
const REJECTED: Refusal = ("org.bluez.Error.AuthenticationRejected", "Authentication Rejected");

/// A pairing that waits for the agent.
pub(super) struct Pairing {
    client: u32,
    asked: Message,
    path: String,
    /// Of the call to the agent.
    serial: NonZeroU32,
    passkey: bool,
}

impl World {
    /// A meter shows a passkey, an oximeter a number to compare, and what has no display just works.
    pub(super) fn pair(&mut self, client: u32, asked: &Message, path: &str) -> Result<Answer, Refusal> {
        let at = self.at(path).ok_or(NO_OBJECT)?;
        let peripheral = &self.peripherals[at];
        if peripheral.bonded {
            return Err(("org.bluez.Error.AlreadyExists", "Already Exists"));
        }
        if peripheral.mute {
            return Ok(Answer::Never);
        }
        if !peripheral.in_reach {
            return Err(UNREACHABLE); // not Connect's words: strerror's
        }
        let (owner, agent) = self.agent.clone().ok_or(FAILED)?;
        let passkey = match peripheral.device.kind {
            Kind::Meter(_) | Kind::Diary(_) => true,
            Kind::Oximeter => false,
            Kind::Beacon => return Err(FAILED), // it takes no connections
            Kind::Belt | Kind::Twins | Kind::Thermometer => {
                self.bonded(path);
                return Ok(Answer::Done);
            }
        };
        let device = zbus::ObjectPath::try_from(path.to_owned()).map_err(|_| NO_OBJECT)?;
        let call = |member| {
            let sender = self.owner.as_deref().unwrap_or_default();
            Message::method_call(agent.as_str(), member).interface("org.bluez.Agent1").sender(sender).destination(format!(":1.{owner}"))
        };
        let question = match passkey {
            true => call("RequestPasskey").build(&device),
            false => call("RequestConfirmation").build(&(device, PASSKEY)),
        };
        let question = question.map_err(|_| FAILED)?;
        let serial = question.primary_header().serial_num();
        self.pairing = Some(Pairing { client, asked: asked.clone(), path: path.to_owned(), serial, passkey });
        self.send(owner, Ok(question));
        Ok(Answer::Never)
    }

    /// What the agent said.
    pub(super) fn answered(&mut self, message: &Message) {
        let reply = message.header().reply_serial();
        let Some(pairing) = self.pairing.take_if(|pairing| Some(pairing.serial) == reply) else { return };
        let right = !pairing.passkey || message.body().deserialize::<u32>().is_ok_and(|passkey| passkey == PASSKEY);
        let header = pairing.asked.header();
        match message.message_type() {
            Type::MethodReturn if right => {
                self.bonded(&pairing.path);
                self.answer(pairing.client, &header, &());
            }
            Type::MethodReturn => self.refuse(pairing.client, &header, FAILED.0, FAILED.1),
            _ => self.refuse(pairing.client, &header, REJECTED.0, REJECTED.1),
        }
    }

    /// Its link is encrypted; the keys are kept where the adapter is pairable.
    pub(super) fn bonded(&mut self, path: &str) {
        let Some(at) = self.at(path) else { return };
        self.connect(at);
        let kept = self.adapter.as_ref().is_some_and(|adapter| !adapter.closed);
        (self.peripherals[at].paired, self.peripherals[at].bonded) = (true, kept);
        self.changed(path, DEVICE1, vec![("Paired", true.into()), ("Bonded", kept.into())]);
    }
}
