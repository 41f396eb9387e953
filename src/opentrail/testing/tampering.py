"""The tamper matrix: every kind of tampering with a trail, and what verification must find.

Rules: a case changes a copy of ``sample_trail`` and states what accuses whom (``errors``), what else is worth a look
(``warnings``), and what ``aws cloudtrail validate-logs`` does not see, with the reason beside it: the weaknesses that
``log-files-and-digests.md`` numbers ("Where the judge is weak"), and some more that the matrix brought to light.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from opentrail.core.digests import SignedDigest, decode_digest, sign_digest
from opentrail.core.findings import FindingCode
from opentrail.core.gzip_member import encode_member
from opentrail.core.layout import digest_prefix, format_digest_key, parse_digest_key
from opentrail.core.logfiles import encode_log_file
from opentrail.testing.sample_trail import FOLDER, Objects, SampleTrail, sample_record


@dataclass(slots=True)
class Touched:
    """A copy of the trail to tamper with, and what is to be found."""

    trail: SampleTrail
    objects: Objects
    errors: set[tuple[FindingCode, str]] = field(default_factory=set)
    warnings: set[tuple[FindingCode, str]] = field(default_factory=set)
    judge_misses: set[str] = field(default_factory=set)
    judge_misses_old: set[str] = field(default_factory=set)  # by the older AWS CLI alone

    def change(self, key: str, change: Callable[[bytes], bytes]) -> None:
        """Change the data of ``key``."""
        data, metadata = self.objects[key]
        self.objects[key] = (change(data), metadata)

    def change_metadata(self, key: str, **names: str | None) -> None:
        """Set user metadata of ``key``, with ``_`` for ``-`` in the names; None takes one away."""
        changed = {f"x-amz-meta-{name}".replace("_", "-"): value for name, value in names.items()}
        metadata = {**self.objects[key][1], **changed}
        kept = {name: value for name, value in metadata.items() if value is not None}
        self.objects[key] = (self.objects[key][0], kept)

    def swap(self, one: str, other: str) -> None:
        """Let two objects change places, metadata and all."""
        self.objects[one], self.objects[other] = self.objects[other], self.objects[one]

    def put_digest(self, key: str, signed: SignedDigest) -> None:
        """Put another digest, and its signature, at ``key``."""
        self.change(key, lambda _: signed.data())
        self.change_metadata(key, signature=signed.signature)

    def expect(self, code: FindingCode, *keys: str) -> None:
        """Each of ``keys`` is to be accused of ``code``."""
        self.errors |= {(code, key) for key in keys}


Tampering = Callable[[Touched], None]


def _flip(at: int) -> Callable[[bytes], bytes]:
    """Flip a bit in the byte ``at`` (from the end, when negative)."""

    def change(data: bytes) -> bytes:
        flipped = bytearray(data)
        flipped[at] ^= 4
        return bytes(flipped)

    return change


def _edit_digest(data: bytes) -> bytes:
    """Strike the first log file from a digest's list."""
    members = json.loads(gzip.decompress(data))
    del members["logFiles"][0]
    return gzip.compress(json.dumps(members).encode())


def _log(t: Touched, at: int = 3) -> str:
    return t.trail.files[t.trail.full_digest(at)][0]


def _untouched(_: Touched) -> None:
    """Nothing to find."""


def _log_flipped_in_the_data(t: Touched) -> None:
    t.change(_log(t), _flip(120))
    t.expect(FindingCode.LOG_FILE_MALFORMED, _log(t))


def _log_flipped_in_the_checksum(t: Touched) -> None:
    t.change(_log(t), _flip(-7))
    t.expect(FindingCode.LOG_FILE_MALFORMED, _log(t))


