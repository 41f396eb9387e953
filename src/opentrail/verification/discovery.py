"""Finding the chains in a source: accounts, organizations and regions by folders, trails by the names of digests.

Rules: folders are listed level by level (``prefix/AWSLogs/[o-.../]ACCOUNT/CloudTrail-Digest/REGION/``); of keys only
those of digests in the asked time are listed, which are a twelfth of a trail's objects, and those of the days beside
it: a trail that has digests there and none within has lost them, or has to say why.  Nothing is read.  The listings of
folders also give what lies beside these (``strays``); what a filter leaves out is not told of there, either.  A folder
that the source refuses is told, and keeps none of the others from being searched.  A prefix that names ``AWSLogs/``,
an organization or an account is not gone above: whoever may list that folder alone can verify it.

A bucket may hold much besides: ``_MOST_FOLDERS`` are looked into for ``AWSLogs/``, those nearest to the top first.
Where there are more it is told, for whoever puts them there could hide a trail behind them.

Memory: of a folder's trails the ``_MOST_NAMES`` with the most digests are counted, and ``MOST_TRAILS`` verified.  An
account has five trails in a region, and others of an organization or of its other regions: whoever plants the digests
of more must not make a chain of each, nor crowd out the trail's own.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from heapq import nlargest
from typing import Final

from opentrail.core.errors import FormatError, StoreError
from opentrail.core.findings import Finding, FindingCode, found
from opentrail.core.layout import (
    DIGEST_FOLDER,
    Folder,
    LogKind,
    TrailFolder,
    digest_prefix,
    log_prefix,
    parse_digest_key,
)
from opentrail.core.unread_folders import UnreadFolders
from opentrail.core.validation import WITNESS_WITHIN
from opentrail.verification.day_folders import list_readable_days
from opentrail.verification.refusals import is_of_one_folder, unread_folder
from opentrail.verification.request import VerifyRequest
from opentrail.verification.source import OnKey, TrailSource, ignore_key
from opentrail.verification.strays import OnStray, Strays, ignore_stray

_AWS_LOGS: Final = "AWSLogs/"
_MOST_FOLDERS: Final = 2000  # looked into for AWSLogs
_NO_NAME: Final = "/"  # a prefix that no trail can have: its keys would begin with the slash
MOST_TRAILS: Final = 200  # of one account and region
_MOST_NAMES: Final = 10_000
_DAY: Final = timedelta(days=1)
_ACCOUNT: Final = re.compile(r"[0-9]{12}/", re.ASCII)
_ORGANIZATION: Final = re.compile(r"o-[a-z0-9]{10,32}/", re.ASCII)
_OF_ACCOUNT: Final = re.compile(r"aws-account-id=[0-9]{12}/", re.ASCII)  # of VPC's flow logs, for Hive
_OF_LAKE: Final = "CloudTrail-Lake/"
_REGION: Final = re.compile(r"[a-z0-9-]+/", re.ASCII)
_BELOW: Final = re.compile(
    r"(?P<prefix>(?:.*/)?)AWSLogs/(?P<organization>o-[a-z0-9]{10,32}/)?"
    r"(?:(?P<account>[0-9]{12}/)(?:CloudTrail[A-Za-z-]*/(?:(?P<region>[a-z0-9-]+)/.*)?)?)?",
    re.ASCII | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundChain:
    """The digests of ``trail``: ``digests`` of them lie in the asked time."""

    trail: TrailFolder
    digests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What was found, each in byte order of folders.

    ``undigested`` are folders of log files without any digest, ``crowded`` those with more trails than are verified;
    ``folders`` are all those whose log files are nobody's but the chains'.  What lies ``unread`` was not found.
    """

    chains: tuple[FoundChain, ...] = ()
    undigested: tuple[Folder, ...] = ()
    crowded: tuple[Folder, ...] = ()
    folders: tuple[Folder, ...] = ()
    unread: UnreadFolders = field(default_factory=UnreadFolders)

    def findings(self, request: VerifyRequest) -> Iterator[Finding]:
        """What speaks against the source before a digest is read."""
        request = narrow(request)
        folders = [*(chain.trail.folder for chain in self.chains), *self.undigested]
        here = {folder.account_id for folder in folders} | {folder.region for folder in folders}
        is_searched = folders and not self.unread
        for text in sorted((request.account_ids | request.regions) - here) if is_searched else ():
            yield found(FindingCode.NO_DIGESTS, text, "was asked for, and no digest of it was found")
        yield from self._homeless(request) if is_searched else ()
        for folder in self.undigested:
            yield found(FindingCode.NO_DIGESTS, digest_prefix(folder), "log files lie here, and no digest")
        for folder in self.crowded:
            message = f"digests of more than {MOST_TRAILS} trails lie here: those of the others were not read"
            yield found(FindingCode.TRAILS_TOO_MANY, digest_prefix(folder), message)

    def _homeless(self, request: VerifyRequest) -> Iterator[Finding]:
        """Trails of which digests lie in other regions, and none in their home region, where each delivers, too."""
        here = {chain.trail for chain in self.chains}
        for home, trail in {_at_home(chain.trail): chain.trail for chain in self.chains}.items():
            if home not in here and request.expects(home):
                message = f"no digest of the trail {home.trail_name} lies in its home region {home.home_region}"
                details = {"trail": home.trail_name, "named_by": trail.folder.region}
                yield found(FindingCode.HOME_REGION_ABSENT, digest_prefix(home.folder), message, **details)


