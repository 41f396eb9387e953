"""The services and what their calls share, wired for ``runtime``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from opentrail.core.recording.rules import RecordRules
from opentrail.server.authorisation import Authoriser, check_session_policy
from opentrail.server.caller_policies import CallerPolicies
from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.identifiers import Identifiers
from opentrail.server.installation import Installation
from opentrail.server.memberships import Memberships
from opentrail.server.openid_keys import OpenIdKeys
from opentrail.server.recorder import Recorder
from opentrail.server.recording_rules import load_rules
from opentrail.server.service_calls import LogBucket, ServiceCaller
from opentrail.server.service_table import REQUEST_KEYS, SERVICES
from opentrail.services.base import Service
from opentrail.services.cloudtrail import CloudTrailDeps
from opentrail.services.cloudtrail_data import CloudTrailDataDeps
from opentrail.services.iam import IamDeps
from opentrail.services.iam.account_state import AccountState
from opentrail.services.organizations import OrganizationsDeps
from opentrail.services.s3 import S3Deps
from opentrail.services.sts import StsDeps
from opentrail.state.principal_names import PrincipalNames


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The services and what calls to them share, whoever makes them."""

    catalog: BotocoreCatalog
    services: Mapping[str, Service[Any]]
    authoriser: Authoriser
    recorder: Recorder
    rules: RecordRules
    log_bucket: LogBucket


def build_endpoint(installation: Installation, clock: Callable[[], datetime]) -> Endpoint:
    """Wire the services, and what authorises and records the calls to them."""
    settings, trails = installation.settings, installation.trails
    recorder = Recorder(
        installation.commit,
        refuse=settings.on_journal_failure == "refuse",
        generation=lambda: trails.generation,
        organization_of=Memberships(installation.organizations).organization_of,
    )
    catalog = BotocoreCatalog()
    rules = load_rules(settings.record_rules)
    authoriser = _build_authoriser(installation, clock)
    services: dict[str, Service[Any]] = {}  # filled below: CloudTrail calls S3 through it
    caller = ServiceCaller(
        catalog=catalog,
        services=services,
        authoriser=authoriser,
        recorder=recorder,
        rules=rules,
        identifiers=Identifiers(),
        clock=clock,
        host=lambda: f"{settings.host}:{settings.port}",
    )
    log_bucket = LogBucket(caller=caller, buckets=installation.buckets, authoriser=authoriser)
    deps = _service_deps(installation, authoriser, recorder, log_bucket)
    for name, operations in SERVICES.items():
        services[name] = Service(name=name, operations=operations, deps=deps[name])
    return Endpoint(
        catalog=catalog, services=services, authoriser=authoriser, recorder=recorder, rules=rules, log_bucket=log_bucket
    )


def _service_deps(
    installation: Installation, authoriser: Authoriser, recorder: Recorder, log_bucket: LogBucket
) -> dict[str, Any]:
    names = PrincipalNames(identities=installation.identities)
    return {
        "s3": S3Deps(
            store=installation.store,
            buckets=installation.buckets,
            authorise=authoriser.refusal,
            unique_id_of=names.unique_id_of,
            arn_of=names.arn_of,
        ),
        "iam": IamDeps(
            accounts=installation.accounts,
            identities=installation.identities,
            random_bytes=os.urandom,
            account=AccountState(
                settings=installation.account_settings,
                credential_reports=installation.credential_reports,
                service_control=installation.organizations.service_control,
                membership=installation.organizations.membership,
            ),
        ),
        "organizations": OrganizationsDeps(
            organizations=installation.organizations,
            accounts=installation.accounts,
            identities=installation.identities,
            random_bytes=os.urandom,
        ),
        "sts": StsDeps(
            identities=installation.identities,
            providers=installation.oidc_providers,
            tokens=installation.session_tokens,
            issuer_keys=OpenIdKeys(time.monotonic),
            random_bytes=os.urandom,
            check_policy=check_session_policy,
            open_message=installation.messages.open,
        ),
        "cloudtrail": CloudTrailDeps(
            trails=installation.trails,
            deliveries=installation.deliveries,
            organizations=installation.organizations,
            check_bucket=log_bucket.check,
            public_keys=installation.keys.public_keys,
            authorise=authoriser.refusal,
            channels=installation.channels,
            accepted=installation.accepted_events,
            unique_id_of=names.unique_id_of,
            arn_of=names.arn_of,
        ),
        "cloudtrail-data": CloudTrailDataDeps(
            channels=installation.channels,
            accepted=installation.accepted_events,
            record_events=recorder.record_all_now,
        ),
    }


def _build_authoriser(installation: Installation, clock: Callable[[], datetime]) -> Authoriser:
    identities, organizations = installation.identities, installation.organizations
    callers = CallerPolicies(
        grants=identities.grants,
        known_grants=identities.known_grants,
        policy_text=identities.policy_text,
        service_control=organizations.service_control,
        membership=organizations.membership,
    )
    return Authoriser(
        callers=callers,
        clock=clock,
        request_keys=REQUEST_KEYS,
        seal=installation.messages.seal,
        note=installation.decisions.note,
    )
