"""A verifier must give full marks to what its own domain shows as right, before anything is trained on it."""

import asyncio
from collections.abc import Mapping

from polymath.completion import Completion, demonstrated
from polymath.domains import Domain, held_out_tasks, is_evaluation_only, training_tasks
from rewards.base import Workbench

CHECKED = 32  # tasks of each domain


class GoldError(ValueError):
    """A verifier does not give full marks to a domain's own answers."""


def check_gold(domains: Mapping[str, Domain], bench: Workbench, seed: int, count: int = CHECKED) -> None:
    """Verify the demonstrations of some tasks of each domain; raises `GoldError` on the first that is not worth 1."""
    for name, domain in domains.items():
        gold = gold_completions(name, domain, count, seed)
        for completion, score in zip(gold, asyncio.run(bench.verify(gold)), strict=True):
            if score.value != 1.0:
                why = "; ".join(score.faults) or "it names no fault"
                raise GoldError(
                    f"domain {name!r}: its verifier {domain.reward} gives its own demonstration {score.value:g} in "
                    f"place of 1 ({why}).\n  demonstration: {completion.content[:300]!r}\n"
                    f"  answer: {completion.answer[:300]}\n  mend the domain or its verifier; nothing was trained"
                )


def gold_completions(name: str, domain: Domain, count: int, seed: int) -> list[Completion]:
    """The demonstrations of `count` tasks as completions."""
    draw = held_out_tasks if is_evaluation_only(domain) else training_tasks
    return [demonstrated(t.demonstration, domain.reward, t.answer, name) for t in draw(domain, count, seed)]
