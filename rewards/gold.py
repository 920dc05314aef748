"""A verifier must give full marks to what its own domain shows as right, before anything is trained on it."""

import asyncio
from collections.abc import Mapping, Sequence

from polymath.completion import Completion, demonstrated
from polymath.domains import Domain, held_out_tasks, is_evaluation_only, training_tasks
from polymath.sandbox_config import SandboxConfig
from polymath.stage import StageJob
from rewards import open_bench
from rewards.assessed import SelfVerification
from rewards.base import RewardConfig, Verifier, Workbench
from rewards.sandbox import SandboxError
from rewards.score import RewardError, Score, score_batch

CHECKED = 32  # tasks of each domain
SPOILT = "slips", "noise"  # fields of a domain whose demonstrations are not all right
TRIED = 4  # and of these, so many with each reward of a stage


class GoldError(RewardError):
    """A verifier does not give full marks to a domain's own answers."""


def try_out(jobs: Sequence[StageJob], sandbox: SandboxConfig, seed: int) -> tuple[list[str], str]:
    """What protects this machine from the programs of some stages, and what of these stages cannot be, or nothing."""
    with open_bench(sandbox) as bench:
        try:
            check_gold({name: domain for job in jobs for name, domain in job.domains.items()}, bench, seed)
            _check_held_out(jobs)
            for job in jobs:
                check_rewards(getattr(job.config, "rewards", ()), job.domains, bench, seed)
            return sorted(bench.protections()), ""
        except (ValueError, SandboxError, ImportError) as error:
            return [], str(error)


def _check_held_out(jobs: Sequence[StageJob]) -> None:
    """Raise `ValueError` where a domain has fewer held-out tasks than the stage that asks for most is going to."""
    most = {name: job for job in sorted(jobs, key=lambda own: own.config.held_out_prompts()) for name in job.domains}
    for name, job in most.items():
        if not (count := job.config.held_out_prompts()):
            continue
        try:
            held_out_tasks(job.domains[name], count, job.seed)
        except ValueError as error:
            raise ValueError(f"stage {job.name}, domain {name}: {error}") from error


def check_gold(domains: Mapping[str, Domain], bench: Workbench, seed: int, count: int = CHECKED) -> None:
    """Verify the demonstrations of some tasks of each domain; raises `GoldError` on the first that is not worth 1."""
    for name, domain in domains.items():
        gold = gold_completions(name, domain, count, seed)
        scores = asyncio.run(bench.verify(gold))
        for completion, score in zip(gold, scores, strict=True):
            _demand_full_marks(f"domain {name!r}: its verifier {domain.reward}", completion, score, domain)


def check_rewards(
    rewards: Sequence[RewardConfig], domains: Mapping[str, Domain], bench: Workbench, seed: int, count: int = TRIED
) -> None:
    """Try each reward of a stage, with its settings, on demonstrations, before anything is trained.

    Raises `GoldError` where a verifier does not give them full marks, or has no row that it applies to.
    """
    gold = [one for name, domain in domains.items() for one in gold_completions(name, domain, count, seed)]
    for reward in rewards:
        scores = asyncio.run(score_batch(reward.name, lambda own, reward=reward: reward(own, bench), gold))
        if isinstance(reward, Verifier | SelfVerification) and not any(scores):
            verified = ", ".join(sorted({completion.reward for completion in gold}))
            raise GoldError(f"reward {reward.name!r} applies to no row of this stage, whose domains have {verified}")
        for completion, score in zip(gold, scores, strict=True):
            if isinstance(reward, Verifier) and score is not None:
                who = f"reward {reward.name!r}, with the settings of this stage,"
                _demand_full_marks(who, completion, score, domains[completion.domain])


def _demand_full_marks(who: str, completion: Completion, score: Score, domain: Domain) -> None:
    if score.value == 1.0:
        return
    remedy = "mend the domain or its verifier"
    if spoilt := [f"`{own}`" for own in SPOILT if getattr(domain, own, 0)]:
        remedy = f"demonstrations with {' and '.join(spoilt)} are for `sft` alone: give this stage a domain without"
    why = "; ".join(score.faults) or "it names no fault"
    raise GoldError(
        f"{who} gives a demonstration {score.value:g} in place of 1 ({why}).\n"
        f"  demonstration: {completion.content[:300]!r}\n  answer: {completion.answer[:300]}\n"
        f"  {remedy}; nothing was trained"
    )


def gold_completions(name: str, domain: Domain, count: int, seed: int) -> list[Completion]:
    """The demonstrations of `count` tasks as completions."""
    draw = held_out_tasks if is_evaluation_only(domain) else training_tasks
    return [
        demonstrated(shown, domain.reward, task.answer, name)
        for task in draw(domain, count, seed)
        for shown in (task.demonstration, *task.demonstrations.values())
    ]
