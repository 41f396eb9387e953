"""``--verbose``, the verdict on every object, and which resume file is believed that would spare looking at them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from opentrail.cli.main import main
from opentrail.testing.sample_trail import Objects, SampleTrail
from opentrail.testing.tamper_matrix import touch


def test_verbose_it_tells_every_digest_and_log_file(
    trail: SampleTrail,
    lay: Callable[[Objects], Path],
    keys: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    touched = touch(trail, "log_deleted", "digest_flipped", "log_flipped", seed=2)
    folder = lay(touched.objects)

    def verify(*words: str) -> list[str]:
        assert main(["verify", str(folder), "--public-keys", str(keys), "--jobs", "1", *words]) == 1
        return capsys.readouterr().out.splitlines()

    lines = [json.loads(line) for line in verify("--json", "--verbose")]
    told = [line for line in lines if line["type"] == "object"]
    assert len({line["key"] for line in told}) == len(told)
    for chain in lines[-1]["chains"]:
        of = {name: chain[name] for name in told[0]["chain"]}
        for kind, counts in (("digest", chain["digests"]), ("log-file", chain["logFiles"])):
            verdicts = Counter(line["verdict"] for line in told if (line["chain"], line["kind"]) == (of, kind))
            assert {name: verdicts[name] for name in counts if name != "total"} | {"total": verdicts.total()} == counts
    assert {line["verdict"] for line in told} == {"valid", "invalid", "missing"}
    plain = verify("-v")
    expected = [f"{line['verdict']:9} {line['kind']:8} {line['key']}" for line in told]
    assert [line for line in plain if line in set(expected)] == expected, "the same, in the same order"
    assert plain.index(expected[-1]) < next(at for at, line in enumerate(plain) if line.startswith("VERDICT"))
    config = keys.with_name("verbose.toml")
    config.write_text("[verify]\nverbose = true\n")
    assert verify("--config", str(config)) == plain
    monkeypatch.setenv("OPENTRAIL_VERIFY_VERBOSE", "true")
    assert verify() == plain


def test_a_resume_file_that_others_could_have_written_is_not_believed(
    keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "planted"
    words = ["verify", str(tmp_path), "--public-keys", str(keys), "--resume", "--resume-file", str(path), "--jobs", "1"]
    path.write_text("{}")
    path.chmod(0o620)
    assert main(words) == 2
    assert f"--resume: {path}: others may write it; what it says is believed" in capsys.readouterr().err
    path.chmod(0o600)
    assert main(words) == 2
    assert "not a checkpoint" in capsys.readouterr().err, "this user's own is read"
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
        assert main(words) == 2
        assert "it belongs to another user" in capsys.readouterr().err
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert main(words) == 2
    assert "it is a symbolic link" in capsys.readouterr().err
    path.unlink()
    os.mkfifo(path)
    assert main(words) == 2
    assert "it is not a regular file" in capsys.readouterr().err
