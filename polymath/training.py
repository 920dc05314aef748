"""What the training stages share: TRL's arguments, resuming, metrics, and handing over the model."""

import math
import resource
import shutil
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel
from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback
from trl import import_utils

from polymath import data, models
from polymath.alarms import Alarm, Watch
from polymath.chat import Format, format_for
from polymath.chat.template import install, install_header
from polymath.engine.opening import open_engine
from polymath.engine.protocol import Sampling
from polymath.engine.wal import TokenLog, step_of
from polymath.run_dir import StageDir, append_line, keep_lines, read_lines, whole_folder
from polymath.sharding import whole
from polymath.stage import LoraConfig, RolloutConfig, StageJob, TrainingConfig
from polymath.targets import check_targets
from polymath.vocabulary import fit_fused_head, new_tokens

# TRL imports vLLM wherever it is installed, which takes seconds; its trainers sample with our engines, and need none
import_utils.is_vllm_available = lambda min_version=None: False
COMPLETE = "complete"  # written into a checkpoint's folder once everything else is there
# TRL's and transformers' names of what they log, in Polymath's `area/name`; what is missing goes to `train/`
METRICS = {
    "reward": "reward/trained/total",  # after groups without signal were replaced; `reward/total` is before
    "reward_std": "reward/trained/std",
    "frac_reward_zero_std": "reward/trained/zero_std_share",
    "kl": "kl/start",
    "entropy": "policy/entropy",
    "step_time": "time/step",
    "train_runtime": "time/train",
}
KEPT_A_STEP = 4  # samples of each step that go to rollouts.jsonl
AREAS = [
    "reward",
    "length",
    "turns",
    "kl",
    "sync",
    "time",
    "memory",
    "policy",
    "accuracy",
    "agreement",
    "token_share",
    "judge",
]


class Report(Protocol):
    """Tells whoever watches a stage: which step of how many, the latest metrics, and what should be read at once."""

    def __call__(self, step: int, total: int, metrics: dict[str, float], notice: str = "", /) -> None: ...


@dataclass(frozen=True)
class Materials:
    """What a training stage starts from."""

    model: Any  # PreTrainedModel, or PeftModel where an adapter goes on
    tokenizer: PreTrainedTokenizerBase
    form: Format
    rows: list[data.Row]
    peft_config: PeftLoraConfig | None


def prepare(job: StageJob) -> Materials:
    """Load the model that the stage goes on from and draw its rows."""
    config = training_config(job)
    source = job.models[config.from_]
    tokenizer = models.load_tokenizer(source)
    form = format_for(job.chat, tokenizer)
    if job.chat == "v4":
        install(tokenizer)  # saved with the model: whoever loads it renders and reads as it was trained
    else:
        install_header(tokenizer, form)
    rows = draw_rows(job, form, config.row_count())
    data.check_budgets(rows, tokenizer, getattr(config, "max_length", None))
    job.files.update_state(rows=len(rows), data_sha256=data.digest(rows))
    bits = models.four_bits(bf16=config.bf16) if config.lora and config.lora.load_in_4bit else None
    model = models.load_model(source, config.dtype, trainable=True, bits=bits)
    return Materials(
        model=model,
        tokenizer=tokenizer,
        form=form,
        rows=rows,
        peft_config=new_adapter(config, source, model),
    )


def draw_rows(job: StageJob, form: Format, count: int, purpose: str = "") -> list[data.Row]:
    """Rows of the stage's domains and modes; each stage, and each purpose in it, draws tasks of its own."""
    config = training_config(job)
    seed = zlib.crc32(f"{job.seed}/{job.name}{purpose}".encode())
    together = config.modes_per_task(len(job.modes))
    return data.training_rows(job.domains, config.domains, job.modes, count, seed, form, together)


def tell_left_out(dataset: Any, longest: int, total: int, report: Report) -> None:
    """Say how many rows keep nothing of their answer at this `max_length`; `ValueError` where none keeps any.

    `dataset` has a `completion_mask`, `total` is the number of steps.
    """
    masks = dataset["completion_mask"]
    lost, prompts = data.without_answer(masks, longest)
    if lost == len(masks):
        raise ValueError(f"max_length is {longest}, and {data.NO_ANSWER}, for {prompts}: raise it")
    if lost:
        told = f"{lost} of {len(masks)} rows keep nothing of their answer at max_length {longest}, and are left out"
        report(0, total, {}, f"{told}; {prompts}")


def new_adapter(config: TrainingConfig, source: Path, model: Any) -> PeftLoraConfig | None:
    """The adapter that a stage begins with; None where it has none, or goes on with the one that is there."""
    if config.lora is None or models.is_adapter(source):
        return None
    adapter = adapter_config(config.lora)
    check_targets(adapter, model)
    if config.lora.train_new_tokens and (ids := new_tokens(model)):
        tables = ["embed_tokens"] if model.config.tie_word_embeddings else ["embed_tokens", "lm_head"]
        adapter.trainable_token_indices = dict.fromkeys(tables, ids)
    return adapter


