"""The tamper matrix, digests: flipped, edited, signed by others, deleted, moved, put in each other's place."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from opentrail.core.digests import Digest, PreviousDigest, SignedDigest, decode_digest, sign_digest
from opentrail.core.findings import FindingCode
from opentrail.core.gzip_member import encode_member
from opentrail.core.layout import format_digest_key, parse_digest_key
from opentrail.testing.tampering import FOLDER_OF_DIGESTS, NoPlaceError, Tampering, Touched, flip, matrix

_MOST_OLDEST: Final = 3  # that are deleted


def _edit(data: bytes) -> bytes:
    """Strike the first log file from a digest's list, or, where there is none, add a space."""
    members = json.loads(gzip.decompress(data))
    if not members["logFiles"]:
        return gzip.compress(gzip.decompress(data) + b" ")
    del members["logFiles"][0]
    return gzip.compress(json.dumps(members).encode())


def _damaged(t: Touched, code: FindingCode) -> str:
    """A digest that is to be accused of ``code``; what it names cannot be proven any more."""
    digest = t.digest()
    t.expect(code, digest)
    t.lose(digest)
    return digest


def _resealed(t: Touched, code: FindingCode) -> str:
    """A digest whose metadata alone are to be changed: where another follows, its content is proven all the same."""
    digest = t.digest()
    t.expect(code, digest)
    if digest not in t.followed():
        t.lose(digest)
    return digest


def _full(t: Touched) -> list[str]:
    """The digests that name a log file and are followed by another."""
    return [key for key in t.followed() if t.trail.files[key]]


def _digest_flipped(t: Touched) -> None:
    t.change(_damaged(t, FindingCode.DIGEST_MALFORMED), lambda data: flip(t.random, data))


def _digest_cut(t: Touched) -> None:
    t.change(_damaged(t, FindingCode.DIGEST_MALFORMED), lambda data: data[: t.random.randrange(len(data))])


def _digest_with_a_member_appended(t: Touched) -> None:
    digest = _damaged(t, FindingCode.DIGEST_TRAILING_DATA)
    t.change(digest, lambda data: data + encode_member([b"{}"])[0])
    t.judge_misses.add(digest)  # the weakness 1, but in a digest, where the newest judge has it too


def _digest_no_longer_json(t: Touched) -> None:
    t.change(_damaged(t, FindingCode.DIGEST_MALFORMED), lambda _: gzip.compress(b"{"))


def _digest_edited(t: Touched) -> None:
    t.change(_damaged(t, FindingCode.DIGEST_SIGNATURE_INVALID), _edit)


def _first_digest_edited(t: Touched) -> None:
    digest = t.digest(among=t.trail.digests[:1])
    t.change(digest, _edit)
    t.expect(FindingCode.DIGEST_SIGNATURE_INVALID, digest)


def _newest_digest_edited(t: Touched) -> None:
    digest = t.digest(among=t.trail.digests[-1:])
    t.change(digest, _edit)
    t.expect(FindingCode.DIGEST_SIGNATURE_INVALID, digest)


def _last_digest_before_the_stop_edited(t: Touched) -> None:
    digest = t.digest(among=[t.trail.digests[t.trail.restart - 1]])
    t.change(digest, _edit)
    t.expect(FindingCode.DIGEST_SIGNATURE_INVALID, digest)
    t.lose(digest)


def _two_digests_edited_in_a_row(t: Touched) -> None:
    for digest in _row(t, 2):
        t.change(digest, lambda data: gzip.compress(gzip.decompress(data) + b" "))
        t.expect(FindingCode.DIGEST_SIGNATURE_INVALID, digest)
        t.lose(digest)


def _every_digest_edited(t: Touched) -> None:
    for digest in t.take_all((*t.trail.digests, *t.trail.backfills)):
        t.change(digest, lambda data: gzip.compress(gzip.decompress(data) + b" "))
        t.expect(FindingCode.DIGEST_SIGNATURE_INVALID, digest)
        t.lose(digest)


