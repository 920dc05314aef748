"""One task of a domain."""

from dataclasses import dataclass

from polymath.chat import Reply


@dataclass(frozen=True)
class Task:
    """A question, a demonstration of how to answer it, and what its verifier needs.

    `key` identifies the problem: two tasks with the same question have the same key, and so have two questions that
    give each other away (`3 + 4` and `4 + 3`). `answer` is read by the domain's reward alone.
    """

    key: str
    question: str
    demonstration: Reply
    answer: str
