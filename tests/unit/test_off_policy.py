"""Fine-tuning on what specialists write: what is sampled, kept, trained and not sampled again."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import Qwen3Config, Qwen3ForCausalLM

from distill.off_policy import collect, kept, sample_dataset
from distill.off_policy_config import OffPolicyConfig
from polymath import models
from polymath.chat.tokens import EOS
from polymath.domains.agent import AgentDomain
from polymath.domains.arithmetic import MathDomain
from polymath.engine.protocol import Request, Sampling
from polymath.engine.wal import log_key
from polymath.run_dir import StageDir, append_line, read_lines
from polymath.sandbox_config import SandboxConfig
from polymath.stage import ModeConfig, StageJob
from polymath.tiny import build_tokenizer
from polymath.training import Materials, prepare
from rewards import open_bench
from sft import train as sft
from sft.config import SftConfig

BUDGET = 400  # room for the demonstrations, which are checked


def save(seed: int, folder: Path, tokenizer: Any) -> Path:
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "head_dim": 16}
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 4096}
    Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), **sizes, **heads)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def job_for(tmp_path: Path, words: Any) -> Callable[..., StageJob]:
    """A stage that has not begun; its teachers are random."""
    folders = {name: save(seed, tmp_path / name, words) for seed, name in enumerate(("base", "adder", "caller"))}
    domains = {"math": MathDomain(), "agent": AgentDomain(max_calls=1, num_tools=3)}

    def make(**settings: Any) -> StageJob:
        given = {"teacher_models": {"math": "adder", "agent": "caller"}, "max_steps": 1, "num_rows": 6, "bf16": False}
        config = OffPolicyConfig.model_validate({"kind": "off_policy"} | given | settings)
        modes = {"non_think": ModeConfig(think="non_think", max_completion_length=BUDGET)}
        extra = {"open_bench": open_bench, "sandbox": SandboxConfig()}
        (tmp_path / "stage").mkdir(exist_ok=True)
        return StageJob("student", config, tmp_path / "stage", folders, domains, modes, "v4", 0, 1, "", extra)

    return make


@pytest.fixture
def short(one_thread: None) -> Callable[[StageJob], Materials]:
    """What the stage starts from, with budgets that random tokens use up soon."""

    def prepared(job: StageJob) -> Materials:
        materials = prepare(job)
        return replace(materials, rows=[replace(row, budget=6) for row in materials.rows])

    return prepared


def silent(*_: Any) -> None:
    """Reports to nobody."""


def lines(job: StageJob) -> list[dict[str, Any]]:
    return list(read_lines(StageDir(job.folder).samples))


def test_each_prompt_is_answered_by_its_domains_teacher(job_for: Callable[..., StageJob], short: Any) -> None:
    job = job_for(num_samples=2)
    materials = short(job)
    told = []
    collect(job, materials, lambda *progress: told.append(progress))
    samples = {line["name"]: line for line in lines(job)}
    assert set(samples) == {f"0/{place}/{number}" for place in range(6) for number in range(2)}
    for name, line in samples.items():
        row = materials.rows[int(name.split("/")[1])]
        assert (line["prompt"], line["domain"], line["mode"]) == (row.prompt, row.domain, "non_think")
        assert sum(line["mask"]) == 6 and len(line["ids"]) == len(line["mask"])
        assert line["completion"] == materials.tokenizer.decode(line["ids"], skip_special_tokens=False)
    assert {line["domain"] for line in samples.values()} == {"math", "agent"}
    assert [set(progress[2]) for progress in told] == [{"accuracy/math"}, {"accuracy/agent"}]
    # greedily, each teacher writes what it alone would: the first token is its likeliest
    greedy = job_for(temperature=1e-4)
    StageDir(greedy.folder).samples.unlink()
    collect(greedy, materials, silent)
    for line in lines(greedy):
        teacher = models.load_model(job.models[{"math": "adder", "agent": "caller"}[line["domain"]]], "float32")
        ids = materials.tokenizer(line["prompt"], add_special_tokens=False, return_tensors="pt")["input_ids"]
        assert teacher(ids).logits[0, -1].argmax().item() == line["ids"][0]


def test_what_was_sampled_is_not_sampled_again(job_for: Callable[..., StageJob], short: Any) -> None:
    job = job_for(num_samples=2, generation_batch_size=3)
    materials, path = short(job), StageDir(job.folder).samples
    collect(job, materials, silent)
    whole = path.read_text()
    # A crash left five lines and half of the sixth; the first, which no teacher would write, tells whether it is kept
    first, *rest = whole.splitlines(keepends=True)
    marked = json.dumps(json.loads(first) | {"completion": "mine"}, ensure_ascii=False) + "\n"
    path.write_text(marked + "".join(rest[:4]) + rest[4][:40])
    for name in (json.loads(first)["name"], json.loads(rest[4])["name"]):
        append_line(StageDir(job.folder).sandbox, {"episode": name})
    told = []
    collect(job, materials, lambda *progress: told.append(progress))
    assert list(read_lines(StageDir(job.folder).sandbox)) == [{"episode": json.loads(first)["name"]}]
    assert path.read_text() == marked + "".join(rest)
    assert len(told) == 3  # one of the first domain's six was missing, and six of the other in threes
    for model in ("adder", "caller"):  # nobody is asked any more
        (job.models[model] / "model.safetensors").unlink()
    collect(job, materials, silent)
    assert path.read_text() == marked + "".join(rest)


def test_a_killed_batch_goes_on_from_its_tokens(job_for: Callable[..., StageJob], short: Any) -> None:
    job = job_for(teacher_models={"math": "adder"}, num_rows=2)
    materials, folder = short(job), StageDir(job.folder)
    collect(job, materials, silent)
    assert not folder.tokens.read_text()  # what the file of samples holds is not held twice
    prompt = materials.tokenizer(materials.rows[0].prompt, add_special_tokens=False)["input_ids"]
    key = log_key(Request("0/0/0/0", prompt, Sampling(6, ())))
    folder.samples.unlink()
    append_line(folder.tokens, {"key": key, "ids": [70, 71, 72], "logprobs": [-1.0] * 3, "done": False})
    collect(job, materials, silent)
    assert lines(job)[0]["ids"][:3] == [70, 71, 72] and len(lines(job)[0]["ids"]) == 6


def put(job: StageJob, rewards: dict[str, list[float]]) -> None:
    for domain, values in rewards.items():
        for place, value in enumerate(values):
            line = {"name": f"0/{place}/0", "domain": domain, "reward": value}
            append_line(StageDir(job.folder).samples, line)


def test_only_what_the_verifier_accepts_is_kept(job_for: Callable[..., StageJob]) -> None:
    job = job_for()
    put(job, {"math": [1.0, 0.0, 0.5], "agent": [0.0, 1.0]})
    assert [(line["domain"], line["name"]) for line in kept(job)] == [("math", "0/0/0"), ("agent", "0/1/0")]
    counts = {"math": {"sampled": 3, "kept": 1}, "agent": {"sampled": 2, "kept": 1}}
    assert StageDir(job.folder).read_state()["samples"] == counts
    assert len(kept(job_for(keep="all"))) == 5


def test_a_domain_without_any_right_sample_is_refused(job_for: Callable[..., StageJob]) -> None:
    job = job_for()
    put(job, {"math": [1.0], "agent": [0.0, 0.5]})
    with pytest.raises(
        ValueError, match=r"teacher_models.agent: the verifier accepts none of the 2 samples of 'caller'"
    ):
        kept(job)


def test_the_verifier_that_decides_is_the_domains(job_for: Callable[..., StageJob], short: Any, words: Any) -> None:
    """A teacher that has the answer by heart is right, and one that was told another is not."""
    job = job_for(teacher_models={"math": "adder"}, num_rows=2)
    materials = short(job)
    right, wrong = (
        words.encode(f"The answer is {answer}.{EOS}", add_special_tokens=False)
        for answer in (materials.rows[0].answer, "-77777")
    )
    rows = [replace(row, budget=40) for row in materials.rows]
    for place, ids in enumerate((right, wrong)):
        prompt = words(rows[place].prompt, add_special_tokens=False)["input_ids"]
        key = log_key(Request(f"0/{place}/0/0", prompt, Sampling(40, ())))
        append_line(StageDir(job.folder).tokens, {"key": key, "ids": ids, "logprobs": [-1.0] * len(ids), "done": True})
    collect(job, replace(materials, rows=rows), silent)
    assert [line["reward"] for line in lines(job)] == [1.0, 0.0]
    assert [line["ids"] for line in kept(job)] == [right]


def test_calls_are_executed_and_what_they_give_is_masked(
    job_for: Callable[..., StageJob], one_thread: None, words: Any
) -> None:
    """A teacher that writes the demonstration turn by turn, and hears the tool between."""
    job = job_for(teacher_models={"agent": "caller"}, num_rows=1)
    materials = prepare(job)
    (row,) = materials.rows
    heard, names, ids = words(row.prompt, add_special_tokens=False)["input_ids"], iter(range(9)), []
    for segment in row.completion:
        piece = words(segment.text, add_special_tokens=False)["input_ids"]
        if segment.generated:
            request = Request(f"0/0/0/{next(names)}", heard, Sampling(BUDGET, ()))
            line = {"key": log_key(request), "ids": piece, "logprobs": [-1.0] * len(piece), "done": True}
            append_line(StageDir(job.folder).tokens, line)
        heard = heard + piece
        ids.append((piece, int(segment.generated)))
    assert {generated for _, generated in ids} == {0, 1}
    collect(job, materials, silent)
    (sample,) = kept(job)
    assert sample["reward"] == 1.0
    assert sample["ids"] == [token for piece, _ in ids for token in piece]
    assert sample["mask"] == [generated for piece, generated in ids for _ in piece]


def test_what_tools_answer_is_not_trained(words: Any) -> None:
    prompt = words("look up", add_special_tokens=False)["input_ids"]
    sample = {"prompt": "look up", "ids": [70, 71, 80, 81, 72], "mask": [1, 1, 0, 0, 1]}
    row: Any = sample_dataset([sample], words)[0]
    assert row["input_ids"] == [*prompt, 70, 71, 80, 81, 72]
    assert row["completion_mask"] == [0] * len(prompt) + [1, 1, 0, 0, 1]


def test_a_teacher_of_another_vocabulary_is_refused(
    job_for: Callable[..., StageJob], short: Any, tmp_path: Path
) -> None:
    job = job_for()
    foreign = build_tokenizer(["nothing that the others would know of"], 400)
    save(1, tmp_path / "caller", foreign)
    with pytest.raises(ValueError, match=r"teacher_models.agent: .*caller has \d+ tokens, .* are not the same"):
        collect(job, short(job), silent)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"domains": ["agent"]}, "are not the same"),
        ({"teacher_models": {}}, "at least 1 item"),
        ({"num_samples": 0}, "greater than 0"),
        ({"temperature": 0}, "greater than 0"),
        ({"keep": "best"}, "'verified' or 'all'"),
        ({"vllm_mode": "server"}, "goes with use_vllm"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        OffPolicyConfig.model_validate({"teacher_models": {"math": "a"}, "max_steps": 1} | settings)


def test_prompts_are_as_many_as_the_steps_use_up() -> None:
    config = OffPolicyConfig.model_validate(
        {"teacher_models": {"math": "a"}, "max_steps": 1, "per_device_train_batch_size": 10, "num_samples": 4}
    )
    assert config.rows_per_step() == 3
    assert config.parents() == ("base", "a") and config.domains == {"math": 1}


def test_training_that_ends_in_no_numbers_says_so(job_for: Callable[..., StageJob], one_thread: None) -> None:
    steep = {"learning_rate": 1e38, "max_steps": 4, "logging_steps": 1, "bf16": False, "lr_scheduler_type": "constant"}
    config = SftConfig.model_validate({"kind": "sft", "domains": ["math"], "per_device_train_batch_size": 2, **steep})
    job = replace(job_for(), config=config)
    with pytest.raises(ValueError, match=r"step \d: the gradient is not finite \(nan\).*lower learning_rate"):
        sft.run(job, lambda *_: None)
    assert [line["step"] for line in read_lines(job.files.metrics)] and not job.files.model.exists()