def adapter_config(lora: LoraConfig) -> PeftLoraConfig:
    """The same in PEFT's terms, new tokens left out, of which only a model can tell."""
    settings: dict[str, Any] = lora.model_dump(exclude={"load_in_4bit", "train_new_tokens"})
    settings["target_parameters"] = list(lora.target_parameters) or None
    return PeftLoraConfig(task_type="CAUSAL_LM", **settings)


def training_config(job: StageJob) -> TrainingConfig:
    """The job's settings, known to be those of a training stage."""
    assert isinstance(job.config, TrainingConfig)
    return job.config


def training_arguments(job: StageJob) -> dict[str, Any]:
    """The arguments that TRL's three configurations share."""
    config = training_config(job)
    on_gpu = torch.cuda.is_available()
    same_names = (
        "max_steps per_device_train_batch_size gradient_accumulation_steps learning_rate lr_scheduler_type "
        "warmup_steps weight_decay adam_beta2 max_grad_norm bf16 gradient_checkpointing save_steps logging_steps"
    )
    return {name: getattr(config, name) for name in same_names.split()} | {
        "output_dir": str(job.files.checkpoints),
        "seed": job.seed,
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
    }


def rollout_arguments(job: StageJob) -> dict[str, Any]:
    """The arguments that TRL's two on-policy configurations share. They sample with our engine, not with TRL's."""
    config = rollout_config(job)
    return training_arguments(job) | {
        "max_completion_length": max(mode.max_completion_length for mode in job.modes.values()),
        "temperature": config.temperature,
        "remove_unused_columns": False,  # domain, mode and answer are read by rewards and teachers
        "use_vllm": False,
    }


def rollout_config(job: StageJob) -> RolloutConfig:
    """The job's settings, known to be those of a stage that trains on what it samples."""
    assert isinstance(job.config, RolloutConfig)
    return job.config


def rollout_settings(job: StageJob, materials: Materials) -> dict[str, Any]:
    """What `RolloutMixin` takes."""
    config, tokenizer = rollout_config(job), materials.tokenizer
    eos = tokenizer.eos_token_id
    assert isinstance(eos, int)
    return {
        "form": materials.form,
        "folder": job.files,
        "engine_for": lambda policy: open_engine(
            config,
            policy,
            job.models[config.from_],
            seed=job.seed,
            at_once=config.completions_per_step(),
            bf16=config.bf16,
            top_k=config.top_k,
        ),
        "sampling": Sampling(
            max_tokens=0,  # each row has its own
            stop_token_ids=(eos,),
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=config.top_k,
        ),
        "modes_per_task": config.modes_per_task(len(job.modes)),
        "torch_compile": config.torch_compile,
    }


def train(trainer: Trainer, job: StageJob, report: Report) -> None:
    """Train to the last step, from the last complete checkpoint if there is one, and put the model in its place."""
    fit_fused_head(trainer.model)
    folder = job.files
    if trainer.is_world_process_zero():
        remove_unfinished(folder.checkpoints)
    checkpoint = last_checkpoint(folder.checkpoints)
    done = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    told = (folder.metrics, folder.rollouts, folder.alarms, folder.looks, folder.judgments, folder.rubrics)
    for path in told:
        keep_lines(path, lambda line: line["step"] <= done)
    keep_lines(folder.sandbox, lambda line: steps_up_to(done)(line["episode"]))
    token_log: TokenLog | None = getattr(trainer, "token_log", None)
    if token_log is not None:
        token_log.forget(steps_up_to(done))
    trainer.add_callback(RunCallback(folder, report, token_log))
    if trainer.args.device.type == "cpu":  # of several processes it is cpu:0, whither torch loads no checkpoint
        vars(trainer.args)["_setup_devices"] = torch.device("cpu")
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    # transformers stops as well where it finds no rows: that is no end
    if trainer.state.global_step < trainer.args.max_steps and not getattr(trainer, "has_learned_all", False):
        raise RuntimeError(f"training ended at step {trainer.state.global_step} of {trainer.args.max_steps}")
    _hand_over(trainer, folder.model)
    if token_log is not None:
        token_log.forget(steps_up_to(training_config(job).max_steps))
    allocated = {"peak_allocated_bytes": torch.cuda.max_memory_allocated()} if torch.cuda.is_available() else {}
    folder.update_state(peak_memory_bytes=peak_memory(), **allocated)


def steps_up_to(done: int) -> Callable[[str], bool]:
    """Whether a name in a log, `step/place...`, is of a step that is done."""
    return lambda name: step_of(name) <= done


