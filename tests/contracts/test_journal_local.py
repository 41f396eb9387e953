"""The embedded journal: the contract, its files, and what damage to them comes to."""

from __future__ import annotations

import stat
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from opentrail.core.errors import ConfigError, JournalError
from opentrail.journal.base import Journal
from opentrail.journal.local import LocalJournal, open_local_journal
from opentrail.testing.journal_contract import JournalContract, OpenJournal, assert_holds, make_entry, read_all


class TestLocalJournal(JournalContract):
    @pytest.fixture(params=[1, 1000, 1 << 20], ids=["a segment an append", "small segments", "one segment"])
    def open_journal(self, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[OpenJournal]:
        opened: list[Journal] = []

        def open_journal() -> Journal:
            opened.append(open_local_journal(tmp_path / "journal", segment_bytes=request.param))
            return opened[-1]

        yield open_journal
        for journal in opened:
            journal.close()


def _fill(folder: Path, *, batches: int, size: int = 3, segment_bytes: int = 600) -> list[Path]:
    """A journal of ``batches``, closed in order; returns its segments."""
    journal = open_local_journal(folder, segment_bytes=segment_bytes)
    for batch in range(batches):
        journal.append([make_entry(batch * size + i) for i in range(size)])
    journal.close()
    return sorted(folder.glob("*.segment"))


def _open_and_read(folder: Path) -> LocalJournal:
    journal = open_local_journal(folder)
    try:
        read_all(journal, journal.start - 1)
    except JournalError:
        journal.close()
        raise
    return journal


def test_only_the_owner_reads_what_was_recorded(tmp_path: Path) -> None:
    segments = _fill(tmp_path / "journal", batches=10)
    assert len(segments) > 2
    assert stat.S_IMODE((tmp_path / "journal").stat().st_mode) == 0o700
    for path in (tmp_path / "journal").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


def test_a_second_process_is_told_who_holds_the_journal(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from opentrail.journal.local import open_local_journal\n"
        "journal = open_local_journal(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "journal")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(ConfigError, match=rf"in use by process {process.pid}\b"):
            open_local_journal(tmp_path / "journal")
        process.kill()
        process.wait()
    open_local_journal(tmp_path / "journal").close()


def test_a_folder_that_cannot_be_is_a_setting_to_mend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing/journal"):
        open_local_journal(tmp_path / "missing" / "journal")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="file"):
        open_local_journal(tmp_path / "file")


@pytest.mark.parametrize("room", [0, 3000], ids=["nothing behind", "room behind"])
def test_a_last_block_cut_at_every_byte_is_a_crash(tmp_path: Path, room: int) -> None:
    """The journal that was never closed: its last append comes back whole or not at all, all before it does."""
    journal = open_local_journal(tmp_path / "journal", segment_bytes=4000)
    entries = [make_entry(i) for i in range(9)]
    (path,) = (tmp_path / "journal").glob("*.segment")
    sizes = [64]
    for at in range(0, 9, 3):
        journal.append(entries[at : at + 3])
        sizes.append(len(path.read_bytes().rstrip(b"\0")))
    content = path.read_bytes()[: sizes[-1]]
    journal.close()
    for size in range(sizes[0], sizes[-1] + 1):
        path.write_bytes(content[:size] + bytes(room))
        whole = max(index for index, end in enumerate(sizes) if end <= size)
        again = open_local_journal(tmp_path / "journal", segment_bytes=4000)
        assert_holds(again, entries[: 3 * whole])
        if size == sizes[whole]:
            assert again.cut is None
        else:
            assert again.cut is not None
            assert (again.cut.path, again.cut.offset, again.cut.size) == (
                path,
                sizes[whole],
                size + room - sizes[whole],
            )
        assert again.append([make_entry(77)]) == 3 * whole + 1
        assert_holds(again, [*entries[: 3 * whole], make_entry(77)])
        again.close()
        assert_holds(
            again := open_local_journal(tmp_path / "journal", segment_bytes=4000),
            [*entries[: 3 * whole], make_entry(77)],
        )
        again.close()


@pytest.mark.parametrize("garbage", [b"\1", bytes(40) + b"\1", bytes(5000) + b"\1" + bytes(9), b"\xff" * 5000])
def test_what_a_loss_of_power_leaves_behind_the_end_is_cut_off(tmp_path: Path, garbage: bytes) -> None:
    path = _fill(tmp_path / "journal", batches=2, segment_bytes=10_000)[-1]
    with path.open("ab") as file:
        file.write(garbage)
    journal = open_local_journal(tmp_path / "journal")
    assert journal.cut is not None
    assert journal.cut.size == len(garbage)
    assert_holds(journal, [make_entry(i) for i in range(6)])
    journal.close()
    journal = open_local_journal(tmp_path / "journal")
    assert journal.cut is None
    journal.close()


def test_a_flipped_byte_anywhere_is_reported_with_file_and_offset(tmp_path: Path) -> None:
    """In a journal closed in order nothing is taken for a crash but the closing mark itself."""
    segments = _fill(tmp_path / "journal", batches=6, segment_bytes=400)
    contents = {path: path.read_bytes() for path in segments}
    assert len(segments) > 2
    mark = len(contents[segments[-1]]) - 32
    for path, content in contents.items():
        for offset in range(len(content)):
            damaged = content[:offset] + bytes([content[offset] ^ 0x10]) + content[offset + 1 :]
            path.write_bytes(damaged)
            if path == segments[-1] and offset >= mark:
                journal = _open_and_read(tmp_path / "journal")
                assert journal.cut is not None
                assert_holds(journal, [make_entry(i) for i in range(18)])
                journal.close()
            else:
                with pytest.raises(JournalError, match=rf"{path.name}.*damaged.*offset \d+") as caught:
                    _open_and_read(tmp_path / "journal")
                assert not caught.value.retryable
                assert path.read_bytes() == damaged, "nothing is deleted or mended"
            path.write_bytes(content)


def test_a_lost_segment_is_missed(tmp_path: Path) -> None:
    """Any but the first, whose absence is what a trim leaves: it is missed by the follower that wants it."""
    segments = _fill(tmp_path / "journal", batches=9, segment_bytes=400)
    assert len(segments) > 3
    for path in segments:
        content = path.read_bytes()
        path.unlink()
        if path == segments[0]:
            journal = open_local_journal(tmp_path / "journal")
            with pytest.raises(JournalError, match="position 1 is no longer"):
                journal.read(0)
            journal.close()
        else:
            with pytest.raises(JournalError, match=r"damaged.*missing"):
                open_local_journal(tmp_path / "journal")
        path.write_bytes(content)
    _open_and_read(tmp_path / "journal").close()


def test_a_sealed_segment_cut_anywhere_is_reported(tmp_path: Path) -> None:
    first = _fill(tmp_path / "journal", batches=6, segment_bytes=400)[0]
    content = first.read_bytes()
    for size in range(len(content)):
        first.write_bytes(content[:size])
        with pytest.raises(JournalError, match=rf"{first.name}.*damaged.*offset \d+"):
            open_local_journal(tmp_path / "journal")
        assert first.read_bytes() == content[:size]


def test_a_block_taken_out_is_missed(tmp_path: Path) -> None:
    """Every block that is left is good: their positions tell."""
    first, last = _fill(tmp_path / "journal", batches=6, size=1, segment_bytes=430)
    sealed, active = first.read_bytes(), last.read_bytes()
    block = (len(sealed) - 64 - 32) // 4
    for taken in range(4):
        first.write_bytes(sealed[: 64 + taken * block] + sealed[64 + (taken + 1) * block :])
        with pytest.raises(JournalError, match=rf"{first.name}.*damaged.*offset {64 + taken * block}"):
            _open_and_read(tmp_path / "journal")
    first.write_bytes(sealed)
    last.write_bytes(active[:64] + active[64 + block :])
    with pytest.raises(JournalError, match=r"offset 64: position 6 follows 4"):
        open_local_journal(tmp_path / "journal")


def test_a_segment_of_another_journal_is_told(tmp_path: Path) -> None:
    ours = _fill(tmp_path / "ours", batches=6, segment_bytes=400)
    theirs = _fill(tmp_path / "theirs", batches=6, segment_bytes=400)
    ours[1].write_bytes(theirs[1].read_bytes())
    with pytest.raises(JournalError, match="another journal"):
        open_local_journal(tmp_path / "ours")
    ours[0].write_bytes(ours[-1].read_bytes())
    with pytest.raises(JournalError, match="name is not that of its first position"):
        open_local_journal(tmp_path / "ours")


def test_a_newer_format_is_not_guessed_at(tmp_path: Path) -> None:
    (path,) = _fill(tmp_path / "journal", batches=1)
    header = bytearray(path.read_bytes()[:64])
    header[8] = 2
    header[60:] = zlib.crc32(header[:60]).to_bytes(4, "little")
    path.write_bytes(bytes(header) + path.read_bytes()[64:])
    with pytest.raises(JournalError, match="format version 2: this program reads version 1"):
        open_local_journal(tmp_path / "journal")


def test_damage_under_an_open_journal_is_reported_by_the_read_and_stops_nothing(tmp_path: Path) -> None:
    journal = open_local_journal(tmp_path / "journal")
    journal.append([make_entry(1)])
    journal.append([make_entry(2)])
    (path,) = (tmp_path / "journal").glob("*.segment")
    content = path.read_bytes().rstrip(b"\0")
    path.write_bytes(content[:-1] + b"?")
    assert len(journal.read(0, max_bytes=1)) == 1, "what is whole is read"
    with pytest.raises(JournalError, match="checksum"):
        journal.read(1)
    assert journal.append([make_entry(3)]) == 3
    path.write_bytes(content[:-5])
    with pytest.raises(JournalError, match="damaged"):
        journal.read(1)
    journal.close()


def test_a_full_disk_is_survived(tmp_path: Path) -> None:
    """A file size limit stands for the full disk: the append is refused whole, and works once there is room."""
    program = """
import resource, signal, sys
from pathlib import Path
from opentrail.core.errors import JournalError
from opentrail.journal.local import open_local_journal
from opentrail.testing.journal_contract import assert_holds, make_entry

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = open_local_journal(Path(sys.argv[1]))
entries = [make_entry(i) for i in range(10)]
journal.append(entries)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
for _ in range(3):
    try:
        journal.append([make_entry(i, payload=b"x" * 1000) for i in range(100, 110)])
    except JournalError as error:
        assert error.retryable, error
    else:
        raise AssertionError("more fitted than there is room")
    assert_holds(journal, entries)
assert journal.append([make_entry(50)]) == 11, "a smaller one fits"
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
more = [make_entry(i, payload=b"x" * 1000) for i in range(100, 110)]
assert journal.append(more) == 12
assert_holds(journal, [*entries, make_entry(50), *more])
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "journal")], check=True, timeout=60)
    journal = open_local_journal(tmp_path / "journal")
    assert (journal.end, journal.cut) == (21, None)
    journal.close()