def _digest_edited_and_the_chain_hashed_anew(t: Touched) -> None:
    """Whoever edits a digest and mends every hash behind it lacks the key: every one of them is accused."""
    digests, restart = t.trail.digests, t.trail.restart
    at = t.random.choice([at for at, key in enumerate(digests) if at > _MOST_OLDEST and key in _full(t)])
    chain = t.take_all(digests[at : restart if at < restart else len(digests)])
    link: PreviousDigest | None = None
    for digest in chain:
        data, metadata = t.objects[digest]
        content = gzip.decompress(_edit(data)) if link is None else _relinked(gzip.decompress(data), link)
        t.objects[digest] = (gzip.compress(content), metadata)
        signature = metadata["x-amz-meta-signature"]
        link = SignedDigest(digest=decode_digest(content), content=content, signature=signature).link()
        t.expect(FindingCode.DIGEST_SIGNATURE_INVALID, digest)
        t.lose(digest)


def _signature_changed(t: Touched) -> None:
    digest = _resealed(t, FindingCode.DIGEST_SIGNATURE_INVALID)
    signature = t.objects[digest][1]["x-amz-meta-signature"]
    at = t.random.randrange(len(signature))
    t.change_metadata(digest, signature=f"{signature[:at]}{int(signature[at], 16) ^ 1:x}{signature[at + 1 :]}")


def _signature_of_another(t: Touched) -> None:
    digest, other = _resealed(t, FindingCode.DIGEST_SIGNATURE_INVALID), t.digest()
    t.change_metadata(digest, signature=t.objects[other][1]["x-amz-meta-signature"])


def _signature_no_longer_hex(t: Touched) -> None:
    t.change_metadata(_resealed(t, FindingCode.DIGEST_SIGNATURE_INVALID), signature="not hex")


def _signature_removed(t: Touched) -> None:
    t.change_metadata(_resealed(t, FindingCode.DIGEST_UNSIGNED), signature=None)


def _signature_algorithm_removed(t: Touched) -> None:
    t.change_metadata(_resealed(t, FindingCode.DIGEST_UNSIGNED), signature_algorithm=None)


def _signature_algorithm_changed(t: Touched) -> None:
    digest = _resealed(t, FindingCode.DIGEST_ALGORITHM)
    t.change_metadata(digest, signature_algorithm="none")
    t.judge_misses.add(digest)  # it asks for the field and never reads it


def _signature_changed_and_a_log_flipped(t: Touched) -> None:
    """The successor's hash still proves what the digest says, so its log files are not out of reach."""
    digest = t.digest(among=_full(t))
    t.change_metadata(digest, signature="00" * 256)
    t.expect(FindingCode.DIGEST_SIGNATURE_INVALID, digest)
    log = t.random.choice(t.trail.files[digest])
    t.change(log, lambda data: flip(t.random, data))
    t.expect(FindingCode.LOG_FILE_MALFORMED, log)
    t.judge_misses.add(log)  # it reads no log file of a digest whose signature is wrong
    t.is_stop_lost |= log == t.trail.stop


def _digest_deleted(t: Touched) -> None:
    digest = t.digest(among=t.followed())
    del t.objects[digest]
    t.expect(FindingCode.DIGEST_MISSING, digest)
    t.lose(digest)


def _two_digests_deleted_in_a_row(t: Touched) -> None:
    """No object names the older one: the newer is missing, and the span that it leaves says how much is unproven."""
    older, newer = _row(t, 2)
    for digest in (older, newer):
        del t.objects[digest]
        t.lose(digest)
    t.expect(FindingCode.DIGEST_MISSING, newer)


def _oldest_digests_deleted(t: Touched) -> None:
    digests = t.trail.digests[: t.random.randint(1, _MOST_OLDEST) + 1]
    for digest in t.take_all(digests)[:-1]:
        del t.objects[digest]
    t.expect(FindingCode.DIGEST_MISSING, digests[-2])


def _last_digest_before_the_stop_deleted(t: Touched) -> None:
    """No link leads to it.  But the record of the stop was in what it proved: the gap is unexplained."""
    digest = t.digest(among=[t.trail.digests[t.trail.restart - 1]])
    del t.objects[digest]
    t.lose(digest)  # the weakness 4, in the middle: a warning


