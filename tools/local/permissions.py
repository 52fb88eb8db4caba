"""SimulatePrincipalPolicy of the emulated AWS, which moto has not: a role's policies, as moto itself judges them."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.iam.responses import IamResponse

DECISIONS = {
    PermissionResult.DENIED: "explicitDeny",
    PermissionResult.NEUTRAL: "implicitDeny",
    PermissionResult.PERMITTED: "allowed",
}


def add_to(response: type[IamResponse]) -> None:
    """Let moto's IAM answer SimulatePrincipalPolicy."""
    response.simulate_principal_policy = simulate_principal_policy


def simulate_principal_policy(iam: IamResponse) -> ActionResult:
    """Answer as IAM does: a result for each action, and in it one for each resource."""
    role = iam.backend.get_role_by_arn(iam._get_param("PolicySourceArn"))
    policies = [IAMPolicy(policy) for policy in (*role.policies.values(), *role.managed_policies.values())]
    context = {
        entry["ContextKeyName"]: entry["ContextKeyValues"][0] for entry in iam._get_param("ContextEntries") or ()
    }
    results = []
    for action in iam._get_param("ActionNames"):
        specific = [
            {"EvalResourceName": resource, "EvalResourceDecision": decide(policies, action, resource, context)}
            for resource in iam._get_param("ResourceArns")
        ]
        decisions = {result["EvalResourceDecision"] for result in specific}
        overall = next(iter(decisions)) if len(decisions) == 1 else "implicitDeny"
        results.append(
            {
                "EvalActionName": action,
                "EvalResourceName": "*",
                "EvalDecision": overall,
                "ResourceSpecificResults": specific,
            }
        )
    return ActionResult({"EvaluationResults": results, "IsTruncated": False})


def decide(policies: list[IAMPolicy], action: str, resource: str, context: dict[str, Any]) -> str:
    """Return the decision of all policies together: one that denies outweighs all that allow."""
    found = {policy.is_action_permitted(action, resource, incoming_condition_values=context) for policy in policies}
    order = (PermissionResult.DENIED, PermissionResult.PERMITTED, PermissionResult.NEUTRAL)
    return DECISIONS[next((result for result in order if result in found), PermissionResult.NEUTRAL)]
