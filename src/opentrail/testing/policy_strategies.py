"""Hypothesis strategies for policies and for whole cases of ``testing.policy_cases``.

Whatever a statement may name is drawn near to what the request holds, so that about as many statements apply as do
not: its action and resource with a wildcard or a changed letter, its condition's values from those that the key has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from opentrail.core.policy.conditions import OPERATORS
from opentrail.testing.policy_cases import ACCOUNT, OTHER_ACCOUNT, PRINCIPALS

Document = dict[str, Any]
Statements = st.SearchStrategy[list[Document]]

#: Action and resource of a request, and other actions near it.
REQUESTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "s3:GetObject",
        "arn:aws:s3:::reports/home/alice/july.txt",
        ("s3:*", "s3:Get*", "s3:Get?bject", "S3:getobject", "s3:PutObject", "s3:*Object"),
    ),
    ("s3:ListBucket", "arn:aws:s3:::reports", ("s3:List*", "s3:*", "s3:GetObject")),
    ("s3:PutObject", "arn:aws:s3:::reports/AWSLogs/111122223333/x", ("s3:Put*", "s3:*", "s3:GetObject")),
    ("iam:GetUser", f"arn:aws:iam::{ACCOUNT}:user/alice", ("iam:Get*", "iam:*", "iam:List*")),
    ("sns:Publish", f"arn:aws:sns:eu-west-1:{ACCOUNT}:alarms", ("sns:*", "sns:Pub*", "sns:P?blish", "sns:Subscribe")),
    ("sts:AssumeRole", f"arn:aws:iam::{OTHER_ACCOUNT}:role/reader", ("sts:*", "sts:Assume*", "sts:TagSession")),
)

_RESOURCES = (
    "*",
    "arn:aws:s3:::reports",
    "arn:aws:s3:::reports/*",
    "arn:aws:s3:::reports/home/*",
    "arn:aws:s3:::reports/home/${aws:username}/*",
    "arn:aws:s3:::reports/home/${aws:PrincipalTag/team, 'alice'}/*",
    "arn:aws:s3:::reports/home/${aws:PrincipalTag/missing}/*",
    "arn:aws:s3:::rep?rts/*/july.t?t",
    "arn:aws:s3:::*",
    "arn:aws:s3:::other/*",
    "arn:aws:iam::*:user/*",
    "arn:aws:iam::111122223333:*",
    "arn:aws:iam::444455556666:role/*",
    "arn:aws:iam::*:role/reader",
    "arn:aws:iam::*:user/${aws:username}",
    "arn:*:iam::*:user/al?ce",
    "arn:aws:sns",
    "arn:aws:sns:*",
    "arn:aws:sns:*alarms",
    "arn:aws:sns:eu-*:*:alarms",
    "arn:aws:sns:*:111122223333:*",
    "arn:aws:sns:eu-west-?:1111*:al*s",
    "arn:aws:sns:*:alarms",
    "arn:*:sns:*:*:*",
)

#: Condition keys by the kind of their values: those a request may have and policies may want.
_STRINGS = ("alice", "Alice", "bob", "red", "a", "public-read", "home/alice/", "ali*", "a?ice", "", "*")
_VARIABLES = ("${aws:username}", "${aws:PrincipalTag/team, 'red'}", "${aws:missing}", "${*}", "ali${?}e", "${$}")
_VALUES: Mapping[str, tuple[str, ...]] = {
    "String": _STRINGS,
    "Arn": (
        "arn:aws:iam::111122223333:user/alice",
        "arn:aws:iam::111122223333:role/auditor",
        "arn:aws:cloudtrail:eu-west-1:111122223333:trail/main",
        "arn:aws:cloudtrail:eu-west-1:444455556666:trail/main",
    ),
    "Numeric": ("0", "10", "10.0", "9", "1000", "-1"),
    "Date": ("2026-03-01T00:00:00Z", "2026-02-28T23:59:59Z", "2027-01-01T00:00:00Z", "1772323200"),
    "Bool": ("true", "false"),
    "Ip": ("203.0.113.7", "203.0.114.7", "2001:db8::1", "10.0.0.1"),
    "Binary": ("QmluYXJ5", "b3RoZXI="),
}
_WANTED: Mapping[str, tuple[str, ...]] = {
    "String": (*_STRINGS, *_VARIABLES),
    "Arn": (
        *_VALUES["Arn"],
        "arn:aws:iam::*:user/*",
        "arn:aws:*:*:*:*",
        "arn:aws:cloudtrail:*:111122223333:trail/*",
        "arn:aws:iam::111122223333:*/auditor",
        "arn:aws:iam::111122223333:user/${aws:username}",
        "arn:aws:iam:*:user/alice",
    ),
    "Numeric": _VALUES["Numeric"],
    "Date": (*_VALUES["Date"], "2026-03-01"),
    "Bool": _VALUES["Bool"],
    "Ip": (*_VALUES["Ip"], "203.0.113.0/24", "0.0.0.0/0", "2001:db8::/32", "::/0"),
    "Binary": _VALUES["Binary"],
}
_KEYS: Mapping[str, tuple[str, ...]] = {
    "String": ("aws:username", "aws:PrincipalTag/team", "aws:UserAgent", "s3:prefix", "s3:x-amz-acl"),
    "Arn": ("aws:PrincipalArn", "aws:SourceArn"),
    "Numeric": ("s3:max-keys", "aws:MultiFactorAuthAge"),
    "Date": ("aws:CurrentTime", "aws:EpochTime", "aws:TokenIssueTime"),
    "Bool": ("aws:SecureTransport", "aws:MultiFactorAuthPresent"),
    "Ip": ("aws:SourceIp",),
    "Binary": ("test:binary",),
}
_MULTIVALUED = ("aws:TagKeys", "aws:PrincipalOrgPaths")

#: S3's keys belong to some of its actions alone.
_ACTION_OF_KEY = {"s3:prefix": "s3:ListBucket", "s3:max-keys": "s3:ListBucket", "s3:x-amz-acl": "s3:PutObject"}

_FAMILIES = {"IpAddress": "Ip", "NotIpAddress": "Ip"}


def _family(operator: str) -> str:
    """The kind of values that an operator compares."""
    return _FAMILIES.get(operator) or next(kind for kind in _VALUES if operator.startswith(kind))


def contexts() -> st.SearchStrategy[dict[str, list[str]]]:
    """The condition keys of a request: each may be missing; some have several values."""
    single = {
        key: st.lists(st.sampled_from(_VALUES[kind]), min_size=1, max_size=1) for kind in _KEYS for key in _KEYS[kind]
    }
    multiple = {key: st.lists(st.sampled_from(_STRINGS), min_size=1, max_size=3, unique=True) for key in _MULTIVALUED}
    single.pop("test:binary")  # no service has a binary key: it is one that is always missing
    return st.fixed_dictionaries({}, optional={**single, **multiple})


@st.composite
def _condition(draw: st.DrawFn) -> tuple[str, str, list[str] | str]:
    base = draw(st.sampled_from(sorted(OPERATORS)))
    if base == "Null":
        keys = [key for kind in _KEYS for key in _KEYS[kind]]
        return base, draw(st.sampled_from([*keys, *_MULTIVALUED])), draw(st.sampled_from(["true", "false"]))
    kind = _family(base)
    quantifier = draw(st.sampled_from(["", "", "ForAllValues:", "ForAnyValue:"]))
    suffix = draw(st.sampled_from(["", "", "IfExists"]))
    keys = list(_KEYS[kind])
    if kind == "String":
        keys += _MULTIVALUED
    wanted = draw(st.lists(st.sampled_from(_WANTED[kind]), min_size=1, max_size=3, unique=True))
    return quantifier + base + suffix, draw(st.sampled_from(keys)), wanted if len(wanted) > 1 else wanted[0]


def conditions() -> st.SearchStrategy[Document]:
    """A Condition element of up to two conditions, most often none."""

    def element(drawn: list[tuple[str, str, list[str] | str]]) -> Document:
        block: Document = {}
        for operator, key, wanted in drawn:
            block.setdefault(operator, {})[key] = wanted
        return block

    some = st.lists(_condition(), min_size=1, max_size=2).map(element)
    return st.one_of(st.just({}), some, some)


_PRINCIPAL_ITEMS = (
    "*",
    ACCOUNT,
    OTHER_ACCOUNT,
    f"arn:aws:iam::{ACCOUNT}:root",
    f"arn:aws:iam::{ACCOUNT}:user/alice",
    f"arn:aws:iam::{ACCOUNT}:user/bob",
    f"arn:aws:iam::{ACCOUNT}:role/auditor",
    f"arn:aws:sts::{ACCOUNT}:assumed-role/auditor/today",
    f"arn:aws:sts::{ACCOUNT}:federated-user/carol",
)


def principals() -> st.SearchStrategy[Any]:
    """A Principal element."""
    item = st.sampled_from(_PRINCIPAL_ITEMS)
    service = st.sampled_from(["cloudtrail.amazonaws.com", "config.amazonaws.com"])
    return st.one_of(
        st.just("*"),
        item.map(lambda one: {"AWS": one}),
        st.lists(item, min_size=1, max_size=3, unique=True).map(lambda several: {"AWS": several}),
        st.builds(lambda one, other: {"AWS": one, "Service": other}, item, service),
        service.map(lambda one: {"Service": one}),
    )


@st.composite
def _statement(draw: st.DrawFn, request: tuple[str, str, tuple[str, ...]], *, resource_policy: bool) -> Document:
    action, resource, near = request
    trust = resource_policy and action == "sts:AssumeRole"
    statement: Document = {"Effect": draw(st.sampled_from(["Allow", "Allow", "Allow", "Deny"]))}
    if resource_policy:
        negated = statement["Effect"] == "Deny" and not trust and draw(st.integers(0, 3)) == 0
        statement["NotPrincipal" if negated else "Principal"] = draw(principals())
    actions = st.lists(
        st.sampled_from([action, action, *near, *([] if resource_policy else ["*", "ec2:*"])]), min_size=1, max_size=2
    )
    chosen = draw(actions)
    statement[draw(st.sampled_from(["Action"] * 5 + ["NotAction"]))] = chosen if len(chosen) > 1 else chosen[0]
    if not trust:
        service = resource.split(":")[2]
        known = [text for text in _RESOURCES if not resource_policy or text.split(":")[2:3] == [service]]
        chosen = draw(st.lists(st.sampled_from([resource, resource, *known]), min_size=1, max_size=2))
        statement[draw(st.sampled_from(["Resource"] * 5 + ["NotResource"]))] = chosen if len(chosen) > 1 else chosen[0]
    condition = draw(conditions())
    if condition:
        statement["Condition"] = condition
    return statement


@st.composite
def documents(
    draw: st.DrawFn, request: tuple[str, str, tuple[str, ...]] = REQUESTS[0], *, resource_policy: bool = False
) -> Document:
    """A policy document near to ``request``."""
    statements = draw(st.lists(_statement(request, resource_policy=resource_policy), min_size=1, max_size=3))
    old = resource_policy and draw(st.integers(0, 9)) == 0
    return {"Version": "2008-10-17" if old else "2012-10-17", "Statement": statements}


def _has_key(action: str, key: str) -> bool:
    return _ACTION_OF_KEY.get(key, action) == action


_ALLOW_ALL: Document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


@st.composite
def _questions(
    draw: st.DrawFn, principals_: tuple[str, ...]
) -> tuple[dict[str, Any], tuple[str, str, tuple[str, ...]]]:
    """A case without policies, and the request that its policies shall be near to."""
    action, resource, near = draw(st.sampled_from(REQUESTS))
    owner = (
        ACCOUNT
        if action in {"iam:GetUser", "sns:Publish"}
        else draw(st.sampled_from([ACCOUNT, ACCOUNT, OTHER_ACCOUNT]))
    )
    if action == "sts:AssumeRole":
        resource = f"arn:aws:iam::{owner}:role/reader"
    context = {key: values for key, values in draw(contexts()).items() if _has_key(action, key)}
    question: dict[str, Any] = {
        "principal": draw(st.sampled_from(principals_)),
        "action": action,
        "resource": resource,
        "owner": owner,
        "context": context,
        "identity": [],
        "resourcePolicy": None,
        "boundary": None,
        "session": None,
        "serviceControl": [],
    }
    return question, (action, resource, near)


@st.composite
def one_policy_cases(draw: st.DrawFn) -> dict[str, Any]:
    """A case that one policy decides: everything else allows."""
    case, request = draw(_questions(("user", "role session", "service", "anonymous")))
    if request[0] not in _WITH_RESOURCE_POLICY and case["principal"] in {"service", "anonymous"}:
        case["principal"] = "user"
    kinds = ["identity", "boundary", "serviceControl"]
    if case["principal"] == "role session":
        kinds.append("session")
    if request[0] in _WITH_RESOURCE_POLICY:
        kinds = ["resourcePolicy"] if case["principal"] in {"service", "anonymous"} else [*kinds, "resourcePolicy"]
    kind = draw(st.sampled_from(kinds))
    document = draw(documents(request, resource_policy=kind == "resourcePolicy"))
    if case["principal"] in {"user", "role session"} and (kind != "resourcePolicy" or draw(st.booleans())):
        case["identity"] = [_ALLOW_ALL]
    if kind != "resourcePolicy" and request[0] in _WITH_RESOURCE_POLICY:
        case["resourcePolicy"] = _open_policy(request)
    case[kind] = {"identity": [document], "serviceControl": [[document]]}.get(kind, document)
    return case


_WITH_RESOURCE_POLICY = frozenset({"s3:GetObject", "s3:ListBucket", "s3:PutObject", "sts:AssumeRole"})


def _open_policy(request: tuple[str, str, tuple[str, ...]]) -> Document:
    """A resource's policy that lets the account decide."""
    statement: Document = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": request[0]}
    if request[0] != "sts:AssumeRole":
        statement["Resource"] = request[1]
    return {"Version": "2012-10-17", "Statement": [statement]}


@st.composite
def many_policies_cases(draw: st.DrawFn) -> dict[str, Any]:
    """A case on which every kind of policy may speak."""
    case, request = draw(_questions(tuple(sorted(PRINCIPALS))))
    principal = case["principal"]
    own = documents(request) | st.just(_ALLOW_ALL)
    limit = st.one_of(st.none(), st.none(), own)
    if request[0] == "sts:AssumeRole":
        case["resourcePolicy"] = draw(documents(request, resource_policy=True))
    elif request[0] in _WITH_RESOURCE_POLICY:
        case["resourcePolicy"] = draw(st.none() | documents(request, resource_policy=True))
    if principal not in {"anonymous", "service"}:
        case["serviceControl"] = draw(st.just([]) | st.lists(st.lists(own, min_size=1, max_size=2), max_size=2))
    if principal not in {"anonymous", "service", "root"}:
        case["identity"] = draw(st.lists(own, max_size=2))
    if principal in {"user", "role session"}:
        case["boundary"] = draw(limit)
    if principal in {"role session", "federated user"}:
        case["session"] = draw(limit)
    return case


def cases() -> st.SearchStrategy[dict[str, Any]]:
    """Cases of both sorts."""
    return one_policy_cases() | many_policies_cases()
