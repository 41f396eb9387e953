"""Decisions that two independent engines agree on, frozen: ours and the npm package ``@cloud-copilot/iam-simulate``.

``policy_decisions.json.gz`` holds one ``[answer, case]`` a line, written by ``scripts/policy_differential/run.py``
(5,000 generated cases, seed 2026); where the engines differ, and why, stands in
docs/adr/0009-policy-engine-against-iam-simulate.md.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

from opentrail.testing.policy_cases import answer, decide

VECTORS = Path(__file__).with_name("policy_decisions.json.gz")


def test_every_agreed_decision() -> None:
    lines: list[tuple[str, dict[str, Any]]] = [
        json.loads(line) for line in gzip.decompress(VECTORS.read_bytes()).splitlines()
    ]
    different = [case for expected, case in lines if answer(decide(case)) != expected]
    assert not different, (
        f"{len(different)} decisions changed, of which the smallest: {min(map(json.dumps, different), key=len)}"
    )
    counts = Counter(expected for expected, _ in lines)
    assert len(lines) > 4000
    assert min(counts[word] for word in ("Allowed", "ExplicitlyDenied", "ImplicitlyDenied")) > 300
