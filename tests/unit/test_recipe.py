"""Recipes: what is shipped loads, what is mistyped is pointed at, and nothing heavy is imported."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from polymath.recipe import Recipe, load_recipe, load_resolved, recipe_schema
from polymath.source import RecipeError
from polymath.stage import LoraConfig, TrainingConfig
from rewards import RubricReward
from rl.config import GrpoConfig

ROOT = Path(__file__).resolve().parents[2]
MINIATURE = ROOT / "recipes/miniature.yaml"


def test_every_shipped_recipe_loads() -> None:
    paths = sorted((ROOT / "recipes").rglob("*.yaml"))
    assert len(paths) == 10
    for path in paths:
        recipe = load_recipe(path, ["model.name=owner/name"] if "smollm2" in path.read_text() else [])
        assert recipe.order()


def test_a_resolved_recipe_is_the_same_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(MINIATURE, ["sft-math.max_steps=7", "seed=3"])
    (tmp_path / "resolved.json").write_text(json.dumps(recipe.dump()))
    assert load_resolved(tmp_path / "resolved.json") == recipe
    assert (recipe.seed, recipe.stages["sft-math"].max_steps) == (3, 7)  # type: ignore[union-attr]


def test_a_run_goes_on_in_the_type_that_it_began_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    (tmp_path / "resolved.json").write_text(json.dumps(load_recipe(MINIATURE, ["merged.bf16=false"]).dump()))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # as on a machine that might choose otherwise
    chosen = {name: stage.bf16 for name, stage in load_resolved(tmp_path / "resolved.json").stages.items()}  # type: ignore[union-attr]
    assert chosen == {name: name != "merged" for name in chosen}


def test_stages_come_after_what_they_read() -> None:
    order = load_recipe(MINIATURE).order()
    assert order[0] == "format" and order[-2:] == ["merged", "scores"]
    assert order.index("sft-agent") < order.index("grpo-agent") < order.index("merged")


def test_stages_that_could_run_now_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    shown = "  scores:\n"
    merge = "  {name}: {{kind: merge, from: format, models: [grpo-math, grpo-agent]}}\n"
    text = MINIATURE.read_text().replace(shown, merge.format(name="early") + shown)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text + merge.format(name="late"))
    order = load_recipe(recipe).order()
    assert order[-4:] == ["merged", "early", "scores", "late"]


ADAPTED = """
name: adapted
model: {init: qwen3}
domains: {math: {kind: math}}
stages:
  first: {kind: sft, domains: [math], max_steps: 2, lora: {r: 4, use_rslora: true}}
  second: {kind: sft, from: first, domains: [math], max_steps: 2}
  third: {kind: grpo, from: second, domains: [math], max_steps: 2, num_generations: 4, lora: {load_in_4bit: true}}
