#!/usr/bin/env python3
"""Reads a recorded stream of an Ivy 450C monitor and prints what it says as JSON: an independent reading, for the tests to compare with.

    ivy450c.py FILE

A message: FF, "ANSAR-B ", 200 ECG samples, 50 each of respiration, pleth, P1, P2, lines `NAME=n;values...;label;alarm` ended by CR, FE.
"""
import json, re, sys

HEAD = b'\xffANSAR-B '
WAVES = [('ecg', 200), ('resp', 50), ('pleth', 50), ('p1', 50), ('p2', 50)]
NUMERICS = {
    'HR': ['hr'], 'RR': ['rr'], 'ETCO2': ['etco2'], 'SPO2': ['spo2'],
    'NIBP': ['nibp-sys', 'nibp-dia', 'nibp-mean', 'nibp-pr'],
    'P1': ['p1-sys', 'p1-dia', 'p1-mean'], 'P2': ['p2-sys', 'p2-dia', 'p2-mean'], 'T1': ['t1'], 'T2': ['t2'],
}

def messages(data):
    for m in re.finditer(re.escape(HEAD) + rb'(.{400})([^\xfe\xff]*)\xfe', data, re.S):
        yield m.group(1), m.group(2).decode('ascii')

def value(text):
    """A whole number, or mantissa and exponent, or nothing."""
    whole, _, part = text.strip().partition('.')
    return [int(whole + part), -len(part)] if part else int(whole) if whole else None

def read(waves, text):
    at, out = 0, {'waves': {}, 'numerics': {}, 'texts': []}
    for name, n in WAVES:
        out['waves'][name] = list(waves[at:at + n])
        at += n
    for line in filter(None, text.split('\r')):
        name, rest = line.split('=', 1)
        fields = rest.split(';')
        label, alarm = fields[-2].strip(), fields[-1].strip()
        values = [value(f) for f in fields[1:-2]]
        for channel, v in zip(NUMERICS[name], values):
            out['numerics'][channel] = v
        if name == 'SPO2':
            out['numerics']['pr'] = value(label.removeprefix('PR=')) if label.startswith('PR=') else None
            label = ''
        # a label with a blank in it is a message on the screen; without one it names what is measured
        out['texts'] += [t for t in ([label] if ' ' in label else []) + [alarm] if t]
    return out

def main():
    data = open(sys.argv[1], 'rb').read()
    read_all = [read(w, t) for w, t in messages(data)]
    changes, shown = [], []
    for n, m in enumerate(read_all):
        changes += [{'message': n, 'text': t, 'state': 'inactive'} for t in shown if t not in m['texts']]
        changes += [{'message': n, 'text': t, 'state': 'active'} for t in m['texts'] if t not in shown]
        shown = m['texts']
    json.dump({'messages': read_all, 'alerts': changes}, sys.stdout)

main()
