"""The tamper matrix, log files: flipped, cut, appended to, exchanged, deleted, planted."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Final

from opentrail.core.findings import FindingCode
from opentrail.core.logfiles import encode_log_file
from opentrail.testing.sample_trail import sample_record
from opentrail.testing.tampering import Tampering, Touched, flip, matrix


def _damaged(t: Touched, code: FindingCode) -> str:
    """A log file that is to be accused of ``code``."""
    log = t.log()
    t.expect(code, log)
    t.is_stop_lost |= log == t.trail.stop
    return log


def _log_flipped(t: Touched) -> None:
    t.change(_damaged(t, FindingCode.LOG_FILE_MALFORMED), lambda data: flip(t.random, data))


def _log_flipped_in_the_checksum(t: Touched) -> None:
    log = _damaged(t, FindingCode.LOG_FILE_MALFORMED)
    t.change(log, lambda data: data[:-7] + bytes([data[-7] ^ 4]) + data[-6:])


def _log_cut(t: Touched) -> None:
    log = _damaged(t, FindingCode.LOG_FILE_MALFORMED)
    t.change(log, lambda data: data[: t.random.randrange(1, len(data) - 16)])


def _log_cut_by_its_checksum(t: Touched) -> None:
    log = _damaged(t, FindingCode.LOG_FILE_MALFORMED)
    t.change(log, lambda data: data[:-8])
    t.judge_misses.add(log)  # it does not ask whether the stream is whole; gunzip and every library refuse it


def _log_emptied(t: Touched) -> None:
    t.change(_damaged(t, FindingCode.LOG_FILE_MALFORMED), lambda _: b"")


def _log_no_longer_gzip(t: Touched) -> None:
    t.change(_damaged(t, FindingCode.LOG_FILE_MALFORMED), gzip.decompress)


def _log_with_a_member_appended(t: Touched) -> None:
    log = _damaged(t, FindingCode.LOG_FILE_TRAILING_DATA)
    t.change(log, lambda data: data + encode_log_file([sample_record(666)]).data)
    t.judge_misses_old.add(log)  # the weakness 1 of log-files-and-digests.md


def _log_with_a_byte_appended(t: Touched) -> None:
    log = _damaged(t, FindingCode.LOG_FILE_TRAILING_DATA)
    t.change(log, lambda data: data + b"\0")
    t.judge_misses_old.add(log)


def _log_with_a_record_struck(t: Touched) -> None:
    log = _damaged(t, FindingCode.LOG_FILE_CHANGED)
    records = json.loads(gzip.decompress(t.objects[log][0]))["Records"][1:] or [{"eventID": "another"}]
    t.change(log, lambda _: encode_log_file([json.dumps(record).encode() for record in records]).data)


def _log_compressed_anew(t: Touched) -> None:
    """The same content: hashes are over what is inside."""
    t.change(t.log(), lambda data: gzip.compress(gzip.decompress(data), 9))


def _log_deleted(t: Touched) -> None:
    del t.objects[_damaged(t, FindingCode.LOG_FILE_MISSING)]


def _logs_swapped(t: Touched) -> None:
    t.swap(_damaged(t, FindingCode.LOG_FILE_CHANGED), _damaged(t, FindingCode.LOG_FILE_CHANGED))


def _log_replaced_by_another(t: Touched) -> None:
    t.objects[_damaged(t, FindingCode.LOG_FILE_CHANGED)] = t.objects[t.log()]


def _log_moved(t: Touched) -> None:
    log = _damaged(t, FindingCode.LOG_FILE_MISSING)
    moved = log.replace(".json.gz", "")[:-16] + "M" * 16 + ".json.gz"
    t.objects[moved] = t.objects.pop(log)
    t.warnings.add((FindingCode.LOG_FILE_NOT_NAMED, moved))


def _log_planted(t: Touched) -> None:
    planted = t.log().replace(".json.gz", "")[:-16] + "P" * 16 + ".json.gz"
    t.objects[planted] = (encode_log_file([sample_record(666)]).data, {})
    t.warnings.add((FindingCode.LOG_FILE_NOT_NAMED, planted))  # the weakness 4: a warning, so the judge has no part


def _things_planted(t: Touched) -> None:
    log, digest = f"{t.log()}.bak", f"{t.digest()}.bak"
    t.objects[log] = t.objects[digest] = (b"x", {})
    t.warnings |= {(FindingCode.OBJECT_UNEXPECTED, log), (FindingCode.OBJECT_UNEXPECTED, digest)}


def _folder_markers(t: Touched) -> None:
    for key in (t.log(), t.digest()):
        t.objects[key.rsplit("/", 1)[0] + "/"] = (b"", {})


def _backfilled_log_flipped(t: Touched) -> None:
    names = {log: digest for digest in t.trail.backfills for log in t.trail.files[digest]}
    log = t.take(sorted(names), with_also=lambda log: (names[log],))
    t.change(log, lambda data: data[:60] + bytes([data[60] ^ 4]) + data[61:])
    t.expect(FindingCode.LOG_FILE_MALFORMED, log)


LOG_KINDS: Final[Mapping[str, Tampering]] = matrix(
    _log_flipped,
    _log_flipped_in_the_checksum,
    _log_cut,
    _log_cut_by_its_checksum,
    _log_emptied,
    _log_no_longer_gzip,
    _log_with_a_member_appended,
    _log_with_a_byte_appended,
    _log_with_a_record_struck,
    _log_compressed_anew,
    _log_deleted,
    _logs_swapped,
    _log_replaced_by_another,
    _log_moved,
    _log_planted,
    _things_planted,
    _folder_markers,
    _backfilled_log_flipped,
)