"""


def adapter_of(recipe: Recipe, stage: str) -> LoraConfig:
    config = recipe.stages[stage]
    assert isinstance(config, TrainingConfig) and config.lora
    return config.lora


def test_an_adapter_goes_on_as_it_began(tmp_path: Path) -> None:
    (tmp_path / "adapted.yaml").write_text(ADAPTED)
    recipe = load_recipe(tmp_path / "adapted.yaml")
    first, second, third = (adapter_of(recipe, name) for name in ("first", "second", "third"))
    assert first == second and (third.r, third.use_rslora, third.load_in_4bit) == (4, True, True)
    (tmp_path / "resolved.json").write_text(json.dumps(recipe.dump()))
    assert load_resolved(tmp_path / "resolved.json") == recipe
    recipe = load_recipe(tmp_path / "adapted.yaml", ["first.lora.load_in_4bit=true"])
    assert not adapter_of(recipe, "second").load_in_4bit  # that is a stage's own


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("second.lora.r=64", "stages.second.lora.r: found 64; the adapter of 'first', which goes on here, has 4"),
        ("third.lora.use_dora=true", "stages.third.lora.use_dora: found True; the adapter of 'second'"),
        ("third.use_vllm=true", "lora.load_in_4bit is not for vLLM"),
    ],
)
def test_an_adapter_that_goes_on_is_not_asked_to_be_another(tmp_path: Path, override: str, says: str) -> None:
    (tmp_path / "adapted.yaml").write_text(ADAPTED)
    with pytest.raises(RecipeError, match=says):
        load_recipe(tmp_path / "adapted.yaml", [override])


def test_modules_that_all_linear_may_have_been_are_no_others(tmp_path: Path) -> None:
    (tmp_path / "adapted.yaml").write_text(ADAPTED)
    recipe = load_recipe(tmp_path / "adapted.yaml", ["third.lora.target_modules=[q_proj]"])
    assert adapter_of(recipe, "third").target_modules == "all-linear"


def test_an_adapter_of_another_kind_is_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    text = ADAPTED.replace("{init: qwen3}", f"{{name: {tmp_path}}}").replace(", lora: {r: 4, use_rslora: true}", "")
    (tmp_path / "adapted.yaml").write_text(text)
    stage = load_recipe(tmp_path / "adapted.yaml").stages["second"]
    assert isinstance(stage, TrainingConfig) and stage.lora is None


def test_the_adapter_of_a_folder_goes_on(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    settings = {"peft_type": "LORA", "r": 8, "lora_alpha": 5, "target_modules": ["q_proj"], "use_dora": True}
    (tmp_path / "own/adapter_config.json").write_text(json.dumps(settings))
    text = ADAPTED.replace("{init: qwen3}", f"{{name: {tmp_path / 'own'}}}").replace(
        ", lora: {r: 4, use_rslora: true}", ""
    )
    (tmp_path / "adapted.yaml").write_text(text)
    lora = adapter_of(load_recipe(tmp_path / "adapted.yaml"), "second")
    assert (lora.r, lora.lora_alpha, lora.target_modules, lora.use_dora) == (8, 5, ("q_proj",), True)
    with pytest.raises(RecipeError, match="'base' is an adapter: .*use_dora"):
        text = text.replace("kind: grpo", "kind: grpo, use_vllm: true").replace("from: second", "from: base")
        text = text.replace(", lora: {load_in_4bit: true}", "")
        (tmp_path / "adapted.yaml").write_text(text)
        load_recipe(tmp_path / "adapted.yaml")


def test_the_schema_file_is_fresh() -> None:
    assert json.loads((ROOT / "recipes/schema.json").read_text()) == recipe_schema(), "run: make schema"


@pytest.mark.parametrize(
    ("old", "new", "line_of", "says"),
    [
        ("warmup_steps: 20", "warmup_step: 20", "warmup_step:", "defaults.sft.warmup_step: unknown field; did you mean 'warmup_steps'?"),
        ("from: sft-math", "from: sft-mth", "sft-mth", "stages.grpo-math.from: no stage 'sft-mth' has a model; did you mean 'sft-math'?"),
        ("max_steps: 12}", "max_steps: soon}", "soon", "stages.sft-agent.max_steps: found 'soon'"),
        ("domains: [math], max_steps: 80", "domains: [[math]], max_steps: 80", "[[math]]", "stages.sft-math.domains: found [['math']]"),
        ("kind: opd", "kind: odp", "odp", "stages.merged.kind: found 'odp'; did you mean 'opd'?"),
        ("from: sft-math", "from: sft-math, rewards: [rubric], judge: {kind: frozen, from: sft-mth}", "sft-mth",
         "stages.grpo-math.judge.from: no stage 'sft-mth' has a model; did you mean 'sft-math'?"),
        ("from: sft-math", "from: sft-math, judge: {kind: forzen}", "forzen",
         "stages.grpo-math.judge.kind: found 'forzen'; did you mean 'frozen'?"),
        ("from: sft-math", "from: sft-math, rewards: [rubric], judge: {vote: 2}", "vote",
         "stages.grpo-math.judge.vote: unknown field; did you mean 'votes'?"),
        ("from: sft-math", "from: sft-math, rewards: [rubric], judge: {trust: {min_agreemnt: 0}}", "min_agreemnt",
         "stages.grpo-math.judge.trust.min_agreemnt: unknown field; did you mean 'min_agreement'?"),
        ("from: sft-math", "from: sft-math, rewards: [rubric]", "rubric", "add `judge: {}`"),
        ("from: sft-math", "from: sft-math, rewards: [rubric], judge: {comparisons: /nowhere.jsonl}", "/nowhere.jsonl",
         "stages.grpo-math.judge.comparisons: /nowhere.jsonl: cannot be read"),
        ("from: sft-math", "from: sft-math, rewards: [rubric], judge: {kind: frozen, from: base, vote: 2}", "vote: 2",
         "stages.grpo-math.judge.vote: unknown field; did you mean 'votes'?"),
        ("{kind: math, min_operand: 10, max_operand: 59}", "{kind: assessed, of: {kind: math, max_operan: 59}}", "max_operan: 59",
         "domains.math.of.max_operan: unknown field; did you mean 'max_operand'?"),
        ("{kind: math, min_operand: 10, max_operand: 59}", "{kind: judge, of: {kind: agent}}", "agent}}",
         "domains.math.of.kind: found 'agent'; known are math, writing"),
        ("chat: v4", "chat: v5", "v5", "chat: found 'v5'; did you mean 'v4'?"),
        ("init: qwen3", "init: qwen4", "qwen4", "model.init: found 'qwen4'; did you mean 'qwen3'?"),
        ("init: qwen3", "name: ./nowhere", "nowhere", "model.name: found 'nowhere', which is not in"),
        ("seed: 0", "sead: 0", "sead", "sead: unknown field; did you mean 'seed'?"),
        ("seed: 0", "seed: 0\nseed: 1", "seed: 1", "'seed' is given twice"),
        ("model: {init: qwen3}", "model: 3", "model: 3", "model: found 3;"),
        ("model: {init: qwen3}", "model:", "model:", "model: found None;"),
        ("kind: opd", "kind: [opd]", "kind: [opd]", "stages.merged.kind: found "),
        ("learning_rate: 5e-4", "learning_rate: .inf", ".inf", "learning_rate: found inf"),
        ("min_operand: 10", "min_operand: 60", "min_operand", "min_operand 60 is above max_operand 59"),
        ("  high:", "  higher:", "higher", "modes.higher.think: is missing: a mode of a name of its own says how its prompts are rendered; did you mean 'high'?"),
        ("chat: v4", "chat: native", "native", "chat: 'native' is a pretrained model's own template"),
        ("length_penalty: 0.1}", "length_penalty: 0.1, think: loud}", "loud", "modes.high.think: found 'loud'; known are"),
        ("max_calls: 1", "tools: held_out", "max_steps: 225", "'agent' is for evaluation only"),
        ("from: format, domains: [math]", "from: grpo-math, domains: [math]", "sft-math:", "in a circle: sft-math -> grpo-math -> sft-math"),
        ("domains: [math], max_steps: 120", "domains: [maths], max_steps: 120", "maths", "no domain 'maths'; did you mean 'math'?"),
        ("warmup_steps: 5", "num_generations: 7", "grpo-math:", "no multiple of num_generations = 7"),
        ("length_norm: 48", "lenght_norm: 48", "lenght_norm", "defaults.grpo.rewards.1.lenght_norm: unknown field; did you mean 'length_norm'?"),
        ("length_norm: 48", "length_norm: 0", "length_norm", "defaults.grpo.rewards.1.length_norm: found 0; "),
        ("[verifier,", "[verifyer,", "verifyer", "defaults.grpo.rewards.0: no reward 'verifyer'; did you mean 'verifier'?"),
        ("name: length_penalty", "name: 'json:loads'", "json:loads", "defaults.grpo.rewards.1.length_norm: unknown field; known are name, weight, arguments"),
        ("[verifier,", "[{name: 'json:lods'},", "json:lods", "rewards.0: the module 'json' has no 'lods'"),
        ("[verifier,", "[{name: 'textwrap:indent', arguments: {prefx: 1}},", "textwrap", "takes no argument 'prefx'; did you mean 'prefix'?"),
        ("[verifier,", "[5,", "[5,", "a reward has a name; known are verifier"),
        ("[verifier,", "[verifier, l1_max,", "l1_max", "defaults.grpo.rewards.1.target: is missing"),
        ("[verifier,", "[verifier, {name: l1_max, target: 20},", "l1_max", "'l1_max' is the verifier's reward times a length; take 'verifier' out"),
        ("[verifier,", "[verifier, {name: l1_exact, target: {hihg: 9}},", "hihg", "rewards.1.target.hihg: no mode 'hihg'; did you mean 'high'?"),
        ("max_operand: 59", "max_operand: 59, styles: {hihg: [sums]}", "hihg", "domains.math.styles.hihg: no mode 'hihg'; did you mean 'high'?"),
        ("  high:", "  mean: {think: max}\n  high:", "mean:", "modes.mean: is the name of a metric: length/mean would be two"),
        ("[verifier,", "[verifier, {name: language, language: xx},", "language: xx", "rewards.1.language: no language 'xx'"),
        ("[verifier,", "[verifier, {name: 'textwrap:indent'},", "textwrap", "cannot be called with completions and these arguments: missing a required argument: 'prefix'"),
        ("[verifier,", "[verifier, {name: 'json:JSONDecodeErro'},", "JSONDecodeErro", "has no 'JSONDecodeErro'; did you mean 'JSONDecodeError'?"),
        ("[verifier,", "[{weight: 2},", "weight: 2", "a reward has a name; known are verifier"),
        ("seed: 0", "seed: 0\nsandbox: {require: [mnt]}", "mnt", "sandbox.require.0: found 'mnt'; did you mean 'mount'?"),
        ("seed: 0", "seed: 0\nsandbox: {demand: []}", "demand", "sandbox.demand: unknown field; known are require"),
        ("  scores:", "  mean: {kind: merge, models: {grpo-mth: 1, format: 1}}\n  scores:", "grpo-mth", "stages.mean.models.grpo-mth: no stage 'grpo-mth' has a model; did you mean 'grpo-math'?"),
        ("  scores:", "  mean: {kind: merge, models: [grpo-mth, format]}\n  scores:", "grpo-mth", "stages.mean.models.grpo-mth: no stage 'grpo-mth' has a model; did you mean 'grpo-math'?"),
        ("  scores:", "  mean: {kind: merge, from: fromat, models: [format, merged]}\n  scores:", "fromat", "stages.mean.from: no stage 'fromat' has a model; did you mean 'format'?"),
        ("  scores:", "  mean: {kind: merge, models: {format: much, merged: 1}}\n  scores:", "much", "stages.mean.models.format: found 'much'"),
        ("  scores:", "  mean: {kind: merge, models: [format, merged], method: tis}\n  scores:", "tis}", "stages.mean.method: found 'tis'; did you mean 'ties'?"),
        ("  scores:", "  mean: {kind: merge, models: [format, merged], max_steps: 3}\n  scores:", "max_steps: 3}", "stages.mean.max_steps: unknown field; known are"),
        ("  scores:", "  mean: {kind: merge, models: [format, mean]}\n  scores:", "mean:", "stages read each other in a circle: mean -> mean"),
        ("  scores:", "  other: {kind: off_policy, max_steps: 1, teacher_models: {math: grpo-mth}}\n  scores:", "grpo-mth", "stages.other.teacher_models.math: no stage 'grpo-mth' has a model; did you mean 'grpo-math'?"),
        ("  scores:", "  other: {kind: off_policy, max_steps: 1, teacher_models: {maths: format}}\n  scores:", "maths", "stages.other.teacher_models: no domain 'maths'; did you mean 'math'?"),
        ("  scores:", "  off: {kind: merge, models: [format, merged]}\n  scores:", "stages:", "stages: a name in it is read as False by YAML: put it into quotes"),
        ("  scores:", "  old: {kind: model, name: ./nowhere}\n  scores:", "nowhere", "stages.old.name: found 'nowhere', which is not in"),
        ("  scores:", "  old: {kind: model, name: ./nowhere, max_steps: 3}\n  scores:", "max_steps: 3}", "stages.old.max_steps: unknown field; known are"),
        ("kind: opd", "kind: opd\n    early_stopping_threshold: 0.1", "merged:", "early_stopping_threshold does nothing without early_stopping_patience"),
        ("kind: opd", "kind: opd\n    early_stopping_patience: 500", "merged:", "early_stopping_patience 500 compares 5000 steps"),
        ("kind: opd", "kind: opd\n    domain_weights: {math: 0, agent: 0}", "merged:", "domain_weights are all 0, and nothing would be learned"),
        ("  scores:", "  other: {kind: grpo, domains: [math], max_steps: 1, alarms: {patiense: 2}}\n  scores:", "patiense", "stages.other.alarms.patiense: unknown field; did you mean 'patience'?"),
        ("domains:", "domains:\n  judge: {kind: judge, rubric: {criteria: [{text: right, wieght: 2}]}}", "wieght", "domains.judge.rubric.criteria.0.wieght: unknown field; did you mean 'weight'?"),
        ("domains:", "domains:\n  judge: {kind: judge, of: {kind: math, min_operant: 2}}", "min_operant", "domains.judge.of.min_operant: unknown field; did you mean 'min_operand'?"),
        ("max_steps: 12}", "max_steps: 12, lora: {rank: 3}}", "rank", "stages.sft-agent.lora.rank: unknown field; known are r,"),
    ],
)  # fmt: skip
def test_a_fault_names_line_field_found_and_meant(tmp_path: Path, old: str, new: str, line_of: str, says: str) -> None:
    text = MINIATURE.read_text().replace(old, new, 1)
    assert new in text
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    line = next(number for number, content in enumerate(text.splitlines(), 1) if line_of in content)
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    assert any(problem.startswith(f"{path}:{line}: ") and says in problem for problem in error.value.problems), (
        error.value.problems
    )


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("sft-mth.max_steps=3", "no stage or field 'sft-mth'; did you mean 'sft-math'?"),
        ("sft-math.max_step=3", "--set stages.sft-math.max_step=3: stages.sft-math.max_step: unknown field"),
        ("sft-math.max_steps=x", "found 'x'"),
        ("sft-math", "an override reads stage.field=value"),
        ("seed=[", "the value is not YAML"),
    ],
)
def test_a_faulty_override_is_quoted(override: str, says: str) -> None:
    with pytest.raises(RecipeError, match=".") as error:
        load_recipe(MINIATURE, [override])
    assert says in str(error.value)


JUDGED = """
name: judged
model: {init: qwen3}
domains: {math: {kind: math}}
defaults: {grpo: {judge: {votes: 1}}}
stages:
  first: {kind: sft, domains: [math], max_steps: 2}
  joint:
    kind: grpo
    domains: &domains [math]
    max_steps: 2
    rewards:
      - verifier
      - name: rubric
        rubric: &right {criteria: [{text: right}]}
  last: {kind: grpo, domains: *domains, max_steps: 2, rewards: [{name: rubric, rubric: *right}], judge: {}}
