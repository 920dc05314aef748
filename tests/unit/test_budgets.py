"""Budgets that are too small for a later stage are told before the first one trains."""

from pathlib import Path
from typing import Any

import pytest
from transformers import Qwen3Config, Qwen3ForCausalLM
from typer.testing import CliRunner

from polymath.cli import app
from polymath.recipe import load_recipe
from polymath.run_dir import read_lines
from polymath.source import RecipeError
from polymath.tiny import build_tokenizer
from polymath.training import tell_left_out

RECIPE = """
name: tight
model: {init: qwen3}
domains:
  math: {kind: math}
  verdicts: {kind: judge, of: {kind: math}}
modes:
  high: {max_completion_length: 64}
  brief: {think: high, max_completion_length: 3}
stages:
  first: {kind: sft, domains: [math], modes: [high], max_steps: 1, per_device_train_batch_size: 4}
  later: {kind: sft, from: first, domains: [verdicts], modes: [brief], max_steps: 1, per_device_train_batch_size: 4}
  joint:
    kind: grpo
    from: first
    domains: [math]
    modes: [high]
    max_steps: 1
    rewards: [{name: rubric, rubric: {criteria: [{text: right}, {text: brief}]}}]
    judge:
      max_completion_length: 4
"""


def test_what_a_later_stage_would_refuse_is_refused_before_the_first_one(tmp_path: Path) -> None:
    recipe, run = tmp_path / "tight.yaml", tmp_path / "run"
    recipe.write_text(RECIPE)
    result = CliRunner().invoke(app, ["run", str(recipe), "--run-dir", str(run)])
    assert result.exit_code == 2
    mode, judge = result.stderr.strip().splitlines()
    assert mode.startswith(f"{recipe}:9: modes.brief.max_completion_length: found 3; a demonstration of the domain ")
    assert mode.endswith(" tokens: raise it, or narrow the domain's settings")
    assert judge.startswith(
        f"{recipe}:21: stages.joint.judge.max_completion_length: found 4; a verdict without any rea"
    )
    assert "'Scores: 0, 0', takes " in judge and judge.endswith(" tokens: raise it")
    assert sorted(path.name for path in run.glob("[0-9]*")) == ["00-base"]
    given = ["modes.brief.max_completion_length=2", "joint.judge.max_completion_length=64"]
    options = [part for own in given for part in ("--set", own)]
    result = CliRunner().invoke(app, ["run", str(recipe), "--run-dir", str(run), *options])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"--set {given[0]}: modes.brief.max_completion_length: found 2; a demonstration")
    recipe.write_text(f"# as it was\n{RECIPE}")
    result = CliRunner().invoke(app, ["resume", str(run)])
    assert result.exit_code == 2 and result.stderr.startswith(f"--set {given[0]}: ")


def test_a_teacher_of_other_tokens_is_refused_before_the_first_stage(tmp_path: Path) -> None:
    words = build_tokenizer(["nothing that the others would know of"], 400)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "head_dim": 16}
    config = Qwen3Config(vocab_size=len(words), num_attention_heads=2, num_key_value_heads=1, **sizes)
    Qwen3ForCausalLM(config).save_pretrained(tmp_path / "own")
    words.save_pretrained(tmp_path / "own")
    recipe, run = tmp_path / "tight.yaml", tmp_path / "run"
    more = "  own: {kind: model, name: ./own}\n  last: {kind: opd, from: first, teacher_models: {math: own}, max_steps: 1}\n"
    recipe.write_text(RECIPE.replace(" 3}", " 64}").replace("length: 4\n", f"length: 64\n{more}"))
    result = CliRunner().invoke(app, ["run", str(recipe), "--run-dir", str(run)])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith(f"{recipe}:23: stages.last.teacher_models.math: found 'own'; {run}/")
    assert f"-own/model has {len(words)} tokens, and what `from` names has " in result.stderr
    assert result.stderr.strip().endswith("train it from where this stage begins")
    assert not list(run.glob("*-first"))


def test_what_an_adapter_would_not_find_is_refused_before_the_first_stage(tmp_path: Path) -> None:
    recipe, run = tmp_path / "tight.yaml", tmp_path / "run"
    more = "    lora: {r: 2, target_modules: [q_proj, v_prj], target_parameters: [mlp.experts.down_proj]}\n"
    more += "  last: {kind: sft, from: joint, domains: [math], modes: [high], max_steps: 1}\n"
    recipe.write_text(RECIPE.replace(" 3}", " 64}").replace("length: 4\n", f"length: 64\n{more}"))
    for command in (["run"], ["plan"]):
        result = CliRunner().invoke(app, [*command, str(recipe), "--run-dir", str(run) + command[0]])
        assert result.exit_code == 2, result.output
        module, parameter = result.stderr.strip().splitlines()
        at = f"{recipe}:22: stages.joint.lora"
        assert module == f"{at}.target_modules: no module of the model is called 'v_prj'; did you mean 'v_proj'?"
        assert parameter.startswith(f"{at}.target_parameters: no parameter of the model is called 'mlp.experts.down_")
        assert sorted(path.name for path in Path(str(run) + command[0]).glob("[0-9]*")) == ["00-base"]
    options = ["--set", "joint.lora={target_parameters: [mlp.down_proj.weight]}"]
    result = CliRunner().invoke(app, ["plan", str(recipe), "--run-dir", f"{run}plan", *options])
    assert result.exit_code == 2, result.output
    assert "stages.joint.lora.target_parameters: 'mlp.down_proj.weight' is of a module that" in result.stderr


