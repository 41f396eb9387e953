"""Amazon Resource Names, and the wildcards that policies match them with.

    arn:partition:service:region:account:resource

Rules: ``resource`` is everything after the fifth colon, colons included; region and account may be empty (S3, IAM); a
parser raises ``FormatError`` and nothing else.  In a wildcard ``*`` stands for any characters, also none and also
colons and slashes, ``?`` for exactly one; matching is compiled once and runs in time linear in the text for patterns
with one star, and never exponential; a long pattern costs a long text little more than a short one does.

Source: IAM user guide, "Identify AWS resources with Amazon Resource Names (ARNs)".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from opentrail.core.errors import FormatError

PARTITIONS = ("aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f", "aws-eusc")

_MAX_LENGTH = 2048
_LONG_CHARACTERS = 256  # of a pattern that a regular expression would compare anew at every place of a long text
_ACCOUNT = re.compile(r"[0-9]{12}|aws|\*|")
_NAME = re.compile(r"[a-z0-9-]+")
_REGION = re.compile(r"[a-z0-9-]*")
_REGION_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arn:
    """One ARN: ``str()`` gives the text back."""

    partition: str
    service: str
    region: str = ""
    account: str = ""
    resource: str

    def __str__(self) -> str:
        return f"arn:{self.partition}:{self.service}:{self.region}:{self.account}:{self.resource}"

    @property
    def resource_type(self) -> str:
        """What stands before the first slash or colon of the resource (``user``, ``trail``), or ""."""
        match = re.match(r"([^/:]*)[/:]", self.resource)
        return match[1] if match else ""

    @property
    def resource_id(self) -> str:
        """What stands after it, or the whole resource where it has no type."""
        match = re.match(r"[^/:]*[/:](.*)", self.resource, re.DOTALL)
        return match[1] if match else self.resource


def is_region(text: str) -> bool:
    """Whether ``text`` can be a region's name: it becomes a part of object keys, folders and names of hosts."""
    return _REGION_NAME.fullmatch(text) is not None


def parse_arn(text: str) -> Arn:
    """Parse an ARN.  Raises ``FormatError``."""
    parts = text.split(":", 5)
    if len(parts) != 6 or parts[0] != "arn" or len(text) > _MAX_LENGTH:
        raise FormatError("an ARN has the form arn:partition:service:region:account:resource")
    _, partition, service, region, account, resource = parts
    if partition not in PARTITIONS:
        raise FormatError("the ARN's partition is not one of " + ", ".join(PARTITIONS))
    if not _NAME.fullmatch(service):
        raise FormatError("the ARN's service is not a service name in lower case")
    if not _REGION.fullmatch(region):
        raise FormatError("the ARN's region is not a region name")
    if not _ACCOUNT.fullmatch(account):
        raise FormatError("the ARN's account is not 12 digits")
    if not resource:
        raise FormatError("the ARN has no resource")
    return Arn(partition=partition, service=service, region=region, account=account, resource=resource)


def partition_of(region: str) -> str:
    """The partition that a region belongs to, by its name."""
    for prefix, partition in (
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-isob-", "aws-iso-b"),
        ("us-isof-", "aws-iso-f"),
        ("us-iso-", "aws-iso"),
        ("eu-isoe-", "aws-iso-e"),
        ("eusc-", "aws-eusc"),
    ):
        if region.startswith(prefix):
            return partition
    return "aws"


def bucket_arn(bucket: str, *, partition: str = "aws") -> Arn:
    """``arn:aws:s3:::bucket``."""
    return Arn(partition=partition, service="s3", resource=bucket)


def object_arn(bucket: str, key: str, *, partition: str = "aws") -> Arn:
    """``arn:aws:s3:::bucket/key``."""
    return Arn(partition=partition, service="s3", resource=f"{bucket}/{key}")


def assumed_role_arn(account: str, role: str, session: str, *, partition: str = "aws") -> Arn:
    """``arn:aws:sts::account:assumed-role/role/session``."""
    return Arn(partition=partition, service="sts", account=account, resource=f"assumed-role/{role}/{session}")


def trail_arn(region: str, account: str, name: str) -> Arn:
    """``arn:aws:cloudtrail:region:account:trail/name``, in the region's partition."""
    partition = partition_of(region)
    return Arn(partition=partition, service="cloudtrail", region=region, account=account, resource=f"trail/{name}")


Matcher = Callable[[str], bool]


def compile_wildcard(pattern: str, *, ignore_case: bool = False) -> Matcher:
    """A function that says whether a whole text matches ``pattern``."""
    return compile_tokens(wildcard_tokens(pattern), ignore_case=ignore_case)


ANY_RUN = "*"
ANY_ONE = "?"
Token = tuple[str, str]  # (ANY_RUN | ANY_ONE | "", literal text)


