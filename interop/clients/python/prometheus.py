"""Reads a Prometheus text on standard input with Prometheus' own Python client; prints its families as JSON."""

import json
import sys

from prometheus_client.parser import text_string_to_metric_families

families = [
    {
        "name": family.name,
        "kind": family.type,
        "help": family.documentation,
        "samples": [[sample.name, sample.labels, repr(sample.value)] for sample in family.samples],
    }
    for family in text_string_to_metric_families(sys.stdin.read())
]
json.dump(families, sys.stdout)
