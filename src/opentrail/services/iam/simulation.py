"""The policy simulator: what policies would decide on actions and resources, without doing anything.

Rules: the decisions are the engine's that decides real calls (``core.policy.simulation``); the condition keys that
describe the simulated caller are known, all others are those that are given; the answer for an action sums up those for
its resources, the most restrictive first.

Source: IAM API reference, ``SimulateCustomPolicy``, ``SimulatePrincipalPolicy`` and ``EvaluationResult``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from opentrail.core.identity import Identity, IdentityType
from opentrail.core.policy import Policy, PolicyType, principal_context
from opentrail.core.policy.context_keys import distinct_keys
from opentrail.core.policy.positions import Position
from opentrail.core.policy.simulation import (
    EvalDecision,
    MatchedStatement,
    SimulatedDecision,
    Simulation,
    Source,
    most_restrictive,
    simulate,
)
from opentrail.core.wire.calls import ApiCall
from opentrail.services.base import OperationEntry, Permission
from opentrail.services.iam.account_state import Levels, account_permission
from opentrail.services.iam.caller import IamDeps
from opentrail.services.iam.faults import invalid_input
from opentrail.services.iam.paging import max_items, paginate
from opentrail.services.iam.permissions import Permissions, resource_tags
from opentrail.services.iam.policy_exclusions import (
    BOUNDARY_TYPE,
    SERVICE_CONTROL_TYPE,
    excluded_types,
    read_exclusions,
)
from opentrail.services.iam.principal_policies import (
    boundary_policy,
    find_principal,
    look_up_principal,
    principal_policies,
)
from opentrail.services.iam.simulated_callers import identity_of, known_context, named_caller
from opentrail.services.iam.simulation_inputs import (
    ANY_RESOURCE,
    Resources,
    read_actions,
    read_boundary,
    read_context,
    read_levels,
    read_policies,
    read_resource_policy,
    read_resources,
    to_source,
)
from opentrail.services.iam.simulation_limits import actions_per_page, check_policy_size


def simulate_custom_policy(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """SimulateCustomPolicy: policies that are given as text."""
    given = call.parameters
    check_policy_size(given)
    with deps.identities.reading() as iam:
        caller = named_caller(call, iam)
    simulation = Simulation(
        principal=caller or Identity(type=IdentityType.UNKNOWN, account_id=call.account_id),
        identity=read_policies(given, "PolicyInputList"),
        boundary=read_boundary(given),
        service_control=read_levels(given),
    )
    return _simulate(call, deps, simulation)


def simulate_principal_policy(call: ApiCall, deps: IamDeps) -> Mapping[str, Any]:
    """SimulatePrincipalPolicy: the policies that a user, group or role has, and more that are given as text."""
    given = call.parameters
    check_policy_size(given)
    exclusions = given.get("PolicyExclusionList") or ()
    is_excluded, types = read_exclusions(exclusions), excluded_types(exclusions)
    boundary = read_boundary(given)
    with deps.identities.reading() as iam:
        entity = find_principal(call, iam, given["PolicySourceArn"])
        policies = [each for each in principal_policies(iam, entity) if not is_excluded(each)]
        if boundary is None and BOUNDARY_TYPE not in types:
            own = boundary_policy(iam, entity)
            boundary = None if own is None else (_stored(own.source_id, own.text),)
        caller = named_caller(call, iam) or identity_of(entity, call.now)
    levels = () if SERVICE_CONTROL_TYPE in types else deps.account.service_control(entity.account_id)
    simulation = Simulation(
        principal=caller,
        identity=(*[_stored(each.source_id, each.text) for each in policies], *read_policies(given, "PolicyInputList")),
        boundary=boundary,
        service_control=_compile_levels(levels),
    )
    return _simulate(call, deps, simulation)


def _simulate(call: ApiCall, deps: IamDeps, simulation: Simulation) -> Mapping[str, Any]:
    """The asked page of the results, one an action, which alone are simulated."""
    given, principal = call.parameters, simulation.principal
    resource_policy = read_resource_policy(given)
    if resource_policy and principal.type is IdentityType.UNKNOWN:
        raise invalid_input("CallerArn: a simulation with a ResourcePolicy needs the ARN of a user or role that calls.")
    resources = read_resources(given, principal.account_id)
    context = _principal_keys(principal, deps) | read_context(given)
    simulation = replace(simulation, resource=resource_policy, context=context)
    numbered = [(f"{number:06}", action) for number, action in enumerate(read_actions(given))]
    most = actions_per_page(simulation, resources)
    page, members = paginate(numbered, {**given, "MaxItems": min(max_items(given), most)}, lambda item: item[0])
    return {"EvaluationResults": [_evaluate(simulation, action, resources) for _, action in page], **members}


def _principal_keys(principal: Identity, deps: IamDeps) -> dict[str, list[str]]:
    """The condition keys that describe who calls, with the organization of its account."""
    keys = known_context(principal, principal_context(principal))
    membership = deps.account.membership(principal.account_id) if keys else None
    if membership is not None:
        keys["aws:principalorgid"] = [membership.organization_id]
        keys["aws:principalorgpaths"] = [membership.path]
    return keys


def _evaluate(simulation: Simulation, action: str, resources: Resources) -> dict[str, Any]:
    results = [simulate(simulation, action, arn, resources.account_of(arn)) for arn in resources.arns]
    decision = most_restrictive(result.decision for result in results)
    deciding = [result for result in results if result.decision is decision]
    evaluated: dict[str, Any] = {
        "EvalActionName": action,
        "EvalResourceName": ANY_RESOURCE,
        "EvalDecision": str(decision),
        "MatchedStatements": _describe_matched(statement for result in deciding for statement in result.matched),
        "MissingContextValues": distinct_keys(key for result in results for key in result.missing_keys),
        **_describe_limits(results),
    }
    details = _sum_up_details(results)
    if details or resources.are_given:
        evaluated["EvalDecisionDetails"] = details
    if resources.are_given:
        evaluated["ResourceSpecificResults"] = [_describe_resource(result) for result in results]
    return evaluated


def _describe_resource(result: SimulatedDecision) -> dict[str, Any]:
    described: dict[str, Any] = {
        "EvalResourceName": result.resource,
        "EvalResourceDecision": str(result.decision),
        "MatchedStatements": _describe_matched(result.matched),
        "MissingContextValues": list(result.missing_keys),
    }
    if result.allowed_by_boundary is not None:
        described["PermissionsBoundaryDecisionDetail"] = {"AllowedByPermissionsBoundary": result.allowed_by_boundary}
    if result.details:
        described["EvalDecisionDetails"] = _sum_up_details([result])
    return described


def _describe_limits(results: Sequence[SimulatedDecision]) -> dict[str, Any]:
    """What organization and permissions boundary say, where there are any."""
    limits: dict[str, Any] = {}
    by_organization = [each.allowed_by_organization for each in results if each.allowed_by_organization is not None]
    by_boundary = [each.allowed_by_boundary for each in results if each.allowed_by_boundary is not None]
    if by_organization:
        limits["OrganizationsDecisionDetail"] = {"AllowedByOrganizations": all(by_organization)}
    if by_boundary:
        limits["PermissionsBoundaryDecisionDetail"] = {"AllowedByPermissionsBoundary": all(by_boundary)}
    return limits


def _sum_up_details(results: Sequence[SimulatedDecision]) -> dict[str, str]:
    """The most restrictive decision of each kind of policy."""
    decisions: dict[str, list[EvalDecision]] = {}
    for result in results:
        for kind, decision in result.details.items():
            decisions.setdefault(str(kind), []).append(decision)
    return {kind: str(most_restrictive(each)) for kind, each in decisions.items()}


def _describe_matched(statements: Iterable[MatchedStatement]) -> list[dict[str, Any]]:
    return [
        {
            "SourcePolicyId": statement.source_id,
            "SourcePolicyType": str(statement.source_type),
            "StartPosition": _describe_position(statement.span.start),
            "EndPosition": _describe_position(statement.span.end),
        }
        for statement in dict.fromkeys(statements)
    ]


def _describe_position(position: Position) -> dict[str, int]:
    return {"Line": position.line, "Column": position.column}


def _stored(source_id: str, text: str) -> Source:
    return to_source(source_id, text, PolicyType.IDENTITY, place=source_id)


def _compile_levels(levels: Levels) -> tuple[tuple[Policy, ...], ...]:
    return tuple(
        tuple(to_source(each.name, each.text, PolicyType.CONTROL, place=each.name).policy for each in level)
        for level in levels
    )


def on_policy_source(action: str) -> Permissions:
    """``iam:action`` on the user, group or role whose policies are asked about."""

    def permissions(call: ApiCall, deps: IamDeps) -> tuple[Permission, ...]:
        arn = call.parameters["PolicySourceArn"]
        with deps.identities.reading() as iam:
            entity = look_up_principal(call, iam, arn)
        context = resource_tags(entity.tags if entity else {})
        return (Permission(action=f"iam:{action}", resource=entity.arn if entity else arn, context=context),)

    return permissions


SIMULATION_OPERATIONS: Mapping[str, OperationEntry[IamDeps]] = {
    "SimulateCustomPolicy": OperationEntry(
        handler=simulate_custom_policy, permissions=account_permission("SimulateCustomPolicy"), writes=False
    ),
    "SimulatePrincipalPolicy": OperationEntry(
        handler=simulate_principal_policy, permissions=on_policy_source("SimulatePrincipalPolicy"), writes=False
    ),
}
