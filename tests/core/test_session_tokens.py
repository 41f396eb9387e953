"""Session tokens: what is sealed is what is opened, by this installation and for this key alone."""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentrail.core.credentials import TEMPORARY, format_access_key_id, format_secret, parse_access_key_account
from opentrail.core.errors import FormatError
from opentrail.core.identity import Identity, IdentityType, Session, SessionIssuer, WebIdentity
from opentrail.core.session_tokens import MAX_TOKEN_CHARACTERS, SessionCredentials, SessionTokens

ACCOUNT = "123456789012"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKENS = SessionTokens(b"k" * 32)
ISSUER = SessionIssuer(
    type="Role",
    principal_id="AROAEXAMPLE",
    arn=f"arn:aws:iam::{ACCOUNT}:role/app/Reader",
    account_id=ACCOUNT,
    user_name="Reader",
)

texts = st.text(max_size=40)
tag_sets = st.dictionaries(st.text(min_size=1, max_size=20), texts, max_size=5)
web_identities = st.builds(
    WebIdentity,
    provider_arn=texts,
    issuer=texts,
    claims=st.fixed_dictionaries({"aud": st.tuples(texts), "sub": st.tuples(texts)}),
)


@st.composite
def all_credentials(draw: st.DrawFn) -> SessionCredentials:
    key_id = format_access_key_id(ACCOUNT, draw(st.binary(min_size=5, max_size=5)), TEMPORARY)
    tags = draw(tag_sets)
    session = Session(
        issuer=draw(st.none() | st.just(ISSUER)),
        creation_date=START,
        expiration=START + timedelta(seconds=draw(st.integers(900, 129_600))),
        mfa_authenticated=draw(st.booleans()),
        name=draw(texts),
        policy=draw(st.text(max_size=2048)),
        policy_arns=tuple(draw(st.lists(texts, max_size=10))),
        tags=tags,
        transitive_tag_keys=tuple(draw(st.lists(st.sampled_from(sorted(tags)), unique=True))) if tags else (),
        source_identity=draw(texts),
        web_identity=draw(st.none() | web_identities),
    )
    kinds = [IdentityType.ROOT, IdentityType.IAM_USER, IdentityType.ASSUMED_ROLE, IdentityType.FEDERATED_USER]
    identity = Identity(
        type=draw(st.sampled_from(kinds)),
        principal_id=draw(texts),
        arn=draw(texts),
        account_id=ACCOUNT,
        access_key_id=key_id,
        user_name=draw(texts),
        session=session,
        tags=tags,
    )
    secret = format_secret(draw(st.binary(min_size=30, max_size=30)))
    return SessionCredentials(access_key_id=key_id, secret=secret, identity=identity)


@given(all_credentials())
@settings(max_examples=60, deadline=None)
def test_what_is_sealed_is_opened(credentials: SessionCredentials) -> None:
    token = TOKENS.seal(credentials)
    assert TOKENS.open(token, credentials.access_key_id) == credentials
    assert token.isascii()
    assert len(token) <= MAX_TOKEN_CHARACTERS
    assert credentials.secret not in token
    assert credentials.secret.encode() not in b64decode(token)


@given(all_credentials(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_token_with_any_other_letter_is_refused(credentials: SessionCredentials, data: st.DataObject) -> None:
    token = TOKENS.seal(credentials)
    at = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.characters(codec="latin-1").filter(lambda each: each != token[at]))
    with pytest.raises(FormatError):
        TOKENS.open(token[:at] + letter + token[at + 1 :], credentials.access_key_id)


def test_a_token_with_any_bit_flipped_is_refused() -> None:
    credentials = _simple()
    data = bytearray(b64decode(TOKENS.seal(credentials)))
    for at in range(len(data)):
        for bit in range(8):
            data[at] ^= 1 << bit
            with pytest.raises(FormatError):
                TOKENS.open(b64encode(data).decode(), credentials.access_key_id)
            data[at] ^= 1 << bit


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: b64encode(data).decode()), st.text(max_size=30))
@settings(max_examples=200, deadline=None)
def test_whatever_is_no_token_is_refused_with_a_format_error(token: str, access_key_id: str) -> None:
    with pytest.raises(FormatError):
        TOKENS.open(token, access_key_id)


@given(all_credentials(), st.integers(0, 4096))
@settings(max_examples=40, deadline=None)
def test_a_token_is_as_long_as_is_asked_for_and_opens_the_same(credentials: SessionCredentials, size: int) -> None:
    token = TOKENS.seal(credentials, minimum_characters=size)
    assert size <= len(token) <= max(size + 4, len(TOKENS.seal(credentials)))
    assert TOKENS.open(token, credentials.access_key_id) == credentials


def test_another_keys_token_another_installations_and_a_longer_one_are_refused() -> None:
    credentials = _simple()
    token = TOKENS.seal(credentials)
    other = format_access_key_id(ACCOUNT, b"other", TEMPORARY)
    for opener, text, key_id in (
        (TOKENS, token, other),
        (SessionTokens(b"l" * 32), token, credentials.access_key_id),
        (TOKENS, token + "AAAA", credentials.access_key_id),
        (TOKENS, token + "\n", credentials.access_key_id),
        (TOKENS, "A" * (MAX_TOKEN_CHARACTERS + 4), credentials.access_key_id),
        (TOKENS, "", credentials.access_key_id),
    ):
        with pytest.raises(FormatError):
            opener.open(text, key_id)


def test_a_key_of_a_session_is_told_by_its_id_and_carries_its_account() -> None:
    key_id = format_access_key_id(ACCOUNT, b"12345", TEMPORARY)
    assert key_id.startswith("ASIA")
    assert len(key_id) == 20
    assert parse_access_key_account(key_id) == ACCOUNT


def test_neither_credentials_nor_tokens_show_their_secret() -> None:
    credentials = _simple()
    assert credentials.secret not in repr(credentials)


def _simple() -> SessionCredentials:
    key_id = format_access_key_id(ACCOUNT, b"12345", TEMPORARY)
    identity = Identity(
        type=IdentityType.ASSUMED_ROLE,
        principal_id="AROAEXAMPLE:me",
        arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/Reader/me",
        account_id=ACCOUNT,
        access_key_id=key_id,
        session=Session(issuer=ISSUER, creation_date=START, expiration=START + timedelta(hours=1), name="me"),
    )
    return SessionCredentials(access_key_id=key_id, secret=format_secret(b"s" * 30), identity=identity)
