"""The operator names nothing private of the provider's, so that it can move to another version of it."""

import ast
import inspect

import pytest
from airflow.models.baseoperator import BaseOperator
from orchestrator import ecs, operators
from orchestrator.generations import EcsOperator


def owner(node: ast.Attribute) -> str:
    """Return ``self`` or ``super`` if that is what an attribute is of."""
    value = node.value
    if isinstance(value, ast.Call):
        value = value.func
    return value.id if isinstance(value, ast.Name) else ""


@pytest.mark.parametrize("module", [operators, ecs])
def test_only_arguments_of_the_providers_operator_are_named(module: object) -> None:
    tree = ast.parse(inspect.getsource(module))  # type: ignore[arg-type]
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    names = {node.attr for node in attributes if owner(node) in ("self", "super")}
    provider = set(dir(EcsOperator)) | set(EcsOperator.__init__.__code__.co_names)
    arguments = set(inspect.signature(EcsOperator.__init__).parameters)
    own = set(vars(operators.EcsTask)) & {"execute", "on_kill", "template_fields"}

    assert names
    assert names & provider - set(dir(BaseOperator)) - arguments - own == set()
