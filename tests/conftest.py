"""What several tests share: random conversations in everything that the V4 format can express."""

import asyncio
import gc
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from polymath.chat import MODES, Mode, parse
from polymath.chat.tokens import EOS
from polymath.completion import Completion
from polymath.sandbox_config import SandboxConfig
from rewards import Score, Workbench, open_bench

# Files that take longest, which begin first: else one process works at the end while others wait
LONGEST = ("test_chain", "test_judge", "test_baselines", "test_colocated_engine", "test_dataset", "test_server_engine")
LONGEST += ("test_verifiers", "test_planning", "test_hostile", "test_wal", "test_report", "test_sharding")
LONGEST += ("test_doctor",)
Case = tuple[list[dict[str, Any]], Mode, dict[str, Any]]

TASKS = ("action", "query", "authority", "domain", "title", "read_url")
TEXTS = (
    *(
        "",
        "two",
        "What is 2+2?",
        " a space on either side ",
        "line\nline\n\n",
        "\r\n\ttab",
        "\u00fcber",
        "\u7cfb\u7edf \u63d0\u793a",
        "\U0001f642\U0001f44d\U0001f3fd",
        "\u2028",
    ),
    *(
        "<|User|>",
        "<think >",
        "< /think>",
        "｜DSML|",
        "<tool_calls>",
        "</tool_result>",
        "<tool_result>x",
        "< ｜end▁of▁sentence｜>",
    ),
    *(
        "{{ bos_token }}",
        "{% endgeneration %}",
        "{# no #}",
        "\\n",
        "'quoted' \"twice\"",
        "<a&b>",
        '" string="maybe">',
        "%r %s",
    ),
)
VALUES: tuple[Any, ...] = (
    *(*TEXTS, 0, -1, 3.5, 1e-7, 10**20, True, False, None, [], {}, "7", "true", "null"),
    *([1, "\u00e9", None], {"a": [True, {"\u00fc": "<b>"}], "": 2}, {"k": "\U0001f642"}),
)


def pytest_collection() -> None:
    """The import of torch and others makes millions of objects, and each look for garbage reads all of them again."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What was imported stays, so that no look for garbage need read it."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the rest the order stays."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(LONGEST)))


class Writer:
    """Writes one conversation after another from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def text(self) -> str:
        return "".join(self.random.choices(TEXTS, k=self.random.randint(0, 3)))

    def content(self) -> Any:
        if self.chance(0.7):
            return self.text()
        if self.chance(0.3):
            return None
        return [{"type": "text", "text": self.text()} for _ in range(self.random.randint(0, 3))]

    def tools(self) -> list[dict[str, Any]]:
        schema = {
            "name": "f",
            "description": self.text(),
            "parameters": {"type": "object", "properties": {"\u00e9": {}}},
        }
        return [schema if self.chance(0.3) else {"type": "function", "function": schema} for _ in range(2)]

    def case(self) -> Case:
        messages = [message for _ in range(self.random.randint(1, 5)) for message in self.turn()]
        options: dict[str, Any] = {"add_generation_prompt": self.chance(0.6), "drop_thinking": self.chance(0.7)}
        first = next((message for message in messages if message["role"] == "system"), {})
        if self.chance(0.25) and not first.get("tools"):
            options["tools"] = self.tools()
        return messages, self.random.choice(MODES), options

    def turn(self) -> list[dict[str, Any]]:
        rare, usual = (self.system, self.developer, self.reminder), (self.user, self.answer, self.called)
        messages = self.random.choice((*rare, *usual, *usual))()
        for message in messages:
            if self.chance(0.08):
                message["task"] = self.random.choice(TASKS)
        return messages

    def system(self, role: str = "system") -> list[dict[str, Any]]:
        message: dict[str, Any] = {"role": role, "content": self.content()}
        if self.chance(0.25):
            message["tools"] = self.tools()
        if self.chance(0.2):
            message["response_format"] = {"type": "object", "title": self.text()}
        return [message]

    def developer(self) -> list[dict[str, Any]]:
        (message,) = self.system("developer")
        return [message | {"content": "d" + self.text()}]

    def user(self) -> list[dict[str, Any]]:
        return [{"role": "user", "content": self.content()}]

    def reminder(self) -> list[dict[str, Any]]:
        return [{"role": "latest_reminder", "content": self.content()}]

    def answer(self) -> list[dict[str, Any]]:
        message: dict[str, Any] = {"role": "assistant", "content": self.content()}
        for key in ("reasoning", "reasoning_content"):
            if self.chance(0.4):
                message[key] = self.content()
        if self.chance(0.15):  # ends in ASCII: transformers leaves out all but the first byte of a last character
            message |= {"wo_eos": True, "content": self.text() + "."}
        return [message]

    def called(self) -> list[dict[str, Any]]:
        """Calls, and results in any order: some missing, some unknown, some without an id, with texts between them."""
        (answer,) = self.answer()
        ids = [f"c{index}" for index in range(self.random.randint(1, 4))]
        answer["tool_calls"] = [self.call(call_id) for call_id in ids]
        known = self.random.sample([*ids, "unknown", "", ids[0]], k=self.random.randint(0, len(ids) + 2))
        results = [{"role": "tool", "content": self.content(), "tool_call_id": call_id} for call_id in known]
        between = self.answer() if self.chance(0.15) else []
        return [answer, *between, *(self.user()[0] if self.chance(0.15) else result for result in results)]

    def call(self, call_id: str) -> dict[str, Any]:
        names = [text for text in TEXTS if 'string="' not in text]
        count = self.random.randint(0, 3)
        arguments = dict(zip(self.random.sample(names, count), self.random.choices(VALUES, k=count), strict=True))
        function: dict[str, Any] = {"name": "f" + self.text(), "arguments": arguments}
        call = {"type": "function", "function": function}
        (call if self.chance(0.8) else function)["id"] = self.random.choice([call_id, call_id, "", "c0"])
        return call


@pytest.fixture(scope="session")
def conversations() -> Callable[[int, int], list[Case]]:
    """`conversations(count, seed)`: messages, think mode, and the keyword arguments of `polymath.chat.render`.

    The arguments of calls are mappings, which both `render` and a chat template take.
    """

    def make(count: int, seed: int) -> list[Case]:
        writer = Writer(seed)
        return [writer.case() for _ in range(count)]

    return make


@pytest.fixture(scope="session")
def bench() -> Iterator[Workbench]:
    with open_bench(SandboxConfig()) as opened:
        yield opened


@pytest.fixture
def score(bench: Workbench) -> Callable[[str, Sequence[dict[str, Any]], str], Score]:
    """What a verifier says of turns that are parsed."""

    def verified(reward: str, turns: Sequence[dict[str, Any]], answer: str) -> Score:
        return asyncio.run(bench.verify([Completion(turns=tuple(turns), reward=reward, answer=answer)]))[0]

    return verified


@pytest.fixture
def worth(score: Callable[..., Score]) -> Callable[..., float]:
    """What a verifier gives to turns as a model writes them."""

    def worth(reward: str, texts: Sequence[str], think: Mode, answer: str, eos: str = EOS) -> float:
        turns = [parse(text, think, strict=False, eos_token=eos) for text in texts]
        return score(reward, turns, answer).value

    return worth
