"""The ``upstream`` setting: three sources, one order, and errors that name what is wrong but no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from opentrail.core.errors import ConfigError
from opentrail.server.config import load_settings

KEY = "access-key-id = 'AKID'\nsecret-access-key = 'hush-hush'\n"


def test_a_flag_beats_a_variable_and_a_variable_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "opentrail.toml"
    file.write_text(
        f"[upstream.s3]\nurl = 'http://file:1'\nread-timeout = '2s'\n{KEY}[upstream.sqs]\nurl = 'https://q'\n"
    )
    environ = {"OPENTRAIL_UPSTREAM": "s3=http://variable:2 *=http://any", "OPENTRAIL_UPSTREAM_ANY_REGION": "eu-west-1"}
    found = {each.service: each for each in load_settings({"upstream": "s3=http://flag:3"}, environ, file).upstream}
    assert (found["s3"].host, found["s3"].port, found["s3"].mode, found["s3"].read_timeout) == ("flag", 3, "re-sign", 2)
    assert (found["sqs"].port, found["sqs"].tls, found["sqs"].mode) == (443, True, "pass-through")
    assert (found["*"].host_header, found["*"].region) == ("any", "eu-west-1")
    assert "hush" not in repr(found["s3"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[upstream.s3]\nmode = 'pass-through'\n", "has no URL"),
        ("[upstream.s3]\nurl = 'ftp://x'\n", "upstream.s3.url"),
        ("[upstream.s3]\nurl = 'http://x/path'\n", "without a path"),
        ("[upstream.s3]\nurl = 'http://x'\nmode = 're-sign'\n", "needs access-key-id"),
        (f"[upstream.s3]\nurl = 'http://x'\nmode = 'pass-through'\n{KEY}", "in mode re-sign alone"),
        (
            "[upstream.s3]\nurl = 'http://x'\naccess-key-id = 'a'\nsecret-access-key = 'hush hush'\n",
            "secret access key",
        ),
        ("[upstream.s3]\nurl = 'http://x'\ntls-verify = false\n", "https://"),
        ("[upstream.s3]\nurl = 'http://x'\nprofile = 'p'\ncredentials-file = '/nowhere'\n", "/nowhere"),
        ("[upstream.s3]\nurl = 'http://x'\ncolour = 'red'\n", "no option 'colour'"),
        ("upstream = 7\n", "is expected"),
    ],
)
def test_what_cannot_be_is_told_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "opentrail.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings({}, {}, file)
    assert words in str(caught.value)
    assert "hush" not in str(caught.value)
