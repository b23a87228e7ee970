//! Who sent a message, and whether it can be believed: keys, parts, refusals. No I/O, no clock.

use std::collections::BTreeMap;

use serde::Serialize;
use wardgate_wire::{Digest, GatewayId, Header, Joiner, Message, peek, read_message, topics};

use crate::keys::Keys;

/// A refusal is named again after this time; in between it is only counted.
const NAME_AGAIN_NS: i64 = 60_000_000_000;
/// So many senders are counted apart, gateways without a key among them; the rest together. A topic can hold any name.
const SENDERS_MAX: usize = 64;

/// A message as it came.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub topic: String,
    pub payload: Vec<u8>,
    pub received_ns: i64,
}

/// A whole batch, its MAC checked.
#[derive(Clone, Debug)]
pub struct Whole {
    pub header: Header,
    pub digest: Digest,
    pub bytes: Vec<u8>,
    pub received_ns: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// No key for this gateway.
    pub unknown: u64,
    /// The MAC does not fit: another key, or changed on the way.
    pub forged: u64,
    /// Not a message of ours, or one that says another gateway or class than its topic.
    pub malformed: u64,
}

#[derive(Default)]
struct Sender {
    refused: Refused,
    named_ns: Option<i64>,
}

pub struct Intake {
    keys: Keys,
    prefix: String,
    /// One a gateway, so that a busy one throws out only its own; each bounded by the wire's own limits.
    joiners: BTreeMap<GatewayId, Joiner>,
    senders: BTreeMap<String, Sender>,
    pub link: BTreeMap<GatewayId, Link>,
}

/// What came over the link, repeats and parts included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Link {
    pub messages: u64,
    pub bytes: u64,
    pub parts: u64,
}

impl Intake {
    /// `prefix`: `wardgate/1`, what all topics begin with.
    pub fn new(keys: Keys, prefix: &str) -> Self {
        Self { keys, prefix: prefix.to_owned(), joiners: BTreeMap::new(), senders: BTreeMap::new(), link: BTreeMap::new() }
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The batch that this message is, or makes whole.
    pub fn take(&mut self, incoming: Incoming) -> Option<Whole> {
        let Incoming { topic, payload, received_ns } = incoming;
        let Some((name, class)) = topics::parse_up(&self.prefix, &topic) else {
            return self.refuse(&topic, received_ns, "its topic is not <prefix>/<gateway>/up/<class>", |r| &mut r.malformed);
        };
        let Some((id, key)) = GatewayId::new(name).and_then(|id| self.keys.get_key_value(&id)) else {
            let why = "no key is known for this gateway; name one with --key GATEWAY=FILE if it is yours";
            return self.refuse(name, received_ns, why, |r| &mut r.unknown);
        };
        let (id, key) = (id.clone(), key.clone());
        let link = self.link.entry(id.clone()).or_default();
        link.messages += 1;
        link.bytes += payload.len() as u64;
        let message = match read_message(&payload, &key) {
            Ok(message) => message,
            Err(wardgate_wire::WireError::Forged) => {
                let why = "its MAC does not fit: give --key the same bytes as the gateway's uplink.mac_key_file, \
                           unless somebody else sends in its name";
                return self.refuse(name, received_ns, why, |r| &mut r.forged);
            }
            Err(why) => return self.refuse(name, received_ns, &why.to_string(), |r| &mut r.malformed),
        };
        let header = match &message {
            Message::Batch { header, .. } => header,
            Message::Part(part) => &part.header,
        };
        if header.gateway != id || header.key.class != class {
            return self.refuse(name, received_ns, "it says another gateway or class than its topic", |r| &mut r.malformed);
        }
        match message {
            Message::Batch { header, digest } => Some(Whole { header, digest, bytes: payload, received_ns }),
            Message::Part(part) => {
                link.parts += 1;
                match self
                    .joiners
                    .entry(id)
                    .or_default()
                    .add(part)
                    .and_then(|whole| whole.map(|bytes| Ok((peek(&bytes, &key)?, bytes))).transpose())
                {
                    Ok(whole) => whole.map(|((header, digest), bytes)| Whole { header, digest, bytes, received_ns }),
                    Err(why) => self.refuse(name, received_ns, &why.to_string(), |r| &mut r.malformed),
                }
            }
        }
    }

    fn refuse(&mut self, sender: &str, now_ns: i64, why: &str, count: impl FnOnce(&mut Refused) -> &mut u64) -> Option<Whole> {
        let full = self.senders.len() >= SENDERS_MAX && !self.senders.contains_key(sender);
        let name = if full { "(others)" } else { sender };
        let sender = self.senders.entry(name.to_owned()).or_default();
        *count(&mut sender.refused) += 1;
        if sender.named_ns.is_none_or(|at| now_ns.saturating_sub(at) >= NAME_AGAIN_NS) {
            sender.named_ns = Some(now_ns);
            tracing::warn!(gateway = %name.escape_default(), refused = ?sender.refused, "refused a message: {why}");
        }
        None
    }

    pub fn refused(&self) -> BTreeMap<&str, Refused> {
        self.senders.iter().map(|(name, s)| (name.as_str(), s.refused)).collect()
    }
}

#[cfg(test)]
mod tests {
    use wardgate_wire::{Batch, BatchKey, Class, Content, Key, encode, split};

