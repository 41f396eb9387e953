"""Forms of IAM's identifiers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.credentials import (
    ACCESS_KEY_ID_BYTES,
    SECRET_BYTES,
    UNIQUE_ID_BYTES,
    format_access_key_id,
    format_secret,
    format_unique_id,
    parse_access_key_account,
)
from opentrail.core.errors import FormatError


def random_bytes(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


@given(st.integers(0, 999_999_999_999), random_bytes(ACCESS_KEY_ID_BYTES))
def test_an_access_key_id_carries_its_account(number: int, random: bytes) -> None:
    account = f"{number:012}"
    access_key_id = format_access_key_id(account, random)
    assert len(access_key_id) == 20
    assert access_key_id.startswith("AKIA")
    assert parse_access_key_account(access_key_id) == account


@given(random_bytes(ACCESS_KEY_ID_BYTES), random_bytes(ACCESS_KEY_ID_BYTES))
def test_different_bytes_make_different_keys(first: bytes, second: bytes) -> None:
    ids = {format_access_key_id("123456789012", each) for each in (first, second)}
    same = first[1:] == second[1:] and first[0] % 128 == second[0] % 128
    assert len(ids) == (1 if same else 2)


def test_public_decoders_read_a_well_known_key() -> None:
    # published with this account by those who described the form
    assert parse_access_key_account("ASIAQNZGKIQY56JQ7WML") == "029608264753"


@pytest.mark.parametrize(
    "text", ["", "AKIA", "AKIA!", "AKIAIOSFODNN7EXAMPL", "AKIA0000000000000000", "AKIA" + "é" * 16]
)
def test_anything_else_is_no_access_key_id(text: str) -> None:
    with pytest.raises(FormatError):
        parse_access_key_account(text)


@given(random_bytes(UNIQUE_ID_BYTES), random_bytes(SECRET_BYTES))
def test_lengths_are_those_of_aws(user: bytes, secret: bytes) -> None:
    assert len(format_unique_id("AIDA", user)) == 21
    assert len(format_secret(secret)) == 40
