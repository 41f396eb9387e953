"""Object keys of log files and digest files, both directions.

Rules: keys are spelled exactly as CloudTrail spells them (``log-files-and-digests.md``, "Log file" and "Digest file";
CloudTrail user guide, "Finding your CloudTrail log files" and "CloudTrail digest file structure"); the folders must
agree with the name; ``parse_x(format_x(key)) == key`` for every time from 1970 to 9998, and no other is a key's; a
parser raises ``FormatError`` or nothing else.

Within one trail's folder, byte order is time order: of digests by ``digestEndTime``, of log files by minute of delivery
and then, because ``unique_part`` grows, by order of delivery.  Readers that list with StartAfter depend on it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Final

from opentrail.core.errors import FormatError

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # in ASCII order
_HALF: Final = 8  # characters of a unique part that order it; as many again make it unguessable
_SPAN: Final = len(_DIGITS) ** _HALF  # 2.2e14: a million files a second for seven years

_YEARS: Final = range(1970, 9999)  # of a delivery; a month more or less is a date, too

_FOLDER: Final = (
    r"(?:(?P<prefix>.+)/)?AWSLogs/(?:(?P<organization>o-[a-z0-9]{10,32})/)?(?P<account>[0-9]{12})/"
    r"(?P<kind>CloudTrail(?:-[A-Za-z]+)?)/(?P<region>[a-z0-9-]+)/(?P<day>[0-9]{4}/[0-9]{2}/[0-9]{2})/"
    r"(?P=account)_(?P=kind)_(?P=region)_"
)
_LOG_KEY: Final = re.compile(
    _FOLDER + r"(?P<time>[0-9]{8}T[0-9]{4})Z_(?P<unique>[A-Za-z0-9]{16})\.json\.gz", re.ASCII | re.DOTALL
)
_DIGEST_KEY: Final = re.compile(
    _FOLDER + r"(?P<trail>[A-Za-z0-9._-]{3,128})_(?P<home>[a-z0-9-]+)_(?P<time>[0-9]{8}T[0-9]{6})Z"
    r"(?P<backfill>_backfill)?\.json\.gz",
    re.ASCII | re.DOTALL,
)
DIGEST_FOLDER: Final = "CloudTrail-Digest"


class LogKind(StrEnum):
    """The folder, and part of the name, that log files of one kind of events have."""

    EVENTS = "CloudTrail"  # management and data events
    INSIGHT = "CloudTrail-Insight"
    NETWORK_ACTIVITY = "CloudTrail-NetworkActivity"
    AGGREGATED = "CloudTrail-Aggregated"


_LOG_KINDS: Final = {kind.value: kind for kind in LogKind}


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """Where in a bucket the files of one account and region lie.

    ``prefix`` is the trail's S3KeyPrefix; ``organization_id`` (``o-...``) is set for an organization trail alone.
    """

    prefix: str = ""
    organization_id: str = ""
    account_id: str
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailFolder:
    """Whose digests: those of one trail (its name and home region) for one account and region."""

    folder: Folder
    trail_name: str
    home_region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogKey:
    """A log file's key.  ``delivered_at`` is aware, UTC; the key holds its minute."""

    folder: Folder
    kind: LogKind = LogKind.EVENTS
    delivered_at: datetime
    unique: str  # 16 characters of [A-Za-z0-9], see unique_part


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestKey:
    """A digest file's key.  ``end_time`` (aware, UTC, whole seconds) is its ``digestEndTime``."""

    trail: TrailFolder
    end_time: datetime
    backfill: bool = False


def unique_part(sequence: int, randomness: bytes) -> str:
    """The 16 characters that end a log file's name: ``sequence`` in ASCII order, then ``randomness`` (8 bytes).

    A greater ``sequence`` (0 to 62**8 - 1) gives a greater text, so two sequences never collide; the random half keeps
    names unguessable and apart where two writers count alike.
    """
    assert 0 <= sequence < _SPAN
    assert len(randomness) == 8
    return _base62(sequence) + _base62(int.from_bytes(randomness) % _SPAN)


def format_log_key(key: LogKey) -> str:
    """``[prefix/]AWSLogs/[o-.../]ACCOUNT/CloudTrail/REGION/YYYY/MM/DD/ACCOUNT_CloudTrail_REGION_..._UNIQUE.json.gz``."""
    moment = key.delivered_at.astimezone(UTC)
    start = f"{key.folder.account_id}_{key.kind}_{key.folder.region}"
    text = f"{log_day_prefix(key.folder, key.kind, moment)}{start}_{_compact(moment)[:13]}Z_{key.unique}.json.gz"
    assert _LOG_KEY.fullmatch(text), text
    return text


def parse_log_key(text: str) -> LogKey:
    """Read a log file's key.  Raises ``FormatError`` when ``text`` is not one."""
    match = _LOG_KEY.fullmatch(text)
    kind = _LOG_KINDS.get(match["kind"]) if match else None
    if match is None or kind is None:
        raise FormatError(f"not the key of a log file: {text!r}")
    return LogKey(
        folder=_folder(match),
        kind=kind,
        delivered_at=_moment(match, match["time"] + "00"),
        unique=match["unique"],
    )


class LogKeyPattern:
    """Recognises the log files of one ``folder``, at a third of what ``parse_log_key`` takes."""

    def __init__(self, folder: Folder) -> None:
        account, region = folder.account_id, re.escape(folder.region)
        self._start = _account_prefix(folder)
        self._rest = re.compile(
            rf"(?P<kind>CloudTrail(?:-[A-Za-z]+)?)/{region}/(?P<y>[0-9]{{4}})/(?P<m>[0-9]{{2}})/(?P<d>[0-9]{{2}})/"
            rf"{account}_(?P=kind)_{region}_(?P<time>(?P=y)(?P=m)(?P=d)T[0-9]{{4}})Z_[A-Za-z0-9]{{16}}\.json\.gz",
            re.ASCII,
        )

    def kind_of(self, text: str) -> LogKind | None:
        """The kind of the log file whose key ``text`` is; None when it is no key that ``parse_log_key`` reads so."""
        match = self._rest.fullmatch(text, len(self._start)) if text.startswith(self._start) else None
        if match is None or not _is_minute(match["time"]):
            return None
        return _LOG_KINDS.get(match["kind"])


