"""An installation: the data folder, opened.  What lies on disk, and nothing of what is done with it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from opentrail.core.errors import ConfigError, StorageError
from opentrail.core.session_tokens import SessionTokens
from opentrail.delivery.ledger import Ledger
from opentrail.journal.base import Journal
from opentrail.journal.group_commit import GroupCommit
from opentrail.journal.local import open_local_journal
from opentrail.keys.rsa_files import RsaKeyFiles, read_passphrase
from opentrail.server.authorization_messages import AuthorizationMessages
from opentrail.server.config import Settings
from opentrail.server.decision_log import DECISIONS, DecisionLog
from opentrail.server.first_start import make_first_account, read_master_key
from opentrail.state.account_settings import AccountSettings
from opentrail.state.accounts import Accounts
from opentrail.state.aws_managed_policies import aws_managed_policies
from opentrail.state.buckets import Buckets
from opentrail.state.channels import AcceptedEvents, Channels
from opentrail.state.credential_reports import CredentialReports
from opentrail.state.database import open_database
from opentrail.state.deliveries import Deliveries
from opentrail.state.identities import Identities
from opentrail.state.oidc_providers import OidcProviders
from opentrail.state.organizations import Organizations
from opentrail.state.secret_cipher import SecretCipher
from opentrail.state.sessions import Sessions
from opentrail.state.trails import Trails
from opentrail.stores.base import ObjectStore
from opentrail.stores.opening import open_store

log = logging.getLogger("opentrail.installation")


@dataclass(slots=True, kw_only=True)
class Wakeup:
    """Where group commit's callbacks run: on the event loop while one serves, else on the committing thread."""

    notify: Callable[[Callable[[], None]], object] | None = None

    def __call__(self, callbacks: Callable[[], None]) -> None:
        """Run ``callbacks`` in the right place."""
        if self.notify is None:
            callbacks()
        else:
            self.notify(callbacks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Everything that outlives the process, opened for this process alone."""

    settings: Settings
    account_id: str  # the first account's
    journal: Journal
    commit: GroupCommit
    wakeup: Wakeup
    accounts: Accounts
    identities: Identities
    session_tokens: SessionTokens
    sessions: Sessions
    account_settings: AccountSettings
    credential_reports: CredentialReports
    oidc_providers: OidcProviders
    organizations: Organizations
    trails: Trails
    deliveries: Deliveries
    buckets: Buckets
    channels: Channels
    accepted_events: AcceptedEvents
    store: ObjectStore
    keys: RsaKeyFiles
    ledger: Ledger
    messages: AuthorizationMessages
    decisions: DecisionLog


@contextmanager
def open_installation(settings: Settings, clock: Callable[[], datetime]) -> Iterator[Installation]:
    """Open (and at the first start make) the data folder; closes it in order.

    Raises ``ConfigError``, also where another process has the folder, and ``StorageError``.
    """
    with ExitStack() as stack:
        folder = settings.data_dir
        _make_folder(folder)
        journal = open_local_journal(folder / "journal", segment_bytes=settings.journal_segment_bytes)
        stack.callback(journal.close)
        if journal.cut is not None:
            log.warning("the journal's end was not whole and was cut off: %s", journal.cut)
        with _naming("--key-passphrase-file"):
            passphrase = read_passphrase(settings.key_passphrase_file) if settings.key_passphrase_file else None
        with _naming("--state-url"):
            engine = open_database(settings.state_url or _sqlite(folder / "state.db"))
        stack.callback(engine.dispose)
        master_key = read_master_key(folder / "master.key", passphrase)
        identities = Identities(engine, SecretCipher(master_key), aws_managed_policies())
        session_tokens = SessionTokens(master_key)
        accounts = Accounts(engine, identities.forget)
        account_id = make_first_account(
            accounts=accounts,
            identities=identities,
            account_id=settings.account_id,
            credentials=folder / "credentials",
            now=clock(),
        )
        stack.callback(_quietly, identities.save_uses)
        deliveries = Deliveries(engine)
        stack.callback(_quietly, deliveries.save)
        with _naming("--object-store"):
            store = open_store(settings.object_store or str(folder / "objects"))
        stack.callback(store.close)
        wakeup = Wakeup()
        commit = GroupCommit(journal, notify=wakeup)
        stack.callback(commit.close)
        ledger = Ledger(_sqlite(folder / "ledger.db"))
        stack.callback(ledger.close)
        decisions = DecisionLog(
            folder / DECISIONS, max_bytes=settings.decision_bytes, max_age_seconds=settings.decision_retention
        )
        stack.callback(decisions.close)
        decisions.start()
        yield Installation(
            settings=settings,
            account_id=account_id,
            journal=journal,
            commit=commit,
            wakeup=wakeup,
            accounts=accounts,
            identities=identities,
            session_tokens=session_tokens,
            sessions=Sessions(session_tokens, identities),
            account_settings=AccountSettings(engine),
            credential_reports=CredentialReports(engine),
            oidc_providers=OidcProviders(engine),
            organizations=Organizations(engine),
            trails=Trails(engine),
            deliveries=deliveries,
            buckets=Buckets(engine),
            channels=Channels(engine),
            accepted_events=AcceptedEvents(engine),
            store=store,
            keys=RsaKeyFiles(folder / "keys", passphrase=passphrase),
            ledger=ledger,
            messages=AuthorizationMessages(master_key, os.urandom),
            decisions=decisions,
        )


@contextmanager
def _naming(setting: str) -> Iterator[None]:
    """What cannot be used is told with the setting that it came from."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{setting}: {error}") from error


def _sqlite(path: Path) -> str:
    return f"sqlite:///{path.resolve()}"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--data-dir {folder}: {error.strerror}") from None


def _quietly(save: Callable[[], None]) -> None:
    """At the end: what cannot be saved now is a time stamp, and must not hide why the server stops."""
    try:
        save()
    except StorageError as error:
        log.warning("not saved: %s", error)
