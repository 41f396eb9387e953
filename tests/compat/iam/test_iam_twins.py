"""What users, groups and roles do alike: they come and go, are listed, and hold inline and attached policies."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest

Fault = Callable[..., dict[str, Any]]
NewName = Callable[[], str]
Policy = Callable[..., str]

PREFIXES = {"User": "AIDA", "Group": "AGPA", "Role": "AROA"}
INLINE_CHARACTERS = {"User": 2048, "Group": 5120, "Role": 10_240}


def code_and_status(fault: dict[str, Any]) -> tuple[str, int]:
    return fault["Code"], fault["Status"]


def test_an_entity_comes_and_goes(twin: Any, new_name: NewName, account: str, fault_of: Fault) -> None:
    name = new_name()
    made = twin.create(name, Path="/team/a/")
    assert made["Arn"] == f"arn:aws:iam::{account}:{twin.noun.lower()}/team/a/{name}"
    assert made[f"{twin.noun}Id"].startswith(PREFIXES[twin.noun])
    assert len(made[f"{twin.noun}Id"]) == 21
    assert made["Path"] == "/team/a/"
    assert abs(made["CreateDate"] - datetime.now(UTC)) < timedelta(minutes=1)
    found = twin.on(name.upper(), "Get{}")[twin.noun]
    assert {part: found[part] for part in made} == made
    fault = fault_of(twin.create, name=name.upper())
    assert code_and_status(fault) == ("EntityAlreadyExists", 409)
    assert fault["Message"] == f"{twin.noun} with name {name.upper()} already exists."
    twin.on(name, "Delete{}")
    fault = fault_of(twin.on, name=name, call="Get{}")
    assert code_and_status(fault) == ("NoSuchEntity", 404)
    assert fault["Message"] == f"The {twin.noun.lower()} with name {name} cannot be found."


def test_one_that_is_made_again_is_another(twin: Any, new_name: NewName) -> None:
    name = new_name()
    first = twin.create(name)[f"{twin.noun}Id"]
    twin.on(name, "Delete{}")
    assert twin.create(name)[f"{twin.noun}Id"] != first


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"name": "with space"}, "Member must satisfy regular expression pattern"),
        ({"name": "Ümlaut"}, "Member must satisfy regular expression pattern"),
        ({"name": "x" * 129}, "Member must have length less than or equal to"),
        ({"name": "x", "Path": "no-slash"}, "at 'path' failed to satisfy constraint"),
    ],
)
def test_names_follow_their_rules(twin: Any, fault_of: Fault, parameters: dict[str, str], said: str) -> None:
    fault = fault_of(twin.create, **parameters)
    assert code_and_status(fault) == ("ValidationError", 400)
    assert said in fault["Message"]


def test_lists_come_by_name_in_pages(twin: Any, new_name: NewName, fault_of: Fault) -> None:
    path = f"/{new_name()}/"
    for name in ("b", "A", "d", "C", "e"):
        twin.create(f"{twin.noun}-{path[1:-1]}-{name}", Path=path)
    pages = twin.pages("List{}s", PathPrefix=path)
    names = [[entity[f"{twin.noun}Name"][-1] for entity in page[f"{twin.noun}s"]] for page in pages]
    assert names == [["A", "b"], ["C", "d"], ["e"]]
    assert [page["IsTruncated"] for page in pages] == [True, True, False]
    assert "Marker" not in pages[-1]
    assert twin.operation("List{}s")(PathPrefix=path[:-1] + "x/")[f"{twin.noun}s"] == []
    assert code_and_status(fault_of(twin.operation("List{}s"), Marker="!!")) == ("ValidationError", 400)
    assert code_and_status(fault_of(twin.operation("List{}s"), Marker="gICA")) == ("ValidationError", 400)


def test_inline_policies(twin: Any, new_name: NewName, policy: Policy, fault_of: Fault) -> None:
    name = new_name()
    twin.create(name)
    document = policy(Sid="aAzZ09", Condition={"StringLike": {"aws:username": "a b/ü+%"}})
    for policy_name in ("b", "a", "c"):
        twin.on(name, "Put{}Policy", PolicyName=policy_name, PolicyDocument=document)
    twin.on(name, "Put{}Policy", PolicyName="b", PolicyDocument=policy("s3:*"))
    found = twin.on(name, "Get{}Policy", PolicyName="a")
    assert found["PolicyDocument"] == json.loads(document)
    assert (found["PolicyName"], found[f"{twin.noun}Name"]) == ("a", name)
    assert twin.on(name, "Get{}Policy", PolicyName="b")["PolicyDocument"]["Statement"][0]["Action"] == "s3:*"
    pages = twin.pages("List{}Policies", **{f"{twin.noun}Name": name})
    assert [page["PolicyNames"] for page in pages] == [["a", "b"], ["c"]]
    fault = fault_of(twin.on, name=name, call="Delete{}")
    assert code_and_status(fault) == ("DeleteConflict", 409)
    assert fault["Message"] == "Cannot delete entity, must delete policies first."
    twin.on(name, "Delete{}Policy", PolicyName="a")
    for operation in ("Get{}Policy", "Delete{}Policy"):
        fault = fault_of(twin.on, name=name, call=operation, PolicyName="a")
        assert code_and_status(fault) == ("NoSuchEntity", 404)
        assert fault["Message"] == f"The {twin.noun.lower()} policy with name a cannot be found."


def test_a_document_is_answered_percent_encoded(twin: Any, new_name: NewName, policy: Policy) -> None:
    raw: list[str] = []
    twin.iam.meta.events.register(
        "before-parse.iam", lambda response_dict, **_event: raw.append(response_dict["body"].decode())
    )
    name = new_name()
    twin.create(name)
    twin.on(name, "Put{}Policy", PolicyName="p", PolicyDocument=policy())
    twin.on(name, "Get{}Policy", PolicyName="p")
    sent = raw[-1].partition("<PolicyDocument>")[2].partition("</PolicyDocument>")[0]
    assert sent.startswith("%7B%22Version%22%3A%20%222012-10-17%22")
    assert unquote(sent) == policy()


def test_inline_policies_have_a_size_together(twin: Any, new_name: NewName, policy: Policy, fault_of: Fault) -> None:
    name, limit = new_name(), INLINE_CHARACTERS[twin.noun]
    twin.create(name)
    empty = len(policy(Sid="").replace(" ", ""))
    half = policy(Sid="a" * (limit // 2 - empty)).replace(" ", " \n\t ")  # white space does not count
    for policy_name in ("one", "two", "two"):
        twin.on(name, "Put{}Policy", PolicyName=policy_name, PolicyDocument=half)
    fault = fault_of(twin.on, name=name, call="Put{}Policy", PolicyName="three", PolicyDocument=policy())
    assert code_and_status(fault) == ("LimitExceeded", 409)
    assert fault["Message"] == f"Maximum policy size of {limit} bytes exceeded for {twin.noun.lower()} {name}"
    assert twin.on(name, "List{}Policies")["PolicyNames"] == ["one", "two"]


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ("{", "MalformedPolicyDocument"),
        ("[]", "MalformedPolicyDocument"),
        ('{"Version": "2012-10-17"}', "MalformedPolicyDocument"),
        ('{"Version": "2012-10-17", "Statement": [], "Statement": []}', "MalformedPolicyDocument"),
        ("[" * 10_000, "MalformedPolicyDocument"),
        ('{"Version": "2012-10-17", "Statement": "\u2603"}', "ValidationError"),
        (" " * 5000 + '{"Version": "2012-10-17", "Statement": "\u2603"}', "ValidationError"),
        ("x" * 131_073, "ValidationError"),
    ],
)
def test_what_is_no_policy_is_refused(twin: Any, new_name: NewName, fault_of: Fault, document: str, code: str) -> None:
    name = new_name()
    twin.create(name)
    fault = fault_of(twin.on, name=name, call="Put{}Policy", PolicyName="p", PolicyDocument=document)
    assert code_and_status(fault) == (code, 400)
    assert fault["Message"]
    assert twin.on(name, "List{}Policies")["PolicyNames"] == []


def test_attached_policies(twin: Any, new_name: NewName, policy: Policy, account: str, fault_of: Fault) -> None:
    name, path = new_name(), f"/{new_name()}/"
    twin.create(name)
    own = [
        twin.iam.create_policy(PolicyName=new_name(), Path=path, PolicyDocument=policy())["Policy"]["Arn"]
        for _ in range(2)
    ]
    aws = "arn:aws:iam::aws:policy/AdministratorAccess"
    for arn in (*own, aws, aws):
        twin.on(name, "Attach{}Policy", PolicyArn=arn)
    pages = twin.pages("ListAttached{}Policies", **{f"{twin.noun}Name": name})
    listed = [attached for page in pages for attached in page["AttachedPolicies"]]
    assert [len(page["AttachedPolicies"]) for page in pages] == [2, 1]
    assert {attached["PolicyArn"] for attached in listed} == {*own, aws}
    assert listed[0] == {"PolicyName": "AdministratorAccess", "PolicyArn": aws}
    under = twin.on(name, "ListAttached{}Policies", PathPrefix=path)["AttachedPolicies"]
    assert {attached["PolicyArn"] for attached in under} == set(own)
    fault = fault_of(twin.on, name=name, call="Delete{}")
    assert fault["Message"] == "Cannot delete entity, must detach all policies first."
    twin.on(name, "Detach{}Policy", PolicyArn=aws)
    fault = fault_of(twin.on, name=name, call="Detach{}Policy", PolicyArn=aws)
    assert (fault["Code"], fault["Message"]) == ("NoSuchEntity", f"Policy {aws} was not found.")
    for missing in (f"arn:aws:iam::{account}:policy/none", "arn:aws:iam::210987654321:policy/theirs"):
        fault = fault_of(twin.on, name=name, call="Attach{}Policy", PolicyArn=missing)
        assert code_and_status(fault) == ("NoSuchEntity", 404)
        assert fault["Message"] == f"Policy {missing} does not exist or is not attachable."
    for wrong in ("arn:aws:s3:::some-bucket-name", "AdministratorAccess-by-name"):
        fault = fault_of(twin.on, name=name, call="Attach{}Policy", PolicyArn=wrong)
        assert (fault["Code"], fault["Message"]) == ("InvalidInput", f"ARN {wrong} is not valid.")


def test_ten_policies_can_be_attached(twin: Any, new_name: NewName, policy: Policy, fault_of: Fault) -> None:
    name = new_name()
    twin.create(name)
    for number in range(11):
        arn = twin.iam.create_policy(PolicyName=new_name(), PolicyDocument=policy())["Policy"]["Arn"]
        if number < 10:
            twin.on(name, "Attach{}Policy", PolicyArn=arn)
    fault = fault_of(twin.on, name=name, call="Attach{}Policy", PolicyArn=arn)
    assert code_and_status(fault) == ("LimitExceeded", 409)
    assert fault["Message"] == f"Cannot exceed quota for PoliciesPer{twin.noun}: 10"


def test_nothing_is_done_to_who_is_not_there(twin: Any, new_name: NewName, policy: Policy, fault_of: Fault) -> None:
    name = new_name()
    arn = "arn:aws:iam::aws:policy/AdministratorAccess"
    for operation, parameters in (
        ("Put{}Policy", {"PolicyName": "p", "PolicyDocument": policy()}),
        ("Get{}Policy", {"PolicyName": "p"}),
        ("List{}Policies", {}),
        ("Delete{}Policy", {"PolicyName": "p"}),
        ("Attach{}Policy", {"PolicyArn": arn}),
        ("Detach{}Policy", {"PolicyArn": arn}),
        ("ListAttached{}Policies", {}),
        ("Delete{}", {}),
    ):
        fault = fault_of(twin.on, name=name, call=operation, **parameters)
        assert (*code_and_status(fault), fault["Message"]) == (
            "NoSuchEntity",
            404,
            f"The {twin.noun.lower()} with name {name} cannot be found.",
        )


@pytest.mark.parametrize("twin", ["User", "Group"], indirect=True)
def test_a_new_name_and_path(twin: Any, new_name: NewName, account: str, fault_of: Fault) -> None:
    name, other, new = new_name(), new_name(), new_name()
    made = twin.create(name)
    twin.create(other)
    fault = fault_of(twin.on, name=name, call="Update{}", **{f"New{twin.noun}Name": other.lower()})
    assert code_and_status(fault) == ("EntityAlreadyExists", 409)
    twin.on(name, "Update{}", **{f"New{twin.noun}Name": name.upper()}, NewPath="/p/")
    twin.on(name, "Update{}", **{f"New{twin.noun}Name": new})
    found = twin.on(new, "Get{}")[twin.noun]
    assert found["Arn"] == f"arn:aws:iam::{account}:{twin.noun.lower()}/p/{new}"
    assert found[f"{twin.noun}Id"] == made[f"{twin.noun}Id"]
    assert fault_of(twin.on, name=name, call="Get{}")["Code"] == "NoSuchEntity"


@pytest.mark.parametrize("twin", ["User", "Role"], indirect=True)
def test_tags(twin: Any, new_name: NewName, fault_of: Fault) -> None:
    name = new_name()
    assert twin.create(name, Tags=[{"Key": "Dept", "Value": "IT"}])["Tags"] == [{"Key": "Dept", "Value": "IT"}]
    twin.on(
        name, "Tag{}", Tags=[{"Key": "dept", "Value": "HR"}, {"Key": "b", "Value": ""}, {"Key": "Ü 1", "Value": "é"}]
    )
    expected = [{"Key": "b", "Value": ""}, {"Key": "dept", "Value": "HR"}, {"Key": "Ü 1", "Value": "é"}]
    pages = twin.pages("List{}Tags", **{f"{twin.noun}Name": name})
    assert [page["Tags"] for page in pages] == [expected[:2], expected[2:]]
    assert twin.on(name, "Get{}")[twin.noun]["Tags"] == expected
    twin.on(name, "Untag{}", TagKeys=["DEPT", "none"])
    assert twin.on(name, "List{}Tags")["Tags"] == [expected[0], expected[2]]
    for wrong, code in (
        ([{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}], "InvalidInput"),
        ([{"Key": "aws:a", "Value": "1"}], "InvalidInput"),
        ([{"Key": "a*", "Value": "1"}], "ValidationError"),
        ([{"Key": "a", "Value": "<>"}], "ValidationError"),
        ([{"Key": "k" * 129, "Value": "1"}], "ValidationError"),
    ):
        assert fault_of(twin.on, name=name, call="Tag{}", Tags=wrong)["Code"] == code
    many = [{"Key": str(number), "Value": ""} for number in range(49)]
    assert code_and_status(fault_of(twin.on, name=name, call="Tag{}", Tags=many)) == ("LimitExceeded", 409)
    twin.on(name, "Tag{}", Tags=many[:48])


@pytest.mark.parametrize("twin", ["User", "Role"], indirect=True)
def test_long_tag_keys_are_listed_in_pages(twin: Any, new_name: NewName) -> None:
    name = new_name()
    keys = ["語" * 127 + end for end in "abc"]
    twin.create(name, Tags=[{"Key": key, "Value": ""} for key in keys])
    pages = twin.pages("List{}Tags", **{f"{twin.noun}Name": name})
    assert sorted(tag["Key"] for page in pages for tag in page["Tags"]) == keys


@pytest.mark.parametrize("twin", ["User", "Role"], indirect=True)
def test_permissions_boundaries(twin: Any, new_name: NewName, policy: Policy, account: str, fault_of: Fault) -> None:
    name = new_name()
    arn = twin.iam.create_policy(PolicyName=new_name(), PolicyDocument=policy())["Policy"]["Arn"]
    boundary = {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": arn}
    assert twin.create(name, PermissionsBoundary=arn)["PermissionsBoundary"] == boundary
    assert twin.on(name, "Get{}")[twin.noun]["PermissionsBoundary"] == boundary
    assert twin.iam.get_policy(PolicyArn=arn)["Policy"]["PermissionsBoundaryUsageCount"] == 1
    fault = fault_of(twin.iam.delete_policy, PolicyArn=arn)
    assert (*code_and_status(fault), fault["Message"]) == (
        "DeleteConflict",
        409,
        "Cannot delete a policy attached to entities.",
    )
    aws = "arn:aws:iam::aws:policy/ReadOnlyAccess"
    twin.on(name, "Put{}PermissionsBoundary", PermissionsBoundary=aws)
    assert twin.on(name, "Get{}")[twin.noun]["PermissionsBoundary"]["PermissionsBoundaryArn"] == aws
    missing = f"arn:aws:iam::{account}:policy/none"
    fault = fault_of(twin.on, name=name, call="Put{}PermissionsBoundary", PermissionsBoundary=missing)
    assert fault["Message"] == f"Scope ARN: {missing} does not exist or is not attachable."
    assert fault_of(twin.create, name=new_name(), PermissionsBoundary=missing)["Code"] == "NoSuchEntity"
    twin.on(name, "Delete{}PermissionsBoundary")
    assert "PermissionsBoundary" not in twin.on(name, "Get{}")[twin.noun]
    twin.iam.delete_policy(PolicyArn=arn)


@pytest.mark.parametrize("twin", ["User", "Role"], indirect=True)
def test_waiters(twin: Any, new_name: NewName) -> None:
    name = new_name()
    twin.create(name)
    twin.iam.get_waiter(f"{twin.noun.lower()}_exists").wait(
        **{f"{twin.noun}Name": name}, WaiterConfig={"Delay": 1, "MaxAttempts": 1}
    )
