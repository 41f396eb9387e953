"""The first start: an account, a key that works at once, and secrets that are kept."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from opentrail.core.errors import ConfigError
from opentrail.server.first_start import make_first_account, read_master_key
from opentrail.server.runtime import utc_now
from opentrail.state.accounts import Accounts
from opentrail.state.database import open_database
from opentrail.state.identities import Identities
from opentrail.state.secret_cipher import MASTER_KEY_BYTES, SecretCipher

AWS = Path(sys.executable).parent / "aws"


def aws(server: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    env |= {"AWS_ENDPOINT_URL": server.url, "AWS_SHARED_CREDENTIALS_FILE": str(server.data_dir / "credentials")}
    return subprocess.run([AWS, *arguments], env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(not AWS.exists(), reason="the AWS CLI is not installed")
def test_the_aws_cli_works_at_once(server: Any) -> None:
    done = aws(server, "sts", "get-caller-identity", "--query", "Arn", "--output", "text")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"arn:aws:iam::[0-9]{12}:root\n", done.stdout)


def test_secrets_are_for_their_owner_alone(server: Any) -> None:
    assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700
    for name in ("credentials", "master.key"):
        assert stat.S_IMODE((server.data_dir / name).stat().st_mode) == 0o600


def test_the_account_stays(serve: Any, run_opentrail: Any) -> None:
    first = serve()
    account, key = first.client("sts").get_caller_identity()["Account"], first.key
    assert len(account) == 12
    assert account.isdigit()
    first.stop()
    again = serve("--account-id", account, data_dir=first.data_dir)
    assert again.client("sts", key).get_caller_identity()["Account"] == account
    again.stop()
    other = "999999999999" if account != "999999999999" else "888888888888"
    done = run_opentrail("serve", "--port", "0", "--data-dir", str(first.data_dir), "--account-id", other)
    assert done.returncode == 2
    assert f"--account-id {other}: the data folder belongs to account {account}" in done.stderr


def test_a_passphrase_from_the_first_start_on(serve: Any, run_opentrail: Any, tmp_path: Path) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    for path, text in ((right, "correct horse\n"), (wrong, "battery staple\n")):
        path.write_text(text)
        path.chmod(0o600)
    server = serve("--key-passphrase-file", str(right))
    server.client("sts").get_caller_identity()
    server.stop()
    base = ("serve", "--port", "0", "--data-dir", str(server.data_dir))
    for options, said in (
        ((), "is encrypted: name the passphrase's file with --key-passphrase-file"),
        (("--key-passphrase-file", str(wrong)), "is not the one that sealed it"),
    ):
        done = run_opentrail(*base, *options)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        assert "battery" not in done.stderr
    again = serve("--key-passphrase-file", str(right), data_dir=server.data_dir)
    again.client("sts").get_caller_identity()


def test_a_passphrase_that_comes_too_late_is_refused(serve: Any, run_opentrail: Any, tmp_path: Path) -> None:
    server = serve()
    server.stop()
    path = tmp_path / "passphrase"
    path.write_text("late")
    path.chmod(0o600)
    done = run_opentrail("serve", "--port", "0", "--data-dir", str(server.data_dir), "--key-passphrase-file", str(path))
    assert (done.returncode, "is not encrypted" in done.stderr) == (2, True), done.stderr


def test_a_master_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    key = read_master_key(path, None)
    assert len(key) == MASTER_KEY_BYTES
    assert read_master_key(path, None) == key
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="may be read by others: chmod 600"):
        read_master_key(path, None)
    path.chmod(0o600)
    path.write_bytes(key[:-1])
    with pytest.raises(ConfigError, match="is damaged"):
        read_master_key(path, None)


def test_a_sealed_master_key_does_not_show_the_key(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    key = read_master_key(path, b"passphrase")
    assert key not in path.read_bytes()
    assert read_master_key(path, b"passphrase") == key
    data = path.read_bytes()
    for at in range(len(b"opentrail-sealed-1\n"), len(data)):  # every byte of salt, nonce and box counts
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        if at % 17 == 0:
            with pytest.raises(ConfigError, match="passphrase"):
                read_master_key(path, b"passphrase")


class Died(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", ["credentials", "account", "key"])
def test_a_crash_at_any_step_leaves_a_start_that_can_be_done_again(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'state.db'}")
    accounts, identities = Accounts(engine), Identities(engine, SecretCipher(bytes(MASTER_KEY_BYTES)))
    credentials = tmp_path / "credentials"

    def start() -> str:
        return make_first_account(
            accounts=accounts, identities=identities, account_id="", credentials=credentials, now=utc_now()
        )

    def die(*_arguments: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        if step == "credentials":
            patch.setattr("opentrail.server.first_start.write_secret_file", die)
        elif step == "account":
            patch.setattr(accounts, "create", die)
        else:
            patch.setattr(Identities, "create_key", die)
        with pytest.raises(Died):
            start()
    account = start()
    key_id = credentials.read_text().split("aws_access_key_id = ")[1].split()[0]
    found = identities.find_key(key_id)
    assert found is not None
    assert found.identity.account_id == account
    assert start() == account
    assert [each.account_id for each in accounts.all()] == [account]
    engine.dispose()


def test_a_key_of_nobody_is_refused(server: Any) -> None:
    stranger = type(server.key)(id="AKIA" + "X" * 16, secret=server.key.secret)
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        server.client("sts", stranger).get_caller_identity()
