"""Laws that every decision keeps, whatever the policies are (cases of ``opentrail.testing.policy_strategies``)."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from opentrail.core.policy import PolicyType, parse_policy
from opentrail.testing.policy_cases import PRINCIPALS, answer, decide, policies_of
from opentrail.testing.policy_strategies import cases, conditions

Case = dict[str, Any]
Statement = dict[str, Any]

#: A document that says nothing of any request: what is left when its only statement is taken away.
SILENT: Statement = {"Effect": "Deny", "Action": "nothing:Nothing", "Resource": "arn:aws:nothing:::nothing"}

laws = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def copied(case: Case) -> Case:
    """A case that shares nothing with the other, nor one part of it with another part."""
    made: Case = json.loads(json.dumps(case))
    return made


def documents_of(case: Case) -> Iterator[tuple[dict[str, Any], bool]]:
    """Every document of a case, and whether it is the resource's."""
    for kind in ("boundary", "session"):
        if case[kind]:
            yield case[kind], False
    if case["resourcePolicy"]:
        yield case["resourcePolicy"], True
    for group in (case["identity"], *case["serviceControl"]):
        for document in group:
            yield document, False


def statements_of(case: Case, effect: str = "") -> list[Statement]:
    found = [statement for document, _ in documents_of(case) for statement in document["Statement"]]
    return [statement for statement in found if effect in {"", statement["Effect"]}]


def silence(statement: Statement, case: Case) -> None:
    """Take a statement away; its document stays."""
    principal = statement.get("Principal", statement.get("NotPrincipal"))
    statement.clear()
    statement.update(copy.deepcopy(SILENT))
    if principal is not None:
        statement["Principal"] = principal
        statement["Action"] = "sts:Nothing" if case["action"] == "sts:AssumeRole" else "s3:Nothing"
        if case["action"] == "sts:AssumeRole":
            del statement["Resource"]


def allows_no_more(case: Case, change: Callable[[Case], None]) -> None:
    before = decide(case).allowed
    changed = copied(case)
    change(changed)
    assert before or not decide(changed).allowed


@laws
@given(cases(), st.randoms(use_true_random=False))
def test_taking_an_allow_away_never_allows_more(case: Case, draw: random.Random) -> None:
    assume(statements_of(case, "Allow"))
    allows_no_more(case, lambda each: silence(draw.choice(statements_of(each, "Allow")), each))


@laws
@given(cases(), cases(), st.randoms(use_true_random=False))
def test_adding_a_deny_never_allows_more(case: Case, other: Case, draw: random.Random) -> None:
    assume(statements_of(other) and statements_of(case))

    def add(each: Case) -> None:
        document, is_resource = draw.choice([*documents_of(each)])
        added = {**copy.deepcopy(draw.choice(statements_of(other))), "Effect": "Deny"}
        for element in ("Principal", "NotPrincipal"):
            added.pop(element, None)
        if is_resource:
            added["Principal"] = "*"
            added["Action"] = each["action"]
            added.pop("NotAction", None)
        trust = is_resource and each["action"] == "sts:AssumeRole"
        if trust:
            added.pop("Resource", None)
            added.pop("NotResource", None)
        elif not {"Resource", "NotResource"} & added.keys():
            added["Resource"] = each["resource"]
        document["Statement"].append(added)

    allows_no_more(case, add)


@laws
@given(cases(), conditions(), st.randoms(use_true_random=False))
def test_a_further_condition_of_an_allow_never_allows_more(case: Case, more: Statement, draw: random.Random) -> None:
    assume(statements_of(case, "Allow") and more)

    def add(each: Case) -> None:
        statement = draw.choice(statements_of(each, "Allow"))
        block = statement.setdefault("Condition", {})
        for operator, keys in more.items():
            if operator not in block:
                block[operator] = keys

    allows_no_more(case, add)


@laws
@given(cases(), st.randoms(use_true_random=False))
def test_fewer_values_of_an_allows_condition_never_allow_more(case: Case, draw: random.Random) -> None:
    places = [
        (index, operator, key)
        for index, statement in enumerate(statements_of(case, "Allow"))
        for operator, keys in statement.get("Condition", {}).items()
        for key, values in keys.items()
        if isinstance(values, list) and "Not" not in operator
    ]
    assume(places)
    index, operator, key = draw.choice(places)

    def remove(each: Case) -> None:
        values = statements_of(each, "Allow")[index]["Condition"][operator][key]
        values.pop(draw.randrange(len(values)))

    allows_no_more(case, remove)


