"""Requests that are fulfilled by calling tools, in one to four calls, on a desk with state."""

import json
import random
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from polymath.domains.agent.desk import HELD_OUT_TOOLS, KNOWN_TOOLS, Desk
from polymath.domains.agent.plans import DAYS, FILES, HELD_OUT_PLANS, NAMES, PLANS, TITLES, Calls, Scene
from polymath.domains.task import Message, Task, call, question, reply
from polymath.strict import StrictModel

DONE = "Done."
Request = Literal[
    "calculate",
    "convert",
    "look_up",
    "read_file",
    "save",
    "write_file",
    "add_event",
    "copy_entry",
    "save_file",
    "scale_entry",
    "move_event",
    "add_entries",
    "copy_twice",
    "swap_entries",
    "write_sum",
]
REQUESTS: tuple[Request, ...] = get_args(Request)


class AgentDomain(StrictModel):
    """A calculator, unit conversion, an address book, a calendar and files."""

    reward: ClassVar[str] = "final_state"

    kind: Literal["agent"] = "agent"
    min_calls: int = Field(default=1, ge=1, le=4, description="Fewest calls that a request takes.")
    max_calls: int = Field(default=4, ge=1, le=4, description="Most calls that a request takes.")
    max_number: int = Field(default=99, ge=20, description="Largest number in a request; the smallest is 10.")
    num_tools: int = Field(
        default=6, ge=1, le=len(KNOWN_TOOLS), description="Tools on offer, those that a request needs among them."
    )
    requests: tuple[Request, ...] = Field(
        default=REQUESTS, min_length=1, description="Kinds of requests to draw from; held-out tools have their own."
    )
    tools: Literal["known", "held_out"] = Field(
        default="known", description="`held_out`: requests that need a tool which no training ever shows."
    )

    @property
    def evaluation_only(self) -> bool:
        """Whether no task of this domain may be trained on."""
        return self.tools == "held_out"

    @model_validator(mode="after")
    def _some_request_takes_so_many(self) -> "AgentDomain":
        if self.min_calls > self.max_calls:
            raise ValueError(f"min_calls {self.min_calls} is above max_calls {self.max_calls}")
        if not self._plans():
            raise ValueError(f"none of the requests takes {self.min_calls} to {self.max_calls} calls")
        return self

    def _plans(self) -> list[Any]:
        if self.tools == "held_out":
            by_calls = HELD_OUT_PLANS
        else:
            by_calls = {n: [p for p in plans if p.__name__ in self.requests] for n, plans in PLANS.items()}
        return [plans for n, plans in by_calls.items() if plans and self.min_calls <= n <= self.max_calls]

    def draw(self, rng: random.Random) -> Task:
        """One request on a desk of its own; every number of calls is as likely as another."""
        while True:
            state = _draw_state(rng, self.max_number)
            plan = rng.choice(rng.choice(self._plans()))
            asked, demonstration, answer, desk = _carry_out(plan, Scene(rng, state, self.max_number))
            if answer is not None or desk.state() != Desk(state).state():
                break  # else nothing would have to be done, and doing nothing would be rewarded
        used = list(dict.fromkeys(c["function"]["name"] for m in demonstration for c in m.get("tool_calls", ())))
        tools = self._offer(used, rng)
        environment = {"kind": "desk", "tools": tools, "state": state}
        return Task(
            key=f"agent {plan.__name__} {' '.join(_names_and_numbers(asked))}",
            messages=question(asked),
            demonstration=tuple(demonstration),
            answer=json.dumps({"environment": environment, "state": desk.state(), "content": answer}),
            tools=Desk(state, tuple(tools)).toolbox.schemas(),
            environment=json.dumps(environment),
        )

    def _offer(self, used: list[str], rng: random.Random) -> list[str]:
        known = KNOWN_TOOLS if self.tools == "known" else (*KNOWN_TOOLS, *HELD_OUT_TOOLS)
        others = [name for name in known if name not in used]
        tools = used + rng.sample(others, max(0, min(self.num_tools - len(used), len(others))))
        rng.shuffle(tools)
        return tools


def _names_and_numbers(asked: str) -> list[str]:
    """What tells one request from another of the same plan, however it is put."""
    words = asked.replace("?", "").replace(".", "").replace(",", "").split()
    telling = {*NAMES, *FILES, *TITLES, *DAYS, "plus", "minus", "times", "km", "m", "cm", "h", "min", "s", "kg", "g"}
    return [word for word in words if word in telling or word.isdigit()]


def _draw_state(rng: random.Random, max_number: int) -> dict[str, Any]:
    number = lambda: str(rng.randint(10, max_number))  # noqa: E731
    days = rng.sample(DAYS, 3)
    return {
        "book": {name: number() for name in rng.sample(NAMES, 4)},
        "events": sorted([day, rng.randint(8, 20), rng.choice(TITLES)] for day in days),
        "files": {name: number() for name in rng.sample(FILES, 3)},
    }


def _carry_out(plan: Any, scene: Scene) -> tuple[str, list[Message], str | None, Desk]:
    """The request, the conversation that fulfils it, its answer, and the desk afterwards: made by doing it."""
    desk, steps = Desk(scene.state), plan(scene)
    asked, messages, results = next(steps), [], None
    while True:
        try:
            calls: Calls = steps.send(results)
        except StopIteration as done:
            content = DONE if done.value is None else done.value
            return asked, [*messages, reply(content, f"answer {content}")], done.value, desk
        plan_words = ", ".join(" ".join([name, *map(str, given.values())]) for name, given in calls)
        ids = [f"call_{len(messages)}_{index}" for index in range(len(calls))]
        made = tuple(call(name, given, i) for i, (name, given) in zip(ids, calls, strict=True))
        results = [desk.run(name, json.dumps(given)) for name, given in calls]
        messages.append(reply("", plan_words, made))
        messages += [{"role": "tool", "tool_call_id": i, "content": r} for i, r in zip(ids, results, strict=True)]
