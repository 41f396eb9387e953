"""Signing keys in files: first use, rotation, who finds which key, and who may read what."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from opentrail.core.errors import ConfigError, FormatError
from opentrail.core.public_keys import decode_public_keys, encode_public_keys, fingerprint_of, verify_signature
from opentrail.keys.rsa_files import OVERLAP, RsaKeyFiles, read_passphrase

NOW = datetime(2024, 5, 1, 10, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
REGION = "eu-west-1"


def _files(folder: Path, suffix: str) -> list[Path]:
    return sorted(folder.glob(f"*/*{suffix}"))


def test_the_first_use_makes_a_key_that_signs(tmp_path: Path) -> None:
    keys = RsaKeyFiles(tmp_path)
    assert keys.list(REGION) == ()
    signer = keys.signer(REGION, now=NOW)
    (public_key,) = keys.public_keys(REGION, NOW, NOW)
    assert public_key.fingerprint == signer.fingerprint == fingerprint_of(public_key.value)
    assert verify_signature(public_key.value, b"data", signer.sign(b"data"))
    assert not verify_signature(public_key.value, b"date", signer.sign(b"data"))
    assert keys.regions() == (REGION,)


def test_a_key_is_the_regions_own_and_stays(tmp_path: Path) -> None:
    first = RsaKeyFiles(tmp_path).signer(REGION, now=NOW)
    again = RsaKeyFiles(tmp_path)
    assert again.signer(REGION, now=NOW + 400 * DAY).fingerprint == first.fingerprint
    assert again.signer("us-east-1", now=NOW).fingerprint != first.fingerprint
    assert again.regions() == (REGION, "us-east-1")


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        RsaKeyFiles(tmp_path / "keys").signer(REGION, now=NOW)
    finally:
        os.umask(previous)
    for path in (tmp_path / "keys").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    (pem,) = _files(tmp_path / "keys", ".pem")
    assert pem.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert load_pem_private_key(pem.read_bytes(), None)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    RsaKeyFiles(tmp_path).signer(REGION, now=NOW)
    (pem,) = _files(tmp_path, ".pem")
    pem.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        RsaKeyFiles(tmp_path).signer(REGION, now=NOW)


def test_a_passphrase_encrypts(tmp_path: Path) -> None:
    signer = RsaKeyFiles(tmp_path, passphrase=b"correct horse").signer(REGION, now=NOW)
    (pem,) = _files(tmp_path, ".pem")
    assert pem.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    opened = RsaKeyFiles(tmp_path, passphrase=b"correct horse").signer(REGION, now=NOW)
    assert opened.fingerprint == signer.fingerprint
    for wrong, word in ((b"battery staple", "passphrase is wrong"), (None, "is encrypted")):
        with pytest.raises(ConfigError, match=word) as caught:
            RsaKeyFiles(tmp_path, passphrase=wrong).signer(REGION, now=NOW)
        assert "battery" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_passphrase_for_a_plain_key_is_said_and_a_rotation_mends_it(tmp_path: Path) -> None:
    RsaKeyFiles(tmp_path).signer(REGION, now=NOW)
    keys = RsaKeyFiles(tmp_path, passphrase=b"p")
    with pytest.raises(ConfigError, match="not encrypted"):
        keys.signer(REGION, now=NOW)
    rotated = keys.rotate(REGION, now=NOW)
    assert RsaKeyFiles(tmp_path, passphrase=b"p").signer(REGION, now=NOW).fingerprint == rotated.fingerprint


def test_the_passphrase_of_a_key_file(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes(b"secret words\n")
    path.chmod(0o600)
    assert read_passphrase(path) == b"secret words"
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_passphrase(path)
    path.chmod(0o600)
    path.write_bytes(b"\n")
    with pytest.raises(ConfigError, match="empty"):
        read_passphrase(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_passphrase(tmp_path / "absent")
    with pytest.raises(ConfigError, match="empty"):
        RsaKeyFiles(tmp_path, passphrase=b"")


@pytest.mark.parametrize("damage", [b"", b"not PEM", None])
def test_a_damaged_or_missing_private_key_is_said(tmp_path: Path, damage: bytes | None) -> None:
    RsaKeyFiles(tmp_path).signer(REGION, now=NOW)
    (pem,) = _files(tmp_path, ".pem")
    if damage is None:
        pem.unlink()
    else:
        pem.write_bytes(damage)
    keys = RsaKeyFiles(tmp_path)
    with pytest.raises(ConfigError, match=r"is damaged|is not there"):
        keys.signer(REGION, now=NOW)
    assert keys.rotate(REGION, now=NOW).fingerprint == keys.signer(REGION, now=NOW).fingerprint


def test_damaged_public_keys_are_never_overwritten(tmp_path: Path) -> None:
    RsaKeyFiles(tmp_path).signer(REGION, now=NOW)
    (path,) = _files(tmp_path, "public-keys.json")
    path.write_bytes(b"{")
    keys = RsaKeyFiles(tmp_path)
    for call in (lambda: keys.signer(REGION, now=NOW), lambda: keys.rotate(REGION, now=NOW)):
        with pytest.raises(ConfigError, match="restore it"):
            call()
    assert path.read_bytes() == b"{"


@pytest.mark.parametrize("region", ["", "..", ".", "a/b", "a\0b", "/etc"])
def test_a_region_is_no_way_out_of_the_folder(tmp_path: Path, region: str) -> None:
    with pytest.raises(ConfigError):
        RsaKeyFiles(tmp_path).signer(region, now=NOW)


def test_small_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        RsaKeyFiles(tmp_path, bits=1024)


def test_rotation_keeps_the_public_past(tmp_path: Path) -> None:
    keys = RsaKeyFiles(tmp_path)
    fingerprints = [keys.signer(REGION, now=NOW).fingerprint]
    for year in range(1, 4):
        rotated = keys.rotate(REGION, now=NOW + 365 * DAY * year)
        fingerprints.append(rotated.fingerprint)
        assert keys.signer(REGION, now=NOW + 365 * DAY * year).fingerprint == rotated.fingerprint
    assert len(set(fingerprints)) == 4
    again = RsaKeyFiles(tmp_path)
    assert [key.fingerprint for key in again.list(REGION)] == fingerprints
    for year, fingerprint in enumerate(fingerprints):
        middle = NOW + 365 * DAY * year + 100 * DAY
        assert [key.fingerprint for key in again.public_keys(REGION, middle, middle)] == [fingerprint]
    everything = again.public_keys(REGION, NOW - DAY, NOW + 2000 * DAY)
    assert [key.fingerprint for key in everything] == fingerprints


def test_the_old_key_stays_valid_for_the_overlap_and_its_private_half_goes_after(tmp_path: Path) -> None:
    keys = RsaKeyFiles(tmp_path)
    old = keys.signer(REGION, now=NOW).fingerprint
    keys.rotate(REGION, now=NOW + 30 * DAY, overlap=2 * HOUR)
    assert keys.list(REGION)[0].validity_end == NOW + 30 * DAY + 2 * HOUR
    assert (tmp_path / REGION / f"{old}.pem").exists()
    keys.signer(REGION, now=NOW + 30 * DAY + 3 * HOUR)
    assert [path.stem for path in _files(tmp_path, ".pem")] == [keys.list(REGION)[-1].fingerprint]
    assert keys.list(REGION)[0].fingerprint == old


def test_a_running_process_sees_another_ones_rotation(tmp_path: Path) -> None:
    server, command = RsaKeyFiles(tmp_path), RsaKeyFiles(tmp_path)
    server.signer(REGION, now=NOW)
    rotated = command.rotate(REGION, now=NOW)
    assert server.signer(REGION, now=NOW).fingerprint == rotated.fingerprint


def test_many_first_uses_at_once_make_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: RsaKeyFiles(tmp_path).signer(REGION, now=NOW).fingerprint, range(8)))
    assert len(set(made)) == 1
    assert len(_files(tmp_path, ".pem")) == 1


def test_two_processes_at_once_make_one_key(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from datetime import datetime, UTC\n"
        "from opentrail.keys.rsa_files import RsaKeyFiles\n"
        "signer = RsaKeyFiles(Path(sys.argv[1])).signer('eu-west-1', now=datetime(2024, 5, 1, tzinfo=UTC))\n"
        "print(signer.fingerprint)\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    made = [process.communicate(timeout=60)[0] for process in started]
    assert len(set(made)) == 1
    assert made[0].strip() == RsaKeyFiles(tmp_path).list(REGION)[0].fingerprint


def test_a_crash_before_the_public_key_is_listed_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    orphan = tmp_path / REGION / ("0" * 32 + ".pem")
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"half a ke")
    (tmp_path / REGION / ".public-keys.json.1234").write_bytes(b"{")
    keys = RsaKeyFiles(tmp_path)
    assert keys.signer(REGION, now=NOW).fingerprint == keys.list(REGION)[-1].fingerprint


@settings(max_examples=40, deadline=None)
@given(
    history=st.lists(
        st.tuples(st.sampled_from(["sign", "sign late", "rotate"]), st.integers(1, 60 * 24 * 40)),
        min_size=1,
        max_size=12,
    ),
    overlap=st.sampled_from([timedelta(0), HOUR, OVERLAP]),
)
def test_the_judge_finds_the_key_of_every_digest(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, int]], overlap: timedelta
) -> None:
    """For every range in which ``validate-logs`` would look at a digest, old or new, ListPublicKeys has its key."""
    keys = RsaKeyFiles(tmp_path_factory.mktemp("keys"))
    now = NOW
    signed: list[tuple[datetime, str]] = []
    for action, minutes in history:
        now += timedelta(minutes=minutes)
        if action == "rotate":
            keys.rotate(REGION, now=now, overlap=overlap)
        else:
            end = now - timedelta(minutes=minutes) / 2 if action == "sign late" else now
            signed.append((end, keys.signer(REGION, now=now, digest_end_time=end).fingerprint))
    for end, fingerprint in signed:
        latest = end - HOUR  # the earliest end of a range in which the digest is still looked at
        for start, stop in ((end, end), (latest, latest), (end - 300 * DAY, latest), (end, end + 300 * DAY)):
            # The newer judge asks for two hours more than the range; the bare range must do as well.
            assert fingerprint in {key.fingerprint for key in keys.public_keys(REGION, start, stop)}


def test_a_digest_made_late_stretches_its_keys_validity(tmp_path: Path) -> None:
    keys = RsaKeyFiles(tmp_path)
    late = NOW - 20 * DAY
    signer = keys.signer(REGION, now=NOW, digest_end_time=late)
    (found,) = RsaKeyFiles(tmp_path).public_keys(REGION, late - HOUR, late - HOUR)
    assert found.fingerprint == signer.fingerprint
    far = NOW + 36500 * DAY
    keys.signer(REGION, now=far, digest_end_time=far)
    assert keys.public_keys(REGION, far, far)[0].fingerprint == signer.fingerprint


def test_public_key_files_read_as_either_cli_prints_them(tmp_path: Path) -> None:
    keys = RsaKeyFiles(tmp_path)
    keys.signer(REGION, now=NOW)
    (path,) = _files(tmp_path, "public-keys.json")
    (key,) = keys.list(REGION)
    document = json.loads(path.read_bytes())
    (entry,) = document["PublicKeyList"]
    assert base64.b64decode(entry["Value"]) == key.value
    assert decode_public_keys(encode_public_keys([key])) == (key,)
    entry["ValidityStartTime"] = key.validity_start.timestamp()
    entry["ValidityEndTime"] = int(key.validity_end.timestamp())
    assert decode_public_keys(json.dumps(document).encode()) == (key,)
    entry["Fingerprint"] = "what AWS calls it"
    assert decode_public_keys(json.dumps(document).encode())[0].fingerprint == "what AWS calls it"


@pytest.mark.parametrize(
    "change",
    [{"Value": "AAAA"}, {"Value": 1}, {"Fingerprint": None}, {"ValidityEndTime": "soon"}, {"ValidityEndTime": 1e30}],
)
def test_damaged_public_key_files_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    keys = RsaKeyFiles(tmp_path)
    keys.signer(REGION, now=NOW)
    document = json.loads(encode_public_keys(keys.list(REGION)))
    document["PublicKeyList"][0].update(change)
    with pytest.raises(FormatError):
        decode_public_keys(json.dumps(document).encode())
