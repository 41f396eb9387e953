"""Passwords that no model calls sensitive: the rules hide every one, of each service that botocore has."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from opentrail.core.recording.elements import recorded_name
from opentrail.core.recording.rules import HiddenMember, RecordRules
from opentrail.core.wire.model import Operation, Shape
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.recording_rules import load_rules

SECRET = re.compile(
    r"(password|passwd|passphrase|secretkey|secretaccesskey|sharedsecret|presharedkey|clientsecret|privatekey"
    r"|authtoken|accesstoken|refreshtoken|apikeyvalue)$",
    re.IGNORECASE,
)
READS = re.compile(r"(Get|List|Describe|BatchGet|Search)[A-Z]")  # their answers are not recorded
NO_SECRETS = {
    "appmesh": "the private key is the name of a file",
    "cognito-idp": "accessToken and refreshToken are the units of their times",
    "ec2": "has a form of its own: its table is hiddenNames",
    "iam": "removePrivateKey is the id of the key",
    "s3": "has a form of its own: its table is secretHeaders",
    "securityhub": "what a finding says of resources, as another service tells it",
    "taxsettings": "the token of a document to fetch, in a read",
}
SERVICES = ("docdb", "elasticache", "elbv2", "emr", "glue", "kms", "lambda", "mq", "neptune", "pinpoint", "rds", "sns")


def open_secrets(shape: Shape | None, path: tuple[str, ...] = (), seen: tuple[Shape, ...] = ()) -> Iterator[list[str]]:
    """The paths, by recorded names, of members whose names are those of secrets and whose models do not say so."""
    if shape is None or shape.sensitive or any(shape is each for each in seen):
        return
    seen = (*seen, shape)
    if shape.type == "list":
        yield from open_secrets(shape.member, path, seen)
    elif shape.type == "map":
        yield from open_secrets(shape.value, (*path, "*"), seen)
    elif shape.type == "structure":
        for name, member in shape.members.items():
            below = (*path, recorded_name(name))
            if member.type == "string" and not member.sensitive and SECRET.search(name):
                yield list(below)
            yield from open_secrets(member, below, seen)


def is_hidden(path: list[str], rules: tuple[HiddenMember, ...]) -> bool:
    """Whether a rule hides the member, or one that it is in."""
    return any(
        len(rule.path) <= len(path) and all(part in ("*", name) for part, name in zip(rule.path, path, strict=False))
        for rule in rules
    )


def shown_secrets(operation: Operation, rules: RecordRules) -> list[str]:
    """The secrets that a record of ``operation`` would show."""
    facts = rules.facts(operation.service, operation.name)
    found = [path for path in open_secrets(operation.input) if not is_hidden(path, facts.hidden_request)]
    if not READS.match(operation.name):
        found += [path for path in open_secrets(operation.output) if not is_hidden(path, facts.hidden_response)]
    return [f"{operation.service.name} {operation.name} {'.'.join(path)}" for path in found]


@pytest.mark.parametrize("services", [SERVICES, pytest.param(None, marks=pytest.mark.long)], ids=["some", "all"])
def test_no_password_stays_in_the_open(services: tuple[str, ...] | None) -> None:
    catalog, rules = BotocoreCatalog(), load_rules()
    found: list[str] = []
    for name in services or catalog.names():
        if name not in NO_SECRETS:
            for operation in catalog.service(name).operations.values():
                found += shown_secrets(operation, rules)
    assert not found
