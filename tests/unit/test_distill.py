"""The loss of several teachers, against a dense float64 twin."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from pydantic import ValidationError
from transformers import Qwen3Config, Qwen3ForCausalLM
from trl.trainer.distillation_config import DistillationConfig

from distill.config import OpdConfig
from distill.estimates import estimate_named
from distill.outcome import Outcome, above_their_group
from distill.teachers import ModelTeacher, load_teachers
from distill.trainer import MultiTeacherTrainer, by_tokens, domain_scales, domain_tokens
from distill.watch import TeacherWatch
from polymath.chat import V4Format
from polymath.data import Row, prompt_dataset
from polymath.engine.local import LocalEngine
from polymath.engine.protocol import Sampling
from polymath.run_dir import StageDir, read_lines
from polymath.sandbox_config import SandboxConfig
from polymath.tiny import build_tokenizer
from polymath.training import AlarmCallback
from rewards import OwnVerifier, open_bench
from rewards.base import RewardConfig
from rewards.scorer import Scorer

V = 300
NAMES = ["math", "agent", "math", "agent"]  # of the rows of `inputs`
# Adapters that train rows of the vocabulary besides, as those of a cold start do
LORA: dict[str, Any] = {
    "r": 4,
    "target_modules": "all-linear",
    "trainable_token_indices": {"embed_tokens": [298, 299], "lm_head": [298, 299]},
}


def tiny(seed: int) -> Any:
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "initializer_range": 0.3}
    return Qwen3ForCausalLM(Qwen3Config(vocab_size=V, **sizes, **heads))


def test_each_domain_weighs_what_it_should() -> None:
    index = torch.tensor([0, 1, 0])
    tokens = domain_tokens(index, torch.tensor([3, 10, 1]), 2)
    scales = domain_scales(index, tokens, torch.tensor([2.0, 0.5]))
    assert scales.tolist() == pytest.approx([0.5, 0.05, 0.5])


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.data())
def test_parts_of_a_batch_hold_all_rows_and_about_as_many_tokens(tokens: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(tokens)))
    parts = by_tokens(tokens, count)
    assert [row for own in parts for row in range(len(tokens))[own]] == [*range(len(tokens))] and len(parts) == count
    assert all(own.stop > own.start for own in parts)
    if sum(tokens) / count > 2 * max(tokens):
        assert all(abs(sum(tokens[own]) - sum(tokens) / count) <= max(tokens) for own in parts)


def test_too_few_rows_make_no_parts() -> None:
    assert by_tokens([5, 1, 1, 1, 5, 1], 3) == [slice(0, 1), slice(1, 4), slice(4, 6)]
    with pytest.raises(ValueError, match="2 rows do not make 3 parts"):
        by_tokens([1, 1], 3)


def inputs() -> dict[str, torch.Tensor]:
    torch.manual_seed(9)
    prompt, completion = torch.randint(0, V, (4, 3)), torch.randint(0, V, (4, 5))
    mask = torch.tensor([[1, 1, 1, 0, 0], [1] * 5, [1, 0, 0, 0, 0], [1] * 5])
    index = torch.tensor([0, 1, 0, 1])
    return {
        "prompt_ids": prompt, "prompt_mask": torch.ones_like(prompt), "completion_ids": completion,
        "completion_mask": torch.ones_like(mask), "tool_mask": mask, "teacher_index": index,
        "domain_scale": domain_scales(index, domain_tokens(index, mask.sum(1), 2), torch.tensor([1.0, 3.0])),
        "place": torch.arange(4), "advantage": torch.tensor([1.0, -0.5, 0.0, 2.0]),
    }  # fmt: skip


def dense(student, teachers, batch) -> torch.Tensor:
    """The report's sum with whole logits in float64: w_i * mean over domain i's tokens of KL(student || teacher)."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    total = torch.zeros((), dtype=torch.float64)
    for index, (teacher, weight) in enumerate(zip(teachers, (1.0, 3.0), strict=True)):
        rows = batch["teacher_index"] == index
        logp, logq = (m(input_ids=ids[rows]).logits[:, 2:-1].double().log_softmax(-1) for m in (student, teacher))
        kl = (logp.exp() * (logp - logq.detach())).sum(-1)
        mask = batch["tool_mask"][rows].bool()
        total = total + weight * kl[mask].mean()
    return total


