"""Reads a page of metrics with Prometheus' own Python parser: name, type, help and labels of each family, as JSON."""
import json
import sys

from prometheus_client.parser import text_string_to_metric_families

families = {}
for family in text_string_to_metric_families(sys.stdin.read()):
    # the parser takes the ending of a counter's name off
    name = family.name + ("_total" if family.type == "counter" else "")
    samples = [[sample.labels, sample.value] for sample in family.samples]
    assert all(sample.name == name for sample in family.samples), name
    families[name] = {"type": family.type, "help": family.documentation, "samples": samples}
json.dump(families, sys.stdout)
