#!/usr/bin/env python3
"""A second reading of wire/FORMAT.md: `decode_batch.py KEY_HEX` takes batches, one a line in hex, and prints canonical JSON lines."""
import hashlib, hmac, itertools, json, struct, sys
import zstandard

U64, UNPACKED_MAX, ROWS_MAX = (1 << 64) - 1, 4 << 20, 1 << 16
CLASSES = ["alert", "ledger", "numeric", "preview", "waveform", "archive"]

# field:type; ? option, * list, vN varint of N bits, eN one byte below N, z zigzag; other names are below or methods of Reader
RECORDS = {
    "moment": "boot:u64 monotonic:v64",
    "decimal": "mantissa:z exponent:i8",
    "coding": "scheme:text value:text",
    "fact": "name:text value:text",
    "stream": "instance:text channel:?v16",
    "last": "life:u64 run:v32 next:v64 moment:moment",
    "end": "class:e6 count:v32 last:digest",
    "range": "stream:stream run:v32 first:v64 length:v64 count:v64 from:moment to:moment",
    "closing": "epoch:v32 clean:e2 classes:*end runs:*range",
    "predecessor": "life:u64 closing:closing",
    "shape": "scale:decimal offset:decimal numerator:v32 denominator:v32 bits:u8",
    "alert": "run:v32 index:v64 id:v32 channel:?v16 priority:e4 concern:e2 state:e5 code:?coding low:?decimal high:?decimal text:text",
}
LEDGER = {
    1: "predecessor:?predecessor reason:e14 software:text",
    2: RECORDS["closing"],
    3: "stream:stream run:v32 description:?digest moment:moment before:?last reason:?e14",
    4: "life:u64 stream:stream run:v32 first:v64 indices:v64 values:?v64 from:moment to:moment reason:e14",
    5: "life:u64 epoch:v32 class:e6 below:v32",
    6: "at:moment wall:z uncertainty:v64 quality:e3",
    7: "instance:text serial:?text bed:?text from:moment",
    8: "instance:text at:moment facts:*fact",
    9: "name:text kind:e6 code:?coding unit:text shape:?shape personal:e2 derived:e2 facts:*fact",
    10: "instance:text at:moment device:device uncertainty:v64 change:e4",
}

def need(fits, what):
    if not fits:
        raise ValueError(what)
def zag(z): return (z >> 1) ^ -(z & 1)
def signed(v): return v - (1 << 64) if v >> 63 else v

class Reader:
    def __init__(self, data):
        self.data, self.at, self.boot, self.chains = data, 0, None, {}
    def raw(self, n):
        need(self.at + n <= len(self.data), "truncated")
        self.at += n
        return self.data[self.at - n:self.at]
    def u8(self): return self.raw(1)[0]
    def i8(self): return struct.unpack("b", self.raw(1))[0]
    def u64(self): return struct.unpack("<Q", self.raw(8))[0]
    def z(self): return zag(self.varint())
    def bytes(self): return self.raw(self.varint())
    def text(self): return self.bytes().decode()
    def device(self):
        need((kind := self.varint()) in (1, 2, 3), "device time")
        return [kind, self.z()]
    def digest(self): return self.raw(16).hex()
    def rest(self): return self.raw(len(self.data) - self.at)
    def varint(self, bits=64):
        value = shift = 0
        while (byte := self.u8()) >= 0x80:
            value, shift = value | (byte & 0x7F) << shift, shift + 7
        need((value | byte << shift) >> bits == 0 and (byte or not shift), "varint")
        return value | byte << shift
    def below(self, n):
        need((code := self.u8()) < n, "code")
        return code
    def read(self, kind):
        if kind[0] == "?":
            return self.read(kind[1:]) if self.below(2) else None
        if kind[0] == "*":
            return [self.read(kind[1:]) for _ in range(self.varint())]
        if kind in RECORDS:
            return self.record(RECORDS[kind])
        number = {"v": self.varint, "e": self.below}.get(kind[0])
        return number(int(kind[1:])) if number else getattr(self, kind)()
    def record(self, fields):
        return {name: self.read(kind) for name, kind in (field.split(":") for field in fields.split())}
    def column(self, n, bits=64):
        need(n <= ROWS_MAX, "rows")
        form = self.below(3) if n else 0
        values = [self.varint(bits) for _ in range(n)] if form == 2 else [self.varint(bits) if form else 0] * n
        need(form == 0 or form == 1 and values[0] > 0 or form == 2 and len(set(values)) > 1, "column")
        return values
    def follow(self, first, stride, n):
        return list(itertools.accumulate(self.column(n), lambda last, step: (last + stride + zag(step)) & U64, initial=first))
    def sequence(self, n, stride, bits=64):
        values = self.follow(self.varint(), stride, n - 1) if n else []
        need(all(v >> bits == 0 for v in values), "sequence")
        return values
    def chain(self, name, n):
        if n and name not in self.chains:
            self.chains[name] = self.z() & U64
        values = self.follow(self.chains.get(name), 0, n)
        self.chains |= {name: values[-1]} if n else {}
        return values[1:]
    def times(self, n):
        if n == 0:
            return []
        boot = self.u64() if self.boot is None else self.boot
        *boots, self.boot = itertools.accumulate(self.column(n, 1), lambda boot, new: self.u64() if new else boot, initial=boot)
        monotonic, kinds = self.chain("monotonic", n), self.column(n, 2)
        told = iter(self.chain("device", sum(k > 0 for k in kinds)))
        device = [[k, next(told) if k == 3 else signed(next(told))] if k else None for k in kinds]
        return [{"moment": {"boot": b, "monotonic": m}, "at": d} for b, m, d in zip([*boots[1:], self.boot], monotonic, device)]