    use super::*;

    fn batch(gateway: &str, key: &Key) -> (Header, Vec<u8>) {
        let key_of = BatchKey { life: 7, epoch: 0, class: Class::Archive, sequence: 0 };
        let header = Header { gateway: GatewayId::new(gateway).unwrap(), key: key_of, previous: Digest::default() };
        let mut random = crate::testing::gateway::Random::new(3);
        let noise: Vec<u8> = (0..3000).map(|_| random.next() as u8).collect(); // so that nothing makes it smaller
        let bytes = encode(&Batch { header: header.clone(), content: Content::Archive(noise) }, key).unwrap().bytes;
        (header, bytes)
    }

    fn send(intake: &mut Intake, topic: &str, payload: &[u8]) -> Option<Whole> {
        intake.take(Incoming { topic: topic.into(), payload: payload.to_vec(), received_ns: 5 })
    }

    #[test]
    fn only_what_a_known_gateway_sealed_under_its_own_topic_is_taken() {
        let (key, other) = (Key::new(&[1; 16]).unwrap(), Key::new(&[2; 16]).unwrap());
        let keys = ["ward-1", "ward-2"].map(|n| (GatewayId::new(n).unwrap(), key.clone()));
        let mut intake = Intake::new(keys.into_iter().collect(), "wardgate/1");
        let (header, bytes) = batch("ward-1", &key);
        let whole = send(&mut intake, "wardgate/1/ward-1/up/archive", &bytes).expect("taken");
        assert_eq!((whole.header, &whole.bytes), (header, &bytes));
        for topic in ["wardgate/1/ward-1/up/numeric", "wardgate/1/ward-2/up/archive", "wardgate/1/ward-1/ack", "x", "wardgate/1/ward-1/up/"]
        {
            assert!(send(&mut intake, topic, &bytes).is_none(), "{topic}");
        }
        assert!(send(&mut intake, "wardgate/1/ward-9/up/archive", &bytes).is_none());
        assert!(send(&mut intake, "wardgate/1/ward-1/up/archive", &batch("ward-1", &other).1).is_none());
        for cut in 0..bytes.len() {
            assert!(send(&mut intake, "wardgate/1/ward-1/up/archive", &bytes[..cut]).is_none());
        }
        let refused = intake.refused();
        assert_eq!(refused["ward-9"], Refused { unknown: 1, ..Refused::default() });
        assert!(refused["ward-1"].forged > 1 && refused["ward-1"].malformed >= 1 && refused["ward-2"].malformed == 1);
    }

    #[test]
    fn parts_join_in_any_order_and_their_batch_is_believed_by_its_own_mac() {
        let key = Key::new(&[1; 16]).unwrap();
        let mut intake = Intake::new([(GatewayId::new("ward-1").unwrap(), key.clone())].into(), "wardgate/1");
        let (_, bytes) = batch("ward-1", &key);
        let mut parts = split(&bytes, 700, &key).unwrap();
        assert!(parts.len() > 3);
        parts.reverse();
        let last = parts.pop().unwrap();
        for part in &parts {
            assert!(send(&mut intake, "wardgate/1/ward-1/up/archive", part).is_none());
        }
        assert_eq!(send(&mut intake, "wardgate/1/ward-1/up/archive", &last).expect("whole").bytes, bytes);
    }

    #[test]
    fn names_without_end_take_no_memory_without_end() {
        let mut intake = Intake::new(Keys::new(), "wardgate/1");
        for n in 0..1000 {
            assert!(send(&mut intake, &format!("wardgate/1/w-{n}/up/alert"), b"x").is_none());
        }
        assert_eq!(intake.refused().len(), SENDERS_MAX + 1);
        assert_eq!(intake.refused().values().map(|r| r.unknown).sum::<u64>(), 1000);
    }
}
