"""Both displays take in a whole run; neither may end it."""

import io

import pytest
from rich.console import Console

from polymath.progress import Bars, Lines, headline


@pytest.mark.parametrize("kind", [Bars, Lines])
def test_a_run_is_shown(kind: type[Bars] | type[Lines]) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=kind is Bars, width=100)
    with kind(console) as display:
        display.skipped("base")
        display.note("kept in /tmp/[old]")
        for name in ("sft", "grpo"):
            display.started(name, again=False)
            if isinstance(display, Bars):
                display.bars.refresh()
            display.progress(name, 3, 10, {"train/loss": 0.5})
        display.finished("sft", 1.5)
        display.failed("grpo", "KeyError: '[gym]'")
    shown = text.getvalue()
    for part in ("base", "/tmp/[old]", "sft", "train/loss 0.5", "KeyError: '[gym]'"):
        assert part in shown


def test_the_headline_is_what_tells_most() -> None:
    assert headline({"train/loss": 1.0, "reward/verifier": 0.25}) == "reward/verifier 0.25"
    assert headline({"train/loss": 1.0, "kl/a": 0.5, "kl/b": 2.0}) == "kl/a 0.5 kl/b 2"
    assert headline({"time/step": 1.0}) == ""
