"""Sessions of temporary credentials: from a token to the one who signs with it.

A token says everything about a session but whether its role or user is still there, under the same unique id, and what
that one's tags and name are today.  What is known of an opened token is kept in memory, bounded, and forgotten with
every change in its account's IAM; whether it has expired is for the caller, who has a clock.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace

from opentrail.core.errors import FormatError
from opentrail.core.identity import Identity, IdentityType
from opentrail.core.session_tokens import SessionTokens
from opentrail.state.accounts import is_closed
from opentrail.state.identities import Identities, KeyRecord

MAX_KNOWN = 10_000  # opened tokens in memory, a few kilobytes each


class Sessions:
    """Opens tokens and remembers them.  ``find`` may raise ``StorageError``."""

    def __init__(self, tokens: SessionTokens, identities: Identities) -> None:
        self._tokens = tokens
        self._identities = identities
        self._known: dict[str, KeyRecord] = {}  # by token, the oldest first
        self._version = 0  # what was read before a change is not remembered after it
        self._lock = threading.Lock()
        identities.watch(self.forget)

    def known(self, access_key_id: str, token: str) -> KeyRecord | None:
        """The session's key if it is in memory; None says nothing."""
        record = self._known.get(token)
        return record if record is not None and record.access_key_id == access_key_id else None

    def find(self, access_key_id: str, token: str) -> KeyRecord | None:
        """The session's key and identity; None where the token is not the key's, or its role or user is gone."""
        record = self.known(access_key_id, token)
        if record is not None:
            return record
        version = self._version
        try:
            credentials = self._tokens.open(token, access_key_id)
        except FormatError:
            return None
        identity = self._as_of_today(credentials.identity)
        if identity is None:
            return None
        record = KeyRecord(access_key_id=access_key_id, secret=credentials.secret, is_active=True, identity=identity)
        with self._lock:
            if version == self._version:
                if len(self._known) >= MAX_KNOWN:
                    del self._known[next(iter(self._known))]
                self._known[token] = record
        return record

    def forget(self, account_id: str) -> None:
        """Know nothing of an account's sessions any more."""
        with self._lock:
            self._version += 1
            stale = [token for token, each in self._known.items() if each.identity.account_id == account_id]
            for token in stale:
                del self._known[token]

    def _as_of_today(self, identity: Identity) -> Identity | None:
        """``identity`` with its holder's present name and tags; None where the holder is gone or the account closed."""
        holder_id = identity.grantee_id
        with self._identities.reading() as iam:
            if is_closed(iam.connection, identity.account_id):
                return None
            holder = iam.entities.find_id(holder_id) if holder_id else None
        if not holder_id:
            return identity  # root, or root's federated user
        if holder is None:
            return None
        if identity.type is IdentityType.IAM_USER:
            return replace(identity, arn=holder.arn, user_name=holder.name, tags=holder.tags)
        assert identity.session is not None, "a token is a session's"
        return replace(identity, tags=merge_tags(holder.tags, identity.session.tags))


def merge_tags(tags: Mapping[str, str], session_tags: Mapping[str, str]) -> Mapping[str, str]:
    """A session's principal tags: its own replace its holder's of the same key, whose letters' case does not count."""
    taken = {key.lower() for key in session_tags}
    return {**{key: value for key, value in tags.items() if key.lower() not in taken}, **session_tags}
