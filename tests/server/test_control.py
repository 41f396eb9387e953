"""Commands beside a running server: found wherever its folder lies, and not missed where none runs."""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from opentrail.core.errors import ConfigError
from opentrail.server.control import call_server


def flush(run: Any, data_dir: Path) -> dict[str, Any]:
    done = run("flush", "--json", "--data-dir", str(data_dir))
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_command_asks_the_server_that_runs(serve: Any, run_opentrail: Any) -> None:
    server = serve()
    assert stat.S_IMODE((server.data_dir / "control.sock").stat().st_mode) == 0o600
    assert json.loads((server.data_dir / "control.json").read_text())["pid"] == server.process.pid
    assert flush(run_opentrail, server.data_dir) == {"delivered": 0, "waiting": 0}
    rotated = json.loads(
        run_opentrail("keys", "rotate", "--region", "eu-west-1", "--json", "--data-dir", str(server.data_dir)).stdout
    )
    assert [key["signs"] for key in rotated["keys"]] == [True]
    listed = run_opentrail("keys", "list", "--data-dir", str(server.data_dir))
    assert rotated["keys"][0]["fingerprint"] in listed.stdout
    two = run_opentrail(
        "keys", "rotate", "--region", "eu-west-1, us-east-1", "--json", "--data-dir", str(server.data_dir)
    )
    assert [key["region"] for key in json.loads(two.stdout)["keys"]] == ["eu-west-1", "eu-west-1", "us-east-1"]
    assert server.stop() == 0
    assert not (server.data_dir / "control.sock").exists()
    assert not (server.data_dir / "control.json").exists()


def test_a_folder_deeper_than_a_socket_path_may_be(serve: Any, run_opentrail_here: Any, tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 30) / "data"
    server = serve(data_dir=folder)
    assert flush(run_opentrail_here, folder) == {"delivered": 0, "waiting": 0}
    path = Path(json.loads((folder / "control.json").read_text())["socket"])
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert server.stop() == 0
    assert not path.parent.exists()


def test_without_a_server_a_command_opens_the_folder_itself(serve: Any, run_opentrail_here: Any) -> None:
    server = serve()
    server.client("sts").get_caller_identity()
    server.stop()
    assert flush(run_opentrail_here, server.data_dir) == {"delivered": 0, "waiting": 0}


def test_what_a_killed_server_left_is_in_nobodys_way(serve: Any, run_opentrail_here: Any) -> None:
    killed = serve()
    killed.stop(signal.SIGKILL)
    assert (killed.data_dir / "control.sock").exists()
    assert flush(run_opentrail_here, killed.data_dir) == {"delivered": 0, "waiting": 0}
    server = serve(data_dir=killed.data_dir)
    assert flush(run_opentrail_here, server.data_dir) == {"delivered": 0, "waiting": 0}
    assert server.stop() == 0


@pytest.mark.parametrize("pointer", ["", "{", "[]", "{}", '{"socket": 5}', '{"socket": "/none"}'])
def test_a_pointer_that_leads_nowhere(pointer: str, tmp_path: Path) -> None:
    (tmp_path / "control.json").write_text(pointer)
    assert call_server(tmp_path, {"command": "flush"}) is None


def test_two_servers_on_one_folder(serve: Any, run_opentrail: Any) -> None:
    server = serve()
    done = run_opentrail("serve", "--port", "0", "--data-dir", str(server.data_dir))
    assert done.returncode == 2
    assert f"in use by process {server.process.pid}: stop it first" in done.stderr
    assert "Traceback" not in done.stderr
    server.client("sts").get_caller_identity()  # the first one is none the worse


def test_an_unknown_command_is_told_so(serve: Any) -> None:
    server = serve()
    for request in ({"command": "dance"}, {"no": "command"}):
        with pytest.raises(ConfigError, match="does not know this command"):
            call_server(server.data_dir, request)


def test_a_command_that_fails_says_why(serve: Any, run_opentrail_here: Any) -> None:
    server = serve()
    done = run_opentrail_here("keys", "rotate", "--data-dir", str(server.data_dir))
    assert (done.returncode, done.stderr) == (
        2,
        "opentrail keys: there are no keys yet: name the region to make one for, with --region\n",
    )


def test_what_is_no_region_makes_no_folder_of_keys(serve: Any, run_opentrail_here: Any) -> None:
    server = serve()
    for running in (True, False):
        for name in ("../keys", "EU", "eu-west-1,us east"):
            done = run_opentrail_here("keys", "rotate", "--region", name, "--data-dir", str(server.data_dir))
            assert (done.returncode, "--region: a region is expected" in done.stderr) == (2, True)
        if running:
            server.stop()
    assert not any((server.data_dir / "keys").glob("*"))


def test_a_server_that_dies_or_hangs_in_the_middle(tmp_path: Path) -> None:
    import socket

    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        (tmp_path / "control.json").write_text(json.dumps({"socket": str(path), "pid": os.getpid()}))

        def hang_up() -> None:
            listener.accept()[0].close()

        closer = threading.Thread(target=hang_up)
        closer.start()
        with pytest.raises(ConfigError, match="stopped before it answered"):
            call_server(tmp_path, {"command": "flush"})
        closer.join()
        with pytest.raises(ConfigError, match=r"did not answer within 0\.2 s"):
            call_server(tmp_path, {"command": "flush"}, timeout_seconds=0.2)
