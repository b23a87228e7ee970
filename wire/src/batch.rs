//! A batch: header, body, MAC.

use crate::bytes::{Reader, Writer};
use crate::records::{read_code, read_digest};
use crate::seal::{self, Domain};
use crate::{
    BatchKey, Class, Digest, Entry, GatewayId, InstanceAlerts, InstanceNumerics, Key, WaveformTrack, WireError, alerts, entries, numerics,
    pack, waveforms,
};

/// The number of everything inside this envelope. A format is known by its number and by nothing else.
pub(crate) const FORMAT: u8 = 0;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub gateway: GatewayId,
    pub key: BatchKey,
    /// Digest of the batch before it in the same epoch and class; zeros for sequence 0.
    pub previous: Digest,
}

/// The class says which of these a batch holds: alert, ledger, numeric; waveform and preview; archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Alerts(Vec<InstanceAlerts>),
    Ledger(Vec<Entry>),
    Numerics(Vec<InstanceNumerics>),
    Waveforms(Vec<WaveformTrack>),
    /// Raw frames and recordings; opaque in format 0.
    Archive(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub header: Header,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    pub bytes: Vec<u8>,
    pub digest: Digest,
}

/// Refuses what `decode` would refuse: a class with another class's content, a value that contradicts itself, more than the limits allow.
pub fn encode(batch: &Batch, key: &Key) -> Result<Encoded, WireError> {
    let mut body = Writer::new();
    let class = batch.header.key.class;
    match (&batch.content, class) {
        (Content::Alerts(instances), Class::Alert) => alerts::write_alerts(&mut body, instances)?,
        (Content::Ledger(entries), Class::Ledger) => entries::write_ledger(&mut body, entries)?,
        (Content::Numerics(instances), Class::Numeric) => numerics::write_numerics(&mut body, instances)?,
        (Content::Waveforms(tracks), Class::Waveform | Class::Preview) => waveforms::write_waveforms(&mut body, tracks)?,
        (Content::Archive(bytes), Class::Archive) => body.raw(bytes),
        _ => return Err(WireError::WrongClass(class.name())),
    }
    let mut w = Writer::new();
    w.raw(Domain::Batch.magic());
    w.u8(FORMAT);
    write_header(&mut w, &batch.header)?;
    pack::pack(&mut w, &body.out)?;
    let digest = seal::digest(&w.out);
    Ok(Encoded { bytes: Domain::Batch.seal(key, w.out), digest })
}

/// Checks the MAC first, then everything else; bytes left over are an error.
pub fn decode(bytes: &[u8], key: &Key) -> Result<(Batch, Digest), WireError> {
    read_batch(Domain::Batch.open(key, bytes)?)
}

/// As `decode`, without a look at the MAC: for fuzzing, and for reading one's own store. Never for what came over a network.
pub fn decode_unauthenticated(bytes: &[u8]) -> Result<(Batch, Digest), WireError> {
    read_batch(Domain::Batch.covered(bytes)?.0)
}

/// Checks the MAC and reads the header only: enough to store and acknowledge a batch whose body a newer gateway made.
pub fn peek(bytes: &[u8], key: &Key) -> Result<(Header, Digest), WireError> {
    let covered = Domain::Batch.open(key, bytes)?;
    Ok((read_envelope(covered)?.1, seal::digest(covered)))
}

/// As `peek`, without a look at the MAC: for reading one's own log. Never for what came over a network.
pub fn peek_unauthenticated(bytes: &[u8]) -> Result<(Header, Digest), WireError> {
    let covered = Domain::Batch.covered(bytes)?.0;
    Ok((read_envelope(covered)?.1, seal::digest(covered)))
}

/// Magic, format and header are one for all formats, so that a batch of a later one can be kept until its reader is there.
pub(crate) fn read_envelope(covered: &[u8]) -> Result<(u8, Header, Reader<'_>), WireError> {
    let mut r = Reader::new(covered, "the header");
    if r.array::<2>()? != *Domain::Batch.magic() {
        return Err(WireError::NotOurs);
    }
    let format = r.u8()?;
    let header = read_header(&mut r)?;
    Ok((format, header, r))
}

fn read_batch(covered: &[u8]) -> Result<(Batch, Digest), WireError> {
    let (format, header, packed) = read_envelope(covered)?;
    if format != FORMAT {
        return Err(WireError::Format(format));
    }
    let class = header.key.class;
    let what = class.name();
    let body = pack::unpack(packed, what)?;
    let r = Reader::new(&body, what);
    let content = match class {
        Class::Alert => Content::Alerts(alerts::read_alerts(r)?),
        Class::Ledger => Content::Ledger(entries::read_ledger(r)?),
        Class::Numeric => Content::Numerics(numerics::read_numerics(r)?),
        Class::Waveform | Class::Preview => Content::Waveforms(waveforms::read_waveforms(r)?),
        Class::Archive => Content::Archive(body),
    };
    Ok((Batch { header, content }, seal::digest(covered)))
}

/// Also in every part of a batch.
pub(crate) fn write_header(w: &mut Writer, header: &Header) -> Result<(), WireError> {
    let key = header.key;
    w.u8(key.class.code());
    w.text(header.gateway.as_str());
    w.fixed64(key.life);
    w.varint(u64::from(key.epoch));
    w.varint(u64::from(key.sequence));
    if key.sequence > 0 {
        w.raw(&header.previous.0);
    } else if header.previous != Digest::default() {
        return Err(WireError::Invalid("a digest before sequence 0"));
    }
    Ok(())
}

pub(crate) fn read_header(r: &mut Reader<'_>) -> Result<Header, WireError> {
    let class = read_code(r, Class::from_code, "a class")?;
    let gateway = read_gateway(r)?;
    let key = BatchKey { life: r.fixed64()?, epoch: r.number()?, class, sequence: r.number()? };
    let previous = if key.sequence > 0 { read_digest(r)? } else { Digest::default() };
    Ok(Header { gateway, key, previous })
}

pub(crate) fn read_gateway(r: &mut Reader<'_>) -> Result<GatewayId, WireError> {
    GatewayId::new(&r.text()?).ok_or(WireError::Range("a gateway's name"))
}