def values(r, lengths):
    """The values of tracks of these lengths, track by track."""
    each = iter(kinds := r.column(sum(lengths)))
    tracks = [list(itertools.islice(each, n)) for n in lengths]
    columns = {0: iter(r.column(kinds.count(0)))}
    begun = sum(0 in track for track in tracks)
    firsts, steps = iter(r.column(begun)), iter(r.column(kinds.count(0) - begun))
    columns |= {kind: iter(r.column(kinds.count(kind), bits)) for kind, bits in ((1, 8), (2, 32), (3, 64))}
    for track in tracks:
        mantissa = None
        for kind in track:
            value = next(columns[kind]) if kind < 4 else r.text() if kind == 4 else r.bytes().hex()
            if kind == 0:
                mantissa = zag(next(firsts)) if mantissa is None else signed((mantissa + zag(next(steps))) & U64)
                value = {"mantissa": mantissa, "exponent": zag(value)}
            yield [kind, value]

def observations(r, n):
    rows, shapes, tracks = r.times(n), [], {}
    for _ in range(r.varint() if n else 0):
        k = r.varint()
        shapes.append(list(zip(r.sequence(k, 1, 16), r.sequence(k, 0, 32))))
        tracks.update({track: [] for track in shapes[-1] if track not in tracks})
    for row, use in zip(rows, r.column(n)):
        row["readings"] = [{"channel": channel, "run": run} for channel, run in shapes[use]]
        for track, reading in zip(shapes[use], row["readings"]):
            tracks[track].append(reading)
    flat = [reading for track in tracks.values() for reading in track]
    firsts, jumps = iter(r.sequence(len(tracks), 0)), iter(r.column(len(flat) - len(tracks)))
    for track in tracks.values():
        index = next(firsts)
        for n, reading in enumerate(track):
            reading["index"] = index = (index + 1 + zag(next(jumps))) & U64 if n else index
    for reading, value in zip(flat, list(values(r, [len(track) for track in tracks.values()]))):
        reading["value"] = value
    for reading, quality in zip(flat, r.column(len(flat), 16)):
        reading["quality"] = quality
    return rows

def alerts(r, n):
    return [row | r.read("alert") for row in r.times(n)]

def instances(rows):
    return lambda r: [{"instance": r.text(), "late": r.below(2), "rows": rows(r, r.varint())} for _ in range(r.varint())]

def waveforms(r):
    heads = []
    for _ in range(r.varint()):
        instance, late, n = r.text(), r.below(2), r.varint()
        columns = [r.sequence(n, 1, 16), r.sequence(n, 0, 32), r.sequence(n, 0), r.column(n, 1), r.column(n)]
        total = sum(columns[4])
        counts, times = r.column(total, 32), r.times(total)
        pieces = iter([{"count": c, "quality": q, **t} for c, t, q in zip(counts, times, r.column(total, 16))])
        for channel, run, first, codec, length in zip(*columns):
            head = {"instance": instance, "late": late, "channel": channel, "run": run, "first": first}
            heads.append((codec, head | {"pieces": list(itertools.islice(pieces, length))}))
    for codec, head in heads:
        samples = [r.z() for _ in range(sum(piece["count"] for piece in head["pieces"]))]
        head["counts"] = list(itertools.accumulate(samples)) if codec else samples
    return [head for _, head in heads]

def ledger(r):
    records = []
    while r.at < len(r.data):
        kind, record = r.varint(), Reader(r.bytes())
        named = {"digest": hashlib.sha256(record.data).hexdigest()[:32]} if kind == 9 else {}
        records.append([kind, named | record.record(LEDGER[kind]) if kind in LEDGER else record.rest().hex()])
        need(record.at == len(record.data), "left over in a record")
    return records

READERS = [instances(alerts), ledger, instances(observations), waveforms, waveforms, lambda r: r.rest().hex()]

def unpack(r):
    if r.below(2) == 0:
        return r.rest()
    need(r.varint() == 0, "dictionary")
    frame = b"\x28\xb5\x2f\xfd" + r.rest()
    need(zstandard.get_frame_parameters(frame).content_size <= UNPACKED_MAX, "too large")
    return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)

def batch(message, key):
    covered, mac = message[:-16], message[-16:]
    need(hmac.compare_digest(hmac.digest(key, b"wardgate batch\0" + covered, "sha256")[:16], mac), "MAC")
    r = Reader(covered)
    need(r.raw(2) == b"WG" and r.u8() == 0, "magic or format")
    head = r.record("class:e6 gateway:text life:u64 epoch:v32 sequence:v32")
    head["previous"] = r.digest() if head["sequence"] else "00" * 16
    body = Reader(unpack(r))
    content = READERS[head["class"]](body)
    need(body.at == len(body.data), "left over")
    return head | {"class": CLASSES[head["class"]], "digest": hashlib.sha256(covered).hexdigest()[:32], "content": content}

if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(batch(bytes.fromhex(line), bytes.fromhex(sys.argv[1])), sort_keys=True, separators=(",", ":")))
