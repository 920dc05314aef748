"""Models: a hub id, a folder, a GGUF file, or a tiny one made here; adapters on any of them."""

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator

from polymath import places
from polymath.run_dir import RunDir
from polymath.strict import StrictModel

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

ADAPTER_FILE = "adapter_config.json"
NEEDS_BITSANDBYTES = "lora.load_in_4bit needs bitsandbytes: pip install 'polymath[qlora]'"
Dtype = Literal["float32", "bfloat16"]


class TinyModel(StrictModel):
    """A randomly initialised model with a byte-level BPE that has the V4 tokens.

    `init` names the architecture; the sizes are called as in transformers' configuration. Weights start wider than
    usual (0.1, not 0.02), without which a model of this size needs far more steps to learn a sum.
    """

    init: Literal["qwen3"] = "qwen3"
    vocab_size: int = Field(default=768, ge=320, description="At most so many tokens, the V4 tokens included.")
    hidden_size: int = Field(default=128, ge=32)
    intermediate_size: int = Field(default=384, ge=32)
    num_hidden_layers: int = Field(default=2, ge=1)
    num_attention_heads: int = Field(default=4, ge=1)
    num_key_value_heads: int = Field(default=4, ge=1)
    head_dim: int = Field(default=32, ge=8)
    max_position_embeddings: int = Field(default=512, ge=64)
    initializer_range: float = Field(default=0.1, gt=0)


class PretrainedModel(StrictModel):
    """A model that exists: a hub id, a folder or a `.gguf` file."""

    name: str = Field(
        min_length=1,
        description="Hub id, or a path that begins with `./`, `/` or `~`: of a folder, or of a `.gguf` file.",
    )
    revision: str | None = Field(default=None, description="Revision of a hub id.")

    @field_validator("name")
    @classmethod
    def _is_found_from_any_folder(cls, name: str, info: ValidationInfo) -> str:
        """What is nowhere stays as it was given."""
        path = _local(name)
        found = places.found(path, info) if path else None
        return str(found) if found and os.path.exists(found) else name

    def path(self) -> Path | None:
        """Where the model lies on this machine; None for a hub id."""
        return _local(self.name)


def _local(name: str) -> Path | None:
    is_path = name.startswith((".", "/", "~")) or name.endswith(".gguf")
    return Path(os.path.expanduser(name)) if is_path else None  # unlike pathlib's, never raises


def _form(value: Any) -> str:
    given = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return "init" if "init" in given else "name"


ModelConfig = Annotated[
    Annotated[TinyModel, Tag("init")] | Annotated[PretrainedModel, Tag("name")], Discriminator(_form)
]


def is_adapter(folder: Path) -> bool:
    """Whether a model's folder holds a PEFT adapter rather than whole weights."""
    return (folder / ADAPTER_FILE).exists()


def base_of(folder: Path) -> Path:
    """The folder whose weights an adapter sits on; the folder itself where it holds whole weights."""
    if not is_adapter(folder):
        return folder.resolve()
    base = Path(json.loads((folder / ADAPTER_FILE).read_text(encoding="utf-8"))["base_model_name_or_path"])
    if not base.is_absolute() and (folder / base).is_dir():  # exported with it
        return (folder / base).resolve()
    run = RunDir(folder.resolve().parents[1])
    beside = run.path / base.parent.name / base.name
    if run.resolved.exists() and beside.exists():  # the adapter's own run, which may have been copied or moved
        return beside.resolve()
    if not base.exists():
        raise FileNotFoundError(
            f"{folder / ADAPTER_FILE}: base_model_name_or_path is {base}, which is not there; "
            "set it to the folder of the base model (the run was moved?)"
        )
    return base.resolve()


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer that was saved with a model; pads at the left, as generation needs."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, padding_side="left")


def load_whole(folder: Path, **settings: Any) -> Any:
    """The `PreTrainedModel` of a folder, as it was saved where no settings of transformers say otherwise.

    Raises `ValueError` where weights cannot be read, or are not all there: transformers draws those that a file lacks.
    """
    from transformers import AutoModelForCausalLM

    with reading(folder):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, output_loading_info=True, **{"dtype": "auto"} | settings
        )
    model, told = loaded
    _check_complete(told["missing_keys"], folder)
    return model