def format_digest_key(key: DigestKey) -> str:
    """``[prefix/]AWSLogs/[o-.../]ACCOUNT/CloudTrail-Digest/REGION/YYYY/MM/DD/..._TRAIL_HOME_YYYYMMDDTHHMMSSZ.json.gz``."""
    trail, folder = key.trail, key.trail.folder
    moment = key.end_time.astimezone(UTC)
    start = f"{folder.account_id}_{DIGEST_FOLDER}_{folder.region}_{trail.trail_name}_{trail.home_region}"
    ending = "_backfill.json.gz" if key.backfill else ".json.gz"
    text = f"{digest_day_prefix(folder, moment)}{start}_{_compact(moment)}Z{ending}"
    assert _DIGEST_KEY.fullmatch(text), text
    return text


def parse_digest_key(text: str) -> DigestKey:
    """Read a digest file's key.  Raises ``FormatError`` when ``text`` is not one.

    A trail's name may hold underscores, a region's cannot: the home region is what stands before the time.
    """
    match = _DIGEST_KEY.fullmatch(text)
    if match is None or match["kind"] != DIGEST_FOLDER:
        raise FormatError(f"not the key of a digest file: {text!r}")
    trail = TrailFolder(folder=_folder(match), trail_name=match["trail"], home_region=match["home"])
    return DigestKey(trail=trail, end_time=_moment(match, match["time"]), backfill=match["backfill"] is not None)


class OtherDigestPattern:
    """Tells quickly that a key is of a digest of another trail that lies in the folder of ``trail``."""

    def __init__(self, trail: TrailFolder) -> None:
        folder, own = trail.folder, f"{trail.trail_name}_{trail.home_region}"
        name = f"{folder.account_id}_{DIGEST_FOLDER}_{folder.region}_"
        self._pattern = re.compile(
            re.escape(digest_prefix(folder)) + r"(20[0-9]{2})/(0[1-9]|1[0-2])/(0[1-9]|1[0-9]|2[0-8])/"
            rf"{re.escape(name)}(?!{re.escape(own)}_[0-9]{{8}}T)[A-Za-z0-9._-]{{3,128}}_[a-z0-9-]+_"
            r"\1\2\3T(?:[01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]Z(?:_backfill)?\.json\.gz",
            re.ASCII,
        )

    def is_sure(self, text: str) -> bool:
        """Whether ``text`` is one for sure; of a few dates and years nothing is said: ``parse_digest_key`` tells."""
        return self._pattern.fullmatch(text) is not None


def account_prefix(*, prefix: str, organization_id: str, account_id: str) -> str:
    """``[prefix/]AWSLogs/[o-.../]ACCOUNT/``: what every key of a trail's files for one account begins with."""
    start = f"{prefix}/" if prefix else ""
    organization = f"{organization_id}/" if organization_id else ""
    return f"{start}AWSLogs/{organization}{account_id}/"


def log_prefix(folder: Folder, kind: LogKind = LogKind.EVENTS) -> str:
    """The prefix of every log file of ``kind`` in ``folder``, with its last slash."""
    return f"{_account_prefix(folder)}{kind}/{folder.region}/"


def log_day_prefix(folder: Folder, kind: LogKind, day: date) -> str:
    """The prefix of the log files of one day (UTC)."""
    return f"{log_prefix(folder, kind)}{_day(day)}/"


def digest_prefix(folder: Folder) -> str:
    """The prefix of every digest file in ``folder``, those of other trails included, with its last slash."""
    return f"{_account_prefix(folder)}{DIGEST_FOLDER}/{folder.region}/"


def digest_day_prefix(folder: Folder, day: date) -> str:
    """The prefix of the digest files of one day (UTC), those of other trails included."""
    return f"{digest_prefix(folder)}{_day(day)}/"


def _account_prefix(folder: Folder) -> str:
    return account_prefix(prefix=folder.prefix, organization_id=folder.organization_id, account_id=folder.account_id)


def _folder(match: re.Match[str]) -> Folder:
    return Folder(
        prefix=match["prefix"] or "",
        organization_id=match["organization"] or "",
        account_id=match["account"],
        region=match["region"],
    )


def _day(day: date) -> str:
    return f"{day.year:04}/{day.month:02}/{day.day:02}"


def _compact(moment: datetime) -> str:
    assert moment.year in _YEARS, moment
    return f"{moment.year:04}{moment.month:02}{moment.day:02}T{moment.hour:02}{moment.minute:02}{moment.second:02}"


def _moment(match: re.Match[str], time: str) -> datetime:
    if time[:8] != match["day"].replace("/", ""):
        raise FormatError(f"the name's day is not its folder's: {match[0]!r}")
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        raise FormatError(f"no such time: {match[0]!r}") from None
    if moment.year not in _YEARS:
        raise FormatError(f"no time of a delivery: {match[0]!r}")
    return moment.replace(tzinfo=UTC)


def _is_minute(text: str) -> bool:
    """Whether ``text`` (YYYYMMDDTHHMM) is a minute in which a log file may have been delivered."""
    try:
        return datetime.fromisoformat(text).year in _YEARS
    except ValueError:
        return False


def _base62(number: int) -> str:
    digits = []
    for _ in range(_HALF):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