@pytest.fixture
def trainer_for(tmp_path: Path):
    tokenizer = build_tokenizer(["aA"], 400)
    row = Row(
        prompt="a", completion=(), domain="math", mode="high", think="high", budget=8, reward="math_answer", answer="1"
    )
    rows = [replace(row, prompt=letter, domain=domain) for letter in "abcd" for domain in ("math", "agent")]
    rows = [replace(own, prompt=own.prompt.upper() if own.domain == "agent" else own.prompt) for own in rows]

    def make(
        student: Any, watch: TeacherWatch | None = None, outcome: Outcome | None = None, **given: Any
    ) -> MultiTeacherTrainer:
        settings: dict[str, Any] = {"per_device_train_batch_size": 1, "max_steps": 1} | given
        args = DistillationConfig(
            output_dir=str(tmp_path / "out"), bf16=False, use_cpu=True, report_to="none", gradient_checkpointing=False,
            remove_unused_columns=False, logging_steps=1, save_strategy="no", disable_tqdm=True,
            **settings,
        )  # fmt: skip
        weights = {"math": 1.0, "agent": 3.0}
        return MultiTeacherTrainer(
            form=V4Format(), domain_weights=weights, watch=watch or TeacherWatch([*weights], None, 0.0), folder=StageDir(tmp_path), model=student, args=args, processing_class=tokenizer,
            train_dataset=prompt_dataset(rows), sampling=Sampling(0, tuple(range(200, V))),
            engine_for=lambda policy: LocalEngine(policy, seed=0), outcome=outcome,
        )  # fmt: skip

    return make


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Of two teachers, whole models."""
    for seed, name in enumerate(("math", "agent"), 1):
        tiny(seed).save_pretrained(tmp_path / name)
    return {name: tmp_path / name for name in ("math", "agent")}


def test_whole_models_teach_exactly(trainer_for, folders: dict[str, Path], tmp_path: Path) -> None:
    student, batch = tiny(0), inputs()
    trainer = trainer_for(student)
    trainer.teachers = load_teachers(student, tmp_path, folders, "float32", torch.device("cpu"))
    trainer._states = trainer._scored(batch, trainer.teachers, NAMES)
    loss, _, tokens = trainer._compute_loss(student, batch, None)
    loss.backward()
    got = student.model.layers[0].mlp.up_proj.weight.grad.clone()
    student.zero_grad()
    expected = dense(student, [tiny(1), tiny(2)], batch)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(got, student.model.layers[0].mlp.up_proj.weight.grad, atol=1e-6, rtol=1e-3)
    assert tokens.item() == 14


def test_an_outcome_makes_what_was_written_likelier_beside_the_divergence(
    trainer_for, folders: dict[str, Path], tmp_path: Path
) -> None:
    batch, student = inputs(), tiny(0)
    with open_bench(SandboxConfig()) as bench:
        trainer = trainer_for(student, outcome=Outcome(Scorer([OwnVerifier()], bench), 0.5))
    trainer.teachers = load_teachers(student, tmp_path, folders, "float32", torch.device("cpu"))
    trainer._states = trainer._scored(batch, trainer.teachers, NAMES)
    loss, _, _ = trainer._compute_loss(student, batch, None)
    loss.backward()
    got = student.model.layers[0].mlp.up_proj.weight.grad.clone()
    student.zero_grad()
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    expected = dense(student, [tiny(1), tiny(2)], batch)
    logprobs = student(input_ids=ids).logits[:, 2:-1].log_softmax(-1).gather(2, ids[:, 3:, None])[..., 0]
    scales = (batch["domain_scale"] * batch["advantage"])[:, None]
    (expected - (logprobs * batch["tool_mask"] * scales).sum()).backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(got, student.model.layers[0].mlp.up_proj.weight.grad, atol=1e-6, rtol=1e-3)


class MathAlone(RewardConfig):
    name: Literal["math_alone"] = "math_alone"

    async def __call__(self, completions: Any, bench: Any) -> list[float | None]:
        return [0.5 if own.domain == "math" else None for own in completions]


def test_a_row_without_a_reward_is_left_out_of_the_mean(trainer_for, folders: dict[str, Path], tmp_path: Path) -> None:
    with open_bench(SandboxConfig()) as bench:
        outcome = Outcome(Scorer([MathAlone()], bench), 0.5)
        trainer = trainer_for(tiny(0), outcome=outcome, per_device_train_batch_size=8)
        trainer.teachers = load_teachers(trainer.model, tmp_path, folders, "float32", torch.device("cpu"))
        trainer.train()
    assert trainer.state.log_history[0]["reward/total"] == 0.5
    assert trainer.state.log_history[0]["reward/math_alone"] == 0.5


def test_an_advantage_is_against_a_group_in_all_processes() -> None:
    own = [("math/high", 1.0), ("math/high", 0.0), ("code/high", 1.0), ("code/high", math.nan)]
    known = [*own, ("math/high", 0.5), ("code/high", 0.0), ("code/high", 0.0)]
    assert above_their_group(own, known) == pytest.approx([0.5, -0.5, 2 / 3, 0.0])


def test_an_outcome_needs_tokens_that_can_be_any() -> None:
    with pytest.raises(ValidationError, match="take out top_k and top_p"):
        OpdConfig(teacher_models={"math": "base"}, max_steps=1, outcome_weight=0.5, top_k=20)
    with pytest.raises(ValidationError, match="count for nothing without outcome_weight"):
        OpdConfig(teacher_models={"math": "base"}, max_steps=1, rewards=("format",))  # pyright: ignore[reportArgumentType]


def test_an_estimate_knows_which_tokens_were_drawn(trainer_for, folders: dict[str, Path], tmp_path: Path) -> None:
    batch = inputs()
    trainer = trainer_for(tiny(0))
    trainer.teachers = load_teachers(trainer.model, tmp_path, folders, "float32", torch.device("cpu"))
    trainer.estimate = estimate_named("sampled", None)
    trainer._states = trainer._scored(batch, trainer.teachers, NAMES)
    loss, _, _ = trainer._compute_loss(trainer.model, batch, None)
    ids, due = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1), 0.0
    for index, weight in enumerate((1.0, 3.0)):
        rows = batch["teacher_index"] == index
        logprobs = [
            model(input_ids=ids[rows]).logits[:, 2:-1].log_softmax(-1).gather(2, ids[rows][:, 3:, None])[..., 0]
            for model in (tiny(0), tiny(index + 1))
        ]
        due += weight * (logprobs[0] - logprobs[1])[batch["tool_mask"][rows].bool()].mean().item()
    assert loss.item() == pytest.approx(due, rel=1e-4)


@pytest.mark.parametrize("estimator", ["exact", "top_k"])
def test_a_teacher_is_followed_beyond_where_it_ended(trainer_for, tmp_path: Path, estimator: str) -> None:
    """From the third model over the teacher, by a quarter of the way."""
    folders, batch = {}, inputs()
    for seed, name in enumerate(("math", "agent", "start"), 1):
        tiny(seed).save_pretrained(tmp_path / name)
        folders[name] = tmp_path / name
    student, start = tiny(0), {"start": folders.pop("start")}
    trainer = trainer_for(student)
    trainer.teachers = load_teachers(student, tmp_path, folders, "float32", torch.device("cpu"))
    trainer.start = load_teachers(student, tmp_path, start, "float32", torch.device("cpu"))
    trainer.extrapolation, trainer.estimate = 1.25, estimate_named(estimator, V)
    trainer._states = trainer._scored(batch, trainer.teachers, NAMES)
    trainer._start_states = trainer._scored(batch, trainer.start, ["start"] * 4)
    loss, _, _ = trainer._compute_loss(student, batch, None)
    loss.backward()
    got = student.model.layers[0].mlp.up_proj.weight.grad.clone()
    student.zero_grad()
    expected = dense(student, [Beyond(tiny(1), tiny(3)), Beyond(tiny(2), tiny(3))], batch)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert torch.allclose(got, student.model.layers[0].mlp.up_proj.weight.grad, atol=1e-5, rtol=1e-3)


@dataclass
class Beyond:
    """A teacher whose logits are a quarter farther from where it began than they are."""

    teacher: Any
    start: Any

    def __call__(self, **inputs: Any) -> Any:
        out, began = self.teacher(**inputs), self.start(**inputs)
        out.logits = 1.25 * out.logits - 0.25 * began.logits
        return out


def test_adapters_teach_on_the_shared_base(trainer_for, tmp_path: Path) -> None:
    tiny(0).save_pretrained(tmp_path / "base")
    base = (tmp_path / "base").resolve()
    folders = {}
    for seed, name in enumerate(("math", "agent"), 1):
        torch.manual_seed(seed)
        adapter = get_peft_model(tiny_from(base), LoraConfig(init_lora_weights=False, **LORA))
        for parameter_name, parameter in adapter.named_parameters():
            if "trainable_tokens" in parameter_name:
                parameter.data += seed
        adapter.save_pretrained(str(tmp_path / name))
        folders[name] = tmp_path / name
    student = get_peft_model(tiny_from(base), LoraConfig(**LORA))
    trainable = {name for name, parameter in student.named_parameters() if parameter.requires_grad}
    trainer = trainer_for(student)
    trainer.teachers = load_teachers(student, base, folders, "float32", torch.device("cpu"))
    trainer._states = trainer._scored(inputs(), trainer.teachers, NAMES)
    loss, _, _ = trainer._compute_loss(student, inputs(), None)
    merged = [load_merged(folders[name], base) for name in ("math", "agent")]
    assert loss.item() == pytest.approx(dense(tiny(0), merged, inputs()).item(), rel=1e-4)
    assert {name for name, parameter in student.named_parameters() if parameter.requires_grad} == trainable
    assert student.active_adapter == "default"


@pytest.mark.parametrize("is_tied", [True, False])
def test_a_teacher_kept_in_the_type_of_products_says_the_same_in_less_room(tmp_path: Path, is_tied: bool) -> None:
    model = tiny(1)
    if is_tied:
        model.config.tie_word_embeddings = True
        model.tie_weights()
    model.save_pretrained(tmp_path / "whole")
    get_peft_model(
        tiny_from(tmp_path / "whole"), LoraConfig(init_lora_weights=False, target_modules="all-linear", r=2)
    ).save_pretrained(str(tmp_path / "adapter"))
    folders = {name: tmp_path / name for name in ("whole", "adapter")}
    told = {}
    for products in (torch.float32, torch.bfloat16):
        teachers = load_teachers(tiny(0), tmp_path, folders, "float32", torch.device("cpu"), products)
        for teacher in teachers:
            with torch.autocast("cpu", torch.bfloat16), teacher.active():
                told[products, *teacher.teacher_ids] = teacher.states(inputs(), teacher.teacher_ids * 4)
    for name in folders:
        assert torch.equal(told[torch.float32, name], told[torch.bfloat16, name])
    (_, other) = teachers
    types = {path: own.dtype for path, own in cast(Any, other).model.named_parameters()}
    assert {own for path, own in types.items() if "_proj" in path} == {torch.bfloat16}
    head = cast(Any, other).model.get_output_embeddings().weight
    assert head.dtype == (torch.float32 if is_tied else torch.bfloat16)
    assert types["base_model.model.model.embed_tokens.weight"] == torch.float32


def test_a_row_keeps_its_own_teacher(trainer_for, folders: dict[str, Path], tmp_path: Path) -> None:
    """Through sorting, sampling and scoring: capital letters are the agent's prompts."""
    trainer = trainer_for(tiny(0), per_device_train_batch_size=4, gradient_accumulation_steps=2)
    trainer.teachers = load_teachers(trainer.model, tmp_path, folders, "float32", torch.device("cpu"))
    parts = []
    for trainer._step in range(2):
        parts.append(trainer._prepare_inputs([dict(row) for row in trainer.train_dataset]))
    texts = [
        text
        for part in parts
        for text in trainer.processing_class.batch_decode(part["prompt_ids"], skip_special_tokens=True)
    ]
    index = torch.cat([part["teacher_index"] for part in parts]).tolist()
    assert len(texts) == 8 and index == sorted(index)
    assert [text.strip().isupper() for text in texts] == [trainer.teacher_ids[own] == "agent" for own in index]
    for part in parts:  # what the teacher left is of this row's tokens
        for row, place in enumerate(part["place"].tolist()):
            ids = torch.cat(
                [
                    part["prompt_ids"][row][part["prompt_mask"][row].bool()],
                    part["completion_ids"][row][part["completion_mask"][row].bool()],
                ]
            )
            teacher = tiny(1 + (trainer.teacher_ids[part["teacher_index"][row]] == "agent"))
            count = int(part["completion_mask"][row].sum())
            due = teacher.model(ids[None]).last_hidden_state[0, -count - 1 : -1]
            assert torch.allclose(trainer._states[place], due, atol=1e-5)


