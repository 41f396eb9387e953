"""OpenID Connect identity providers: whose tokens ``sts:AssumeRoleWithWebIdentity`` takes.

Rules: a URL is ``https://``, a host, perhaps a port (which an issuer of one's own often has) and a path, without query
or fragment; a provider is named by its ARN.  Thumbprints that are not given stay empty: nothing is fetched from the
issuer.

Source: IAM API reference; IAM user guide, "Create an OpenID Connect (OIDC) identity provider in IAM".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from opentrail.core.arn import parse_arn
from opentrail.core.errors import FormatError, ServiceFault
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry, Permission
from opentrail.services.iam.account_state import account_permission
from opentrail.services.iam.caller import IamDeps
from opentrail.services.iam.faults import (
    already_exists,
    invalid_input,
    no_such_entity,
    quota_exceeded,
    validation_error,
)
from opentrail.services.iam.permissions import Permissions, request_tags, resource_tags
from opentrail.services.iam.tags import Tags, merge_tags, tag_members, tag_operations
from opentrail.state.identities import Iam
from opentrail.state.oidc_providers import SCHEME, OidcProvider, OidcProviderTable

PROVIDERS_PER_ACCOUNT = 100
CLIENT_IDS_PER_PROVIDER = 100
THUMBPRINTS_PER_PROVIDER = 5

_URL = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~%!$&'()*+,;=:@-]*)*")
_THUMBPRINT = re.compile(r"[0-9A-Fa-f]{40}")
_ARN_MEMBER = "OpenIDConnectProviderArn"
_RESOURCE_TYPE = "oidc-provider"

Edit = Callable[[OidcProvider, ApiCall], OidcProvider]


def create_provider(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """CreateOpenIDConnectProvider."""
    url = call.parameters["Url"]
    if not _URL.fullmatch(url):
        raise validation_error("Invalid Open ID Connect Provider URL")
    provider = OidcProvider(
        account_id=call.account_id,
        url=_issuer(url),
        client_ids=_client_ids(call.parameters.get("ClientIDList") or ()),
        thumbprints=_thumbprints(call.parameters.get("ThumbprintList") or ()),
        tags=merge_tags({}, call.parameters.get("Tags")),
        created=call.now.replace(microsecond=0),
    )
    with deps.identities.changing(call.account_id) as iam:
        table = OidcProviderTable(iam.connection)
        existing = table.list(call.account_id)
        if any(each.url == provider.url for each in existing):
            raise already_exists(f"Provider with url {url} already exists.")
        if len(existing) >= PROVIDERS_PER_ACCOUNT:
            raise quota_exceeded("OpenIdConnectProvidersPerAccount", PROVIDERS_PER_ACCOUNT)
        table.add(provider)
    tags = {"Tags": tag_members(provider.tags)} if provider.tags else {}
    return {_ARN_MEMBER: provider.arn, **tags}


def get_provider(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """GetOpenIDConnectProvider."""
    with deps.identities.reading() as iam:
        provider = _require(call, iam)
    return {
        "Url": provider.url,
        "ClientIDList": list(provider.client_ids),
        "ThumbprintList": list(provider.thumbprints),
        "CreateDate": provider.created,
        "Tags": tag_members(provider.tags),
    }


def list_providers(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """ListOpenIDConnectProviders, by URL."""
    with deps.identities.reading() as iam:
        providers = OidcProviderTable(iam.connection).list(call.account_id)
    return {"OpenIDConnectProviderList": [{"Arn": provider.arn} for provider in providers]}


def delete_provider(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """DeleteOpenIDConnectProvider; one that is not there is gone already."""
    url = _url(call)
    with deps.identities.changing(call.account_id) as iam:
        OidcProviderTable(iam.connection).remove(call.account_id, url)
    return {}


def _changed(edit: Edit) -> Callable[[ApiCall, IamDeps], Mapping[str, Any]]:
    """An operation that replaces a provider by what ``edit`` makes of it."""

    def change(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
        with deps.identities.changing(call.account_id) as iam:
            OidcProviderTable(iam.connection).update(edit(_require(call, iam), call))
        return {}

    return change


def _add_client_id(provider: OidcProvider, call: ApiCall) -> OidcProvider:
    """AddClientIDToOpenIDConnectProvider; one that it has already changes nothing."""
    return replace(provider, client_ids=_client_ids((*provider.client_ids, call.parameters["ClientID"])))


def _remove_client_id(provider: OidcProvider, call: ApiCall) -> OidcProvider:
    """RemoveClientIDFromOpenIDConnectProvider; one that it does not have changes nothing."""
    removed = call.parameters["ClientID"]
    return replace(provider, client_ids=tuple(each for each in provider.client_ids if each != removed))


def _update_thumbprints(provider: OidcProvider, call: ApiCall) -> OidcProvider:
    """UpdateOpenIDConnectProviderThumbprint."""
    return replace(provider, thumbprints=_thumbprints(call.parameters["ThumbprintList"]))


def _issuer(url: str) -> str:
    """An issuer as ARNs name it."""
    return url.removeprefix(SCHEME).rstrip("/")


def _client_ids(given: Sequence[str]) -> tuple[str, ...]:
    distinct = tuple(dict.fromkeys(given))
    if len(distinct) > CLIENT_IDS_PER_PROVIDER:
        raise quota_exceeded("ClientIdsPerOpenIdConnectProvider", CLIENT_IDS_PER_PROVIDER)
    return distinct


def _thumbprints(given: Sequence[str]) -> tuple[str, ...]:
    if len(given) > THUMBPRINTS_PER_PROVIDER:
        raise invalid_input(f"Thumbprint list must contain fewer than {THUMBPRINTS_PER_PROVIDER + 1} entries.")
    for thumbprint in given:
        if not _THUMBPRINT.fullmatch(thumbprint):
            raise invalid_input("ThumbprintList: a thumbprint is 40 hexadecimal digits.")
    return tuple(thumbprint.lower() for thumbprint in given)


def _url(call: ApiCall) -> str:
    """The URL in the ARN that the call names.  Raises ``ServiceFault`` ValidationError, NoSuchEntity."""
    text = call.parameters[_ARN_MEMBER]
    try:
        arn = parse_arn(text)
    except FormatError as error:
        raise validation_error(f"Invalid ARN: {error}") from None
    if arn.service != "iam" or not arn.resource.startswith(f"{_RESOURCE_TYPE}/"):
        raise validation_error(f"Invalid ARN:  Could not be parsed! {text}")
    if arn.account != call.account_id or arn.partition != "aws":  # the ARN that was authorised, and no other form of it
        raise _no_such_provider(text)
    return arn.resource.removeprefix(f"{_RESOURCE_TYPE}/")


def _require(call: ApiCall, iam: Iam) -> OidcProvider:
    provider = OidcProviderTable(iam.connection).find(call.account_id, _url(call))
    if provider is None:
        raise _no_such_provider(call.parameters[_ARN_MEMBER])
    return provider


def _no_such_provider(arn: str) -> ServiceFault:
    return no_such_entity(f"OpenIDConnect Provider not found for arn {arn}")


def _find_tags(call: ApiCall, iam: Iam) -> Tags:
    return _require(call, iam).tags


def _write_tags(call: ApiCall, iam: Iam, tags: Tags) -> None:
    OidcProviderTable(iam.connection).update(replace(_require(call, iam), tags=tags))


def _on_provider(action: str) -> Permissions:
    """``iam:action`` on the provider that the call names."""

    def permissions(call: ApiCall, deps: IamDeps) -> tuple[Permission, ...]:
        arn = call.parameters[_ARN_MEMBER]
        prefix = f"arn:aws:iam::{call.account_id}:{_RESOURCE_TYPE}/"
        with deps.identities.reading() as iam:
            provider = OidcProviderTable(iam.connection).find(call.account_id, arn.removeprefix(prefix))
        context = request_tags(call.parameters) | resource_tags(provider.tags if provider else {})
        return (Permission(action=f"iam:{action}", resource=arn, context=context),)

    return permissions


def _on_new(call: ApiCall, _deps: IamDeps) -> tuple[Permission, ...]:
    resource = f"arn:aws:iam::{call.account_id}:{_RESOURCE_TYPE}/{_issuer(call.parameters['Url'])}"
    context = request_tags(call.parameters)
    create = Permission(action="iam:CreateOpenIDConnectProvider", resource=resource, context=context)
    if not call.parameters.get("Tags"):
        return (create,)
    return (create, Permission(action="iam:TagOpenIDConnectProvider", resource=resource, context=context))


OIDC_PROVIDER_OPERATIONS: Mapping[str, OperationEntry[IamDeps]] = {
    "CreateOpenIDConnectProvider": OperationEntry(handler=create_provider, permissions=_on_new, writes=True),
    "ListOpenIDConnectProviders": OperationEntry(
        handler=list_providers, permissions=account_permission("ListOpenIDConnectProviders"), writes=False
    ),
    **{
        name: OperationEntry(handler=handler, permissions=_on_provider(name), writes=writes)
        for name, handler, writes in (
            ("GetOpenIDConnectProvider", get_provider, False),
            ("DeleteOpenIDConnectProvider", delete_provider, True),
            ("AddClientIDToOpenIDConnectProvider", _changed(_add_client_id), True),
            ("RemoveClientIDFromOpenIDConnectProvider", _changed(_remove_client_id), True),
            ("UpdateOpenIDConnectProviderThumbprint", _changed(_update_thumbprints), True),
        )
    },
    **tag_operations("OpenIDConnectProvider", _find_tags, _write_tags, _on_provider),
}
