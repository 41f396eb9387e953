"""OpenID Connect providers as boto3 sees them."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

THUMBPRINT = "9E99A48A9960B14926BB7F3B02E22DA2B0AB7280"


def code_of(operation: Any, **parameters: Any) -> tuple[str, int]:
    """The error's code and HTTP status of a call that must fail."""
    with pytest.raises(ClientError) as caught:
        operation(**parameters)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_a_provider_comes_and_goes(local: Any) -> None:
    iam = local.client("iam")
    account = local.client("sts").get_caller_identity()["Account"]
    made = iam.create_open_id_connect_provider(
        Url="https://idp.example.com/realms/main/",
        ClientIDList=["web", "cli", "web"],
        ThumbprintList=[THUMBPRINT],
        Tags=[{"Key": "Team", "Value": "a"}],
    )
    arn = made["OpenIDConnectProviderArn"]
    assert arn == f"arn:aws:iam::{account}:oidc-provider/idp.example.com/realms/main"
    assert made["Tags"] == [{"Key": "Team", "Value": "a"}]
    found = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    assert found["Url"] == "idp.example.com/realms/main"
    assert found["ClientIDList"] == ["web", "cli"]
    assert found["ThumbprintList"] == [THUMBPRINT.lower()]
    assert iam.list_open_id_connect_providers()["OpenIDConnectProviderList"] == [{"Arn": arn}]
    assert code_of(iam.create_open_id_connect_provider, Url="https://idp.example.com/realms/main") == (
        "EntityAlreadyExists",
        409,
    )
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)  # is gone already
    assert iam.list_open_id_connect_providers()["OpenIDConnectProviderList"] == []
    assert code_of(iam.get_open_id_connect_provider, OpenIDConnectProviderArn=arn) == ("NoSuchEntity", 404)


def test_client_ids_thumbprints_and_tags_change(local: Any) -> None:
    iam = local.client("iam")
    arn = iam.create_open_id_connect_provider(Url="https://idp.example.com:8443")["OpenIDConnectProviderArn"]
    named = {"OpenIDConnectProviderArn": arn}
    for client_id in ("web", "cli", "web"):
        iam.add_client_id_to_open_id_connect_provider(**named, ClientID=client_id)
    assert iam.get_open_id_connect_provider(**named)["ClientIDList"] == ["web", "cli"]
    for client_id in ("web", "nobody"):
        iam.remove_client_id_from_open_id_connect_provider(**named, ClientID=client_id)
    assert iam.get_open_id_connect_provider(**named)["ClientIDList"] == ["cli"]
    iam.update_open_id_connect_provider_thumbprint(**named, ThumbprintList=[THUMBPRINT, "0" * 40])
    assert iam.get_open_id_connect_provider(**named)["ThumbprintList"] == [THUMBPRINT.lower(), "0" * 40]
    iam.tag_open_id_connect_provider(**named, Tags=[{"Key": "A", "Value": "1"}, {"Key": "B", "Value": "2"}])
    iam.tag_open_id_connect_provider(**named, Tags=[{"Key": "a", "Value": "3"}])
    iam.untag_open_id_connect_provider(**named, TagKeys=["b"])
    assert iam.list_open_id_connect_provider_tags(**named)["Tags"] == [{"Key": "a", "Value": "3"}]


@pytest.mark.parametrize(
    "url",
    [
        "http://idp.example.com",
        "idp.example.com",
        "https://",
        "https://idp.example.com?x=1",
        "https://idp.example.com/a#b",
        "https://user@idp.example.com",
        "https://idp.example.com/ä",
        "https://idp.example.com/a b",
    ],
)
def test_what_can_be_no_issuer_is_refused(local: Any, url: str) -> None:
    assert code_of(local.client("iam").create_open_id_connect_provider, Url=url) == ("ValidationError", 400)


def test_limits_and_malformed_input(local: Any) -> None:
    iam = local.client("iam")
    create = iam.create_open_id_connect_provider
    url = "https://idp.example.com"
    assert code_of(create, Url=url, ThumbprintList=["0" * 40] * 6) == ("InvalidInput", 400)
    assert code_of(create, Url=url, ThumbprintList=["x" * 40]) == ("InvalidInput", 400)
    assert code_of(create, Url=url, ClientIDList=[str(number) for number in range(101)]) == ("LimitExceeded", 409)
    twice = [{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "1"}]
    assert code_of(create, Url=url, Tags=twice) == ("InvalidInput", 400)
    for arn in ("arn:aws:iam::123456789012:user/alice", "not-an-arn-but-long-enough"):
        assert code_of(iam.get_open_id_connect_provider, OpenIDConnectProviderArn=arn) == ("ValidationError", 400)
    foreign = "arn:aws:iam::999999999999:oidc-provider/idp.example.com"
    for operation in (iam.get_open_id_connect_provider, iam.delete_open_id_connect_provider):
        assert code_of(operation, OpenIDConnectProviderArn=foreign) == ("NoSuchEntity", 404)


def test_a_user_may_do_what_its_policy_says_of_the_provider(local: Any) -> None:
    iam = local.client("iam")
    arns = [
        iam.create_open_id_connect_provider(Url=f"https://{name}.example.com", Tags=[{"Key": "Team", "Value": name}])[
            "OpenIDConnectProviderArn"
        ]
        for name in ("a", "b")
    ]
    own = {"StringEquals": {"aws:ResourceTag/Team": "a"}}
    key = local.new_user(
        "alice", {"Effect": "Allow", "Action": "iam:GetOpenIDConnectProvider", "Resource": "*", "Condition": own}
    )
    alice = local.client("iam", key)
    assert alice.get_open_id_connect_provider(OpenIDConnectProviderArn=arns[0])["Url"] == "a.example.com"
    assert code_of(alice.get_open_id_connect_provider, OpenIDConnectProviderArn=arns[1]) == ("AccessDenied", 403)
    assert code_of(alice.delete_open_id_connect_provider, OpenIDConnectProviderArn=arns[0]) == ("AccessDenied", 403)


def test_no_other_form_of_its_arn_gets_around_a_deny(local: Any) -> None:
    iam = local.client("iam")
    arn = iam.create_open_id_connect_provider(Url="https://idp.example.com", ClientIDList=["web"])[
        "OpenIDConnectProviderArn"
    ]
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    alice = local.client("iam", local.new_user("alice", everything, {**everything, "Effect": "Deny", "Resource": arn}))
    for form in (arn.replace("arn:aws:", "arn:aws-cn:"), arn.replace("arn:aws:", "arn:aws-us-gov:")):
        change = {"OpenIDConnectProviderArn": form, "ClientID": "evil"}
        assert code_of(alice.add_client_id_to_open_id_connect_provider, **change) == ("NoSuchEntity", 404)
        assert code_of(alice.delete_open_id_connect_provider, OpenIDConnectProviderArn=form) == ("NoSuchEntity", 404)
    assert iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)["ClientIDList"] == ["web"]
