"""A call that touches two accounts: who receives its record, and what each of them is shown.

Rules (CloudTrail user guide, "sharedEventID example" and "CloudTrail userIdentity element"; Amazon S3 user guide,
"Object-level actions in cross-account scenarios"):

* The caller's account always receives the event; the account that owns the resource receives a copy of it.
* Both carry one ``sharedEventID``; each has its own ``eventID`` and ``recipientAccountId``.
* The owner is told which account called and its principal's id (type AWSAccount), not its name, key or session.
* A call that was refused reaches the owner of a bucket, but not the owner of a role: who may not assume it does not
  show up there.
* A call by a service of AWS is the resource's owner's, and is shared with the account on whose behalf it is made.

The journal keeps such a call as one entry, with the caller's record; ``shared_copy`` makes the others of it.  So either
all of them are durable or none, and all its ids follow from the call's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

from opentrail.core.values import dataclass
from opentrail.core.wire.calls import ApiCall

_REFUSALS_SHOWN = frozenset({"s3"})  # services (botocore's names) whose refusals the resource's owner sees


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """The account that receives an event, and the account that owns the resource it touches.

    ``shared_with`` are the other accounts that receive copies.
    """

    account_id: str
    resource_account: str = ""
    shared_with: tuple[str, ...] = ()


def choose_recipient(call: ApiCall, owner: str, others: tuple[str, ...] = (), *, refused: bool) -> Recipient:
    """Who receives the event of ``call``, whose resource is ``owner``'s and which needed things of ``others``.

    ``owner`` is empty where nobody's resource was found.  ``refused``: the call ended with an error.
    """
    identity = call.identity
    caller = "" if identity.is_anonymous else identity.account_id
    if identity.is_service and call.source_arn.count(":") >= 4:
        others = (*others, call.source_arn.split(":")[4])
    account_id = caller or owner
    if not others and owner in {"", account_id}:
        return Recipient(account_id=account_id, resource_account=owner)
    if refused and call.operation.service.name not in _REFUSALS_SHOWN:
        return Recipient(account_id=account_id, resource_account=owner)
    wanted = dict.fromkeys((owner, *others))
    shared_with = tuple(each for each in wanted if each not in {"", account_id})
    return Recipient(account_id=account_id, resource_account=owner, shared_with=shared_with)


def shared_event_id(event_id: str) -> str:
    """The ``sharedEventID`` of the call whose ``eventID`` is given: a UUID that does not tell the other."""
    return str(uuid5(UUID(event_id), "sharedEventID"))


def copy_event_id(shared_id: str, account_id: str) -> str:
    """The ``eventID`` of the copy for ``account_id`` of the call with this ``sharedEventID``."""
    return str(uuid5(UUID(shared_id), account_id))


def shared_copy(record: Mapping[str, Any], account_id: str) -> dict[str, Any]:
    """The copy for ``account_id`` of a record that has a ``sharedEventID``; always the same for the same two."""
    copy = dict(record)
    copy["userIdentity"] = _seen_from_outside(record["userIdentity"])
    copy["eventID"] = copy_event_id(record["sharedEventID"], account_id)
    copy["recipientAccountId"] = account_id
    return copy


def _seen_from_outside(identity: Mapping[str, Any]) -> dict[str, Any]:
    """A ``userIdentity`` as another account is shown it; a service is the same for everybody."""
    if identity["type"] == "AWSService":
        return dict(identity)
    shown = {name: identity[name] for name in ("principalId", "accountId", "invokedBy") if name in identity}
    return {"type": "AWSAccount", **shown}
