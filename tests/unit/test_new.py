"""`polymath new`: what it finds in files, the recipe that it writes, and what it refuses."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from polymath.chat import V4Format
from polymath.cli import app
from polymath.data import check_budgets, training_rows
from polymath.dataset import functions
from polymath.dataset.inspection import PATTERNS, inspect
from polymath.dataset.layouts import Conversation, conversation
from polymath.dataset.reading import Place, Read
from polymath.models import load_tokenizer
from polymath.new import usual_length
from polymath.recipe import load_recipe
from polymath.tiny import build_tokenizer
from rewards.languages import clear_language


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [{"prompt": f"order {place}", "completion": f"{place} ok"} for place in range(40)]
    rows += [rows[7], {"prompt": "Mail bob@example.com", "completion": "done"}]
    (tmp_path / "mine.jsonl").write_text("\n".join([*map(json.dumps, rows), "{"]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["new", *arguments])


def test_a_recipe_is_written_for_what_was_found(folder: Path) -> None:
    done = new("mine", "--data", "mine.jsonl")
    assert done.exit_code == 0, done.output
    assert "42, and 1 that cannot be used" in done.output and "1 with what an earlier one says" in done.output
    notes = [json.loads(line) for line in (folder / "mine.rows.jsonl").read_text().splitlines()]
    found = [(note["line"], note["finding"]) for note in notes]
    assert found == [(43, "cannot be used"), (41, "twice"), (42, "e-mail address")]
    recipe = load_recipe(folder / "mine.yaml", [])
    assert [*recipe.stages] == ["tuned", "scores"] and recipe.domains["mine"].model_dump()["bad_rows"] == 1


def test_functions_on_offer_count_and_a_tiny_model_has_room_for_them(folder: Path) -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "what it does " * 400, "parameters": {}}}
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    asked = [{"role": "user", "content": f"do {place}"} for place in range(20)]
    rows = [{"messages": [own, {"role": "assistant", "tool_calls": [call]}], "tools": [tool]} for own in asked]
    (folder / "tools.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert new("calls", "--data", "tools.jsonl").exit_code == 0
    recipe = load_recipe(folder / "calls.yaml", [])
    assert recipe.stages["tuned"].model_dump()["max_length"] > 1300
    assert recipe.model.model_dump()["max_position_embeddings"] > 2600


def test_functions_are_asked_for_in_v4_and_text_in_the_models_own_way(folder: Path) -> None:
    tokenizer = build_tokenizer(["a b c"], 400)
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "
    tokenizer.save_pretrained(folder / "own")
    asked = [[{"role": "user", "content": f"do {place}"}] for place in range(20)]
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    calls = [{"messages": [*own, {"role": "assistant", "tool_calls": [call]}], "tools": [tool]} for own in asked]
    texts = [{"messages": [*own, {"role": "assistant", "content": "done"}]} for own in asked]
    for name, rows, chat in (("calls", calls, "v4"), ("texts", texts, "native")):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        assert new(name, "--data", f"{name}.jsonl", "--model", "./own").exit_code == 0
        recipe = yaml.safe_load((folder / f"{name}.yaml").read_text())
        assert recipe["chat"] == chat and recipe["domains"][name]["files"] == [f"{name}.jsonl"]
        assert recipe["stages"]["tuned"]["lora"]


def test_what_it_writes_is_found_from_any_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_tokenizer(["a b c"], 400).save_pretrained(folder / "own")
    assert new("mine", "--data", "mine.jsonl", "--model", "./own").exit_code == 0
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    recipe = load_recipe(Path("../mine.yaml"), [])
    domain = recipe.domains["mine"].model_dump()
    assert domain["files"] == (folder / "mine.jsonl",) and recipe.model.model_dump()["name"] == str(folder / "own")
    shutil.copy(folder / "mine.jsonl", ".")  # a file of this name where a command runs changes nothing
    assert load_recipe(Path("../mine.yaml"), []) == recipe
    shutil.copy(folder / "mine.yaml", folder / "elsewhere" / "copy.yaml")
    (folder / "elsewhere/mine.jsonl").unlink()
    monkeypatch.chdir(folder)  # nor is what lies there passed over, where the recipe's folder has nothing
    domain = load_recipe(Path("elsewhere/copy.yaml"), []).domains["mine"].model_dump()
    assert domain["files"] == (folder / "mine.jsonl",)


SAID = {
    "en": "I forgot my password and cannot log in to my account any more.",
    "de": "Ich habe mein Passwort vergessen und kann mich nicht mehr anmelden.",
    "nl": "Ik ben mijn wachtwoord vergeten en kan niet meer inloggen bij mijn account.",
    "fr": "Je ne peux plus me connecter parce que je ne connais plus le mot de passe.",
}
SHORT = (
    "Reset password",
    "order 7 ok",
    "Danke!",
    "Bedankt!",
    "Merci!",
    "Thanks, that worked!",
    "Done.",
    "Printer jammed",
)


@pytest.mark.parametrize("words", [1, 3, 6, 12])
def test_languages_are_told_of_rows_that_are_long_enough(words: int) -> None:
    rows = [own for text in SAID.values() for place in range(4) for own in [text.split()[place : place + words]]]
    texts = [*(" ".join(own) for own in rows), *SHORT]
    places = [Place(Path("own.jsonl"), line) for line in range(len(texts))]
    given = [conversation({"prompt": "?", "completion": text}, {}) for text in texts]
    seen = inspect(Read(dict(zip(places, given, strict=True)), {}, Counter()), lambda _: [], len, clear_language)
    assert seen.languages.total() + seen.too_short == len(texts)
    assert seen.languages.keys() <= {*SAID, "unsure"}
    if words < 4:
        assert seen.too_short == len(texts)
    if words == 12:
        assert all(seen.languages[name] for name in SAID) and seen.too_short == len(SHORT)


def test_short_rows_are_in_no_language(folder: Path) -> None:
    done = new("mine", "--data", "mine.jsonl")
    assert "languages      the 42 rows that were looked at are too short to tell" in done.output
    rows = [{"prompt": f"{SAID['en']} Order {place}", "completion": "Reset password"} for place in range(9)]
    (folder / "more.jsonl").write_text("\n".join(map(json.dumps, [*rows, {"prompt": "Order?", "completion": "ok"}])))
    assert (
        "en 100%, of 9 that were looked at; 1 more are too short to tell" in new("more", "--data", "more.jsonl").output
    )


@pytest.mark.parametrize("text", ["x" * 300_000, "hello " * 400, "ha ha " * 300, "test test " * 100])
def test_a_text_without_variety_is_in_no_language(text: str) -> None:
    assert clear_language(text) is None and clear_language(SAID["de"]) == "de"


def test_languages_that_are_not_named_are_counted(folder: Path) -> None:
    more = {
        "zh": "\u6211\u5fd8\u8bb0\u4e86\u5bc6\u7801\u65e0\u6cd5\u767b\u5f55\u6211\u7684\u8d26\u6237\u8bf7\u5e2e\u5e2e\u6211",
        "es": "He olvidado mi clave y ya no puedo entrar en mi cuenta desde ayer por la tarde.",
        "it": "Ho dimenticato la parola chiave e non riesco ad accedere al mio conto da ieri sera.",
    }
    texts = [text for text in (SAID | more).values() for _ in range(4)]
    rows = [{"prompt": f"{place}", "completion": text} for place, text in enumerate(texts)]
    (folder / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (line,) = [line for line in new("own", "--data", "own.jsonl").output.splitlines() if line.startswith("languages")]
    assert line.count("14%") == 5 and line.endswith(" 14%, and 2 more, of 28 that were looked at")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("Mine", "--data", "mine.jsonl"), "NAME 'Mine'"),
        (("../mine", "--data", "mine.jsonl"), "NAME '../mine'"),
        (("mine", "--data", "none.jsonl"), "none.jsonl: no such file"),
        (("mine", "--data", "mine.jsonl", "--model", "./none"), "--model ./none: no such folder"),
        (("mine", "--data", "mine.jsonl", "--column", "prompt"), "each reads prompt=NAME"),
        (("mine", "--data", "mine.jsonl", "--column", "query=a"), "each reads prompt=NAME"),
        (("mine", "--data", "mine.jsonl", "--column", "prompt=frage"), "no row that can be used"),
        (("no", "--data", "mine.jsonl"), "values in YAML"),
        (("n" * 65, "--data", "mine.jsonl"), "small letters"),
        (("mine", "--data", "mine.jsonl", "--data", "./mine.jsonl"), "a file is named twice"),
        (("mine", "--data", "mine.jsonl", "--model", "."), "holds no model"),
    ],
)
def test_what_it_cannot_do_is_refused_and_nothing_written(folder: Path, arguments: list[str], fault: str) -> None:
    refused = new(*arguments)
    assert refused.exit_code == 2 and fault in refused.output
    assert [path.name for path in folder.iterdir()] == ["mine.jsonl"]


def test_what_a_row_is_not_trained_on_is_told(folder: Path) -> None:
    rows = [{"prompt": f"p {place}", "chosen": "yes", "rejected": "no"} for place in range(20)]
    rows += [{"prompt": "long", "chosen": "word " * 10_000}]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = new("pairs", "--data", "pairs.jsonl")
    assert done.exit_code == 0 and "columns: rejected in 20" in done.output, done.output
    (note,) = [json.loads(line) for line in (folder / "pairs.rows.jsonl").read_text().splitlines()]
    assert (note["line"], note["finding"]) == (21, "too long") and "cut off at 64" in note["detail"]
    assert "1 with over 64 tokens, and cut off there" in done.output
    recipe = load_recipe(folder / "pairs.yaml", [])  # for one row none of the others takes more memory
    assert recipe.modes["non_think"].max_completion_length == recipe.stages["tuned"].model_dump()["max_length"] == 64
    assert "max_length: 64  # 1 rows are longer, and cut off\n" in (folder / "pairs.yaml").read_text()


def test_an_answer_that_begins_only_after_the_cut_is_told_apart(folder: Path) -> None:
    rows: list[dict[str, Any]] = [{"prompt": f"p {place}", "completion": "yes"} for place in range(200)]
    turns = [("user", "a"), ("assistant", "b"), ("user", "word " * 10_000), ("assistant", "c")]
    rows += [{"prompt": "word " * 10_000, "completion": "yes"}]
    rows += [{"messages": [{"role": role, "content": text} for role, text in turns]}]
    (folder / "asked.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = new("asked", "--data", "asked.jsonl")
    says = "cut off there; 2 of 203 answers begin only after that, and teach nothing"
    assert done.exit_code == 0 and f"2 with over 64 tokens, and {says}" in " ".join(done.output.split()), done.output
    notes = [json.loads(line) for line in (folder / "asked.rows.jsonl").read_text().splitlines()]
    cut = [note["detail"].partition("cut off at ")[2] for note in notes if note["finding"] == "too long"]
    assert cut == ["64, before 1 of its 1 answers", "64, before 1 of its 2 answers"]
    assert "2 rows are longer, and cut off; 2 of 203 answers begin" in (folder / "asked.yaml").read_text()
    load_recipe(folder / "asked.yaml", [])


def test_an_answer_is_all_that_follows_a_question(folder: Path) -> None:
    build_tokenizer(["a b c"], 400).save_pretrained(folder / "own")
    call = {"type": "function", "id": "a", "function": {"name": "f", "arguments": json.dumps({"x": "w" * 50})}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    turns: list[dict[str, Any]] = [{"role": "assistant", "tool_calls": [call]}]
    turns += [{"role": "tool", "tool_call_id": "a", "content": "fine"}, {"role": "assistant", "content": "b" * 150}]
    rows = [
        {"messages": [{"role": "user", "content": f"{place}"}, *turns, *again], "tools": [tool]}
        for place in range(20)
        for again in ([], [{"role": "user", "content": "?"}, {"role": "assistant", "content": "c"}])
    ]
    (folder / "turns.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert new("turns", "--data", "turns.jsonl", "--model", "./own").exit_code == 0
    recipe = load_recipe(folder / "turns.yaml", [])
    form, tokenizer = V4Format(), load_tokenizer(folder / "own")
    drawn = training_rows(recipe.domains, {"turns": 1}, recipe.modes, 40, 0, form)
    check_budgets(drawn, tokenizer)


@pytest.mark.parametrize(
    ("lengths", "usual"),
    [
        ([*range(1, 101)], 100),
        ([30] * 400 + [2_500_000], 30),
        ([30] * 400 + [59], 59),
        ([30] * 200 + [2_500_000] * 4, 2_500_000),  # one in fifty
        ([30] * 10 + [2_500_000], 2_500_000),
        ([7], 7),
    ],
)
def test_a_row_in_a_hundred_makes_none_of_the_others_longer(lengths: list[int], usual: int) -> None:
    assert usual_length(lengths) == usual


def test_calls_that_their_functions_do_not_take_are_told(folder: Path) -> None:
    schema = {"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]}
    tool = {"type": "function", "function": {"name": "price", "parameters": schema}}

    def row(place: int, arguments: str) -> str:
        call = {"type": "function", "function": {"name": "price", "arguments": arguments}}
        asked = {"role": "user", "content": f"price of {place}"}
        return json.dumps({"messages": [asked, {"role": "assistant", "tool_calls": [call]}], "tools": [tool]})

    lines = [row(place, '{"item": "a"}') for place in range(20)] + [row(20, "{}"), row(21, '{"item": "a", "itm": 4}')]
    (folder / "calls.jsonl").write_text("\n".join(lines))
    assert new("calls", "--data", "calls.jsonl").exit_code == 0
    notes = [json.loads(line) for line in (folder / "calls.rows.jsonl").read_text().splitlines()]
    assert {note["line"]: note["detail"] for note in notes if note["finding"] == "call"} == {
        21: "price: 'item' is a required property",
        22: "price: 'itm' is none of its parameters; did you mean 'item'?",
    }


def test_types_of_another_language_are_told_once(folder: Path) -> None:
    schema = {"type": "dict", "properties": {"n": {"type": "float"}, "any": {"type": "any"}}, "required": ["n"]}
    tool = {"type": "function", "function": {"name": "half", "parameters": schema}}

    def row(place: int, arguments: str) -> str:
        call = {"type": "function", "function": {"name": "half", "arguments": arguments}}
        asked = {"role": "user", "content": f"half of {place}"}
        return json.dumps({"messages": [asked, {"role": "assistant", "tool_calls": [call]}], "tools": [tool]})

    lines = [row(place, json.dumps({"n": place, "any": [{}]})) for place in range(20)] + [row(20, '{"n": "20"}')]
    lines.append(json.dumps({"messages": json.loads(row(21, "{}"))["messages"]}))
    (folder / "calls.jsonl").write_text("\n".join(lines))
    done = new("calls", "--data", "calls.jsonl")
    assert "calls of functions that are not on offer in 1" in done.output
    told = [" ".join(line.split()) for line in done.output.splitlines()]
    types = "types of arguments that JSON schema does not have, and servers may refuse: "
    assert f"{types}dict in 21 (object), float in 21 (number), any in 21 (leave it out)" in told
    notes = [json.loads(line) for line in (folder / "calls.rows.jsonl").read_text().splitlines()]
    assert [(note["line"], note["finding"], note["detail"]) for note in notes] == [
        (21, "call", "half: n: '20' is not of type 'number'"),
        (22, "not on offer", "half is called, and no function is on offer"),
        *((1, "type", f"{kind}, in 21 rows") for kind in ("dict", "float", "any")),
    ]


def test_keywords_that_no_call_is_compared_with_are_counted(folder: Path) -> None:
    def row(place: int, **item: Any) -> str:
        schema = {"type": "object", "properties": {"item": {"type": "string", "title": "Item", **item}}}
        said = [{"role": "user", "content": f"price of {place}"}, {"role": "assistant", "content": "4"}]
        return json.dumps({"messages": said, "tools": [{"name": "price", "parameters": schema}]})

    lines = [row(place, pattern="^a") for place in range(3)] + [row(3, **{"not": {}}, pattern="^b", format="date")]
    (folder / "calls.jsonl").write_text("\n".join(lines))
    done = new("calls", "--data", "calls.jsonl")
    told = [" ".join(line.split()) for line in done.output.splitlines()]
    assert "unchecked pattern in 4, not in 1: with these keywords of schemas no call is compared" in told
    notes = [json.loads(line) for line in (folder / "calls.rows.jsonl").read_text().splitlines()]
    found = [(note["line"], note["detail"]) for note in notes if note["finding"] == "unchecked"]
    assert found == [(1, "pattern, in 4 rows"), (4, "not, in 1 rows")]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (["Sum 1"] * 30, "every row begins with the same question, and rows of one question go to one side"),
        (["Sum 1", "Sum 2", "Sum 3"], "one question in 8 is, by chance, and of 3 it was none: add others"),
    ],
)
def test_why_nothing_is_held_out(folder: Path, asked: list[str], why: str) -> None:
    rows = [{"prompt": text, "completion": str(place)} for place, text in enumerate(asked)]
    (folder / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert f"held out       nothing: {why}" in new("own", "--data", "own.jsonl").output
    assert f"  # nothing to score: {why}" in (folder / "own.yaml").read_text()
    assert [*load_recipe(folder / "own.yaml", []).stages] == ["tuned"]


def test_a_recipe_without_anything_to_train_on_is_not_written(folder: Path) -> None:
    rows = [{"prompt": "Sum 6", "completion": str(place)} for place in range(30)]
    (folder / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    refused = new("own", "--data", "own.jsonl")
    assert refused.exit_code == 2 and "nothing is left to train on" in refused.output
    assert not (folder / "own.yaml").exists()


def test_what_is_there_is_not_written_over(folder: Path) -> None:
    (folder / "mine.yaml").write_text("mine")
    refused = new("mine", "--data", "mine.jsonl")
    assert refused.exit_code == 2 and "mine.yaml: is there already" in refused.output
    assert (folder / "mine.yaml").read_text() == "mine" and not (folder / "mine.rows.jsonl").exists()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("-----BEGIN RSA PRIVATE KEY-----", "private key"),
        ("key AKIAABCDEFGHIJKLMNOP", "AWS key"),
        ("ghp_" + "a1" * 18, "GitHub token"),
        ("password: hunter2hunter2", "password"),
        ("Passwort: geheim1234", "password"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "password"),
        ("hf_" + "a1" * 17, "Hugging Face token"),
        ("glpat-" + "a1" * 10, "GitLab token"),
        ("sk_live_" + "a1" * 10, "Stripe key"),
        ("Authorization: Bearer a1b2c3d4e5f6a7b8", "bearer token"),
        ("postgres://admin:s3cr3tpw@db:5432/x", "password in an address"),
        ("ann@mail.example.org,", "e-mail address"),
        ("the password is not told, and 5 @ 3 is no address", None),
    ],
)
def test_what_looks_like_a_secret(text: str, kind: str | None) -> None:
    assert [name for name, pattern in PATTERNS.items() if pattern.search(text)] == ([kind] if kind else [])


ARRAY = {"type": "array", "items": {"type": "string"}, "enum": ["a", "b"]}
DEEP: dict[str, Any] = {"type": "string"}
for _ in range(200):
    DEEP = {"type": "object", "properties": {"n": DEEP}}


@pytest.mark.parametrize(
    ("schema", "value", "told"),
    [
        (ARRAY, ["a"], []),  # some list an array's items as its own values
        (ARRAY, ["c"], ["f: n.0: 'c' is not one of ['a', 'b']"]),
        ({"type": "string", "nullable": True}, None, []),
        ({"type": "string", "default": None}, None, []),
        ({"type": ["string", "any"]}, 5, []),
        ({"anyOf": [{"type": "str"}, {"type": "int"}]}, 5, []),
        ({"anyOf": [{"type": "str"}, {"type": "int"}]}, [], ["f: n: [] is not valid under any of the given schemas"]),
        ({"$ref": "http://192.0.2.1/schema"}, 5, []),  # nobody is asked
        ({"type": "string", "pattern": "(a+)+$"}, "a" * 40 + "b", []),  # and nothing is matched for ever
        (DEEP, {"n": {}}, []),
    ],
)
def test_a_schema_is_read_as_it_is_meant_and_hostile_ones_cost_nothing(
    schema: Any, value: Any, told: list[str]
) -> None:
    parameters = {"type": "object", "properties": {"n": schema}}
    call = {"function": {"name": "f", "arguments": {"n": value}}}
    own = Conversation(
        ({"role": "assistant", "tool_calls": [call]},), ({"function": {"name": "f", "parameters": parameters}},)
    )
    assert [*functions.faults(own)] == []
    assert [*functions.misfits(own)] == told
