"""What every stage of a recipe has: its configuration, and the job that is handed to the process that runs it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, model_validator

from polymath.chat import MODES, FormatKind, Mode
from polymath.domains import Domain
from polymath.engine.config import RANKS, EngineConfig
from polymath.hardware import multiplies_in_bfloat16
from polymath.models import Dtype, PretrainedModel
from polymath.run_dir import StageDir
from polymath.strict import StrictModel

ALL_LINEAR = "all-linear"  # of `lora.target_modules`
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy takes
BASE = "base"  # the name under which stages refer to the recipe's model


class ModeConfig(StrictModel):
    """A think mode: how its prompts are rendered, how much the model may write, and what reasoning costs it."""

    think: Mode = Field(description="How its prompts are rendered; the mode's own name where that is one of these.")
    max_completion_length: PositiveInt = Field(
        default=256,
        description="Most tokens that the model writes in an episode; what tools answer is not counted.",
    )
    length_penalty: float = Field(
        default=0.0,
        ge=0,
        description="k of the reward `length_penalty`, -min(maximum, k * reasoning_tokens / length_norm).",
    )


def _with_think(modes: Any) -> Any:
    """A mode that is named as the format names it is rendered so."""
    if not isinstance(modes, dict):
        return modes
    return {
        name: {"think": name, **(mode or {})} if name in MODES and isinstance(mode, dict | None) else mode
        for name, mode in modes.items()
    }


def _no_metric(name: str) -> str:
    if name in METRICS:
        raise ValueError(f"is the name of a metric: length/{name} would be two; name the mode otherwise")
    return name


METRICS = "mean", "clipped_ratio"  # beside the modes, as in length/mean
ModeName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$"), AfterValidator(_no_metric)]
Modes = Annotated[dict[ModeName, ModeConfig], BeforeValidator(_with_think)]
StageModes = Annotated[
    tuple[str, ...] | None,
    Field(min_length=1, description="Names of think modes, in equal shares; all of the recipe's where not given."),
]


class StageConfig(StrictModel):
    """One named stage; `kind` selects which."""

    kind: Any  # a literal in each subclass
    modes: StageModes = None

    def parents(self) -> tuple[str, ...]:
        """The stages whose models this one reads."""
        raise TypeError(f"{type(self).__name__} does not say which stages it reads")

    def domain_names(self) -> tuple[str, ...]:
        """The domains whose tasks this stage draws."""
        return ()

    def held_out_prompts(self) -> int:
        """How many held-out tasks of each domain it looks at."""
        return 0

    def processes(self) -> int:
        """How many run it together; each has a GPU of its own where there are any."""
        return 1


class BaseConfig(StageConfig):
    """The stage that every run begins with: the recipe's model, made or brought into one folder."""

    kind: Literal["base"] = "base"

    def parents(self) -> tuple[str, ...]:
        return ()


class ModelStageConfig(StageConfig, PretrainedModel):
    """A model that is there already, for other stages to begin from, to learn from, to merge or to score."""

    kind: Literal["model"] = "model"

    def parents(self) -> tuple[str, ...]:
        return ()


class LoraConfig(StrictModel):
    """A LoRA adapter; names and meaning as in `peft.LoraConfig`."""

    r: PositiveInt = 16
    lora_alpha: PositiveInt = 32
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | tuple[str, ...] = ALL_LINEAR
    target_parameters: tuple[str, ...] = Field(
        default=(),
        description="Ends of the names of parameters that are no modules' own, as the experts of a mixture: "
        "mlp.experts.gate_up_proj, mlp.experts.down_proj.",
    )
    use_rslora: bool = Field(default=False, description="Scale by lora_alpha / sqrt(r) (arXiv 2312.03732).")
    use_dora: bool = Field(default=False, description="Magnitude and direction apart (DoRA, arXiv 2402.09353).")
    load_in_4bit: bool = Field(
        default=False,
        description="The base in 4 bits while this adapter trains (QLoRA, arXiv 2305.14314: NF4, doubly quantized, by "
        "bitsandbytes); scored and exported it sits on the base as it is.",
    )
    train_new_tokens: bool = Field(
        default=True, description="Train besides the embeddings of tokens which the vocabulary was given here."
    )

    @model_validator(mode="after")
    def _parameters_are_adapted_plainly(self) -> "LoraConfig":
        for name in ("lora_dropout", "use_dora", "load_in_4bit") if self.target_parameters else ():
            if getattr(self, name):
                raise ValueError(
                    f"target_parameters goes without {name}: PEFT has no such adapter; leave one of them out"
                )
        return self

    def names_targets(self) -> bool:
        """Whether it is on modules or parameters that a model has to have."""
        return self.target_modules != ALL_LINEAR or bool(self.target_parameters)

    def beyond_vllm(self) -> str:
        """The setting, if any, whose adapter vLLM does not take."""
        return next((name for name in ("use_dora", "target_parameters", "load_in_4bit") if getattr(self, name)), "")


def _as_shares(value: Any) -> Any:
    """Names have equal shares; what are no names is left for pydantic to refuse."""
    is_names = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    return dict.fromkeys(value, 1) if is_names else value


