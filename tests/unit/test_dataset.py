"""People's files as tasks: every layout that is known, and for every row that is none a line and a reason."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from polymath.chat import V4Format
from polymath.chat.tokens import EOS
from polymath.data import held_out_rows, training_rows
from polymath.dataset import reading
from polymath.dataset.files import records
from polymath.dataset.functions import misfits
from polymath.dataset.layouts import conversation
from polymath.domains import held_out_tasks, is_held_out, training_tasks
from polymath.domains.dataset import DatasetDomain
from polymath.fingerprint import describe_domain
from polymath.stage import ModeConfig

ASKED, SAID = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
CALL = {"type": "function", "id": "a", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TRACE = [
    {"role": "user", "content": "Rain?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "a", "content": "dry"},
    {"role": "assistant", "content": "No."},
]


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [ASKED, SAID]},
        {"messages": json.dumps([ASKED, SAID])},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, SAID], "id": 7},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        {"prompt": "Hi", "completion": "Hello"},
        {"prompt": [ASKED], "completion": [SAID]},
        {"question": "Hi", "answer": "Hello"},
        {"instruction": "Hi", "input": "", "output": "Hello"},
    ],
)
def test_layouts_are_told_by_their_columns(record: dict[str, Any]) -> None:
    own = conversation(record, {})
    assert [(message["role"], message["content"]) for message in own.messages] == [
        ("user", "Hi"),
        ("assistant", "Hello"),
    ]


def test_what_stands_beside_messages_is_read() -> None:
    own = conversation({"instruction": "Add", "input": "1, 2", "output": "3", "system": "Be short."}, {})
    assert [message["content"] for message in own.messages] == ["Be short.", "Add\n\n1, 2", "3"]
    own = conversation({"frage": "Hi", "antwort": "Hello"}, {"prompt": "frage", "completion": "antwort"})
    assert [message["content"] for message in own.messages] == ["Hi", "Hello"]
    thought = conversation({"messages": [ASKED, SAID | {"reasoning_content": "Polite."}]}, {})
    assert thought.messages[-1]["reasoning"] == "Polite."
    own = conversation({"messages": TRACE, "tools": [WEATHER]}, {})
    called = {"name": "weather", "arguments": {"city": "Rome"}}
    assert own.messages[1]["tool_calls"][0]["function"] == called
    assert own.tools == ({"type": "function", "function": WEATHER},)
    shared = [{"from": "human", "value": "Rain?"}, {"from": "function_call", "value": json.dumps(CALL["function"])}]
    shared.append({"from": "gpt", "value": "No."})
    assert conversation({"conversations": shared}, {}).messages[1]["tool_calls"] == [
        CALL | {"id": ""} | {"function": called}
    ]


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ({"text": "Hi"}, r"none of its columns \(text\) is the prompt: name it, as columns.prompt"),
        ({"prompt": "Hi"}, "is the completion"),
        ({"prompt": "", "completion": "Hello"}, "prompt is empty"),
        ({"prompt": "Hi", "completion": ""}, "completion is empty"),
        ({"prompt": "Hi", "completion": " "}, "last answer is empty"),
        ({"prompt": 3, "completion": "Hello"}, "prompt is a number, and a text is needed"),
        ({"prompt": "Hi", "completion": b"Hello"}, "completion is bytes, and a text is needed: .* cast the column"),
        ({"messages": [ASKED]}, "nothing to learn"),
        ({"messages": [SAID]}, "nothing is asked"),
        ({"messages": ["Hi"]}, "message 0 is a text"),
        ({"messages": "Hi"}, "no JSON"),
        ({"messages": [{"role": "bishop", "content": "Hi"}, SAID]}, "message 0 has the role 'bishop'; known are"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, SAID]}, "of type 'image_url'"),
        ({"messages": [{"role": "user", "content": 5}, SAID]}, "message 0 is a number"),
        ({"messages": [{"role": "user", "content": "\ud800"}, SAID]}, "half of a character"),
        ({"messages": [{"role": "user", "content": EOS}, SAID]}, EOS),
        ({"messages": [ASKED, SAID | {"tool_calls": [{"function": {}}]}]}, "call without a name"),
        ({"messages": [ASKED, SAID | {"tool_calls": [{"name": "a", "arguments": "[1]"}]}]}, "list and no object"),
        ({"messages": [ASKED, SAID], "tools": [{"type": "function"}]}, "function without a name"),
        ({"messages": TRACE, "tools": [WEATHER | {"name": "rain"}]}, "message 1 calls weather, and tools offer rain"),
        ({"messages": [*TRACE[:2], TRACE[2] | {"tool_call_id": "b"}, SAID]}, "answers the call 'b', which no message"),
        ({"messages": [ASKED, SAID], "tools": "["}, "no JSON"),
    ],
)
def test_what_cannot_be_used_is_refused(record: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        conversation(record, {})


def test_calls_may_be_numbered() -> None:
    numbered = [TRACE[0], TRACE[1] | {"tool_calls": [CALL | {"id": 7}]}, TRACE[2] | {"tool_call_id": 7}, SAID]
    assert len(conversation({"messages": numbered, "tools": [WEATHER]}, {}).messages) == 4


@pytest.mark.parametrize("parameters", [None, {}, {"required": True}, {"properties": []}])
def test_a_function_that_says_little_takes_every_call(parameters: Any) -> None:
    own = conversation({"messages": TRACE, "tools": [{"name": "weather", "parameters": parameters}]}, {})
    assert not [*misfits(own)]


def test_a_column_that_is_named_and_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="there is no column 'frage'; its columns are a, b"):
        conversation({"a": "Hi", "b": "Hello"}, {"prompt": "frage", "completion": "b"})


def test_every_kind_of_file_is_read(tmp_path: Path) -> None:
    rows = [{"prompt": f"Say {place}.", "completion": str(place)} for place in range(3)]
    lines = "\n".join(map(json.dumps, rows))
    for name, text in {
        "a.jsonl": "\ufeff" + lines + "\n\n", "a.json": json.dumps(rows),
        "a.csv": "prompt,completion\n" + "\n".join(f'"Say {place}.",{place}' for place in range(3)),
        "a.tsv": "prompt\tcompletion\n" + "\n".join(f"Say {place}.\t{place}" for place in range(3)),
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    for path in tmp_path.iterdir():
        first = 2 if path.suffix in (".csv", ".tsv") else 1
        assert list(records(path)) == [(first + place, row) for place, row in enumerate(rows)], path


def test_lines_are_read_whatever_their_file_is_called(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{place}", "completion": "c"} for place in range(3)]
    (tmp_path / "lines.json").write_text("\n" + "\n".join(map(json.dumps, rows)))
    found = reading.read((tmp_path / "lines.json",), {})
    assert [place.line for place in found.conversations] == [2, 3, 4] and not found.bad


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.txt", b"", r"\.txt ending; files are \.jsonl"),
        ("a.json", b"{", "no JSON"),
        ("a.json", b"{}", "a list of objects is needed"),
        ("a.jsonl", b"\xff\xfe{", r"a\.jsonl:1: not UTF-8"),
        ("a.parquet", b"PAR1", "no parquet"),
        ("a.csv", b"a,a\n1,2", "a name of its own"),
        ("a.csv", b'a,b\n"1,2', "a.csv:2"),
        ("a.csv", b"prompt;completion\n1;2", "a.csv:1: one column, 'prompt;completion': is it divided by ';'"),
    ],
)
def test_what_is_no_file_of_rows_is_refused(tmp_path: Path, name: str, content: bytes, fault: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=fault):
        list(records(tmp_path / name))


def written(folder: Path, rows: list[Any]) -> Path:
    path = folder / "own.jsonl"
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path


def test_bad_rows_are_told_by_line_and_never_dropped_in_silence(tmp_path: Path) -> None:
    path = written(tmp_path, [{"messages": [ASKED, SAID]}, "{\n", {"messages": []}])
    with pytest.raises(
        ValueError, match=rf"2 rows cannot be used, and bad_rows is 0; {path}:2: no JSON.*{path}:3: messages is empty"
    ):
        DatasetDomain(files=(path,))
    domain = DatasetDomain(files=(path,), bad_rows=2)
    assert [place.line for place in domain.read().bad] == [2, 3] and len(domain.read().conversations) == 1
    with pytest.raises(ValueError, match="2 rows cannot be used, and bad_rows is 3"):
        DatasetDomain(files=(path,), bad_rows=3)
    with pytest.raises(ValueError, match="every row can be used, and bad_rows is 3: set it to 0, or take it out"):
        DatasetDomain(files=(written(tmp_path, [{"messages": [ASKED, SAID]}]),), bad_rows=3)
    with pytest.raises(ValueError, match="no row that can be used in"):
        DatasetDomain(files=(written(tmp_path, []),))
    with pytest.raises(ValueError, match="no such file"):
        DatasetDomain(files=(tmp_path / "none.jsonl",))


@pytest.mark.parametrize("name", ["own.jsonl", "own.json"])
def test_a_line_that_is_not_utf8_is_a_bad_row_among_others(tmp_path: Path, name: str) -> None:
    lines = [json.dumps({"prompt": f"Caf\xe9 {place}", "completion": "yes"}, ensure_ascii=False) for place in range(3)]
    (tmp_path / name).write_bytes(b"\n".join([lines[0].encode(), lines[1].encode("latin-1"), lines[2].encode()]))
    domain = DatasetDomain(files=(tmp_path / name,), bad_rows=1)
    assert [*domain.read().bad.values()] == ["not UTF-8 at column 16: save it as UTF-8"]
    assert [own.messages[0]["content"] for own in domain.read().conversations.values()] == ["Caf\xe9 0", "Caf\xe9 2"]


def test_what_was_trained_on_other_rows_is_out_of_date(tmp_path: Path) -> None:
    rows = [{"prompt": "Hi", "completion": "Hello"}]
    before = describe_domain(DatasetDomain(files=(written(tmp_path, rows),)))
    assert before == describe_domain(DatasetDomain(files=(written(tmp_path, rows),)))
    assert before != describe_domain(DatasetDomain(files=(written(tmp_path, rows * 2),)))


def test_rows_are_gone_through_before_any_comes_again(tmp_path: Path) -> None:
    rows = [{"prompt": f"Say {place}.", "completion": str(place)} for place in range(80)]
    domain = DatasetDomain(files=(written(tmp_path, rows),))
    held_out = [task for task in domain.tasks() if is_held_out(task)]
    left = 80 - len(held_out)
    assert 0 < len(held_out) < 25
    train = training_tasks(domain, 2 * left, 0)
    epochs = [[task.answer for task in own] for own in (train[:left], train[left:])]
    assert set(epochs[0]) == set(epochs[1]) and len(set(epochs[0])) == left and epochs[0] != epochs[1]
    assert {task.key for task in held_out_tasks(domain, len(held_out), 0)} == {task.key for task in held_out}
    with pytest.raises(ValueError, match=f"only {len(held_out)} of the"):
        held_out_tasks(domain, len(held_out) + 1, 0)
    assert domain.draw(random.Random(0)).answer in {task.answer for task in domain.tasks()}


@pytest.mark.parametrize("mode", ["non_think", "high"])
def test_each_answer_of_a_conversation_is_learned_behind_what_was_said_before_it(tmp_path: Path, mode: Any) -> None:
    thought = {"role": "assistant", "content": "Sure.", "reasoning_content": "Why not."}
    row = {"messages": [ASKED, SAID | {"reasoning_content": "Polite."}, *TRACE, {"role": "user", "content": "Sure?"}]}
    row["messages"].append(thought)
    domain = DatasetDomain(files=(written(tmp_path, [row | {"tools": [WEATHER]}, {"messages": [ASKED, thought]}]),))
    tasks = list(domain.tasks())
    assert len(tasks) == 4 and len({task.key for task in tasks}) == 1  # of which none is held out without the others
    config = {mode: ModeConfig(think=mode, max_completion_length=20)}
    rows = held_out_rows("own", domain, tasks, config, V4Format())
    ends = ["".join(part.text for part in row.completion if part.generated) for row in rows]
    assert ["Hello" in rows[1].prompt, "dry" in rows[2].prompt, "dry" in rows[1].completion[1].text] == [True] * 3
    for end, said in zip(ends, ("Hello", "No.", "Sure.", "Sure."), strict=True):
        assert end.endswith(said + EOS)
    assert ("Why not." in ends[2]) == (mode == "high") and "weather" in ends[1]
    assert training_rows({"own": domain}, {"own": 1}, config, 8, 0, V4Format()) if not is_held_out(tasks[0]) else True
