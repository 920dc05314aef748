"""The tokens and the fixed texts of the V4 format (report, section 5.1.1 and tables 2 to 5; encoder of April 2026)."""

import re
from typing import Literal, get_args

Mode = Literal["non_think", "high", "max"]
MODES: tuple[Mode, ...] = get_args(Mode)

BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
USER, ASSISTANT, REMINDER = "<｜User｜>", "<｜Assistant｜>", "<｜latest_reminder｜>"
THINK, END_THINK = "<think>", "</think>"
DSML = "｜DSML｜"
TASKS = {task: f"<｜{task}｜>" for task in ("action", "query", "authority", "domain", "title", "read_url")}

SPECIAL_TOKENS = (PAD, BOS, EOS)  # what decoding without special tokens removes
TEXT_TOKENS = (USER, ASSISTANT, THINK, END_THINK, DSML, REMINDER, *TASKS.values())  # kept by it
ALL_TOKENS = (*SPECIAL_TOKENS, *TEXT_TOKENS)
ANY_TOKEN = re.compile("|".join(map(re.escape, ALL_TOKENS)))

UNTELLABLE = "error: the result holds a token of the chat format"  # told in the place of such a result
MAX_EFFORT = (
    "Reasoning Effort: Absolute maximum with no shortcuts permitted.\n"
    "You MUST be very thorough in your thinking and comprehensively decompose the problem to resolve the root cause, "
    "rigorously stress-testing your logic against all potential paths, edge cases, and adversarial scenarios.\n"
    "Explicitly write out your entire deliberation process, documenting every intermediate step, considered "
    "alternative, and rejected hypothesis to ensure absolutely no assumption is left unchecked.\n\n"
)
TOOLS_BEFORE = f"""\n\n## Tools

You have access to a set of tools to help answer the user's question. You can invoke tools by writing a \
"<{DSML}tool_calls>" block like the following:

<{DSML}tool_calls>
<{DSML}invoke name="$TOOL_NAME">
<{DSML}parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</{DSML}parameter>
...
</{DSML}invoke>
<{DSML}invoke name="$TOOL_NAME2">
...
</{DSML}invoke>
</{DSML}tool_calls>

String parameters should be specified as is and set `string="true"`. For all other types (numbers, booleans, arrays, \
objects), pass the value in JSON format and set `string="false"`.

If thinking_mode is enabled (triggered by {THINK}), you MUST output your complete reasoning inside \
{THINK}...{END_THINK} BEFORE any tool calls or final response.

Otherwise, output directly after {END_THINK} with tool calls or final response.

### Available Tool Schemas

"""
TOOLS_AFTER = "\n\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.\n"
RESPONSE_FORMAT = "\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n"


def first_token(text: str) -> str | None:
    """The first token of the format that stands in `text`; None where there is none."""
    found = ANY_TOKEN.search(text)
    return found.group() if found else None
