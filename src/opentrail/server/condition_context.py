"""The condition keys of a request, made when a policy first asks for one.

Most calls are decided by statements without conditions, so their keys are made later, by whoever keeps the decision
(``decision_log``), or never.  Rules: keys are lower case; a key that does not apply is absent; what a permission adds
wins over what the call brings.

Source: IAM user guide, "AWS global condition context keys".
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from opentrail.core.http import Headers, HttpRequest, Tls
from opentrail.core.organizations import Membership
from opentrail.core.policy import call_context
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import Permission

Values = Mapping[str, list[str]]
FindMembership = Callable[[str], Membership | None]
RequestKey = Callable[[HttpRequest, datetime], Values]
RequestKeys = Mapping[str, RequestKey]  # a service's own keys, by botocore's name


class Head(NamedTuple):
    """What many calls of one client have in common: from it, the call's time and what it sent follow its keys."""

    source_ip: str
    tls_version: str  # "": no TLS
    region: str
    user_agent: str
    referer: str
    resource_account: str
    organization: tuple[str, str]  # of the resource: its id and the path to it; empty texts: none


Sent = tuple[str, str]  # x-amz-date and x-amz-content-sha256 of a call that is signed in its header


class CallKeys:
    """The keys of one call that all its permissions share; made at most once."""

    __slots__ = ("_made", "_membership", "_region", "_request", "_request_keys", "_session", "_source_arn", "_time")

    def __init__(self, call: ApiCall, request_keys: RequestKeys, membership: FindMembership) -> None:
        self._request = call.request  # not the call: a decision that is kept must not keep a body
        self._time = call.now
        self._region = call.region
        self._session = call.identity.session
        self._source_arn = call.source_arn if call.identity.is_service else None
        self._request_keys = request_keys.get(call.operation.service.name)
        self._membership = membership
        self._made: Values | None = None

    def values(self) -> Values:
        """Every key with its values."""
        made = self._made
        if made is None:
            made = self._made = self._make()
        return made

    def of_resource(self, account_id: str) -> Values:
        """The keys that say whose the resource is."""
        return _resource_keys(account_id, self._organization(account_id))

    def head(self, resource_account: str) -> tuple[Head, Sent] | None:
        """What ``keys_of`` makes the keys from again; None for the calls whose keys follow from more than that."""
        request = self._request
        headers = request.headers
        if self._source_arn is not None or self._session is not None or "authorization" not in headers:
            return None
        head = Head(
            request.source_ip,
            request.tls.version if request.tls else "",
            self._region,
            headers.get("user-agent"),
            headers.get("referer"),
            resource_account,
            self._organization(resource_account),
        )
        return head, (headers.get("x-amz-date"), headers.get("x-amz-content-sha256"))

    def _organization(self, account_id: str) -> tuple[str, str]:
        membership = self._membership(account_id)
        return (membership.organization_id, membership.path) if membership else ("", "")

    def _make(self) -> Values:
        if self._source_arn is not None:
            return service_call_keys(self._source_arn, self._time, self._membership)
        keys = _request_keys(self._request, self._time, self._region, self._request_keys)
        if self._session is not None and self._session.mfa_authenticated:
            age = self._time - self._session.creation_date
            return {**keys, "aws:multifactorauthage": [str(int(age.total_seconds()))]}
        return keys


def keys_of(head: Head, sent: Sent, time: datetime, own: RequestKey | None) -> Values:
    """The keys of a call and its resource, as ``CallKeys`` of the call itself had them."""
    names = ("user-agent", "referer", "x-amz-date", "x-amz-content-sha256", "authorization")
    pairs = zip(names, (head.user_agent, head.referer, *sent, ""), strict=True)
    tls = Tls(version=head.tls_version, cipher_suite="") if head.tls_version else None
    request = HttpRequest(method="", path="/", headers=Headers(pairs), source_ip=head.source_ip, tls=tls)
    return {
        **_request_keys(request, time, head.region, own),
        **_resource_keys(head.resource_account, head.organization),
    }


def _request_keys(request: HttpRequest, time: datetime, region: str, own: RequestKey | None) -> Values:
    keys = call_context(
        now=time,
        source_ip=request.source_ip,
        secure_transport=request.tls is not None,
        region=region,
        user_agent=request.headers.get("user-agent"),
        referer=request.headers.get("referer"),
    )
    return {**keys, **own(request, time)} if own else keys


def _resource_keys(account_id: str, organization: tuple[str, str]) -> Values:
    keys = {"aws:resourceaccount": [account_id]} if account_id else {}
    if organization[0]:
        keys["aws:resourceorgid"] = [organization[0]]
        keys["aws:resourceorgpaths"] = [organization[1]]
    return keys


class RequestContext(Mapping[str, Sequence[str]]):
    """The context of one permission's ``AuthorizationRequest``: the caller's keys, the call's, the permission's own.

    ``get`` may raise what ``Permission.late`` raises.
    """

    __slots__ = ("_call", "_caller", "_keys", "_late", "_permission", "_resource_account")

    def __init__(self, caller: Values, call: CallKeys, permission: Permission, resource_account: str) -> None:
        self._caller = caller
        self._call = call
        self._permission = permission.context
        self._resource_account = resource_account
        self._late = permission.late
        self._keys: dict[str, list[str]] | None = None

    def get(self, key: str, default: Any = None) -> Any:
        """The values of ``key``, or ``default``."""
        keys = self._keys
        if keys is None:
            keys = self._keys = {**self._caller, **self.beside_caller()}
        values = keys.get(key)
        if values is None and self._late is not None:
            values = self._late(key)
            if values is not None:
                keys[key] = values
        return default if values is None else values

    def beside_caller(self) -> Mapping[str, list[str]]:
        """Every key that is not the caller's; of those that cost something, the ones that were asked for."""
        if self._keys is not None:
            return {key: values for key, values in self._keys.items() if self._caller.get(key) is not values}
        return {**self._call.values(), **self._call.of_resource(self._resource_account), **self._permission}

    def unasked(self) -> tuple[Head, Sent, Values] | None:
        """Where no policy asked for any key: what they would be made from, and the permission's own; else None."""
        if self._keys is not None:
            return None
        made_from = self._call.head(self._resource_account)
        return made_from and (*made_from, self._permission)

    def __getitem__(self, key: str) -> Sequence[str]:
        values: Sequence[str] | None = self.get(key)
        if values is None:
            raise KeyError(key)
        return values

    def items(self) -> ItemsView[str, Sequence[str]]:
        """Every key with its values; of those that cost something, the ones that were asked for."""
        return {**self._caller, **self.beside_caller()}.items()

    def __iter__(self) -> Iterator[str]:
        return iter({**self._caller, **self.beside_caller()})

    def __len__(self) -> int:
        return len({**self._caller, **self.beside_caller()})


def service_call_keys(source_arn: str, now: datetime, membership: FindMembership) -> dict[str, list[str]]:
    """The keys of a call that a service makes on behalf of ``source_arn``."""
    parts = source_arn.split(":", 5)
    account = parts[4] if len(parts) > 5 else ""
    keys = call_context(now=now, source_arn=source_arn, source_account=account, secure_transport=True)
    found = membership(account) if account else None
    if found is not None:
        keys["aws:sourceorgid"] = [found.organization_id]
        keys["aws:sourceorgpaths"] = [found.path]
    return keys