def load_model(folder: Path, dtype: Dtype, *, trainable: bool = False, bits: Any = None) -> Any:
    """The `PreTrainedModel` of a folder, or the `PeftModel`: an adapter on its base, of which nothing else trains.

    `bits` is a configuration of transformers for a base of fewer bits (see `four_bits`). Raises `ValueError` where
    weights are not finite, and as `load_whole` does.
    """
    import torch

    # Both defaults of transformers would hurt here: the type that it finds in the checkpoint, and on a CPU the fused
    # attention, whose backward is the slower one on short rows
    attention = "sdpa" if torch.cuda.is_available() else "eager"
    model = load_whole(
        base_of(folder), dtype=getattr(torch, dtype), attn_implementation=attention, quantization_config=bits
    )
    if is_adapter(folder):
        model = with_adapter(model, folder, trainable=trainable)
    check_finite(dict(model.named_parameters()), folder)
    return model


def with_adapter(model: Any, folder: Path, name: str = "default", *, trainable: bool = False) -> Any:
    """The `PeftModel` of a base, or of one that has other adapters, and an adapter. Raises as `load_whole` does."""
    from peft import PeftModel
    from peft.utils import get_peft_model_state_dict

    found = adapter_weights(folder).keys()
    if isinstance(model, PeftModel):
        model.load_adapter(str(folder), adapter_name=name, is_trainable=trainable)
    else:
        model = PeftModel.from_pretrained(model, str(folder), adapter_name=name, is_trainable=trainable)
    due = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False).keys()
    _check_complete(due - found, folder)
    return model


def adapter_weights(folder: Path) -> dict[str, "torch.Tensor"]:
    """Of an adapter, as PEFT names them, on the host. `ValueError` where they cannot be read."""
    from peft.utils import load_peft_weights

    with reading(folder):
        return load_peft_weights(str(folder), device="cpu")


@contextmanager
def reading(what: object) -> Iterator[None]:
    """Raise `ValueError` that names what is read where a file of weights is cut off, or none."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise ValueError(f"{what}: its weights cannot be read ({error}); copy or save them again") from error


def _check_complete(missing: Collection[str], folder: Path) -> None:
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(
            f"{folder}: its weights lack {min(missing)}{more}, which its settings ask for; copy or save them again"
        )


def check_finite(weights: Mapping[str, "torch.Tensor"], folder: Path) -> None:
    """Raise `ValueError` for a weight with values that are not finite: nothing that it computes would be."""
    for name, weight in weights.items():
        if weight.is_floating_point() and not weight.isfinite().all():
            raise ValueError(f"{folder}: {name} has values that are not finite; train it again, or take another model")


def four_bits(*, bf16: bool) -> Any:
    """How QLoRA keeps a base (arXiv 2305.14314, section 3). Raises `ImportError` that says what to install."""
    import torch
    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise ImportError(NEEDS_BITSANDBYTES)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if bf16 else torch.float32,
    )


def convert_gguf(path: Path, folder: Path) -> None:
    """Write the model of a `.gguf` file as safetensors (bfloat16), with its tokenizer.

    transformers dequantises the weights but keeps the quantised state, which it then refuses to save, and mistakes the
    end-of-turn token; the file's own metadata has the right one.
    """
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place: dict[str, Any] = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    quantised: Any = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    config = quantised.config
    del config.quantization_config
    model = type(quantised)(config)
    model.load_state_dict(quantised.state_dict())
    tokenizer = AutoTokenizer.from_pretrained(**place)
    eos = int(GGUFReader(path).fields["tokenizer.ggml.eos_token_id"].contents())
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(eos)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.clean_up_tokenization_spaces = False  # decoded text is what the model wrote, space by space
    for settings in (model.config, model.generation_config):
        settings.eos_token_id = settings.pad_token_id = eos
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