"""


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("joint.rewards=[verifier, rubrik]", "--set stages.joint.rewards=[verifier, rubrik]: stages.joint.rewards.1: no "),
        ("joint.rewards=[verifier, {name: rubric, weigt: 1}]",
         "--set stages.joint.rewards=[verifier, {name: rubric, weigt: 1}]: stages.joint.rewards.1.weigt: unknown"),
        ("joint.rewards.1.weight=x", "--set stages.joint.rewards.1.weight=x: stages.joint.rewards.1.weight: found 'x'"),
        ("joint.rewards.1.rubric.criteria.0.txt=x",
         "--set stages.joint.rewards.1.rubric.criteria.0.txt=x: stages.joint.rewards.1.rubric.criteria.0.txt: unknown"),
        ("joint.rewards.2=verifier", "--set stages.joint.rewards.2=verifier: stages.joint.rewards is a list of 2; '2' is"),
        ("joint.rewards.one=verifier", "stages.joint.rewards is a list of 2; 'one' is no place in it, from 0"),
        ("joint.judge.kind=frozen", "--set stages.joint.judge.kind=frozen: stages.joint.judge.from: is missing"),
        ("joint.judge.responses=9",
         "{path}:8 with --set stages.joint.judge.responses=9: stages.joint: judge.responses = 9 completions"),
        ("last.judge.trust.max_position_bias=0.1",
         "{path}:16 with --set stages.last.judge.trust.max_position_bias=0.1: stages.last.judge: trust.max_position"),
        ("modes.brief.max_completion_length=3",
         "--set modes.brief.max_completion_length=3: modes.brief.think: is missing"),
    ],
)  # fmt: skip
def test_what_an_override_brings_is_not_blamed_on_the_file(tmp_path: Path, override: str, says: str) -> None:
    path = tmp_path / "judged.yaml"
    path.write_text(JUDGED)
    load_recipe(path)
    with pytest.raises(RecipeError) as error:
        load_recipe(path, [override])
    assert says.replace("{path}", str(path)) in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("name: rubric\n", "name: rubric\n        weight: x\n", ":15: stages.joint.rewards.1.weight: found 'x'"),
        ("      - verifier", "      - {name: language, language: 3}", ":13: stages.joint.rewards.0.language: found 3"),
        (
            "      - verifier",
            "      - {name: language, wieght: 3}",
            ":13: stages.joint.rewards.0.wieght: unknown field",
        ),
        (
            "{init: qwen3}",
            "{name: owner/model, revison: x}",
            ":3: model.revison: unknown field; did you mean 'revision'",
        ),
    ],
)
def test_a_field_is_told_from_the_name_of_its_settings(tmp_path: Path, old: str, new: str, says: str) -> None:
    (tmp_path / "judged.yaml").write_text(JUDGED.replace(old, new, 1))
    with pytest.raises(RecipeError) as error:
        load_recipe(tmp_path / "judged.yaml")
    assert f"judged.yaml{says}" in str(error.value)


def test_an_override_within_a_list_is_of_that_place_alone(tmp_path: Path) -> None:
    (tmp_path / "judged.yaml").write_text(JUDGED)
    overrides = ["joint.rewards.1.weight=0.5", "joint.rewards.1.rubric.criteria.0.text=brief"]
    recipe = load_recipe(tmp_path / "judged.yaml", overrides)
    joint, last = (stage for stage in recipe.stages.values() if isinstance(stage, GrpoConfig))
    texts = [own.rubric.criteria[0].text for stage in (joint, last) for own in stage.rewards if
             isinstance(own, RubricReward) and own.rubric]  # fmt: skip
    assert [own.weight for own in joint.rewards] == [1, 0.5] and texts == ["brief", "right"]


BROKEN = ["", "- a", "a: [", "\x00", "? {a: 1}\n: 2", "a: !foo 3", "a: 2020-13-45", "a: &a {b: *a}", f"a: {'9' * 5000}"]


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError, match=r"r\.yaml"):
        load_recipe(tmp_path / "r.yaml")


def test_a_typo_ends_the_command_at_once_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(MINIATURE.read_text().replace("seed:", "sead:"))
    command = [sys.executable, "-m", "polymath", "run", "recipe.yaml", "--run-dir", "out"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    result = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert result.returncode == 2
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 2
    assert "recipe.yaml:6: sead: unknown field; did you mean 'seed'?" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_recipes_import_no_torch() -> None:
    code = "import sys, polymath.recipe, polymath.pipeline, polymath.cli, rewards; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
