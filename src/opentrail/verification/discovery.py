"""Finding the chains in a source: accounts, organizations and regions by folders, trails by the names of digests.

Rules: folders are listed level by level (``prefix/AWSLogs/[o-.../]ACCOUNT/CloudTrail-Digest/REGION/``); of keys only
those of digests in the asked time are listed, which are a twelfth of a trail's objects, and those of the days beside
it: a trail that has digests there and none within has lost them, or has to say why.  Nothing is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from opentrail.core.errors import FormatError
from opentrail.core.layout import Folder, LogKind, TrailFolder, digest_prefix, log_prefix, parse_digest_key
from opentrail.core.validation import WITNESS_WITHIN
from opentrail.verification.request import VerifyRequest
from opentrail.verification.source import TrailSource

_AWS_LOGS: Final = "AWSLogs/"
_MOST_FOLDERS: Final = 2000  # looked into for AWSLogs: a bucket may hold much besides
_DAY: Final = timedelta(days=1)
_DEEPEST: Final = 6  # components of a trail's prefix
_ACCOUNT: Final = re.compile(r"[0-9]{12}/", re.ASCII)
_ORGANIZATION: Final = re.compile(r"o-[a-z0-9]{10,32}/", re.ASCII)
_REGION: Final = re.compile(r"[a-z0-9-]+/", re.ASCII)
_BELOW: Final = re.compile(
    r"(?P<prefix>(?:.*/)?)AWSLogs/(?:(?P<organization>o-[a-z0-9]{10,32})/)?"
    r"(?:(?P<account>[0-9]{12})/(?:CloudTrail[A-Za-z-]*/(?:(?P<region>[a-z0-9-]+)/.*)?)?)?",
    re.ASCII | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundChain:
    """The digests of ``trail``: ``digests`` of them lie in the asked time."""

    trail: TrailFolder
    digests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What was found: the chains, in byte order of their folders, and folders of log files without any digest."""

    chains: tuple[FoundChain, ...]
    undigested: tuple[Folder, ...]


def find_chains(source: TrailSource, request: VerifyRequest) -> Discovery:
    """Every chain in ``source`` that ``request`` wants.  Raises ``StoreError``."""
    request = narrow(request)
    chains: list[FoundChain] = []
    undigested: list[Folder] = []
    for folder in find_folders(source, request):
        found = _chains_in(source, folder, request)
        chains += [chain for chain in found if request.wants(chain.trail)]
        if not found and not request.trail_name and _has_log_files(source, folder, request):
            undigested.append(folder)
    return Discovery(chains=tuple(chains), undigested=tuple(undigested))


def narrow(request: VerifyRequest) -> VerifyRequest:
    """``request`` with a prefix that ends above ``AWSLogs/``: what it says below is a filter for account and region."""
    match = _BELOW.fullmatch(request.prefix)
    if match is None:
        return request
    accounts = frozenset({match["account"]}) if match["account"] else request.account_ids
    regions = frozenset({match["region"]}) if match["region"] else request.regions
    return replace(request, prefix=match["prefix"], account_ids=accounts, regions=regions)


def list_days(source: TrailSource, prefix: str, start: datetime | None, end: datetime | None) -> Iterator[str]:
    """The keys under ``prefix``, which holds folders YYYY/MM/DD, of the days from ``start`` to ``end``."""
    after = f"{prefix}{start.astimezone(UTC):%Y/%m/%d}" if start else ""
    before = f"{prefix}{end.astimezone(UTC) + timedelta(days=1):%Y/%m/%d}" if end else None
    for key in source.list_keys(prefix, start_after=after):
        if before is not None and key >= before:
            return
        yield key


def find_folders(source: TrailSource, request: VerifyRequest) -> Iterator[Folder]:
    """Every folder of one account and region that holds digests or log files, and that ``request`` wants."""
    request = narrow(request)
    for prefix in _trail_prefixes(source, request.prefix):
        logs = prefix + _AWS_LOGS
        entries = _names(source, logs)
        for organization in ("", *filter(_ORGANIZATION.fullmatch, entries)):
            below = _names(source, logs + organization) if organization else entries
            for account in filter(_ACCOUNT.fullmatch, below):
                if request.account_ids and account[:-1] not in request.account_ids:
                    continue
                for region in _regions(source, f"{logs}{organization}{account}"):
                    if not request.regions or region in request.regions:
                        yield Folder(
                            prefix=prefix[:-1],
                            organization_id=organization[:-1],
                            account_id=account[:-1],
                            region=region,
                        )


def _trail_prefixes(source: TrailSource, above: str) -> Iterator[str]:
    """Every prefix below which an ``AWSLogs/`` lies, level by level."""
    level = [above]
    looked_at = 0
    for _ in range(_DEEPEST + 1):
        deeper: list[str] = []
        for prefix in level:
            looked_at += 1
            if looked_at > _MOST_FOLDERS:
                return
            folders = source.list_folders(prefix)
            if prefix + _AWS_LOGS in folders:
                yield prefix
            deeper += [folder for folder in folders if folder != prefix + _AWS_LOGS]
        level = deeper


def _regions(source: TrailSource, account: str) -> list[str]:
    folders = ("CloudTrail-Digest/", *(f"{kind}/" for kind in LogKind))
    present = set(_names(source, account))
    found = {name for folder in folders if folder in present for name in _names(source, account + folder)}
    return sorted(name[:-1] for name in found if _REGION.fullmatch(name))


def _names(source: TrailSource, prefix: str) -> list[str]:
    return [folder.removeprefix(prefix) for folder in source.list_folders(prefix)]


def _chains_in(source: TrailSource, folder: Folder, request: VerifyRequest) -> list[FoundChain]:
    counts: dict[TrailFolder, int] = {}
    start = request.start - _DAY if request.start else None
    end = request.end + WITNESS_WITHIN if request.end else None
    for text in list_days(source, digest_prefix(folder), start, end):
        with suppress(FormatError):  # the chain's validation reports it
            key = parse_digest_key(text)
            if key.trail.folder == folder:
                counts[key.trail] = counts.get(key.trail, 0) + _is_in_time(key.end_time, request)
    return [FoundChain(trail=trail, digests=count) for trail, count in counts.items()]


def _is_in_time(moment: datetime, request: VerifyRequest) -> bool:
    return (request.start is None or request.start <= moment) and (request.end is None or moment <= request.end)


def _has_log_files(source: TrailSource, folder: Folder, request: VerifyRequest) -> bool:
    return any(
        next(list_days(source, log_prefix(folder, kind), request.start, request.end), None) is not None
        for kind in LogKind
    )