@dataclass(frozen=True, slots=True)
class _Account:
    """The folders of one account, and what lies beside them."""

    folders: list[Folder] = field(default_factory=list)
    strays: Strays = field(default_factory=Strays)


def find_chains(source: TrailSource, request: VerifyRequest, on_stray: OnStray = ignore_stray) -> Discovery:
    """Every chain in ``source`` that ``request`` wants.

    ``on_stray`` is told at once of what lies beside them, and which folders cannot be listed.  Raises ``StoreError``.
    """
    search = _Search(source, request, on_stray)
    request = narrow(request)
    chains: list[FoundChain] = []
    undigested: list[Folder] = []
    crowded: list[Folder] = []
    folders: list[Folder] = []
    for account in search.accounts():
        wanted: list[Folder] = []
        for folder in account.folders:
            of_folder, is_crowded = search.chains_in(folder)
            chains += of_folder
            if is_crowded:
                crowded.append(folder)
            if of_folder or not request.trail_name:
                wanted.append(folder)
            if not of_folder and not request.trail_name and search.is_undigested(folder):
                undigested.append(folder)
        folders += wanted
        if not request.regions and (wanted or not request.trail_name):
            for finding in account.strays.findings(source):
                on_stray(finding)
    return Discovery(
        chains=tuple(chains),
        undigested=tuple(undigested),
        crowded=tuple(crowded),
        folders=tuple(folders),
        unread=search.unread,
    )


def find_folders(source: TrailSource, request: VerifyRequest) -> Iterator[Folder]:
    """Every folder of one account and region that holds digests or log files, and that ``request`` wants."""
    for account in _Search(source, request, ignore_stray).accounts():
        yield from account.folders


def narrow(request: VerifyRequest) -> VerifyRequest:
    """``request`` with a prefix that ends above ``AWSLogs/``: what it says below is a filter for account and region."""
    named = _Named.of(request.prefix)
    if named is None:
        return request
    accounts = frozenset({named.account[:-1]}) if named.account else request.account_ids
    regions = frozenset({named.region}) if named.region else request.regions
    return replace(request, prefix=named.prefix, account_ids=accounts, regions=regions)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """What a prefix names that ends in an ``AWSLogs/`` or below; all but ``region`` with their last slash, or ""."""

    prefix: str  # what lies above
    organization: str
    account: str
    region: str

    @classmethod
    def of(cls, prefix: str) -> _Named | None:
        """What ``prefix`` names; None when it ends above."""
        match = _BELOW.fullmatch(prefix)
        return cls(**match.groupdict("")) if match else None

    @property
    def folder(self) -> str:
        """The folder that it names, down to that of an account."""
        return f"{self.prefix}{_AWS_LOGS}{self.organization}{self.account}"


