"""How much one call of the policy simulator may ask for: what is answered within seconds, in little memory.

Rules: a page of results ends early where policies are long or many, or what they are compared with is; a call whose
first action alone is too much for a page is refused, and so is more policy text than any caller here can have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentrail.core.policy.simulation import Simulation
from opentrail.services.iam.faults import invalid_input
from opentrail.services.iam.simulation_inputs import Resources

POLICY_CHARACTERS = 1_000_000  # of all policies of a call together
DECISIONS_PER_PAGE = 10_000
ELEMENTS_PER_PAGE = 500_000  # actions, resources, condition keys and values that are looked at; each may be told of
COMPARISONS_PER_PAGE = 4_000_000_000  # characters of patterns by characters of what they may have to match


def check_policy_size(parameters: Mapping[str, Any]) -> None:
    """Refuse more policy text than ``POLICY_CHARACTERS``.  Raises ``ServiceFault`` InvalidInput."""
    texts = [*(parameters.get("PolicyInputList") or ()), *(parameters.get("PermissionsBoundaryPolicyInputList") or ())]
    for each in parameters.get("OrderedOrganizationPolicyInputList") or ():
        texts += each.get("ServiceControlPolicyInputList") or ()
    if sum(map(len, texts)) > POLICY_CHARACTERS:
        raise invalid_input(f"PolicyInputList: the policies have more than {POLICY_CHARACTERS} characters together.")


def actions_per_page(simulation: Simulation, resources: Resources) -> int:
    """For how many actions a page can tell the decisions on all resources.

    Raises ``ServiceFault`` InvalidInput where not even one's fit.
    """
    documents = [policy.document for _, policy in simulation.policies.all()]
    statements = [statement for document in documents for statement in document.statements]
    elements = [text for each in statements for text in (*each.actions, *each.resources)]
    elements += [text for each in statements for test in each.conditions for text in (test.key, *test.values)]
    lengths = [sum(map(len, values)) for values in simulation.context.values()]
    longest = max([*lengths, *map(len, resources.arns)])
    comparisons = sum(map(len, elements)) * longest
    decisions = min(
        DECISIONS_PER_PAGE,
        ELEMENTS_PER_PAGE // max(1, len(elements)),
        COMPARISONS_PER_PAGE // max(1, comparisons),
    )
    if len(resources.arns) > decisions:
        raise invalid_input("ResourceArns: these are too many for policies and context keys of this size.")
    return decisions // len(resources.arns)
