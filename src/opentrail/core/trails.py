"""Trails: what a trail is, how it is named, and which settings CloudTrail refuses.

The functions here know one trail at a time and nothing of what exists: quotas, duplicates and home regions are the
service's.  Errors are ``ServiceFault`` with the codes of the CloudTrail API reference, always status 400.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from opentrail.core.errors import ServiceFault
from opentrail.core.selectors import (
    DEFAULT_SELECTORS,
    AdvancedEventSelector,
    DataResource,
    EventSelector,
    FieldSelector,
    ReadWriteType,
)

MAX_PREFIX_CHARACTERS = 200
MAX_TAGS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """The settings of one trail.  Optional text is ``""`` where it is not set.

    A trail with neither kind of selector records all management events; ``recursive_logging`` False leaves out the
    calls that CloudTrail itself makes to deliver to the trail's own bucket.  With an ``organization_id`` it records the
    events of every account of that organization, of which ``account_id`` is the management account.
    """

    account_id: str
    home_region: str
    name: str
    bucket: str
    prefix: str = ""
    sns_topic_arn: str = ""
    include_global_service_events: bool = True
    is_multi_region: bool = False
    organization_id: str = ""
    log_file_validation_enabled: bool = False
    cloud_watch_logs_log_group_arn: str = ""
    cloud_watch_logs_role_arn: str = ""
    kms_key_id: str = ""
    recursive_logging: bool = True
    event_selectors: tuple[EventSelector, ...] = ()
    advanced_event_selectors: tuple[AdvancedEventSelector, ...] = ()
    is_logging: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        """``arn:aws:cloudtrail:us-east-2:123456789012:trail/name``."""
        return trail_arn(self.home_region, self.account_id, self.name)

    @property
    def is_organization(self) -> bool:
        """Whether it is an organization trail."""
        return bool(self.organization_id)

    @property
    def has_custom_event_selectors(self) -> bool:
        """Whether it records anything else than every management event."""
        return bool(self.advanced_event_selectors) or self.event_selectors not in {(), DEFAULT_SELECTORS}

    def exists_in(self, region: str) -> bool:
        """Whether the trail is seen in ``region``: its home, or any region for a multi-region trail (as a shadow)."""
        return self.is_multi_region or self.home_region == region


def format_trail(trail: Trail) -> str:
    """The trail as JSON text, to be kept; ``parse_trail`` is the inverse."""
    return json.dumps(asdict(trail), separators=(",", ":"), sort_keys=True)


def parse_trail(text: str) -> Trail:
    """The trail that ``format_trail`` wrote, now or in an older version: what it did not know has its default."""
    document = json.loads(text)
    document["event_selectors"] = tuple(_load_event_selector(each) for each in document["event_selectors"])
    document["advanced_event_selectors"] = tuple(
        AdvancedEventSelector(
            name=each["name"],
            field_selectors=tuple(FieldSelector(**_with_tuples(field)) for field in each["field_selectors"]),
        )
        for each in document["advanced_event_selectors"]
    )
    return Trail(**document)


def _load_event_selector(document: Mapping[str, Any]) -> EventSelector:
    return EventSelector(
        read_write_type=ReadWriteType(document["read_write_type"]),
        include_management_events=document["include_management_events"],
        data_resources=tuple(DataResource(**_with_tuples(each)) for each in document["data_resources"]),
        exclude_management_event_sources=tuple(document["exclude_management_event_sources"]),
    )


def _with_tuples(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}


class TrailArn(NamedTuple):
    """The parts of a trail's ARN."""

    region: str
    account_id: str
    name: str


def trail_arn(region: str, account_id: str, name: str) -> str:
    """The ARN of the trail ``name`` whose home is ``region``."""
    return f"arn:aws:cloudtrail:{region}:{account_id}:trail/{name}"


_TRAIL_ARN = re.compile(r"arn:aws[a-z-]*:cloudtrail:([a-z0-9-]+):(\d{12}):trail/(.+)")


def parse_trail_arn(text: str) -> TrailArn:
    """The parts of a trail ARN.

    Raises ``ServiceFault`` CloudTrailARNInvalidException, or InvalidTrailNameException for the name in it.
    """
    match = _TRAIL_ARN.fullmatch(text)
    if match is None:
        raise ServiceFault(
            "CloudTrailARNInvalidException",
            f"{text} is not a trail ARN. Its format is arn:aws:cloudtrail:us-east-2:123456789012:trail/MyTrail.",
        )
    region, account_id, name = match.groups()
    check_trail_name(name)
    return TrailArn(region=region, account_id=account_id, name=name)


_Rule = tuple[Callable[[str], object], str]  # what must hold, and what to say ({length}) where it does not

