"""What CloudTrail's operations are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from opentrail.core.errors import ServiceFault
from opentrail.core.public_keys import PublicKey
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import Permission
from opentrail.state.channels import AcceptedEvents, Channels
from opentrail.state.deliveries import Deliveries
from opentrail.state.organizations import Organizations
from opentrail.state.trails import Trails


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudTrailDeps:
    """What CloudTrail needs.

    ``check_bucket(bucket, folders, trail_arn)`` raises the ``ServiceFault`` of a bucket that will not take the trail's
    files, whose keys begin with one of ``folders``; ``public_keys(region, start, end)`` gives every key valid at some
    moment of that range; ``authorise(call, permission)`` says what the caller would be refused with, or None;
    ``accepted`` knows what last came in through a channel; ``unique_id_of(name)`` finds the unique id of a user or role
    by its ARN, ``arn_of(id)`` the ARN by the unique id, each None where there is none.
    """

    trails: Trails
    deliveries: Deliveries
    organizations: Organizations
    check_bucket: Callable[[str, Sequence[str], str], None]
    public_keys: Callable[[str, datetime, datetime], Sequence[PublicKey]]
    authorise: Callable[[ApiCall, Permission], ServiceFault | None]
    channels: Channels
    accepted: AcceptedEvents
    unique_id_of: Callable[[str], str | None]
    arn_of: Callable[[str], str | None]
