"""``opentrail account``: with a server and without, and what it refuses."""

from __future__ import annotations

import configparser
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from opentrail.server.config import Settings
from opentrail.server.runtime import open_runtime
from opentrail.state.identities import Identities


def profiles(path: Path) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser()
    parser.read(path)
    return {name: dict(parser[name]) for name in parser.sections()}


def sign_in(server: Any, words: dict[str, str]) -> str:
    """Whose account a profile's key opens."""
    make: Callable[..., Any] = boto3.client
    client = make(
        "sts",
        region_name=words["region"],
        endpoint_url=server.url,
        aws_access_key_id=words["aws_access_key_id"],
        aws_secret_access_key=words["aws_secret_access_key"],
    )
    server.clients.append(client)
    account_id: str = client.get_caller_identity()["Account"]
    return account_id


@pytest.fixture
def account(run_opentrail_here: Any, tmp_path: Path) -> Any:
    """``opentrail account`` on the data folder of the first server; its JSON, or its error."""

    def run(*words: str, code: int = 0) -> Any:
        done = run_opentrail_here("account", *words, "--data-dir", str(tmp_path / "data-0"), "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if code == 0 else done.stderr

    return run


def test_an_account_made_on_a_running_server_can_be_used_at_once(serve: Any, account: Any, tmp_path: Path) -> None:
    server = serve()
    path = tmp_path / "data-0" / "credentials"
    before = path.read_text()
    made = account("create", "audit", "--account-id", "111122223333", "--email", "audit@example.com")
    assert made == {
        "account": {
            **made["account"],
            "account_id": "111122223333",
            "name": "audit",
            "email": "audit@example.com",
            "status": "ACTIVE",
            "organization_id": "",
        },
        "profile": "audit",
        "credentials": str(path),
    }
    assert path.read_text().startswith(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    words = profiles(path)["audit"]
    assert made["account"]["root_access_keys"] == [words["aws_access_key_id"]]
    assert words["aws_secret_access_key"] not in json.dumps(made)
    assert sign_in(server, words) == "111122223333"
    account("close", "audit")
    with pytest.raises(ClientError):
        sign_in(server, words)
    assert account("show", "111122223333")["account"]["status"] == "SUSPENDED"
    assert "closed already" in account("close", "audit", code=2)


@pytest.mark.usefixtures("server_folder")
def test_accounts_are_made_and_closed_without_a_server(serve: Any, account: Any, tmp_path: Path) -> None:
    names = ["one", "two"]
    ids = [account("create", name)["account"]["account_id"] for name in names]
    account("close", "two")
    listed = account("list")["accounts"]
    assert [each["name"] for each in listed] == ["root", *names], "the first account first"
    assert [each["account_id"] for each in listed[1:]] == ids
    assert [each["status"] for each in listed] == ["ACTIVE", "ACTIVE", "SUSPENDED"]
    again = serve(data_dir=tmp_path / "data-0")
    written = profiles(tmp_path / "data-0" / "credentials")
    assert sign_in(again, written["one"]) == ids[0]
    assert sign_in(again, written["default"]) == listed[0]["account_id"]
    with pytest.raises(ClientError):
        sign_in(again, written["two"])


def test_what_is_taken_is_refused(serve: Any, account: Any) -> None:
    serve()
    account("create", "audit", "--account-id", "111122223333", "--email", "audit@example.com")
    assert "there is an account named audit already: 111122223333 (ACTIVE)" in account("create", "Audit", code=2)
    assert "111122223333 is taken by audit" in account("create", "b", "--account-id", "111122223333", code=2)
    assert "belongs to another account" in account("create", "b", "--email", "AUDIT@example.com", code=2)
    assert "there is a profile [default] already" in account("create", "default", code=2)
    assert len(account("list")["accounts"]) == 2


def test_what_cannot_be_is_refused(serve: Any, account: Any) -> None:
    serve()
    for words, text in (
        (("create", "x]y"), "cannot be an account's name"),
        (("create", ""), "cannot be an account's name"),
        (("create", "x", "--account-id", "12"), "an account ID is 12 digits"),
        (("create", "x", "--email", "nobody"), "--email"),
        (("create",), "`create` needs an ACCOUNT"),
        (("list", "x"), "`list` takes no ACCOUNT"),
        (("show", "nobody"), "there is no account nobody"),
        (("close", "root", "--email", "a@b.cd"), "--email: of use to `create` alone"),
        (("close", "root"), "is the last one"),
        (("create", "x", "--credentials", "nowhere/credentials"), "there is no folder"),
    ):
        assert text in account(*words, code=2), words
    assert len(account("list")["accounts"]) == 1


@pytest.fixture
def server_folder(tmp_path: Path) -> Path:
    """The data folder of a server that has ended."""
    with open_runtime(Settings(data_dir=tmp_path / "data-0")):
        return tmp_path / "data-0"


@pytest.mark.usefixtures("server_folder")
def test_a_file_of_the_users_own_keeps_what_is_in_it(account: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.write_text("# mine\n[work]\naws_access_key_id=AKIAWORK\naws_secret_access_key=x")
    assert account("create", "audit", "--credentials", str(path))["credentials"] == str(path)
    assert path.read_text().startswith(
        "# mine\n[work]\naws_access_key_id=AKIAWORK\naws_secret_access_key=x\n\n[audit]\n"
    )
    assert "there is a profile [work] already" in account("create", "work", "--credentials", str(path), code=2)
    path.write_text("no file of profiles")
    assert "not a credentials file" in account("create", "third", "--credentials", str(path), code=2)


def test_an_interrupted_create_goes_on(account: Any, server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The account is there and its profile is written, but the crash came before the key."""

    def crash(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with open_runtime(Settings(data_dir=server_folder)) as runtime, monkeypatch.context() as patch:
        patch.setattr(Identities, "create_key", crash)
        with pytest.raises(KeyboardInterrupt):
            runtime.account_desk.create({"name": "audit"})
    [begun] = [each for each in account("list")["accounts"] if each["name"] == "audit"]
    assert begun["root_access_keys"] == []
    written = profiles(server_folder / "credentials")["audit"]
    assert account("create", "audit")["account"]["account_id"] == begun["account_id"]
    assert profiles(server_folder / "credentials")["audit"] == written
    assert account("show", "audit")["account"]["root_access_keys"] == [written["aws_access_key_id"]]
    assert "already" in account("create", "audit", code=2)


def test_what_a_person_reads(serve: Any, run_opentrail: Any, tmp_path: Path) -> None:
    serve()
    folder = ("--data-dir", str(tmp_path / "data-0"))
    made = run_opentrail("account", "create", "audit", "--account-id", "111122223333", *folder)
    assert made.stdout.splitlines() == [
        "made account 111122223333 (audit)",
        f"its root credentials are the profile [audit] in {tmp_path / 'data-0' / 'credentials'}",
    ]
    table = run_opentrail("account", "list", *folder).stdout.splitlines()
    assert table[0].split() == ["ACCOUNT", "STATUS", "CREATED", "ORGANIZATION", "NAME"]
    assert [line.split()[-1] for line in table[1:]] == ["root", "audit"]
    shown = run_opentrail("account", "show", "audit", *folder).stdout
    assert "account:       111122223333" in shown
    assert "status:        ACTIVE" in shown


def test_the_management_account_is_not_closed(serve: Any, account: Any) -> None:
    server = serve()
    server.client("organizations").create_organization()
    account("create", "audit")
    root = account("list")["accounts"][0]
    assert "manages the organization" in account("close", root["account_id"], code=2)
    assert account("show", "root")["account"]["management_account_id"] == root["account_id"]