def test_a_length_that_no_answer_is_within_is_refused_and_one_that_some_are_beyond_is_told(tmp_path: Path) -> None:
    recipe, run = tmp_path / "cut.yaml", tmp_path / "run"
    head, _, _ = RECIPE.partition("  later:")
    more = "  cut:\n    kind: sft\n    domains: [math, verdicts]\n    modes: [high]\n    max_steps: 1\n"
    recipe.write_text(f"{head}{more}    per_device_train_batch_size: 4\n    max_length: 5\n")
    refused = CliRunner().invoke(app, ["run", str(recipe), "--run-dir", str(run)])
    assert refused.exit_code == 2
    at = f"{recipe}:18: stages.cut.max_length: found 5; no token of any answer is kept, for prompts take up to "
    assert refused.stderr.startswith(at) and refused.stderr.strip().endswith(": raise it")
    assert sorted(path.name for path in run.glob("[0-9]*")) == ["00-base"]
    told = CliRunner().invoke(app, ["run", str(recipe), "--run-dir", str(run), "--set", "cut.max_length=32"])
    assert told.exit_code == 0, told.output
    says = "2 of 4 rows keep nothing of their answer at max_length 32, and are left out; prompts take up to "
    assert f"cut: {says}" in told.output
    events = [event for event in read_lines(run / "events.jsonl") if event["event"] == "alarm"]
    assert [event["stage"] for event in events] == ["cut"] and events[0]["message"].startswith(says)


def test_rows_without_any_answer_are_counted() -> None:
    dataset, told = {"completion_mask": [[0, 0, 0, 1], [0, 1, 1], [0, 0, 1, 0, 1]]}, list[str]()

    def report(step: int, total: int, metrics: dict[str, float], notice: str = "", /) -> None:
        told.append(f"{step}/{total} {notice}")

    tell_left_out(dataset, 4, 9, report)
    assert not told  # each keeps a token, if not all
    tell_left_out(dataset, 2, 9, report)
    left = "0/9 2 of 3 rows keep nothing of their answer at max_length 2, and are left out"
    assert told == [f"{left}; prompts take up to 3 tokens, and whole rows up to 5"]
    with pytest.raises(ValueError, match="max_length is 1, and no token of any answer is kept, for prompts take up to"):
        tell_left_out(dataset, 1, 9, report)


@pytest.mark.parametrize(
    ("judge", "is_refused"),
    [
        ("max_completion_length: 128", True),
        ("max_completion_length: 127", False),
        ("{kind: frozen, from: first, max_completion_length: 64, use_vllm: true, vllm_max_model_length: 64}", True),
        ("{kind: frozen, from: first, max_completion_length: 64}", False),
    ],
)
def test_a_judge_without_room_for_a_question_is_refused(tmp_path: Path, judge: str, is_refused: bool) -> None:
    recipe = tmp_path / "tight.yaml"
    text = RECIPE.replace(
        "    max_steps: 1\n", "    max_steps: 1\n    use_vllm: true\n    vllm_max_model_length: 128\n"
    )
    recipe.write_text(text.replace("max_completion_length: 4\n", f"{judge}\n").replace("judge:\n      {", "judge: {"))
    if not is_refused:
        load_recipe(recipe)
        return
    with pytest.raises(RecipeError, match="no question fits before a verdict: lower it, or raise vllm_max_model_len"):
        load_recipe(recipe)


def test_the_stage_that_asks_for_most_held_out_tasks_is_told_where_there_are_fewer(tmp_path: Path) -> None:
    recipe, run = tmp_path / "few.yaml", tmp_path / "run"
    scored = "kind: eval, models: [base], modes: [high]"
    few = RECIPE.split("stages:")[0].replace("{kind: math}\n", "{kind: math, min_operand: 10, max_operand: 20}\n", 1)
    recipe.write_text(
        f"{few}stages:\n" + "".join(f"  of-{n}: {{{scored}, domains: [math], num_prompts: {n}}}\n" for n in (4, 50, 8))
    )
    result = CliRunner().invoke(app, ["run", str(recipe), "--run-dir", str(run)])
    assert result.exit_code == 1, result.output
    assert "stage of-50, domain math: domain 'math' has only " in result.stderr
    assert "of the 50 held-out tasks asked for: lower num_prompts" in result.stderr