_TRAIL_NAME_RULES: Sequence[_Rule] = (  # in AWS's order and, where its sentence is known, AWS's words
    (
        lambda name: len(name) >= 3,
        "Trail name too short. Minimum allowed length: 3 characters. Specified name length: {length} characters.",
    ),
    (
        lambda name: len(name) <= 128,
        "Trail name too long. Maximum allowed length: 128 characters. Specified name length: {length} characters.",
    ),
    (lambda name: _is_letter_or_digit(name[0]), "Trail name must starts with a letter or number."),
    (lambda name: _is_letter_or_digit(name[-1]), "Trail name must ends with a letter or number."),
    (
        re.compile(r"[A-Za-z0-9._-]+").fullmatch,
        (
            "Trail name or ARN can only contain uppercase letters, lowercase letters, numbers, periods (.),"
            " hyphens (-), and underscores (_)."
        ),
    ),
    (
        lambda name: re.search(r"[._-]{2}", name) is None,
        "Trail name cannot have adjacent periods (.), hyphens (-), or underscores (_).",
    ),
    (lambda name: not _is_ip_address(name), "Trail name cannot be formatted as an IP address."),
)

_BUCKET_NAME_RULES: Sequence[_Rule] = (
    (
        lambda name: 3 <= len(name) <= 63,
        "Bucket name must be between 3 and 63 characters long; it has {length}.",
    ),
    (
        re.compile(r"[a-z0-9.-]+").fullmatch,
        "Bucket name can only contain lowercase letters, numbers, periods (.), and hyphens (-).",
    ),
    (
        lambda name: _is_letter_or_digit(name[0]) and _is_letter_or_digit(name[-1]),
        "Bucket name must start and end with a letter or number.",
    ),
    (lambda name: ".." not in name, "Bucket name cannot have adjacent periods."),
    (lambda name: not _is_ip_address(name), "Bucket name cannot be formatted as an IP address."),
)


def check_trail_name(name: str) -> None:
    """Refuse a name that no trail can have.

    Raises ``ServiceFault`` InvalidTrailNameException.
    """
    _check_rules(name, _TRAIL_NAME_RULES, "InvalidTrailNameException")


def check_bucket_name(name: str) -> None:
    """Refuse a bucket name that breaks S3's naming rules.

    Raises ``ServiceFault`` InvalidS3BucketNameException.
    """
    _check_rules(name, _BUCKET_NAME_RULES, "InvalidS3BucketNameException")


def _check_rules(name: str, rules: Sequence[_Rule], code: str) -> None:
    for holds, message in rules:
        if not holds(name):
            raise ServiceFault(code, message.format(length=len(name)))


def _is_letter_or_digit(character: str) -> bool:
    return character.isascii() and character.isalnum()


def _is_ip_address(name: str) -> bool:
    return re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}", name) is not None


def check_prefix(prefix: str) -> None:
    """Refuse a key prefix that CloudTrail refuses: over 200 characters, with control characters, or with ``AWSLogs/``.

    That name would let an account deliver into the folder of another (user guide, "Setting bucket policy for multiple
    accounts").

    Raises ``ServiceFault`` InvalidS3PrefixException.
    """
    if len(prefix) > MAX_PREFIX_CHARACTERS:
        raise ServiceFault(
            "InvalidS3PrefixException",
            f"S3 prefix is longer than maximum length: {MAX_PREFIX_CHARACTERS}. It has {len(prefix)} characters.",
        )
    if not prefix.isprintable():
        raise ServiceFault("InvalidS3PrefixException", "S3 prefix contains control characters.")
    if "AWSLogs/" in f"{prefix}/":
        raise ServiceFault("InvalidS3PrefixException", "S3 prefix cannot contain AWSLogs/.")


def check_global_events(*, is_multi_region: bool, include_global_service_events: bool) -> None:
    """Refuse a multi-region trail without the events of global services.

    Raises ``ServiceFault`` InvalidParameterCombinationException.
    """
    if is_multi_region and not include_global_service_events:
        raise ServiceFault(
            "InvalidParameterCombinationException", "Multi-Region trail must include global service events."
        )


_TAG_TEXT = re.compile(r"[\w\s.:/=+\-@]*")


def check_tags(tags: list[tuple[str, str]], existing: Mapping[str, str]) -> dict[str, str]:
    """``existing`` tags with ``tags`` written over them.

    Raises ``ServiceFault`` InvalidTagParameterException or TagsLimitExceededException.
    """
    added = dict(tags)
    if len(added) != len(tags):
        raise ServiceFault("InvalidTagParameterException", "TagsList cannot contain a tag key twice.")
    for key, value in tags:
        if key.lower().startswith("aws:"):
            raise ServiceFault("InvalidTagParameterException", f"Tag key {key} cannot start with aws:.")
        for text in (key, value):
            if _TAG_TEXT.fullmatch(text) is None:
                raise ServiceFault("InvalidTagParameterException", f"Tag {key} contains characters that are not valid.")
    merged = {**existing, **added}
    if len(merged) > MAX_TAGS:
        raise ServiceFault("TagsLimitExceededException", f"A trail can have up to {MAX_TAGS} tags.")
    return merged