def test_micro_batches_learn_what_one_batch_does(trainer_for, folders: dict[str, Path], tmp_path: Path) -> None:
    """A domain is divided by its tokens in all micro-batches, wherever they are."""
    logged = []
    for size, parts in ((8, 1), (2, 4)):
        student = tiny(0)
        trainer = trainer_for(student, per_device_train_batch_size=size, gradient_accumulation_steps=parts)
        trainer.teachers = load_teachers(student, tmp_path, folders, "float32", torch.device("cpu"))
        trainer.train()
        logged.append(trainer.state.log_history[0])
    # TRL's entropy is the mean of the micro-batches' means, however many tokens each has
    (whole, parts), names = logged, [n for n in logged[0] if "time" not in n and n != "entropy"]
    assert [parts[name] for name in names] == pytest.approx([whole[name] for name in names], rel=1e-4)
    assert whole["loss"] > 1 and len(names) > 20
    assert whole["loss"] == pytest.approx(whole["kl/math"] + 3 * whole["kl/agent"], rel=1e-4)
    assert whole["token_share/math"] + whole["token_share/agent"] == pytest.approx(1)
    assert 0 <= whole["agreement/math"] <= 1 and 0 < whole["policy/entropy/math"] < 6


def test_a_finished_domain_gives_its_place_and_the_last_one_ends_the_stage(
    trainer_for, folders: dict[str, Path], tmp_path: Path
) -> None:

    def run(watch: TeacherWatch) -> MultiTeacherTrainer:
        trainer = trainer_for(tiny(0), watch, per_device_train_batch_size=8, max_steps=4)
        trainer.add_callback(AlarmCallback(watch, StageDir(tmp_path), lambda *told: None))
        trainer.teachers = load_teachers(trainer.model, tmp_path, folders, "float32", torch.device("cpu"))
        trainer.train()
        return trainer

    watch = TeacherWatch(["math", "agent"], None, 0.0)
    watch.finished["agent"] = 0
    trainer = run(watch)
    assert [line["token_share/math"] for line in trainer.state.log_history[:-1]] == [1.0] * 4
    assert "kl/agent" not in trainer.state.log_history[0] and trainer.state.global_step == 4

    trainer = run(TeacherWatch(["math", "agent"], 1, 0.999))  # none falls so fast
    told = [(line["name"], line["step"], line["of"]) for line in read_lines(StageDir(tmp_path).alarms)]
    assert told == [("plateau", 2, "math"), ("plateau", 2, "agent")]
    assert trainer.state.global_step == 3 and 0 < trainer.state.log_history[0]["token_share/agent"] < 1

    watch = TeacherWatch(["math", "agent"], 1, 0.999)
    watch.finished["agent"] = 1  # longer ago than math, which ends the stage: the step that is left is math's
    trainer = run(watch)
    assert trainer.state.global_step == 3 and trainer.state.log_history[2]["token_share/math"] == 1.0