def _newest_digests_deleted(t: Touched) -> None:
    for digest in t.take_all(t.trail.digests[-t.random.randint(1, 3) :]):
        del t.objects[digest]
    t.expect(FindingCode.CHAIN_CUT_OFF, FOLDER_OF_DIGESTS)
    t.judge_misses.add(FOLDER_OF_DIGESTS)  # the weakness 4


def _all_digests_deleted(t: Touched) -> None:
    for digest in t.take_all((*t.trail.digests, *t.trail.backfills)):
        del t.objects[digest]
        t.lose(digest)
    t.expect(FindingCode.CHAIN_CUT_OFF, FOLDER_OF_DIGESTS)
    t.judge_misses.add(FOLDER_OF_DIGESTS)


def _newest_digests_deleted_and_an_old_one_put_for_the_newest(t: Touched) -> None:
    old = t.digest(among=t.trail.digests[:-4])
    _newest_digests_deleted(t)
    t.objects[t.trail.digests[-1]] = t.objects[old]
    t.expect(FindingCode.DIGEST_MOVED, t.trail.digests[-1])


def _digests_swapped(t: Touched) -> None:
    one, other = _damaged(t, FindingCode.DIGEST_MOVED), _damaged(t, FindingCode.DIGEST_MOVED)
    t.swap(one, other)
    t.lose_place(one)
    t.lose_place(other)


def _neighbouring_digests_swapped(t: Touched) -> None:
    one, other = _row(t, 2)
    t.swap(one, other)
    t.expect(FindingCode.DIGEST_MOVED, one, other)
    t.lose(one)
    t.lose(other)


def _digest_replaced_by_an_older_one(t: Touched) -> None:
    older = t.digest(among=t.trail.digests[: t.trail.restart - 4])
    at = t.trail.digests.index(older)
    newer = t.digest(among=t.trail.digests[at + 1 :])
    t.objects[newer] = t.objects[older]
    t.expect(FindingCode.DIGEST_MOVED, newer)
    t.lose_place(newer)


def _digest_moved(t: Touched) -> None:
    digest = t.digest(among=t.followed())
    moved = _later(digest, minutes=150)
    t.objects[moved] = t.objects.pop(digest)
    t.expect(FindingCode.DIGEST_MISSING, digest)
    t.expect(FindingCode.DIGEST_MOVED, moved)
    t.judge_misses.add(moved)  # it follows the links and never comes by
    t.lose(digest)


def _digest_copied(t: Touched) -> None:
    digest = t.digest(among=t.followed())
    copied = _later(digest, minutes=30)
    t.objects[copied] = t.objects[digest]
    t.expect(FindingCode.DIGEST_MOVED, copied)
    t.judge_misses.add(copied)


def _digest_of_another_account_put(t: Touched) -> None:
    digest = _damaged(t, FindingCode.DIGEST_FOREIGN)
    t.objects[digest] = t.objects[t.trail.foreign]
    t.lose_place(digest)


def _digest_signed_by_an_unknown_key(t: Touched) -> None:
    digest, stranger = _damaged(t, FindingCode.DIGEST_KEY_UNKNOWN), t.trail.stranger
    content = decode_digest(gzip.decompress(_edit(t.objects[digest][0])))
    t.put_digest(digest, sign_digest(replace(content, public_key_fingerprint=stranger.fingerprint), stranger.sign))


def _digest_signed_by_an_unknown_key_under_a_known_name(t: Touched) -> None:
    digest = t.digest(among=_full(t))
    content = decode_digest(gzip.decompress(_edit(t.objects[digest][0])))
    t.put_digest(digest, sign_digest(content, t.trail.stranger.sign))
    t.expect(FindingCode.DIGEST_SIGNATURE_INVALID, digest)
    t.lose(digest)


