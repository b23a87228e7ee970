//! Contract 2: batches, ledger entries, parts, acknowledgements. Seals are made right, for a fuzzer would never guess one.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use wardgate_wire::bytes::Writer;
use wardgate_wire::{
    AckEntry, Acknowledgement, Batch, Class, Content, Digest, Entry, GatewayId, Joiner, Key, Message, decode, decode_ack,
    decode_unauthenticated, encode, encode_ack, peek_unauthenticated, read_message, read_raw, split,
};

use crate::wire_random::Random;

const SECRET: &[u8; 32] = &[7; 32];
const MAC_BYTES: usize = 16;

fn key() -> Key {
    Key::new(SECRET).expect("long enough")
}

/// Magic, format 0 and a right MAC around `data`, as FORMAT.md draws it.
fn sealed(magic: &[u8; 2], label: &[u8], data: &[u8]) -> Vec<u8> {
    let mut message = [magic, &[0][..], data].concat();
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(SECRET).expect("HMAC takes a key of any length");
    mac.update(label);
    mac.update(&message);
    message.extend_from_slice(&mac.finalize().into_bytes()[..MAC_BYTES]);
    message
}

/// What stands between magic with format and MAC.
fn inside(message: &[u8]) -> Vec<u8> {
    message[3..message.len() - MAC_BYTES].to_vec()
}

/// What was read can be written, and is read as the same again.
fn comes_back(batch: &Batch) {
    let again = encode(batch, &key()).expect("what was read can be written");
    assert_eq!(&decode(&again.bytes, &key()).expect("what was written can be read").0, batch);
}

pub fn batch(data: &[u8]) {
    _ = peek_unauthenticated(data);
    if let Ok((batch, _)) = decode_unauthenticated(data) {
        comes_back(&batch);
        if let Content::Archive(inside) = &batch.content {
            _ = read_raw(inside);
        }
    }
}

/// The same bytes as they are on the wire and with the body unpacked, so that what lies behind the packing is reached.
pub fn batch_seeds() -> Vec<Vec<u8>> {
    let mut random = Random::new(1);
    (0..120).map(|n| encode(&random.batch(Class::ALL[n % 6]), &key()).expect("valid").bytes).collect()
}

fn ledger_message(body: &[u8]) -> Vec<u8> {
    let mut header = Writer::new();
    header.raw(b"WG\0");
    header.u8(Class::Ledger.code());
    header.text("ward-3");
    header.fixed64(1);
    header.varint(0); // epoch
    header.varint(0); // sequence
    header.u8(0); // body stored as it is
    [&header.out[..], body, &[0; MAC_BYTES]].concat()
}

pub fn ledger(body: &[u8]) {
    batch(&ledger_message(body));
}

pub fn ledger_seeds() -> Vec<Vec<u8>> {
    let mut random = Random::new(2);
    let entries = std::iter::from_fn(|| Some(random.batch(Class::Ledger))).filter_map(|b| match b.content {
        Content::Ledger(entries) => Some(entries),
        _ => None,
    });
    let alone = |entry: Entry| {
        let mut batch = Random::new(3).batch(Class::Ledger);
        batch.content = Content::Ledger(vec![entry]);
        let bytes = encode(&batch, &key()).expect("valid").bytes;
        let head = bytes.len() - MAC_BYTES;
        body_if_stored(&bytes[..head], &batch)
    };
    entries.flatten().take(400).filter_map(alone).take(100).collect()
}

/// The body, where it was so short that it is stored as it is.
fn body_if_stored(covered: &[u8], batch: &Batch) -> Option<Vec<u8>> {
    let mut head = Writer::new();
    head.raw(b"WG\0");
    head.u8(batch.header.key.class.code());
    head.text(batch.header.gateway.as_str());
    head.fixed64(batch.header.key.life);
    head.varint(batch.header.key.epoch.into());
    head.varint(batch.header.key.sequence.into());
    if batch.header.key.sequence > 0 {
        head.raw(&batch.header.previous.0);
    }
    covered.strip_prefix(&head.out[..])?.strip_prefix(&[0]).map(<[u8]>::to_vec)
}

/// Parts of several lengths, each with a right MAC, go to one joiner: it stays in its bounds and joins nothing that does not fit its digest.
pub fn part(data: &[u8]) {
    let mut joiner = Joiner::new();
    let mut rest = data;
    while let Some((&length, more)) = rest.split_first() {
        let (one, later) = more.split_at((4 * usize::from(length)).min(more.len()));
        rest = later;
        let Ok(Message::Part(part)) = read_message(&sealed(b"WP", b"wardgate part\0", one), &key()) else { continue };
        if let Ok(Some(whole)) = joiner.add(part) {
            peek_unauthenticated(&whole).expect("a joined batch has a header");
        }
    }
}

pub fn part_seeds() -> Vec<Vec<u8>> {
    let mut random = Random::new(4);
    (0..40)
        .map(|_| {
            let bytes = random.bytes(900);
            let batch = Batch { header: random.header(Class::Archive), content: Content::Archive(bytes) };
            let whole = encode(&batch, &key()).expect("valid").bytes;
            let parts = split(&whole, 500, &key()).expect("it can be cut");
            let one = |part: &Vec<u8>| {
                let bytes = inside(part);
                let padded = bytes.len().div_ceil(4);
                [vec![padded as u8], bytes].concat() // the last piece may be shorter than it says; the others are cut to fit
            };
            parts.iter().flat_map(one).collect()
        })
        .collect()
}

pub fn ack(data: &[u8]) {
    _ = decode_ack(data, &key());
    let Ok(ack) = decode_ack(&sealed(b"WA", b"wardgate ack\0", data), &key()) else { return };
    assert_eq!(decode_ack(&encode_ack(&ack, &key()), &key()).as_ref(), Ok(&ack), "what was read comes back");
}

pub fn ack_seeds() -> Vec<Vec<u8>> {
    let gateway = GatewayId::new("ward-3").expect("a name");
    let up_to = |high, missing| AckEntry::UpTo { life: 9, epoch: 2, class: Class::Numeric, high, digest: Digest([5; 16]), missing };
    [
        vec![up_to(7, vec![])],
        vec![up_to(900, vec![(0, 3), (5, 5), (80, 300)]), AckEntry::Closed { life: 9, epoch: 1 }],
        vec![up_to(u32::MAX, vec![(0, 0), (u32::MAX - 2, u32::MAX)])],
        vec![AckEntry::Other { kind: 77 }, AckEntry::Closed { life: u64::MAX, epoch: u32::MAX }],
    ]
    .map(|entries| inside(&encode_ack(&Acknowledgement { gateway: gateway.clone(), entries }, &key())))
    .to_vec()
}
