"""What every service of the endpoint is: a table of operations.

A service is data: for each operation a handler (a function of the call and the service's own dependencies), the
actions and resources that a caller must be allowed, and whether it changes something.  Parsing, authentication,
authorisation and recording happen once, outside (``server.calls``), so no service can forget them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, Generic, TypeVar

from opentrail.core.errors import ServiceFault
from opentrail.core.identity import ANONYMOUS, Identity
from opentrail.core.policy import PolicyType
from opentrail.core.values import dataclass
from opentrail.core.wire.calls import ApiCall

Deps = TypeVar("Deps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """An action on a resource that the caller needs (``s3:PutObject`` on ``arn:aws:s3:::b/k``).

    ``resource_account`` owns the resource; ``resource_policy`` is the resource's own policy document as JSON text,
    where it has one, of the type ``resource_policy_type``; ``resource_must_allow``: that policy is the only way in (a
    role's trust policy).  ``context`` adds condition keys (``{"s3:prefix": ["a/"]}``), lower-case names; ``late`` gives
    the values of one that costs something to find (None: not one of those), and is asked when a policy asks.
    ``any_resource``, ``any_action``: nobody knows which of the service's it is, so that a Deny of any denies it.
    """

    action: str
    resource: str
    resource_account: str = ""  # "": the caller's own
    resource_policy: str | None = None
    resource_policy_type: PolicyType = PolicyType.BUCKET
    resource_must_allow: bool = False
    context: Mapping[str, list[str]] = field(default_factory=dict)
    late: Callable[[str], list[str] | None] | None = None
    any_resource: bool = False
    any_action: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """Who an unsigned call is from, by the token that it bears; ``fault`` says that the token proves nobody.

    ``owner`` is the account that the call turns to, as far as it is known.
    """

    identity: Identity = ANONYMOUS
    owner: str = ""
    fault: ServiceFault | None = None


OnResult = Callable[[Mapping[str, Any] | None, Exception | None], None]  # (result, None) or (None, error)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationEntry(Generic[Deps]):
    """How one operation is carried out and what it needs.

    ``permissions`` returns what must be allowed, in order (an empty tuple: any authenticated caller may); it may raise
    ``ServiceFault`` where AWS answers before it authorises (NoSuchBucket).  ``blocking`` operations touch a disk or a
    network and run on a thread; the others must return at once.  ``writes`` marks those that change something: they
    leave an intent in the journal first.  ``anonymous`` lets an unsigned call reach authorisation.
    ``permissions_block``: ``permissions`` asks a database, so it runs on a thread as well.  ``owner`` tells the account
    whose resource the call is about, where no permission says it.  ``bearer`` says who an unsigned call is from, by a
    token among its parameters, which are checked by then; it runs on a thread.

    ``begin`` is another form of a blocking ``handler`` that gives its thread back while it waits: it returns at once,
    and its third argument hears the result or what went wrong, exactly once, from any thread.  What it raises comes
    before that.
    """

    handler: Callable[[ApiCall, Deps], Mapping[str, Any]]
    permissions: Callable[[ApiCall, Deps], tuple[Permission, ...]]
    writes: bool
    blocking: bool = True
    anonymous: bool = False
    permissions_block: bool = False
    owner: Callable[[ApiCall, Deps], str] | None = None
    bearer: Callable[[ApiCall, Deps], Bearer] | None = None
    begin: Callable[[ApiCall, Deps, OnResult], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Generic[Deps]):
    """One service: ``name`` is botocore's (``s3``); ``operations`` maps operation names to their entries."""

    name: str
    operations: Mapping[str, OperationEntry[Deps]]
    deps: Deps
