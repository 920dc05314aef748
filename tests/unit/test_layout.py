"""The rules of the tree: layers point one way, names are ours, text is ASCII but for the V4 tokens."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAGES = {"sft", "rl", "distill"}
PACKAGES = {"polymath", "rewards", *STAGES}
NAME_THE_STAGES = {"recipe.py", "pipeline.py", "cli.py", "report.py", "references.py", "summary.py", "estimate.py"}
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names} & PACKAGES


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_layers_point_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    allowed = {"polymath": {"polymath"}, "rewards": {"polymath", "rewards"}}.get(
        package, {"polymath", "rewards", package}
    )
    if package == "polymath" and path.name in NAME_THE_STAGES:
        allowed |= {"rewards", *STAGES}
    assert imported(path) <= allowed


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_of_another_distribution_does_not_stand_in_for_ours(package: str) -> None:
    assert importlib.import_module(package).__file__ == str(ROOT / package / "__init__.py")


def test_text_is_ascii_but_for_the_tokens() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    files = [name for name in files if not name.startswith("tests/data/malformed/")]
    text_files = [ROOT / name for name in files if name.endswith((".py", ".md", ".yaml", ".toml", ".j2", "Makefile"))]
    assert len(text_files) > 30
    for path in text_files:
        odd = {character for character in path.read_text() if ord(character) > 127} - set("｜▁")
        assert not odd, f"{path}: {odd}"


def test_trl_has_the_methods_that_we_override() -> None:
    code = """
import polymath.training  # without it TRL imports vLLM
import inspect
from trl.trainer.distillation_trainer import DistillationTrainer as D
from trl.trainer.grpo_trainer import GRPOTrainer as G
names = lambda method: list(inspect.signature(method).parameters)[1:]
assert names(D._generate_and_score_completions) == names(G._generate_and_score_completions) == ["inputs"]
assert names(D._compute_loss) == ["unwrapped_student", "inputs", "num_items_in_batch"]
assert "self._step % self.args.gradient_accumulation_steps" in inspect.getsource(D._prepare_inputs)
assert names(G._generate_single_turn)[0] == names(D._generate_single_turn)[0] == "prompt_ids"
for trainer in (D, G):
    assert names(trainer._generate) == names(trainer._tokenize_prompts) == ["prompts"]
    assert inspect.getsource(trainer._generate).split("return ")[-1].startswith("prompt_ids, completion_ids, tool_mask")
    assert names(trainer._get_train_sampler) == ["dataset"]
assert names(G._calculate_rewards) == ["inputs", "prompts", "completions", "completion_ids_list"]
assert names(G._compute_loss) == ["model", "inputs"]
known = ["model", "input_ids", "attention_mask", "logits_to_keep", "batch_size", "compute_entropy", "compute_aux_loss"]
assert names(G._get_per_token_logps_and_entropies)[:7] == known
expected = ["per_token_logps", "sampling_per_token_logps", "mask", "off_policy_threshold"]  # advantages come first
assert names(G.get_off_policy_mask) == expected
assert 'inputs["importance_sampling_ratio"]' in inspect.getsource(G._compute_loss)
assert 'output["sampling_per_token_logps"]' in inspect.getsource(G._generate_and_score_completions)
from trl.trainer.utils import RepeatSampler as R
assert names(R.__init__) == ["data_source", "mini_repeat_count", "batch_size", "repeat_count", "shuffle", "seed"]
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
