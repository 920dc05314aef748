"""One request with functions to a server that speaks OpenAI's API, and what comes back.

python ask.py MODEL [PORT]
"""

import sys

from openai import OpenAI

QUESTION = "What will the weather be in Lisbon and in Oslo for the next 3 days?"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather_forecast",
            "description": "Get the weather forecast of a city.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "The city, for example 'Paris'."},
                    "days": {"type": "integer", "description": "How many days ahead."},
                },
                "required": ["city", "days"],
            },
        },
    }
]

if __name__ == "__main__":
    port = sys.argv[2] if len(sys.argv) > 2 else "8000"
    client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
    answer = client.chat.completions.create(
        model=sys.argv[1],
        messages=[{"role": "user", "content": QUESTION}],
        tools=TOOLS,  # pyright: ignore[reportArgumentType]
        temperature=0,
        max_tokens=128,
    )
    message = answer.choices[0].message
    sys.stdout.write(f"finish reason: {answer.choices[0].finish_reason}\ncontent: {message.content}\n")
    for call in message.tool_calls or ():
        assert call.type == "function"
        sys.stdout.write(f"call: {call.function.name} {call.function.arguments}\n")
