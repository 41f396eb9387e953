"""Opened tokens in memory: found without a database, forgotten with every change of their account, never too many."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, event

from opentrail.core.credentials import TEMPORARY, format_access_key_id, format_secret
from opentrail.core.identity import Identity, IdentityType, Session, SessionIssuer, root_identity
from opentrail.core.session_tokens import SessionCredentials, SessionTokens
from opentrail.state import sessions as sessions_module
from opentrail.state.accounts import Account, Accounts
from opentrail.state.entities import Role
from opentrail.state.identities import Identities
from opentrail.state.secret_cipher import SecretCipher
from opentrail.state.sessions import Sessions, merge_tags

A, B = "111111111111", "222222222222"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKENS = SessionTokens(b"k" * 32)


@pytest.fixture
def identities(engine: Engine) -> Identities:
    accounts = Accounts(engine)
    for account_id in (A, B):
        accounts.create(Account(account_id=account_id, name=account_id, created=NOW))
    return Identities(engine, SecretCipher(b"k" * 32))


@pytest.fixture
def sessions(identities: Identities) -> Sessions:
    return Sessions(TOKENS, identities)


def add_role(identities: Identities, role_id: str = "AROAONE", account_id: str = A, **tags: str) -> None:
    role = Role(entity_id=role_id, account_id=account_id, name="R", tags=tags, created=NOW, trust_policy="{}")
    with identities.changing(account_id) as iam:
        iam.entities.add(role)


def token_of(identity: Identity, number: int = 0, **tags: str) -> tuple[str, str]:
    """An access key ID and its token."""
    key_id = format_access_key_id(identity.account_id, number.to_bytes(5), TEMPORARY)
    session = Session(creation_date=NOW, expiration=NOW + timedelta(hours=1), name="me", tags=tags)
    if identity.type is IdentityType.ASSUMED_ROLE:
        issuer = SessionIssuer(
            type="Role", principal_id="AROAONE", arn="arn", account_id=identity.account_id, user_name="R"
        )
        session = replace(session, issuer=issuer)
    holder = replace(identity, access_key_id=key_id, session=session)
    return key_id, TOKENS.seal(
        SessionCredentials(access_key_id=key_id, secret=format_secret(bytes(30)), identity=holder)
    )


def assumed(account_id: str = A) -> Identity:
    return Identity(type=IdentityType.ASSUMED_ROLE, principal_id="AROAONE:me", arn="arn", account_id=account_id)


def test_an_opened_token_is_found_without_a_database(
    engine: Engine, identities: Identities, sessions: Sessions
) -> None:
    add_role(identities, Team="Red", Cost="1")
    key_id, token = token_of(assumed(), Team="Blue")
    assert sessions.known(key_id, token) is None
    found = sessions.find(key_id, token)
    assert found is not None
    assert found.identity.tags == {"Cost": "1", "Team": "Blue"}
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *words: statements.append(words[2]))
    assert sessions.known(key_id, token) is found
    assert sessions.find(key_id, token) is found
    assert statements == []
    assert sessions.known("ASIAANOTHER", token) is None


def test_what_changes_an_account_forgets_its_sessions_and_no_others(identities: Identities, sessions: Sessions) -> None:
    add_role(identities)
    of_a, of_b = token_of(assumed()), token_of(root_identity(B))
    assert sessions.find(*of_a)
    assert sessions.find(*of_b)
    with identities.changing(A) as iam:
        iam.entities.remove("AROAONE")
    assert sessions.known(*of_a) is None
    assert sessions.find(*of_a) is None
    assert sessions.known(*of_b) is not None


def test_a_namesake_of_a_deleted_role_does_not_revive_its_sessions(identities: Identities, sessions: Sessions) -> None:
    add_role(identities, "AROATWO")
    assert sessions.find(*token_of(assumed())) is None


def test_memory_holds_no_more_than_its_share(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "MAX_KNOWN", 3)
    tokens = [token_of(root_identity(A), number) for number in range(5)]
    for each in tokens:
        assert sessions.find(*each)
    assert [sessions.known(*each) is not None for each in tokens] == [False, False, True, True, True]


def test_what_is_no_token_is_not_found(sessions: Sessions) -> None:
    key_id, token = token_of(root_identity(A))
    for wrong in ("", "x", token[:-4], token + "AAAA", "é" * 40):
        assert sessions.find(key_id, wrong) is None
    assert sessions.find("ASIAANOTHER", token) is None


def test_a_sessions_tags_replace_its_holders_whatever_their_case() -> None:
    merged = merge_tags({"Team": "Red", "Cost": "1"}, {"TEAM": "Blue", "New": ""})
    assert merged == {"Cost": "1", "TEAM": "Blue", "New": ""}