def _digest_signed_by_the_stolen_key(t: Touched) -> None:
    """What a thief of the signing key can do to one digest: its successor still knows the hash."""
    signer = t.trail.signer
    free = [key for key in _full(t)[-8:] if key not in t.taken]
    fitting = [key for key in free if _content(t, key).public_key_fingerprint == signer.fingerprint]
    digest = t.digest(among=fitting)
    t.put_digest(digest, sign_digest(decode_digest(gzip.decompress(_edit(t.objects[digest][0]))), signer.sign))
    t.expect(FindingCode.DIGEST_REPLACED, digest)
    t.judge_misses.add(digest)  # the weakness 2
    t.warnings.add((FindingCode.LOG_FILE_NOT_NAMED, t.trail.files[digest][0]))


def _backfill_digest_edited(t: Touched) -> None:
    digest = _backfill(t, t.trail.backfills)
    t.change(digest, _edit)
    t.expect(FindingCode.DIGEST_SIGNATURE_INVALID, digest)


def _backfill_digest_deleted(t: Touched) -> None:
    digest = _backfill(t, t.trail.backfills[:-1])
    del t.objects[digest]
    t.expect(FindingCode.DIGEST_MISSING, digest)


def _backfill(t: Touched, among: Sequence[str]) -> str:
    """A backfill digest that is to be lost, and the log file that then stands in none.

    Taken with it are the other backfill digests, which may name it, and the digest of its hour, which must stay: in a
    damaged hour, a log file that nobody names is unproven, not worth a look.
    """

    def neighbours(digest: str) -> list[str]:
        hour = parse_digest_key(digest).end_time
        hours = [key for key in t.trail.digests if parse_digest_key(key).end_time == hour]
        return [*t.trail.files[digest], *hours, *t.trail.backfills]

    digest = t.take(among, with_also=neighbours)
    (log,) = t.trail.files[digest]
    t.warnings.add((FindingCode.LOG_FILE_NOT_NAMED, log))
    return digest


def _row(t: Touched, count: int) -> Sequence[str]:
    """So many digests in a row that a later one of the same chain follows."""
    digests, restart = t.trail.digests, t.trail.restart
    rows = [
        digests[at : at + count + 1] for at in range(len(digests) - count) if not restart - count - 1 < at < restart
    ]
    free = [row for row in rows if t.is_free(row)]
    if not free:
        raise NoPlaceError
    return t.take_all(t.random.choice(free))[:-1]


def _later(digest: str, *, minutes: int) -> str:
    key = parse_digest_key(digest)
    return format_digest_key(replace(key, end_time=key.end_time + timedelta(minutes=minutes)))


def _content(t: Touched, digest: str) -> Digest:
    return decode_digest(gzip.decompress(t.objects[digest][0]))


def _relinked(content: bytes, link: PreviousDigest) -> bytes:
    members = json.loads(content)
    members["previousDigestHashValue"] = link.hash_value
    return json.dumps(members).encode()


DIGEST_KINDS: Final[Mapping[str, Tampering]] = matrix(
    _digest_flipped,
    _digest_cut,
    _digest_with_a_member_appended,
    _digest_no_longer_json,
    _digest_edited,
    _first_digest_edited,
    _newest_digest_edited,
    _last_digest_before_the_stop_edited,
    _two_digests_edited_in_a_row,
    _every_digest_edited,
    _digest_edited_and_the_chain_hashed_anew,
    _signature_changed,
    _signature_of_another,
    _signature_no_longer_hex,
    _signature_removed,
    _signature_algorithm_removed,
    _signature_algorithm_changed,
    _signature_changed_and_a_log_flipped,
    _digest_deleted,
    _two_digests_deleted_in_a_row,
    _oldest_digests_deleted,
    _last_digest_before_the_stop_deleted,
    _newest_digests_deleted,
    _all_digests_deleted,
    _newest_digests_deleted_and_an_old_one_put_for_the_newest,
    _digests_swapped,
    _neighbouring_digests_swapped,
    _digest_replaced_by_an_older_one,
    _digest_moved,
    _digest_copied,
    _digest_of_another_account_put,
    _digest_signed_by_an_unknown_key,
    _digest_signed_by_an_unknown_key_under_a_known_name,
    _digest_signed_by_the_stolen_key,
    _backfill_digest_edited,
    _backfill_digest_deleted,
)
