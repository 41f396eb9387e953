"""Settings: where they may come from, which one wins, and what a wrong one is told."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from opentrail.core.errors import ConfigError
from opentrail.server.config import Settings, load_settings, parse_duration, parse_size
from opentrail.server.upstream_settings import Upstream

# setting -> (a good value as text, what it becomes, values that are refused)
VALUES: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "host": ("0.0.0.0", "0.0.0.0", ()),
    "port": ("8080", 8080, ("", "-1", "65536", "http", "4577.0", "\N{SUPERSCRIPT TWO}", "9" * 5000)),
    "data_dir": ("/somewhere", Path("/somewhere"), ("", " ", "a\0b")),
    "account_id": ("123456789012", "123456789012", ("", "1234", "12345678901a", "\N{ARABIC-INDIC DIGIT ONE}" * 12)),
    "object_store": ("s3://bucket/prefix", "s3://bucket/prefix", ()),
    "state_url": ("postgresql+psycopg://h/d", "postgresql+psycopg://h/d", ()),
    "delivery_interval": ("90s", 90, ("0", "-5", "5 weeks", "1.5h", "", "9" * 5000)),
    "digest_interval": ("2h", 7200, ("0s", "h")),
    "on_journal_failure": ("pass", "pass", ("ignore", "", "REFUSE")),
    "key_passphrase_file": ("/secret", Path("/secret"), ("",)),
    "record_rules": ("/rules", Path("/rules"), ("",)),
    "tls_cert": ("/cert", Path("/cert"), ("",)),
    "tls_key": ("/key", Path("/key"), ("",)),
    "domains": ("a.example, b.example,", ("a.example", "b.example"), ()),
    "upstream": (
        "s3=http://h:1",
        (Upstream(service="s3", host="h", port=1),),
        ("s3=h", "s3", "s3=http://h/path", "S 3=http://h"),
    ),
    "own": ("sts, iam", ("sts", "iam"), ()),
    "own_buckets": ("logs", ("logs",), ()),
    "log_format": ("json", "json", ("xml",)),
    "log_level": ("warning", "warning", ("loud",)),
    "max_header_bytes": ("64KB", 65536, ("0", "lots", "1e6")),
    "max_body_bytes": ("1MB", 1 << 20, ("-1", "")),
    "decision_retention": ("7d", 604800, ("0", "week")),
    "decision_bytes": ("0", 0, ("-1", "lots", "")),
    "journal_segment_bytes": ("10MiB", 10 << 20, ("x",)),
}
PAIRED = {"tls_cert": {"tls_key": "/key"}, "tls_key": {"tls_cert": "/cert"}}


def test_every_setting_is_tried_here() -> None:
    assert VALUES.keys() == {item.name for item in fields(Settings)}


@pytest.mark.parametrize("name", VALUES)
def test_flag_beats_variable_beats_file_beats_default(name: str, tmp_path: Path) -> None:
    text, value, _ = VALUES[name]
    dashed, variable = name.replace("_", "-"), f"OPENTRAIL_{name.upper()}"
    config = tmp_path / "opentrail.toml"
    config.write_text(f"{dashed} = {text!r}\n")
    others = PAIRED.get(name, {})
    assert getattr(load_settings({}, {}, None), name) == getattr(Settings(), name)
    assert getattr(load_settings(others, {}, config), name) == value
    assert getattr(load_settings(others, {variable: text}, None), name) == value
    assert getattr(load_settings({name: text, **others}, {}, None), name) == value

    for wrong in VALUES[name][2][:1]:  # what is beaten is not even read
        assert getattr(load_settings({name: text, **others}, {variable: wrong}, config), name) == value
        config.write_text(f"{dashed} = {wrong!r}\n")
        assert getattr(load_settings(others, {variable: text}, config), name) == value


@pytest.mark.parametrize(("name", "wrong"), [(name, wrong) for name in VALUES for wrong in VALUES[name][2]])
def test_a_refusal_names_the_setting_and_where_it_was_set(name: str, wrong: str, tmp_path: Path) -> None:
    dashed, variable = name.replace("_", "-"), f"OPENTRAIL_{name.upper()}"
    with pytest.raises(ConfigError, match=f"^--{dashed}: .* expected"):
        load_settings({name: wrong}, {}, None)
    with pytest.raises(ConfigError, match=f"^{variable}: .* expected"):
        load_settings({}, {variable: wrong}, None)
    config = tmp_path / "opentrail.toml"
    if "\0" not in wrong:
        config.write_text(f"{dashed} = {wrong!r}\n", "utf-8")
        with pytest.raises(ConfigError, match=f"opentrail.toml: {dashed}: .* expected"):
            load_settings({}, {}, config)


def test_toml_has_its_own_types(tmp_path: Path) -> None:
    config = tmp_path / "opentrail.toml"
    config.write_text('port = 80\ndomains = ["a", "b"]\ndelivery_interval = 5\n')
    settings = load_settings({}, {}, config)
    assert (settings.port, settings.domains, settings.delivery_interval) == (80, ("a", "b"), 5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 80", "no setting 'prot'"),
        ("[server]\nport = 80", "no setting 'server'"),
        ("port 80", "not TOML"),
        ("port = true", "port: a port from 0 to 65535"),
    ],
)
def test_a_wrong_file_is_named(text: str, said: str, tmp_path: Path) -> None:
    config = tmp_path / "opentrail.toml"
    config.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings({}, {}, config)
    assert str(config) in str(caught.value)
    assert said in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--config .*none.toml: No such file"):
        load_settings({}, {}, tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not TOML"):
        load_settings({}, {}, tmp_path / "binary.toml")


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(ConfigError, match="--tls-cert and --tls-key belong together"):
        load_settings({"tls_cert": "/cert"}, {}, None)
    with pytest.raises(ConfigError, match="--tls-cert and --tls-key belong together"):
        load_settings({}, {"OPENTRAIL_TLS_KEY": "/key"}, None)


def test_durations_and_sizes() -> None:
    assert [parse_duration(text) for text in ("1", "90s", "5m", " 1H ", "30d")] == [1, 90, 300, 3600, 2592000]
    assert [parse_size(text) for text in ("1", "64KB", "64 kib", "1GB")] == [1, 65536, 65536, 1 << 30]