@laws
@given(cases(), st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_matters(case: Case, draw: random.Random) -> None:
    changed = copied(case)
    for document, _ in documents_of(changed):
        document["Statement"] *= draw.randint(1, 2)
        draw.shuffle(document["Statement"])
    for group in (changed["identity"], *changed["serviceControl"], changed["serviceControl"]):
        draw.shuffle(group)
    changed["identity"] *= draw.randint(1, 2)
    changed["serviceControl"] *= draw.randint(1, 2)
    assert answer(decide(changed)) == answer(decide(case))


def listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


@laws
@given(cases(), st.sampled_from([str.upper, str.lower, str.swapcase]))
def test_lists_of_one_and_the_case_of_actions_and_keys_do_not_matter(case: Case, spell: Callable[[str], str]) -> None:
    changed = copied(case)
    for document, _ in documents_of(changed):
        for statement in document["Statement"]:
            for element in ("Action", "NotAction", "Resource", "NotResource"):
                if element in statement:
                    statement[element] = listed(statement[element])
            for element in ("Action", "NotAction"):
                if element in statement:
                    statement[element] = [spell(action) for action in statement[element]]
            statement["Condition"] = {
                operator: {spell(key): listed(values) for key, values in keys.items()}
                for operator, keys in statement.get("Condition", {}).items()
            }
        if len(document["Statement"]) == 1:
            document["Statement"] = document["Statement"][0]
    assert answer(decide(changed)) == answer(decide(case))


@laws
@given(cases())
def test_a_decision_explains_itself(case: Case) -> None:
    decision = decide(case)
    request = decision.request
    bounded = decision.policies.boundary is not None
    explained = decision.explain()
    assert json.loads(json.dumps(explained)) == explained
    assert (explained["allowed"], explained["explicit"]) == (decision.allowed, decision.statement is not None)
    if decision.statement is None:
        assert explained["statement"] is None
        assert bool(explained["missing"]) is not decision.allowed
        assert not decision.allowed or request.principal.has_root_rights
    else:
        statement = decision.statement
        assert statement.effect == ("Allow" if decision.allowed else "Deny")
        assert statement.covers_action(request.action.lower())
        assert statement.covers_resource(request.resource, request.context)
        assert statement.naming(request.principal, bounded=bounded)
        assert statement.conditions_hold(request.context)
        named = [
            policy
            for kind, policy in decision.policies.all()
            if (kind, policy.name) == (decision.kind, decision.policy)
        ]
        assert any(statement in policy.document.statements for policy in named)
        assert not explained["missing"]
    for near in decision.near():
        assert near.failed or not near.names_principal
        assert not all(condition.holds(request.context) for condition in near.failed) or not near.names_principal
    for missing in explained["missing"]:
        assert missing["text"].startswith(f"no {missing['kind']}")


@laws
@given(cases())
def test_what_is_missing_is_what_would_have_to_allow(case: Case) -> None:
    decision = decide(case)
    kinds = {missing.kind for missing in decision.missing}
    assume(kinds)
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    changed = copied(case)
    for document, is_resource in documents_of(changed):
        if not is_resource:
            document["Statement"].append(copy.deepcopy(everything["Statement"][0]))
    changed["identity"].append(everything)
    principal = PRINCIPALS[case["principal"]]
    named = {"Service": principal.invoked_by} if principal.is_service else "*"
    grant = {"Effect": "Allow", "Principal": named, "Action": case["action"], "Resource": case["resource"]}
    if case["action"] == "sts:AssumeRole":
        del grant["Resource"]
    changed["resourcePolicy"] = changed["resourcePolicy"] or {"Version": "2012-10-17", "Statement": []}
    changed["resourcePolicy"]["Statement"].append(grant)
    assert decide(changed).allowed, "with every Allow that may be missing nothing is in the way"


@laws
@given(cases())
def test_reading_and_writing_a_document_changes_nothing(case: Case) -> None:
    for kind, policy in policies_of(case).all():
        policy_type = PolicyType.IDENTITY if kind != "resource-based policy" else policy.document.type
        elements = [statement.element for statement in policy.document.statements]
        text = json.dumps({"Version": policy.document.version, "Statement": elements}, indent=2)
        again = parse_policy(text, policy_type)
        assert [statement.element for statement in again.statements] == elements
