"""Serve a model folder with vLLM and call it through the OpenAI client, with nothing of Polymath on either side.

    python tests/gpu/serve.py FOLDER [more arguments of the server]

Prints one JSON line for each request; fails unless reasoning, content and typed calls come back apart.
"""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

PORT = 8123
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "calculate",
            "description": "Calculate with two whole numbers.",
            "parameters": {
                "type": "object",
                "properties": {
                    "a": {"type": "integer", "description": "The first number."},
                    "operation": {"type": "string", "enum": ["plus", "minus", "times"], "description": "What to do."},
                    "b": {"type": "integer", "description": "The second number."},
                },
                "required": ["a", "operation", "b"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "description": "Read an entry of the address book.",
            "parameters": {
                "type": "object",
                "properties": {"name": {"type": "string", "description": "Whose entry."}},
                "required": ["name"],
            },
        },
    },
]


def start(folder: str, arguments: list[str]) -> subprocess.Popen[bytes]:
    """The server, once it answers."""
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", folder, "--port", str(PORT)]
    command += ["--served-model-name", "model", "--max-model-len", "2048", "--enable-auto-tool-choice"]
    command += ["--tool-call-parser", "deepseek_v4", "--reasoning-parser", "deepseek_v4", *arguments]
    server = subprocess.Popen(command, stdout=sys.stderr, stderr=sys.stderr)
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=2)
            return server
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, "the server ended"
            time.sleep(1)
    raise TimeoutError("the server does not answer")


def ask(
    client: Any, question: str, *, thinking: bool, tools: list[dict[str, Any]] | None = None, **options: Any
) -> Any:
    """One request; what the client gives back."""
    answer = client.chat.completions.create(
        model="model",
        messages=[{"role": "user", "content": question}],
        max_tokens=200,
        temperature=0,
        extra_body={"chat_template_kwargs": {"thinking": thinking, **options}},
        **({"tools": tools} if tools else {}),
    )
    message = answer.choices[0].message.model_dump()
    reasoning = message.get("reasoning") or message.get("reasoning_content")
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    seen = {"thinking": thinking, **options, "question": question, "reasoning": reasoning, "tool_calls": calls}
    print(json.dumps(seen | {"content": message["content"], "finish": answer.choices[0].finish_reason}), flush=True)
    return reasoning, calls, message["content"]


def check(client: Any) -> None:
    """Tools and none, in every mode."""
    modes: list[dict[str, Any]] = [
        {"thinking": True},
        {"thinking": True, "reasoning_effort": "max"},
        {"thinking": False},
    ]
    for options in modes:
        reasoning, calls, _ = ask(client, "What is 12 plus 30?", tools=TOOLS, **options)
        assert bool(reasoning) == options["thinking"], reasoning
        assert calls and calls[0]["name"] == "calculate", calls
        assert json.loads(calls[0]["arguments"]) == {"a": 12, "operation": "plus", "b": 30}, calls
        reasoning, calls, content = ask(client, "12 + 30", **options)
        assert bool(reasoning) == options["thinking"] and content.strip() and not calls


def main() -> None:
    from openai import OpenAI  # type: ignore[import-not-found]

    server = start(sys.argv[1], sys.argv[2:])
    try:
        check(OpenAI(base_url=f"http://127.0.0.1:{PORT}/v1", api_key="none"))
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
