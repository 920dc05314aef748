"""Programs a second: a trivial one through the sandbox, and 512 completions of each verified domain.

python docs/results/sandbox_rate.py
"""

import asyncio
import os
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

from polymath.domains.coding import CodeDomain
from polymath.domains.gym import GymDomain
from polymath.domains.instruct import InstructDomain
from polymath.sandbox_config import SandboxConfig
from rewards import open_bench
from rewards.base import Workbench
from rewards.gold import gold_completions

TIMES = 5


def rate(count: int, work: Callable[[], Awaitable[object]]) -> str:
    """Median and range of the rate over some rounds; the first, which starts the workers, is not counted."""
    rates = []
    for _ in range(TIMES + 1):
        started = time.perf_counter()
        asyncio.run(_done(work))
        rates.append(count / (time.perf_counter() - started))
    rates = sorted(rates[1:])
    return f"{statistics.median(rates):.0f} ({rates[0]:.0f} to {rates[-1]:.0f})"


async def _done(work: Callable[[], Awaitable[object]]) -> None:
    await work()


async def trivial(bench: Workbench) -> None:
    """200 programs of one line."""
    runs = (bench.sandbox.exec({"main.py": "print(1)"}, ("python", "main.py")) for _ in range(200))
    assert {result.stdout for result in await asyncio.gather(*runs)} == {"1\n"}


def main() -> None:
    """Print the table."""
    with open_bench(SandboxConfig()) as bench:
        lines = [("a trivial program", rate(200, lambda: trivial(bench)))]
        for label, domain in (
            ("a function, six tests", CodeDomain(forms=("function",))),
            ("a program, six inputs", CodeDomain(forms=("program",))),
            ("a text under instructions", InstructDomain()),
            ("a sum", GymDomain()),
        ):
            gold = gold_completions("gold", domain, 512, 0)
            lines.append((label, rate(512, lambda gold=gold: bench.verify(gold))))
    sys.stdout.write(f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}\n")
    sys.stdout.write("| what | a second, median of five rounds |\n|---|---|\n")
    sys.stdout.write("".join(f"| {label} | {value} |\n" for label, value in lines))


if __name__ == "__main__":
    main()