class _Search:
    """What ``source`` holds that ``request`` wants; ``tell`` hears of each folder that cannot be listed."""

    def __init__(self, source: TrailSource, request: VerifyRequest, tell: OnStray) -> None:
        self.unread = UnreadFolders()
        self._source = source
        self._request = narrow(request)
        self._named = _Named.of(request.prefix)
        self._top = self._named.folder if self._named else request.prefix
        self._tell = tell

    def accounts(self) -> Iterator[_Account]:
        """Every account; what lies beside the accounts comes with one that has no folders.

        Raises ``StoreError`` when not even the folder that all lie in can be listed.
        """
        named = self._named
        for prefix in (named.prefix,) if named else self._trail_prefixes():
            if prefix == _NO_NAME:
                message = "lies in a folder without a name, where no trail delivers: nothing in it was verified"
                self._add_unread(found(FindingCode.FOLDERS_NOT_SEARCHED, prefix + _AWS_LOGS, message))
            elif named and named.account:
                yield self._look_at_account(prefix, named.organization, named.account)
            else:
                yield from self._accounts_below(prefix, named.organization if named else "")

    def chains_in(self, folder: Folder) -> tuple[list[FoundChain], bool]:
        """The wanted chains in ``folder``, and whether there are more than ``MOST_TRAILS``."""
        request = self._request
        counts: dict[TrailFolder, int] = {}
        in_time: dict[TrailFolder, int] = {}
        unread: list[Finding] = []
        is_crowded = False
        start = request.start - _DAY if request.start else None
        end = request.end + WITNESS_WITHIN if request.end else None
        for text in list_readable_days(self._source, digest_prefix(folder), start, end):
            if not isinstance(text, str):
                unread.append(text)
                continue
            with suppress(FormatError):  # the chain's validation reports it
                key = parse_digest_key(text)
                if key.trail.folder == folder and request.wants(key.trail):
                    counts[key.trail] = counts.get(key.trail, 0) + 1
                    in_time[key.trail] = in_time.get(key.trail, 0) + _is_in_time(key.end_time, request)
                    if len(counts) > _MOST_NAMES:
                        is_crowded = True
                        _forget_rarest(counts, in_time)
        if len(counts) > MOST_TRAILS:
            is_crowded = True
            counts = dict.fromkeys(nlargest(MOST_TRAILS, counts, key=counts.__getitem__), 0)
        first = f"{digest_prefix(folder)}{request.start.astimezone(UTC):%Y/%m/%d}" if request.start else ""
        for refusal in unread:
            if not counts or refusal.key < first:  # the walks over chains tell of the others
                self._add_unread(refusal)
        return [FoundChain(trail=trail, digests=in_time[trail]) for trail in counts], is_crowded

    def is_undigested(self, folder: Folder) -> bool:
        """Whether log files lie in ``folder``, of which it is known that it has no digests."""
        if self.unread.lie_below(digest_prefix(folder)):
            return False
        for kind in LogKind:
            prefix = log_prefix(folder, kind)
            for listed in list_readable_days(self._source, prefix, self._request.start, self._request.end):
                if isinstance(listed, str):
                    return True
                self._add_unread(listed)
        return False

    def _accounts_below(self, prefix: str, only: str) -> Iterator[_Account]:
        """The accounts in the ``AWSLogs/`` of ``prefix``; of the organization ``only``, unless that is ""."""
        request, logs, beside = self._request, prefix + _AWS_LOGS, Strays()
        entries = [] if only else self._names(logs, beside.add_among_services)
        for organization in (only,) if only else ("", *filter(_ORGANIZATION.fullmatch, entries)):
            below = self._names(logs + organization, beside.add_among_services) if organization else entries
            for name in below:
                if _ACCOUNT.fullmatch(name):
                    if not request.account_ids or name[:-1] in request.account_ids:
                        yield self._look_at_account(prefix, organization, name)
                elif not _OF_ACCOUNT.fullmatch(name) and (organization or not _ORGANIZATION.fullmatch(name)):
                    beside.add_folder(logs + organization + name)
        if not (request.account_ids or request.trail_name):
            yield _Account(strays=beside)

    def _look_at_account(self, prefix: str, organization: str, account: str) -> _Account:
        found_account = _Account()
        for region in self._regions(f"{prefix}{_AWS_LOGS}{organization}{account}", found_account.strays):
            if not self._request.regions or region in self._request.regions:
                folder = Folder(
                    prefix=prefix[:-1], organization_id=organization[:-1], account_id=account[:-1], region=region
                )
                found_account.folders.append(folder)
        return found_account

    def _trail_prefixes(self) -> Iterator[str]:
        """Every prefix below which an ``AWSLogs/`` lies, level by level."""
        waiting = deque((self._top,))
        for _ in range(_MOST_FOLDERS):
            if not waiting:
                return
            prefix = waiting.popleft()
            folders = self._folders(prefix)
            if prefix + _AWS_LOGS in folders:
                yield prefix
            waiting.extend(folder for folder in folders if folder != prefix + _AWS_LOGS)
        if waiting:
            message = f"this folder and others were not searched for AWSLogs/, after {_MOST_FOLDERS:,} that were"
            self._add_unread(found(FindingCode.FOLDERS_NOT_SEARCHED, waiting[0], message))

    def _regions(self, account: str, strays: Strays) -> list[str]:
        regions: set[str] = set()
        own = [f"{kind}/" for kind in (DIGEST_FOLDER, *LogKind)]
        for folder in self._names(account, strays.add_among_services):
            if folder in own:
                for name in self._names(account + folder, strays.add_key):
                    if _REGION.fullmatch(name):
                        regions.add(name[:-1])
                    else:
                        strays.add_folder(account + folder + name)
            elif folder.lower().startswith("cloudtrail") and folder != _OF_LAKE:
                strays.add_folder(account + folder)
        return sorted(regions)

    def _names(self, prefix: str, beside: OnKey) -> list[str]:
        return [folder.removeprefix(prefix) for folder in self._folders(prefix, beside)]

    def _folders(self, prefix: str, beside: OnKey = ignore_key) -> list[str]:
        """The folders in ``prefix``; none where the source refuses it, unless all lie in it."""
        try:
            return self._source.list_folders(prefix, beside=beside)
        except StoreError as error:
            if prefix == self._top or not is_of_one_folder(error):
                raise
            self._add_unread(unread_folder(prefix, error))
            return []

    def _add_unread(self, refusal: Finding) -> None:
        """Tell of the folder, unless one above it was told of."""
        if not self.unread.hold(refusal.key):
            self.unread.add(refusal.key)
            self._tell(refusal)


def _forget_rarest(counts: dict[TrailFolder, int], in_time: dict[TrailFolder, int]) -> None:
    """Count one less of each, and forget who has none left: whoever has many of all stays.

    J. Misra, D. Gries: Finding repeated elements (1982).
    """
    for trail in list(counts):
        counts[trail] -= 1
        if not counts[trail]:
            del counts[trail], in_time[trail]


def _at_home(trail: TrailFolder) -> TrailFolder:
    """The digests of the same trail and account in the trail's home region."""
    return replace(trail, folder=replace(trail.folder, region=trail.home_region))


def _is_in_time(moment: datetime, request: VerifyRequest) -> bool:
    return (request.start is None or request.start <= moment) and (request.end is None or moment <= request.end)
