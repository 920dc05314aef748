"""One task of a domain."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from polymath.judging import Rubric

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """What the model is given, a demonstration of how to answer it, and what its verifier needs.

    `messages` are system and user messages, `demonstration` the answers that follow, with the results of their calls,
    the last one the assistant's; `demonstrations` are those of modes that are shown another one. `tools` are the
    functions on offer as JSON schemas. `environment` is what executes the calls, as
    `polymath.domains.environment.open_environment` reads it; where it is empty, a turn of calls ends the episode. `key`
    identifies the problem: two tasks with the same question have the same key, and so have two questions that give each
    other away (`3 + 4` and `4 + 3`). `answer` is read by the domain's reward alone. `rubric` is what a judge of the
    answer goes by; without one it goes by the reward's.
    """

    key: str
    messages: tuple[Message, ...]
    demonstration: tuple[Message, ...]
    answer: str
    tools: tuple[Message, ...] = ()
    environment: str = ""
    demonstrations: Mapping[str, tuple[Message, ...]] = field(default_factory=dict)
    rubric: Rubric | None = None

    def shown(self, mode: str) -> tuple[Message, ...]:
        """The demonstration of a mode."""
        return self.demonstrations.get(mode, self.demonstration)


@dataclass(frozen=True)
class Judged:
    """Responses to one task, what a judge of each reasons, and what each is worth, from 0 to 1.

    `criteria` are what a single response is worth by each of the task's criteria, None where nobody knows.
    """

    task: Task
    responses: tuple[str, ...]
    critiques: tuple[str, ...]
    labels: tuple[float, ...]
    criteria: tuple[float | None, ...] = ()


def question(text: str) -> tuple[Message, ...]:
    """A conversation of one question."""
    return ({"role": "user", "content": text},)


def reply(content: str, reasoning: str = "", calls: tuple[Message, ...] = ()) -> Message:
    """An assistant's message."""
    return {"role": "assistant", "content": content, "reasoning": reasoning, "tool_calls": list(calls)}


def call(name: str, arguments: Mapping[str, Any], call_id: str = "") -> Message:
    """A call as OpenAI writes it, its arguments an object."""
    return {"type": "function", "id": call_id, "function": {"name": name, "arguments": dict(arguments)}}
