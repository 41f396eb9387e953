"""The policies that a caller brings to each of its calls, compiled, and the condition keys that describe it.

Rules: what was put together for an access key is used again as long as IAM and Organizations answer the same; a session
is limited by its session policies, whose managed ones are read at each call, and a federated user that was given none
may do nothing by itself.  Nothing here is forgotten on time: what changed is noticed at the very next call.

Source: IAM user guide, "Policies and permissions", "Permissions for temporary security credentials".
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from opentrail.core.identity import Identity, IdentityType
from opentrail.core.organizations import Membership
from opentrail.core.policy import Policy, PolicyDocument, PolicySet, PolicyType, parse_policy, principal_context
from opentrail.state.grants import NO_GRANTS, Grants, NamedPolicy

MAX_KNOWN = 4096  # access keys whose policies are kept compiled
MAX_COMPILED_CHARACTERS = 4 << 20  # of the policies' texts; compiled, a text takes up to a hundred times as much

_ROOT_RIGHTS = NamedPolicy(
    name="the root user's own right",
    text='{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}',
)
Levels = tuple[tuple[NamedPolicy, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTexts:
    """The policies of a caller as they are stored; ``session`` and ``boundary`` are None where there is none."""

    identity: tuple[NamedPolicy, ...] = ()
    boundary: NamedPolicy | None = None
    session: tuple[NamedPolicy, ...] | None = None
    service_control: Levels = ()
    level_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Standing:
    """What one caller brings: its policies (a set without the resource's), and the condition keys that are its own."""

    identity: Identity
    texts: PolicyTexts
    policies: PolicySet
    context: Mapping[str, list[str]]


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    standing: Standing
    grants: Grants
    levels: Levels
    membership: Membership | None


class CallerPolicies:
    """Puts a caller's policies together.

    ``grants`` answers for a user's or role's unique id, ``policy_text`` for a managed policy's ARN, ``service_control``
    and ``membership`` for an account; each from its own memory as a rule, and each may raise ``StorageError``.
    ``known_grants`` is what memory holds of ``grants``, or None.
    """

    def __init__(
        self,
        *,
        grants: Callable[[str], Grants],
        policy_text: Callable[[str], str | None],
        service_control: Callable[[str], Levels],
        membership: Callable[[str], Membership | None],
        known_grants: Callable[[str], Grants | None],
    ) -> None:
        self._grants = grants
        self._known_grants = known_grants
        self._policy_text = policy_text
        self._service_control = service_control
        self.membership = membership
        self._known: dict[str, _Known] = {}

    def is_ready(self, identity: Identity) -> bool:
        """Whether ``of`` answers without a database."""
        grantee = identity.grantee_id
        return not grantee or (self._known_grants(grantee) is not None and not _has_managed_session_policies(identity))

    def of(self, identity: Identity) -> Standing:
        """What ``identity`` brings to a call that it makes now."""
        if identity.is_service or identity.is_anonymous or identity.web_identity is not None:
            return _without_policies(identity)
        grantee, account_id = identity.grantee_id, identity.account_id
        grants = self._grants(grantee) if grantee else NO_GRANTS
        levels = self._service_control(account_id)
        membership = self.membership(account_id)
        known = self._known.get(identity.access_key_id)
        if (
            known is not None
            and known.standing.identity is identity
            and known.grants is grants
            and (known.levels is levels or known.levels == levels)
            and (known.membership is membership or known.membership == membership)
            and not _has_managed_session_policies(identity)
        ):
            return known.standing
        standing = self._put_together(identity, grants, levels, membership)
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()  # cheaper than to know which are used; each is put together again in microseconds
        self._known[identity.access_key_id] = _Known(standing, grants, levels, membership)
        return standing

    def _put_together(
        self, identity: Identity, grants: Grants, levels: Levels, membership: Membership | None
    ) -> Standing:
        federated_by_root = identity.has_root_rights and identity.type is not IdentityType.ROOT
        texts = PolicyTexts(
            identity=(_ROOT_RIGHTS,) if federated_by_root else grants.policies,
            boundary=grants.boundary,
            session=self._session_policies(identity),
            service_control=levels,
            level_names=(*membership.path.split("/")[1:-1], identity.account_id) if membership else (),
        )
        context = principal_context(identity)
        if membership is not None:
            context["aws:principalorgid"] = [membership.organization_id]
            context["aws:principalorgpaths"] = [membership.path]
        return Standing(identity=identity, texts=texts, policies=compile_policies(texts), context=context)

    def _session_policies(self, identity: Identity) -> tuple[NamedPolicy, ...] | None:
        """The session policies; None where nothing limits the session."""
        session = identity.session
        if session is None or not identity.is_limited:
            return None
        inline = (NamedPolicy(name="the session's policy", text=session.policy),) if session.policy else ()
        managed = ((arn, self._policy_text(arn)) for arn in session.policy_arns)
        return (*inline, *[NamedPolicy(name=arn, text=text) for arn, text in managed if text is not None])


def compile_policies(texts: PolicyTexts) -> PolicySet:
    """The policies as the engine takes them.  Raises ``ServiceFault`` for one that cannot be read any more."""
    return PolicySet(
        identity=_compile_all(texts.identity, PolicyType.IDENTITY),
        boundary=None if texts.boundary is None else _compile_all((texts.boundary,), PolicyType.IDENTITY),
        session=None if texts.session is None else _compile_all(texts.session, PolicyType.IDENTITY),
        service_control=tuple(_compile_all(level, PolicyType.CONTROL) for level in texts.service_control),
        level_names=texts.level_names,
    )


def with_resource(policies: PolicySet, resource: tuple[Policy, ...], *, must_allow: bool) -> PolicySet:
    """The caller's policies and the resource's together."""
    return PolicySet(
        identity=policies.identity,
        resource=resource,
        boundary=policies.boundary,
        session=policies.session,
        service_control=policies.service_control,
        level_names=policies.level_names,
        resource_must_allow=must_allow,
    )


def resource_policies(resource: str, text: str | None, policy_type: PolicyType) -> tuple[Policy, ...]:
    """The policy of ``resource``, where it has one, by the ARN of what holds it: an object's is its bucket's."""
    if not text:
        return ()
    name = resource.partition("/")[0] if policy_type is PolicyType.BUCKET else resource
    return (Policy(name=name, document=compile_policy(text, policy_type)),)


class CompiledPolicies:
    """Documents by their text: those of the last ``max_characters`` of it.  A look needs no lock."""

    def __init__(self, max_characters: int) -> None:
        self._max_characters = max_characters
        self._documents: dict[tuple[str, PolicyType], PolicyDocument] = {}
        self._characters = 0
        self._lock = threading.Lock()

    def compile(self, text: str, policy_type: PolicyType) -> PolicyDocument:
        """``parse_policy``, once for each text that is remembered."""
        document = self._documents.get((text, policy_type))
        return document or self._remember(text, policy_type, parse_policy(text, policy_type))

    def _remember(self, text: str, policy_type: PolicyType, document: PolicyDocument) -> PolicyDocument:
        with self._lock:
            kept = self._documents.setdefault((text, policy_type), document)
            if kept is document:
                self._characters += len(text)
            while self._characters > self._max_characters:
                oldest = next(iter(self._documents))
                del self._documents[oldest]
                self._characters -= len(oldest[0])
        return kept


compile_policy = CompiledPolicies(MAX_COMPILED_CHARACTERS).compile


def _without_policies(identity: Identity) -> Standing:
    """A service, nobody, or a token's bearer, who is no principal of any account yet: no policies of its own."""
    return Standing(identity=identity, texts=PolicyTexts(), policies=PolicySet(), context=principal_context(identity))


def _compile_all(policies: Iterable[NamedPolicy], policy_type: PolicyType) -> tuple[Policy, ...]:
    return tuple(Policy(name=each.name, document=compile_policy(each.text, policy_type)) for each in policies)


def _has_managed_session_policies(identity: Identity) -> bool:
    return identity.session is not None and bool(identity.session.policy_arns)