def _log_cut_in_half(t: Touched) -> None:
    t.change(_log(t), lambda data: data[: len(data) // 2])
    t.expect(FindingCode.LOG_FILE_MALFORMED, _log(t))


def _log_cut_by_its_checksum(t: Touched) -> None:
    t.change(_log(t), lambda data: data[:-8])
    t.expect(FindingCode.LOG_FILE_MALFORMED, _log(t))
    t.judge_misses.add(_log(t))  # it does not ask whether the stream is whole; gunzip and every library refuse it


def _log_emptied(t: Touched) -> None:
    t.change(_log(t), lambda _: b"")
    t.expect(FindingCode.LOG_FILE_MALFORMED, _log(t))


def _log_no_longer_gzip(t: Touched) -> None:
    t.change(_log(t), gzip.decompress)
    t.expect(FindingCode.LOG_FILE_MALFORMED, _log(t))


def _log_with_a_member_appended(t: Touched) -> None:
    t.change(_log(t), lambda data: data + encode_log_file([sample_record(666)]).data)
    t.expect(FindingCode.LOG_FILE_TRAILING_DATA, _log(t))
    t.judge_misses_old.add(_log(t))  # the weakness 1 of log-files-and-digests.md


def _log_with_a_byte_appended(t: Touched) -> None:
    t.change(_log(t), lambda data: data + b"\0")
    t.expect(FindingCode.LOG_FILE_TRAILING_DATA, _log(t))
    t.judge_misses_old.add(_log(t))


def _log_with_a_record_struck(t: Touched) -> None:
    records = json.loads(gzip.decompress(t.objects[_log(t)][0]))["Records"][1:]
    t.change(_log(t), lambda _: encode_log_file([json.dumps(record).encode() for record in records]).data)
    t.expect(FindingCode.LOG_FILE_CHANGED, _log(t))


def _log_compressed_anew(t: Touched) -> None:
    """The same content: hashes are over what is inside."""
    t.change(_log(t), lambda data: gzip.compress(gzip.decompress(data), 9))


def _log_deleted(t: Touched) -> None:
    del t.objects[_log(t)]
    t.expect(FindingCode.LOG_FILE_MISSING, _log(t))


def _logs_swapped(t: Touched) -> None:
    t.swap(_log(t), _log(t, 6))
    t.expect(FindingCode.LOG_FILE_CHANGED, _log(t), _log(t, 6))


def _log_moved(t: Touched) -> None:
    moved = _log(t).replace(".json.gz", "")[:-16] + "M" * 16 + ".json.gz"
    t.objects[moved] = t.objects.pop(_log(t))
    t.expect(FindingCode.LOG_FILE_MISSING, _log(t))
    t.warnings.add((FindingCode.LOG_FILE_NOT_NAMED, moved))


def _log_planted(t: Touched) -> None:
    planted = _log(t).replace(".json.gz", "")[:-16] + "P" * 16 + ".json.gz"
    t.objects[planted] = (encode_log_file([sample_record(666)]).data, {})
    t.warnings.add((FindingCode.LOG_FILE_NOT_NAMED, planted))  # the weakness 4: a warning, so the judge has no part


def _things_planted(t: Touched) -> None:
    log, digest = f"{_log(t)}.bak", f"{t.trail.digests[4]}.bak"
    t.objects[log] = t.objects[digest] = (b"x", {})
    t.warnings |= {(FindingCode.OBJECT_UNEXPECTED, log), (FindingCode.OBJECT_UNEXPECTED, digest)}


def _folder_markers(t: Touched) -> None:
    for key in (_log(t), t.trail.digests[4]):
        t.objects[key.rsplit("/", 1)[0] + "/"] = (b"", {})


def _backfilled_log_flipped(t: Touched) -> None:
    (log,) = t.trail.files[t.trail.backfills[0]]
    t.change(log, _flip(60))
    t.expect(FindingCode.LOG_FILE_MALFORMED, log)


def _digest_flipped(t: Touched) -> None:
    digest = t.trail.full_digest(4)
    t.change(digest, _flip(200))
    t.expect(FindingCode.DIGEST_MALFORMED, digest)


def _digest_cut(t: Touched) -> None:
    t.change(t.trail.digests[9], lambda data: data[:-3])
    t.expect(FindingCode.DIGEST_MALFORMED, t.trail.digests[9])


def _digest_with_a_member_appended(t: Touched) -> None:
    digest = t.trail.digests[9]
    t.change(digest, lambda data: data + encode_member([b"{}"])[0])
    t.expect(FindingCode.DIGEST_MALFORMED, digest)
    t.judge_misses.add(digest)  # the weakness 1, but in a digest, where the newest judge has it too


def _digest_no_longer_json(t: Touched) -> None:
    t.change(t.trail.digests[9], lambda _: gzip.compress(b"{"))
    t.expect(FindingCode.DIGEST_MALFORMED, t.trail.digests[9])


def _digest_edited(t: Touched) -> None:
    digest = t.trail.full_digest(4)
    t.change(digest, _edit_digest)
    t.expect(FindingCode.DIGEST_SIGNATURE_INVALID, digest)


def _first_digest_edited(t: Touched) -> None:
    t.change(t.trail.digests[0], lambda data: gzip.compress(gzip.decompress(data) + b" "))
    t.expect(FindingCode.DIGEST_SIGNATURE_INVALID, t.trail.digests[0])


def _newest_digest_edited(t: Touched) -> None:
    t.change(t.trail.digests[-1], lambda data: gzip.compress(gzip.decompress(data) + b" "))
    t.expect(FindingCode.DIGEST_SIGNATURE_INVALID, t.trail.digests[-1])


def _last_digest_before_the_stop_edited(t: Touched) -> None:
    digest = t.trail.digests[t.trail.restart - 1]
    t.change(digest, lambda data: gzip.compress(gzip.decompress(data) + b" "))
    t.expect(FindingCode.DIGEST_SIGNATURE_INVALID, digest)


def _two_digests_edited_in_a_row(t: Touched) -> None:
    for digest in t.trail.digests[9:11]:
        t.change(digest, lambda data: gzip.compress(gzip.decompress(data) + b" "))
        t.expect(FindingCode.DIGEST_SIGNATURE_INVALID, digest)


def _every_digest_edited(t: Touched) -> None:
    for digest in (*t.trail.digests, *t.trail.backfills):
        t.change(digest, lambda data: gzip.compress(gzip.decompress(data) + b" "))
        t.expect(FindingCode.DIGEST_SIGNATURE_INVALID, digest)


def _signature_changed(t: Touched) -> None:
    digest = t.trail.full_digest(4)
    signature = t.objects[digest][1]["x-amz-meta-signature"]
    t.change_metadata(digest, signature=("0" if signature[0] != "0" else "1") + signature[1:])
    t.expect(FindingCode.DIGEST_SIGNATURE_INVALID, digest)


def _signature_no_longer_hex(t: Touched) -> None:
    t.change_metadata(t.trail.digests[9], signature="not hex")
    t.expect(FindingCode.DIGEST_SIGNATURE_INVALID, t.trail.digests[9])


def _signature_removed(t: Touched) -> None:
    t.change_metadata(t.trail.digests[9], signature=None)
    t.expect(FindingCode.DIGEST_UNSIGNED, t.trail.digests[9])


def _signature_algorithm_removed(t: Touched) -> None:
    t.change_metadata(t.trail.digests[9], signature_algorithm=None)
    t.expect(FindingCode.DIGEST_UNSIGNED, t.trail.digests[9])


def _signature_algorithm_changed(t: Touched) -> None:
    t.change_metadata(t.trail.digests[9], signature_algorithm="none")
    t.expect(FindingCode.DIGEST_ALGORITHM, t.trail.digests[9])
    t.judge_misses.add(t.trail.digests[9])  # it asks for the field and never reads it


def _signature_changed_and_a_log_flipped(t: Touched) -> None:
    """The successor's hash still proves what the digest says, so its log files are not out of reach."""
    _signature_changed(t)
    log = t.trail.files[t.trail.full_digest(4)][0]
    t.change(log, _flip(120))
    t.expect(FindingCode.LOG_FILE_MALFORMED, log)
    t.judge_misses.add(log)  # it reads no log file of a digest whose signature is wrong


def _digest_deleted(t: Touched) -> None:
    del t.objects[t.trail.digests[9]]
    t.expect(FindingCode.DIGEST_MISSING, t.trail.digests[9])


def _two_digests_deleted_in_a_row(t: Touched) -> None:
    """No object names the older one: the newer is missing, and the span that it leaves says how much is unproven."""
    for digest in t.trail.digests[9:11]:
        del t.objects[digest]
    t.expect(FindingCode.DIGEST_MISSING, t.trail.digests[10])


def _oldest_digests_deleted(t: Touched) -> None:
    for digest in t.trail.digests[:2]:
        del t.objects[digest]
    t.expect(FindingCode.DIGEST_MISSING, t.trail.digests[1])


def _newest_digests_deleted(t: Touched) -> None:
    for digest in t.trail.digests[-3:]:
        del t.objects[digest]
    t.expect(FindingCode.CHAIN_CUT_OFF, digest_prefix(FOLDER))
    t.judge_misses.add(digest_prefix(FOLDER))  # the weakness 4


def _all_digests_deleted(t: Touched) -> None:
    for digest in (*t.trail.digests, *t.trail.backfills):
        del t.objects[digest]
    t.expect(FindingCode.CHAIN_CUT_OFF, digest_prefix(FOLDER))
    t.judge_misses.add(digest_prefix(FOLDER))


def _newest_digests_deleted_and_an_old_one_put_for_the_newest(t: Touched) -> None:
    _newest_digests_deleted(t)
    t.objects[t.trail.digests[-1]] = t.objects[t.trail.digests[20]]
    t.expect(FindingCode.DIGEST_MOVED, t.trail.digests[-1])


def _digests_swapped(t: Touched) -> None:
    t.swap(t.trail.digests[9], t.trail.digests[14])
    t.expect(FindingCode.DIGEST_MOVED, t.trail.digests[9], t.trail.digests[14])


def _neighbouring_digests_swapped(t: Touched) -> None:
    t.swap(t.trail.digests[9], t.trail.digests[10])
    t.expect(FindingCode.DIGEST_MOVED, t.trail.digests[9], t.trail.digests[10])


def _digest_moved(t: Touched) -> None:
    digest = t.trail.digests[9]
    key = parse_digest_key(digest)
    moved = format_digest_key(replace(key, end_time=key.end_time + timedelta(minutes=150)))
    t.objects[moved] = t.objects.pop(digest)
    t.expect(FindingCode.DIGEST_MISSING, digest)
    t.expect(FindingCode.DIGEST_MOVED, moved)
    t.judge_misses.add(moved)  # it follows the links and never comes by


def _digest_copied(t: Touched) -> None:
    key = parse_digest_key(t.trail.digests[9])
    copied = format_digest_key(replace(key, end_time=key.end_time + timedelta(minutes=150)))
    t.objects[copied] = t.objects[t.trail.digests[9]]
    t.expect(FindingCode.DIGEST_MOVED, copied)
    t.judge_misses.add(copied)


def _digest_of_another_account_put(t: Touched) -> None:
    t.objects[t.trail.digests[9]] = t.objects[t.trail.foreign]
    t.expect(FindingCode.DIGEST_FOREIGN, t.trail.digests[9])


def _digest_signed_by_an_unknown_key(t: Touched) -> None:
    digest, stranger = t.trail.full_digest(4), t.trail.stranger
    content = decode_digest(gzip.decompress(_edit_digest(t.objects[digest][0])))
    signed = sign_digest(replace(content, public_key_fingerprint=stranger.fingerprint), stranger.sign)
    t.put_digest(digest, signed)
    t.expect(FindingCode.DIGEST_KEY_UNKNOWN, digest)


def _digest_signed_by_an_unknown_key_under_a_known_name(t: Touched) -> None:
    digest = t.trail.full_digest(4)
    content = decode_digest(gzip.decompress(_edit_digest(t.objects[digest][0])))
    signed = sign_digest(content, t.trail.stranger.sign)
    t.put_digest(digest, signed)
    t.expect(FindingCode.DIGEST_SIGNATURE_INVALID, digest)


def _digest_signed_by_the_stolen_key(t: Touched) -> None:
    """What a thief of the signing key can do to one digest: its successor still knows the hash."""
    digest, signer = t.trail.full_digest(-3), t.trail.signer
    content = decode_digest(gzip.decompress(_edit_digest(t.objects[digest][0])))
    assert content.public_key_fingerprint == signer.fingerprint
    signed = sign_digest(content, signer.sign)
    t.put_digest(digest, signed)
    t.expect(FindingCode.DIGEST_REPLACED, digest)
    t.judge_misses.add(digest)  # the weakness 2
    t.warnings.add((FindingCode.LOG_FILE_NOT_NAMED, t.trail.files[digest][0]))


def _backfill_digest_edited(t: Touched) -> None:
    t.change(t.trail.backfills[1], _edit_digest)
    t.expect(FindingCode.DIGEST_SIGNATURE_INVALID, t.trail.backfills[1])
    (log,) = t.trail.files[t.trail.backfills[1]]
    t.warnings.add((FindingCode.LOG_FILE_NOT_NAMED, log))


def _backfill_digest_deleted(t: Touched) -> None:
    del t.objects[t.trail.backfills[0]]
    t.expect(FindingCode.DIGEST_MISSING, t.trail.backfills[0])
    (log,) = t.trail.files[t.trail.backfills[0]]
    t.warnings.add((FindingCode.LOG_FILE_NOT_NAMED, log))


def _all_kinds_at_once(t: Touched) -> None:
    for tampering in (_log_deleted, _digest_edited, _digest_deleted, _backfilled_log_flipped, _newest_digest_edited):
        tampering(t)


MATRIX: Final[Mapping[str, Tampering]] = {
    tampering.__name__.removeprefix("_"): tampering
    for tampering in (
        _untouched,
        _log_flipped_in_the_data,
        _log_flipped_in_the_checksum,
        _log_cut_in_half,
        _log_cut_by_its_checksum,
        _log_emptied,
        _log_no_longer_gzip,
        _log_with_a_member_appended,
        _log_with_a_byte_appended,
        _log_with_a_record_struck,
        _log_compressed_anew,
        _log_deleted,
        _logs_swapped,
        _log_moved,
        _log_planted,
        _things_planted,
        _folder_markers,
        _backfilled_log_flipped,
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
        _signature_changed,
        _signature_no_longer_hex,
        _signature_removed,
        _signature_algorithm_removed,
        _signature_algorithm_changed,
        _signature_changed_and_a_log_flipped,
        _digest_deleted,
        _two_digests_deleted_in_a_row,
        _oldest_digests_deleted,
        _newest_digests_deleted,
        _all_digests_deleted,
        _newest_digests_deleted_and_an_old_one_put_for_the_newest,
        _digests_swapped,
        _neighbouring_digests_swapped,
        _digest_moved,
        _digest_copied,
        _digest_of_another_account_put,
        _digest_signed_by_an_unknown_key,
        _digest_signed_by_an_unknown_key_under_a_known_name,
        _digest_signed_by_the_stolen_key,
        _backfill_digest_edited,
        _backfill_digest_deleted,
        _all_kinds_at_once,
    )
}


def touch(trail: SampleTrail, name: str) -> Touched:
    """A copy of ``trail`` after the tampering ``name`` of ``MATRIX``, with what is to be found in it."""
    touched = Touched(trail=trail, objects=dict(trail.objects))
    MATRIX[name](touched)
    return touched