def _hand_over(trainer: Trainer, folder: Path) -> None:
    """Put the model and its tokenizer in their place; of an adapter's model the trained adapter alone."""
    model = cast(Any, trainer.model)
    if not trainer.is_world_process_zero():
        if isinstance(model, PeftModel):
            dict(_trained(model))  # what is sharded is gathered by all processes, and written by the first
        else:
            trainer.save_model()
        return
    with whole_folder(folder) as target:
        if isinstance(model, PeftModel):
            model.save_pretrained(
                str(target), selected_adapters=[str(model.active_adapter)], state_dict=dict(_trained(model))
            )
            cast(Any, trainer.processing_class).save_pretrained(target)
            return
        trainer.save_model(str(target))
        (target / "training_args.bin").unlink()  # a pickle; stage.json says the same


def _trained(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            yield name, whole(parameter.detach())


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end."""
    complete = [path for path in folder.glob("checkpoint-*") if (path / COMPLETE).exists()]
    return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def remove_unfinished(folder: Path) -> None:
    """Remove the checkpoints that a crash cut short."""
    for path in folder.glob("checkpoint-*"):
        if not (path / COMPLETE).exists():
            shutil.rmtree(path)


def peak_memory() -> int:
    """Most bytes in use so far: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return max(torch.cuda.max_memory_reserved(), total - free)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def metric_names(logs: dict[str, Any]) -> dict[str, float]:
    """Logged numbers under Polymath's names."""
    named = {}
    for key, value in logs.items():
        if not isinstance(value, int | float) or key == "num_tokens":  # a counter that begins again on resuming
            continue
        if key.startswith("rewards/") and key.endswith("/mean"):
            key = f"reward/trained/{key.removeprefix('rewards/').removesuffix('/mean')}"
        elif key in METRICS:
            key = METRICS[key]
        elif key.partition("/")[0] not in AREAS:
            key = f"train/{key}"
        named[key] = value
    return named


class RunCallback(TrainerCallback):
    """Writes metrics, reports progress, marks checkpoints that are complete, and ends what no longer trains."""

    def __init__(self, folder: StageDir, report: Report, token_log: TokenLog | None = None) -> None:
        self.folder, self.report, self.token_log = folder, report, token_log
        self.latest: dict[str, float] = {}
        self.times: list[float] = []  # of the steps since something was logged
        self.began = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        self.latest = metric_names(logs or {})
        if self.times:  # not all of TRL's trainers say it
            self.latest["time/step"] = sum(self.times) / len(self.times)
            self.times = []
        append_line(self.folder.metrics, {"step": state.global_step} | self.latest)
        self._check_gradient(state.global_step)

    def _check_gradient(self, step: int) -> None:
        """Raise `ValueError` where it is not finite; transformers tells such a loss as 0, and goes on."""
        norm = self.latest.get("train/grad_norm", 0.0)
        if not math.isfinite(norm):
            raise ValueError(
                f"step {step}: the gradient is not finite ({norm}), and neither is what it trained: lower "
                f"learning_rate, or look in {self.folder.metrics} at what grew before"
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.times.append(time.perf_counter() - self.began)
        self.report(state.global_step, state.max_steps, self.latest)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if args.world_size > 1:
            torch.distributed.barrier()  # each process writes a part
        (self.folder.checkpoints / f"checkpoint-{state.global_step}" / COMPLETE).touch()
        if self.token_log is not None:
            self.token_log.forget(steps_up_to(state.global_step))


class AlarmCallback(TrainerCallback):
    """Feeds a watch with what is logged, and tells what it says: on the screen, and in `alarms.jsonl`."""

    def __init__(self, watch: Watch, folder: StageDir, report: Report) -> None:
        self.watch, self.folder, self.report = watch, folder, report

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        for line in read_lines(self.folder.metrics):  # those of a run that is gone on with
            self.watch.feed(line["step"], line)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        metrics = metric_names(logs or {})
        for alarm in self.watch.feed(state.global_step, metrics):
            tell(alarm, self.folder, self.report, state.max_steps, metrics)


def tell(alarm: Alarm, folder: StageDir, report: Report, total: int, metrics: dict[str, float]) -> None:
    """Write an alarm down, and show it to whoever watches."""
    append_line(folder.alarms, asdict(alarm))
    report(alarm.step, total, metrics, alarm.message)


def places_to_show(rows: Sequence[dict[str, Any]], group: int = 1) -> list[int]:
    """Of a batch in groups of so many rows, the first rows of a few groups: of every domain and mode in turn."""
    seen: Counter[tuple[str, str]] = Counter()
    turns = []
    for place in range(0, len(rows), group):
        own = (rows[place]["domain"], rows[place]["mode"])
        turns.append((seen[own], place))
        seen[own] += 1
    return [place for _, place in sorted(turns)[:KEPT_A_STEP]]


def write_rollouts(folder: StageDir, step: int, rollouts: Sequence[dict[str, Any]]) -> None:
    """Keep samples for a person to read."""
    for rollout in rollouts:
        append_line(folder.rollouts, {"step": step} | rollout)