Shares = Annotated[
    dict[str, PositiveInt],
    BeforeValidator(_as_shares, json_schema_input_type=list[str] | dict[str, PositiveInt]),
]


class TrainingConfig(StageConfig):
    """A stage that trains; names as in `transformers.TrainingArguments` where it has them."""

    from_: str = Field(default=BASE, alias="from", description="The stage whose model is trained further.")
    domains: Shares = Field(
        min_length=1, description="Names of the domains whose tasks are drawn, or a mapping from name to share."
    )
    num_rows: PositiveInt | None = Field(
        default=None, description="How many tasks are drawn, over all domains and modes; as many as the steps use up."
    )
    max_steps: PositiveInt = Field(description="Optimizer steps.")
    per_device_train_batch_size: PositiveInt = 64
    gradient_accumulation_steps: PositiveInt = 1
    learning_rate: float = Field(default=1e-5, gt=0)
    lr_scheduler_type: Literal["constant", "constant_with_warmup", "linear", "cosine"] = "constant_with_warmup"
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    adam_beta2: float = Field(default=0.999, gt=0, lt=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    bf16: bool = Field(
        default_factory=multiplies_in_bfloat16,
        description="bfloat16 autocast; weights and optimizer stay float32. By default where the machine has it.",
    )
    gradient_checkpointing: bool = False
    dtype: Dtype = Field(default="float32", description="Type of the weights while training; autocast is `bf16`.")
    save_steps: PositiveInt = Field(default=50, description="Steps from one checkpoint to the next.")
    logging_steps: PositiveInt = 5
    seed: Seed | None = Field(default=None, description="The recipe's seed where not given.")
    lora: LoraConfig | None = Field(default=None, description="Train an adapter; an adapter in `from` goes on.")

    def parents(self) -> tuple[str, ...]:
        return (self.from_,)

    def domain_names(self) -> tuple[str, ...]:
        return tuple(self.domains)

    def rows_per_step(self) -> int:
        """Rows that one optimizer step takes."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps * self.processes()

    def row_count(self) -> int:
        """Rows that are drawn for the stage."""
        return self.num_rows or self.max_steps * self.rows_per_step()

    def modes_per_task(self, modes: int) -> int:
        """In how many of the stage's modes a task is drawn; in turn in one of them."""
        return 1


class RolloutConfig(TrainingConfig, EngineConfig):
    """A stage that trains on completions which the model samples; names as in TRL's trainers."""

    temperature: float = Field(default=1.0, gt=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0, description="0: every token can be drawn.")

    torch_compile: bool = Field(
        default=False,
        description="Compile the layers of the learner: up to 90 s at the start for shorter steps; with use_vllm.",
    )

    @model_validator(mode="after")
    def _samples_with_layers_of_its_own(self) -> "RolloutConfig":
        if self.torch_compile and not self.use_vllm:
            raise ValueError("torch_compile is for the learner alone, and transformers samples with the same layers")
        return self

    @model_validator(mode="after")
    def _vllm_has_room_for_the_adapter(self) -> "RolloutConfig":
        if self.use_vllm and self.lora is not None and self.lora.r > RANKS[-1]:
            raise ValueError(f"lora.r is {self.lora.r}, and vLLM takes at most {RANKS[-1]}: lower it")
        if self.use_vllm and self.lora is not None and (name := self.lora.beyond_vllm()):
            raise ValueError(f"lora.{name} is not for vLLM, which takes no such adapter: leave it out, or use_vllm")
        return self

    @model_validator(mode="after")
    def _kept_supports_can_be_known(self) -> "RolloutConfig":
        if self.top_p < 1 and not self.top_k:
            raise ValueError(
                "top_p cuts off tokens, and training has to know which: set top_k as well (64, say), "
                "which bounds what the engine has to tell of each token"
            )
        return self

    @model_validator(mode="after")
    def _rows_fill_a_step(self) -> "RolloutConfig":
        if self.num_rows is not None and self.num_rows < self.rows_per_step():
            raise ValueError(f"num_rows = {self.num_rows} does not fill one step of {self.rows_per_step()} prompts")
        return self

    def completions_per_step(self) -> int:
        """Completions that one optimizer step is made of, on one device."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps


@dataclass(frozen=True)
class StageJob:
    """Everything that the process of one stage needs; it can be pickled and names no other stage's code."""

    name: str
    config: StageConfig
    folder: Path
    models: Mapping[str, Path]  # stage -> folder of its model; `base` included
    domains: Mapping[str, Domain]
    modes: Mapping[str, ModeConfig]  # those of this stage
    chat: FormatKind
    seed: int
    threads: int
    fingerprint: str
    extra: Mapping[str, Any]  # what only this kind of stage is given
    rank: int = 0  # of this process, among those that run the stage

    @property
    def files(self) -> StageDir:
        """Where this process reads and writes."""
        return StageDir(self.folder, self.rank)


def origin(job: StageJob, known: Mapping[str, StageJob]) -> StageJob:
    """The stage that brought the model that this one's goes back to, over whatever it trains from or merges."""
    while isinstance(job.config, TrainingConfig) or job.models:
        job = known[job.config.from_ if isinstance(job.config, TrainingConfig) else next(iter(job.models))]
    return job
