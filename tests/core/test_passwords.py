"""Password policies and hashes."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentrail.core.errors import FormatError
from opentrail.core.passwords import PasswordPolicy, hash_password, is_password, password_fault, salt_of

STRICT = PasswordPolicy(
    minimum_length=10, require_symbols=True, require_numbers=True, require_uppercase=True, require_lowercase=True
)


def test_a_hash_is_scrypt_in_phc_form_and_opens_for_its_password_alone() -> None:
    salt = bytes(range(16))
    encoded = hash_password("Hunter-22", salt)
    expected = hashlib.scrypt(b"Hunter-22", salt=salt, n=2**15, r=8, p=3, maxmem=2**26, dklen=32)
    assert encoded.startswith("$scrypt$ln=15,r=8,p=3$AAECAwQFBgcICQoLDA0ODw$")
    assert salt_of(encoded) == salt
    assert "Hunter" not in encoded
    assert is_password("Hunter-22", [encoded])
    assert not is_password("hunter-22", [encoded])
    assert encoded.rpartition("$")[2] == base64.b64encode(expected).decode().rstrip("=")


def test_passwords_are_compared_with_all_former_ones_at_the_cost_of_one_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = "$scrypt$ln=1,r=1,p=1$c2FsdHNhbHQ$"
    hashes = []
    real = hashlib.scrypt

    def counted(password: bytes, **options: int) -> bytes:
        hashes.append(password)
        return real(password, **options)  # type: ignore[arg-type]  # the options as they came

    monkeypatch.setattr(hashlib, "scrypt", counted)
    former = [cheap + "A" * 43, cheap + "B" * 43, cheap + "C" * 43]
    assert not is_password("x", former)
    assert hashes == [b"x"]


@pytest.mark.parametrize("text", ["", "x", "$scrypt$ln=15,r=8$a$b", "$argon2id$v=19$a$b", "$scrypt$ln=15,r=8,p=3$a$b"])
def test_what_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        salt_of(text)


@pytest.mark.parametrize(
    ("password", "fault"),
    [
        ("Aa1!Aa1!Aa", ""),
        ("Aa1!Aa1!A", "Password should have a minimum length of 10"),
        ("aa1!aa1!aa", "Password should have at least one uppercase letter"),
        ("AA1!AA1!AA", "Password should have at least one lowercase letter"),
        ("Aaa!Aaa!Aa", "Password should have at least one number"),
        ("Aa11Aa11Aa", "Password should have at least one symbol"),
        ("Äá1!Äá1!Äá", "Password should have at least one uppercase letter"),
    ],
)
def test_an_account_s_own_policy(password: str, fault: str) -> None:
    assert password_fault(password, STRICT) == fault


@pytest.mark.parametrize(
    ("password", "allowed"),
    [("Abcdefg1", True), ("abcdef-1", True), ("Abcdef1", False), ("Abcdefgh", False), ("me@Example.com1", False)],
)
def test_aws_s_default_policy(password: str, allowed: bool) -> None:
    assert (password_fault(password, None, ["first", "ME@example.com1"]) == "") is allowed


@given(st.text(max_size=20), st.integers(6, 20))
def test_no_fault_ever_tells_the_password(password: str, minimum: int) -> None:
    for policy in (None, STRICT, PasswordPolicy(minimum_length=minimum)):
        fault = password_fault(password, policy)
        assert fault == "" or len(password) < 4 or password not in fault