def test_a_batch_of_a_finished_domain_alone_teaches_nothing(
    trainer_for, folders: dict[str, Path], tmp_path: Path
) -> None:
    watch = TeacherWatch(["math", "agent"], None, 0.0)
    watch.finished["agent"] = 0
    trainer = trainer_for(tiny(0), watch, per_device_train_batch_size=1, max_steps=8)  # as many as there are rows
    trainer.teachers = load_teachers(trainer.model, tmp_path, folders, "float32", torch.device("cpu"))
    trainer.train()
    losses = {
        name: [line["loss"] for line in trainer.state.log_history if name in line] for name in ("kl/math", "kl/agent")
    }
    assert [len(own) for own in losses.values()] == [4, 4]
    assert min(losses["kl/math"]) > 1 and losses["kl/agent"] == [0.0] * 4


def test_who_scores_first_is_sent_for_before_the_student_samples(
    trainer_for, folders: dict[str, Path], tmp_path: Path
) -> None:
    told: list[str] = []

    class Telling(ModelTeacher):
        def fetch(self) -> None:
            told.append(self.teacher_ids[0])
            super().fetch()

    watch = TeacherWatch(["math", "agent"], None, 0.0)
    watch.finished["math"] = 0
    trainer = trainer_for(tiny(0), watch, per_device_train_batch_size=8)
    trainer.teachers = load_teachers(trainer.model, tmp_path, folders, "float32", torch.device("cpu"), kind=Telling)
    sample = trainer.engine.generate
    trainer.engine.generate = lambda requests: told.append("samples") or sample(requests)
    trainer.train()
    assert told == ["agent", "samples"]
    trainer.engine.can_sleep = True  # then vLLM and the teacher might not both have room
    trainer._expect({"agent"})
    assert told == ["agent", "samples"]


def tiny_from(folder: Path) -> Any:
    return Qwen3ForCausalLM.from_pretrained(folder)


def load_merged(folder: Path, base: Path) -> torch.nn.Module:
    from peft import PeftModel

    return PeftModel.from_pretrained(tiny_from(base), str(folder)).merge_and_unload()


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    other = Qwen3ForCausalLM(Qwen3Config(vocab_size=V + 1, hidden_size=32, intermediate_size=64, num_hidden_layers=1))
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="has 301 tokens and the student 300"):
        load_teachers(tiny(0), tmp_path, {"math": tmp_path / "other"}, "float32", torch.device("cpu"))
