"""Whether an answer follows the instructions of its prompt that can be checked."""

import json
from typing import Literal

from pydantic import Field

from polymath.completion import Completion
from rewards import instructions
from rewards.base import Verifier, Workbench
from rewards.score import Score


class Instructions(Verifier):
    """1.0 where every instruction is followed (IFEval's prompt-level accuracy); `parts` hold both readings, by share.

    The row's answer is `{"prompt": ..., "instructions": [{"id": ..., "arguments": {...}}]}`.
    """

    name: Literal["instructions"] = "instructions"
    reading: Literal["strict", "loose"] = Field(
        default="strict", description="`loose` forgives a first or last line, and asterisks."
    )

    def verify(self, completion: Completion, bench: Workbench) -> Score:
        given = json.loads(completion.answer)
        asked, prompt = given["instructions"], given["prompt"]
        readings = {
            "strict": instructions.strict(asked, completion.content, prompt),
            "loose": instructions.loose(asked, completion.content, prompt),
        }
        followed = readings[self.reading]
        faults = tuple(f"not followed: {one['id']}" for one, good in zip(asked, followed, strict=True) if not good)
        return Score(float(not faults), {key: sum(all_) / len(asked) for key, all_ in readings.items()}, faults)
