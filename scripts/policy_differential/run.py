"""Our policy engine against an independent one, over thousands of generated cases.

    python scripts/policy_differential/run.py [--cases 5000] [--seed 0] [--freeze FILE.json.gz]

Development only; needs Node 20 and npm.  The peer, ``@cloud-copilot/iam-simulate``, is installed into a temporary
folder (or found in ``--peer``) and asked as a black box.  A difference is made as small as it goes and printed, unless
``EXPLAINED`` knows its reason; each of those stands in docs/adr/0009-policy-engine-against-iam-simulate.md.
``--freeze`` writes the cases that both answer alike, for tests/vectors.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import gzip
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from opentrail.testing.policy_cases import answer, decide
from opentrail.testing.policy_strategies import cases

PEER_PACKAGES = ("@cloud-copilot/iam-simulate@0.1.173", "@cloud-copilot/iam-policy@0.1.89")
DRIVER = Path(__file__).with_name("peer.mjs")

Case = dict[str, Any]
Ask = Callable[[Case], str]


def main() -> None:
    """Generate, ask both, compare; the exit code says whether a difference has no reason yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer", type=Path, help="folder in which the peer is installed")
    parser.add_argument("--freeze", type=Path, help="write the agreed cases there")
    options = parser.parse_args()
    generated = generate(options.cases, options.seed)
    with peer(options.peer) as ask:
        answers = [(case, answer(decide(case)), ask(case)) for case in generated]
        agreed = [(case, ours) for case, ours, theirs in answers if ours == theirs]
        print(len(generated), "cases,", len(agreed), "agreed:", dict(collections.Counter(ours for _, ours in agreed)))
        left = report([case for case, ours, theirs in answers if ours != theirs], ask)
    if options.freeze:
        freeze(options.freeze, agreed)
    sys.exit(1 if left else 0)


def generate(count: int, start: int) -> list[Case]:
    """``count`` cases or fewer, none twice, always the same for the same seed."""
    found: dict[str, Case] = {}

    @seed(start)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def collect(case: Case) -> None:
        found[json.dumps(case, sort_keys=True)] = case

    collect()
    return list(found.values())


