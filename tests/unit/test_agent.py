"""The tools of the built-in agent domain, called with what a model may write."""

import pytest

from polymath.domains.agent import TOOLS


def test_tools_by_hand() -> None:
    assert TOOLS["calculate"](expression="12 minus 30")["value"] == -18
    assert TOOLS["convert"](length="3 km", to="m")["value"] == 3000
    assert TOOLS["add_event"](day="Monday", hour=14) == {"day": "Monday", "hour": 14}
    assert TOOLS["look_up"](person="Ada", field="email") == TOOLS["look_up"](person="Ada", field="email")


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("calculate", {"expression": None}), ("calculate", {"expression": ["1 minus 1"]}), ("calculate", {}),
        ("convert", {"length": "3 parsecs", "to": "m"}), ("convert", {"length": "km", "to": "m"}),
        ("add_event", {"day": "Monday", "hour": "14"}), ("add_event", {"day": "Monday", "hour": 24}),
        ("look_up", {"person": "Nobody", "field": "email"}), ("look_up", {"person": {}, "field": "email"}),
    ],
)  # fmt: skip
def test_arguments_that_a_tool_cannot_take(tool: str, arguments: dict) -> None:
    with pytest.raises((ValueError, KeyError)):
        TOOLS[tool](**arguments)
