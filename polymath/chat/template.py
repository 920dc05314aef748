"""The V4 format for other libraries: a chat template, which writes it, and a response template, which reads it.

Transformers, TRL and vLLM render conversations by the Jinja template that is saved with a tokenizer. `v4.jinja` gives
the text of `polymath.chat.render`, with two differences that lie in Jinja: the arguments of a call are a mapping, as
transformers has them, for a template cannot read JSON; and arguments that are the empty string are none, as in vLLM.
"""

import json
import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from polymath.chat import tokens
from polymath.chat.dsml import V4

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from polymath.chat.formats import Format

_SHARED = (
    *("ALL_TOKENS", "ASSISTANT", "BOS", "DSML", "END_THINK", "EOS", "MAX_EFFORT", "REMINDER", "RESPONSE_FORMAT"),
    *("TASKS", "THINK", "TOOLS_AFTER", "TOOLS_BEFORE", "USER"),
)


@cache
def chat_template(*, drop_thinking: bool = True) -> str:
    """The whole template; `drop_thinking` is what holds where the caller does not pass that argument.

    TRL's GRPO renders dummy conversations with calls, but without their tools, and demands that a result leaves the
    text before it as it is. The format keeps that only with `drop_thinking` off; with tools, on and off are the same.
    """
    constants = {name: getattr(tokens, name) for name in _SHARED}
    constants |= {"BLOCK": V4.block, "INVOKE": V4.invoke, "PARAMETER": V4.parameter, "DROP_THINKING": drop_thinking}
    lines = (f"{{%- set {name} = {_literal(value)} -%}}\n" for name, value in constants.items())
    return "".join(lines) + files("polymath.chat").joinpath("v4.jinja").read_text(encoding="utf-8")


def install(tokenizer: "PreTrainedTokenizerBase", *, drop_thinking: bool = True) -> None:
    """Give the tokenizer both templates; its `save_pretrained` then writes them."""
    tokenizer.chat_template = chat_template(drop_thinking=drop_thinking)
    tokenizer.response_template = RESPONSE_TEMPLATE


def install_header(tokenizer: "PreTrainedTokenizerBase", form: "Format") -> None:
    """Let a model's own template end its prompt as `chat: native` does: with the think tags that answers follow.

    A server renders requests by it; without them the model would be asked something else than it was trained on.
    """
    asked = [{"role": "user", "content": "?"}]

    def own(**told: Any) -> str:
        return str(tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True, **told))

    def added(mode: tokens.Mode) -> str:
        whole = "".join(segment.text for segment in form.conversation(asked, mode, ()))
        return whole.removeprefix(own(enable_thinking=mode != "non_think"))

    thinks, otherwise = added("high"), added("non_think")
    if not thinks and not otherwise:
        return  # the template writes them itself, or has learned to in a stage before
    usually = _literal(own() != own(enable_thinking=False))  # where the caller does not say
    end = f"{{{{ {_literal(thinks)} if enable_thinking | default({usually}) else {_literal(otherwise)} }}}}"
    tokenizer.chat_template = f"{tokenizer.chat_template}{{% if add_generation_prompt %}}{end}{{% endif %}}"


def _literal(value: Any) -> str:
    """A value as Jinja writes it, which for text, lists, mappings and booleans is as JSON does."""
    return json.dumps(value, ensure_ascii=False)


def _response_template() -> dict[str, Any]:
    """A completion's fields for transformers' parser, which reads them by regular expressions (of the `regex` module).

    A block of calls is read whole or not at all: the first pattern looks ahead over all of it, so that a call which
    is cut off, malformed, or not the end of its turn is text and never executed. To keep strings apart from JSON, a
    value marked `string="true"` is captured with the mark and the closing tag, which are its quotation marks for the
    JSON parser; any other is captured bare.
    """
    eos, think, end_think = (re.escape(token) for token in (tokens.EOS, tokens.THINK, tokens.END_THINK))
    block, invoke, parameter = (re.escape(tokens.DSML + name) for name in (V4.block, V4.invoke, V4.parameter))
    text = f"(?:(?!{re.escape(tokens.DSML)}).)*"
    opening = f'<{parameter} name="{text}?" string="'
    one_parameter = f'{opening}(?:true|false)">{text}</{parameter}>'
    one_call = f'<{invoke} name="{text}?">\\n\\n?(?:{one_parameter}\\n)*</{invoke}>'
    value = f'(?:false">(?P<value>{text})</{parameter}>|(?P<value>true">{text}</{parameter}>))'
    tasks = "|".join(map(re.escape, tokens.TASKS.values()))
    return {
        "defaults": {"role": "assistant", "content": ""},
        "start_anchor_pattern": f"{re.escape(tokens.ASSISTANT)}(?:{end_think})?|{tasks}",
        "fields": {
            "reasoning_content": {
                "open_pattern": think,
                "close_pattern": f"{end_think}|(?={eos})",  # the second where reasoning is never closed
                "content": "text",
                "content_args": {"strip": False},
            },
            "tool_calls": {
                "open_pattern": f"(?:\\n\\n<{block}>|(?<=</{invoke}>))\\n(?=(?:{one_call}\\n)+</{block}>(?:{eos}|$))"
                f'<{invoke} name="(?P<name>{text}?)">\\n',
                "close_pattern": f"\\n?</{invoke}>(?:\\n</{block}>)?",
                "repeats": True,
                "content": "xml-inline",
                "content_args": {
                    "tag_pattern": f'<{parameter} name="(?P<key>{text}?)" string="{value}',
                    "value_parser": {
                        "name": "json",
                        "args": {"string_delims": [['true">', f"</{tokens.DSML}{V4.parameter}>"]]},
                    },
                },
                "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
            },
            "content": {"close_pattern": eos, "content": "text", "content_args": {"strip": False}},
        },
    }


RESPONSE_TEMPLATE: dict[str, Any] = _response_template()