@contextlib.contextmanager
def peer(installed: Path | None) -> Iterator[Ask]:
    """The peer's answer to a case."""
    with tempfile.TemporaryDirectory() as name:
        folder = installed or Path(name)
        if installed is None:
            subprocess.run(["npm", "install", "--no-audit", "--no-fund", *PEER_PACKAGES], cwd=folder, check=True)
        driver = folder / DRIVER.name  # beside its node_modules, where Node looks for packages
        shutil.copyfile(DRIVER, driver)
        process = subprocess.Popen(["node", driver], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def ask(case: Case) -> str:
            stdin.write(json.dumps(case) + "\n")
            stdin.flush()
            return stdout.readline().strip()

        yield ask
        stdin.close()
        process.wait()


def report(different: list[Case], ask: Ask) -> int:
    """Print what the differences come down to; how many have no reason yet."""
    reasons: collections.Counter[str] = collections.Counter()
    unexplained: dict[str, Case] = {}
    for case in different:
        small = reduce(case, lambda each: answer(decide(each)) != ask(each))
        reason = next((name for name, known in EXPLAINED.items() if known(small)), "")
        reasons[reason or "unexplained"] += 1
        if not reason:
            unexplained[json.dumps(small)] = small
    for reason, count in reasons.most_common():
        print(f"{count:5} {reason}")
    for text, case in unexplained.items():
        print(f"ours {answer(decide(case))}, theirs {ask(case)}: {text}")
    return len(unexplained)


def reduce(case: Case, differs: Callable[[Case], bool]) -> Case:
    """A smallest case, by leaving out part after part, that still differs."""
    smaller = True
    while smaller:
        smaller = False
        for candidate in _without_a_part(case):
            if differs(candidate):
                case, smaller = candidate, True
                break
    return case


def _without_a_part(case: Case) -> Iterator[Case]:
    for path in _parts(case):
        candidate = copy.deepcopy(case)
        place: Any = candidate
        for step in path[:-1]:
            place = place[step]
        if len(path) == 1:
            place[path[0]] = None
        else:
            del place[path[-1]]
        yield candidate


def _parts(case: Case) -> Iterator[tuple[Any, ...]]:
    """Where something may be left out: policies, statements, conditions, values, context keys."""
    for kind in ("resourcePolicy", "boundary", "session"):
        if case[kind] is not None:
            if (kind, case["action"]) != ("resourcePolicy", "sts:AssumeRole"):
                yield (kind,)
            yield from _document_parts((kind,), case[kind])
    for index, document in enumerate(case["identity"]):
        yield ("identity", index)
        yield from _document_parts(("identity", index), document)
    for level, documents in enumerate(case["serviceControl"]):
        yield ("serviceControl", level)
        for index, document in enumerate(documents):
            if len(documents) > 1:
                yield ("serviceControl", level, index)
            yield from _document_parts(("serviceControl", level, index), document)
    yield from (("context", key) for key in case["context"])


def _document_parts(path: tuple[Any, ...], document: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    statements = document["Statement"]
    for index, statement in enumerate(statements):
        here = (*path, "Statement", index)
        if len(statements) > 1:
            yield here
        yield from _condition_parts(here, statement.get("Condition"))
        for element in ("Action", "NotAction", "Resource", "NotResource"):
            yield from _items((*here, element), statement.get(element))
        for element in ("Principal", "NotPrincipal"):
            if isinstance(statement.get(element), dict):
                yield from _members((*here, element), statement[element])


def _condition_parts(path: tuple[Any, ...], block: dict[str, Any] | None) -> Iterator[tuple[Any, ...]]:
    if block is not None:
        yield (*path, "Condition")
        for operator, keys in block.items():
            if len(block) > 1:
                yield (*path, "Condition", operator)
            yield from _members((*path, "Condition", operator), keys)


def _members(path: tuple[Any, ...], values: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for name, items in values.items():
        if len(values) > 1:
            yield (*path, name)
        yield from _items((*path, name), items)


def _items(path: tuple[Any, ...], values: Any) -> Iterator[tuple[Any, ...]]:
    if isinstance(values, list) and len(values) > 1:
        yield from ((*path, index) for index in range(len(values)))


def _statements(case: Case) -> Iterator[dict[str, Any]]:
    documents = [case["resourcePolicy"], case["boundary"], case["session"], *case["identity"]]
    for document in (*documents, *(each for level in case["serviceControl"] for each in level)):
        for statement in document["Statement"] if document else ():
            yield {**statement, "Version": document["Version"]}


def _conditions(case: Case) -> Iterator[tuple[str, str, Any]]:
    for statement in _statements(case):
        for operator, keys in statement.get("Condition", {}).items():
            for key, values in keys.items():
                yield operator, key, values


def _unresolved(case: Case) -> bool:
    negated = [values for operator, _, values in _conditions(case) if "Not" in operator]
    return "${" in json.dumps([negated, [each.get("NotResource") for each in _statements(case)]])


def _everybody_with_limits(case: Case) -> bool:
    named = [each.get("Principal") for each in _statements(case)]
    return (case["boundary"] is not None or case["session"] is not None) and '"*"' in json.dumps(named)


def _seconds(case: Case) -> bool:
    dates = [
        (values if isinstance(values, list) else [values]) + case["context"].get(key, [])
        for operator, key, values in _conditions(case)
        if "Date" in operator
    ]
    return any(len({value.isdecimal() for value in each}) > 1 for each in dates)


def _named_session(case: Case) -> bool:
    named = json.dumps([each.get("Principal") for each in _statements(case)])
    own = {"federated user": (":user/alice", ":federated-user/carol"), "role session": (":assumed-role/auditor/today",)}
    return any(name in named for name in own.get(case["principal"], ()))


def _short_arn(case: Case) -> bool:
    resources = [each.get("Resource", each.get("NotResource", [])) for each in _statements(case)]
    flat = [text for each in resources for text in (each if isinstance(each, list) else [each])]
    return any(text != "*" and text.count(":") < 5 for text in flat)


def _no_set_operator(case: Case) -> bool:
    multivalued = {"aws:TagKeys", "aws:PrincipalOrgPaths"}
    return any(
        key in multivalued and ":" not in operator and operator != "Null" for operator, key, _ in _conditions(case)
    )


def _addresses(case: Case) -> bool:
    return any("IpAddress" in operator for operator, _, _ in _conditions(case))


#: Why the engines differ in a reduced case; the ADR has the reasons in full.
EXPLAINED: dict[str, Callable[[Case], bool]] = {
    "a variable without a value, where it is denied": _unresolved,
    "variables in a policy of version 2008-10-17": lambda case: any(
        each["Version"] == "2008-10-17" and "${" in json.dumps(each) for each in _statements(case)
    ),
    "seconds and ISO 8601 compared": _seconds,
    "NotPrincipal spares only whom it names himself": lambda case: any(
        "NotPrincipal" in each for each in _statements(case)
    ),
    "a key of many values without a set operator": _no_set_operator,
    "everybody, with a boundary or a session policy": _everybody_with_limits,
    "a session, named itself or a federated user's by the user": _named_session,
    "an ARN that leaves segments out": _short_arn,
    "0.0.0.0/0, and addresses of both versions compared": _addresses,
}


def freeze(path: Path, agreed: list[tuple[Case, str]]) -> None:
    """Write cases and answers, one a line, always the same bytes for the same cases."""
    lines = "".join(json.dumps([ours, case], separators=(",", ":")) + "\n" for case, ours in agreed)
    path.write_bytes(gzip.compress(lines.encode(), 9, mtime=0))
    print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