def wildcard_tokens(pattern: str) -> list[Token]:
    """``pattern`` as wildcards and literal pieces."""
    return [
        (piece, "") if piece in {ANY_RUN, ANY_ONE} else ("", piece) for piece in re.split(r"([*?])", pattern) if piece
    ]


def compile_tokens(tokens: list[Token], *, ignore_case: bool = False) -> Matcher:
    """A function that says whether a whole text matches ``tokens``; literals may hold ``*`` and ``?`` themselves."""
    fold = str.lower if ignore_case else str
    if all(not kind for kind, _ in tokens):
        literal = fold("".join(text for _, text in tokens))
        return (lambda text: text.lower() == literal) if ignore_case else literal.__eq__
    if tokens == [(ANY_RUN, "")]:
        return lambda _: True
    if tokens[-1][0] == ANY_RUN and all(not kind for kind, _ in tokens[:-1]):
        prefix = fold("".join(text for _, text in tokens[:-1]))
        return lambda text: fold(text).startswith(prefix)
    if not ignore_case and (ANY_RUN, "") in tokens and sum(len(text) or 1 for _, text in tokens) > _LONG_CHARACTERS:
        return _long_matcher(tokens)
    flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
    return _possessive_matcher(tokens, flags)


def _possessive_matcher(tokens: list[Token], flags: int) -> Matcher:
    """A regular expression that cannot backtrack from one star into an earlier one.

    The shortest run that lets the piece after a star match is always enough, so each ``star piece`` is atomic.
    """
    pieces: list[str] = [""]
    for kind, text in tokens:
        if kind == ANY_RUN:
            pieces.append("")
        else:
            pieces[-1] += "." if kind == ANY_ONE else re.escape(text)
    if len(pieces) == 1:
        expression = pieces[0]
    else:
        middle = "".join(f"(?>.*?{piece})" for piece in pieces[1:-1] if piece)
        expression = f"{pieces[0]}{middle}.*{pieces[-1]}"
    matches = re.compile(expression, flags).fullmatch
    return lambda text: matches(text) is not None


class _Piece:
    """What stands between two stars: characters, some of which may be any."""

    __slots__ = ("_any", "_literals", "_masks", "length")

    def __init__(self, tokens: list[Token]) -> None:
        self._literals: list[tuple[int, str]] = []  # with where they begin
        self._any = 0  # bits: where any character may stand
        self.length = 0
        for kind, text in tokens:
            if kind:
                self._any |= 1 << self.length
            else:
                self._literals.append((self.length, text))
            self.length += len(text) or 1
        self._masks: dict[str, int] = {}  # for each character, the places where it may stand
        for begin, text in self._literals if self._any else ():
            for place, character in enumerate(text, begin):
                self._masks[character] = self._masks.get(character, self._any) | 1 << place

    def is_at(self, text: str, start: int) -> bool:
        """Whether the piece stands in ``text`` at ``start``, where there is room for it."""
        return all(text.startswith(literal, start + begin) for begin, literal in self._literals)

    def find(self, text: str, start: int) -> int:
        """Where in ``text`` the first one from ``start`` on ends; -1: there is none."""
        if not self._any:
            literal = self._literals[0][1]
            found = text.find(literal, start)
            return found if found < 0 else found + self.length
        last, state = 1 << (self.length - 1), 0
        for place in range(start, len(text)):  # "shift-and": a bit for each beginning of the piece that ends here
            state = (state << 1 | 1) & self._masks.get(text[place], self._any)
            if state & last:
                return place + 1
        return -1


def _long_matcher(tokens: list[Token]) -> Matcher:
    """What ``_possessive_matcher`` does, without comparing a long piece anew at every place of the text.

    Source: Baeza-Yates and Gonnet, "A new approach to text searching" (1992).
    """
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token[0] == ANY_RUN:
            parts.append([])
        elif token[0] or token[1]:
            parts[-1].append(token)
    first, *middle, last = [_Piece(_joined(part)) for part in parts]
    between = [piece for piece in middle if piece.length]
    shortest = first.length + last.length

    def matches(text: str) -> bool:
        if len(text) < shortest or not first.is_at(text, 0):
            return False
        position = first.length
        for piece in between:
            position = piece.find(text, position)
            if position < 0:
                return False
        end = len(text) - last.length
        return end >= position and last.is_at(text, end)

    return matches


def _joined(tokens: list[Token]) -> list[Token]:
    """The same with neighbouring literals in one piece."""
    joined: list[Token] = []
    for kind, text in tokens:
        if not kind and joined and not joined[-1][0]:
            joined[-1] = ("", joined[-1][1] + text)
        else:
            joined.append((kind, text))
    return joined
