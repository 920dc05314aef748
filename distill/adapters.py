"""LoRA teachers on the student's own base, and that base: one pass over it scores for all of them.

    y_n = W x_n + scaling_e * B_e A_e x_n        e is the teacher of token n

Each token has its own adapter, as in engines that serve many at once (Punica, arXiv 2310.18547). Rows of the vocabulary
that an adapter trains take the places of the base's, in the embedding for its tokens alone, and in its head.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel

from distill.head import Head
from distill.residence import Residence
from distill.states import states_before, tokens_of_rows
from polymath import models
from polymath.packed import without_dropout
from polymath.rollouts import Batch
from polymath.sharding import within

PREFIX, A, B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
ROWS = ".token_adapter.trainable_tokens_delta"
TABLES = ".embed_tokens", ".lm_head"  # whose rows are put in their places here; other architectures name them otherwise
Hook = Callable[[torch.nn.Module, tuple[torch.Tensor, ...], torch.Tensor], torch.Tensor | None]
UNDERSTOOD = (  # fields of an adapter's configuration; others have to be as they are by default
    "task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "r", "lora_alpha", "lora_dropout", "use_rslora", "init_lora_weights", "trainable_token_indices",
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "ensure_weight_tying",
)  # fmt: skip


def is_plain(folder: Path) -> bool:
    """Whether an adapter is what this file computes: LoRA of linear layers, rows of the vocabulary, nothing else."""
    config, plain = LoraConfig.from_pretrained(str(folder)), LoraConfig()
    if type(config) is not LoraConfig or config.init_lora_weights not in (True, False, "gaussian"):
        return False  # others change the base's weights
    others = [own.name for own in fields(config) if own.name not in UNDERSTOOD]
    if any(getattr(config, name) != getattr(plain, name) for name in others):
        return False
    names = models.adapter_weights(folder)
    tables = tuple(table + ROWS for table in TABLES)
    return all(name.endswith((A, B, *tables)) and "lm_head.lora" not in name for name in names)


class AdapterTeachers:
    """All LoRA teachers of a student that share its base; their adapters are on the device while they score."""

    def __init__(
        self, student: PeftModel, folders: Mapping[str, Path], dtype: torch.dtype, device: torch.device
    ) -> None:
        """`dtype` is that of the adapters' products, `device` the one that the student computes on."""
        self.student, self.teacher_ids = student, list(folders)
        adapters = [_Adapter.read(folder) for folder in folders.values()]
        for folder, own in zip(folders.values(), adapters, strict=True):
            own.check_layers(student, folder)
        self._deltas = {
            path: (
                _stacked([own.a.get(path) for own in adapters], dtype),
                _stacked([own.b.get(path) for own in adapters], dtype),
            )
            for path in sorted({path for own in adapters for path in own.a})
        }
        self._rows = [own.rows for own in adapters]
        values = [tensor for own in self._rows for _, tensor in own.values()]
        tensors = [*(own for pair in self._deltas.values() for own in pair), *values]
        self._residence = Residence(tensors, device)
        self._order: _Order | None = None  # of the tokens that are scored

    def fetch(self) -> None:
        """See `Teachers.fetch`."""
        self._residence.fetch()

    @contextmanager
    def active(self) -> Iterator[None]:
        """See `Teachers.active`; the student's own adapter is out meanwhile, and nothing drops out."""
        hooks, plain = ExitStack(), without_dropout(self.student)
        with hooks, torch.no_grad(), self._residence.on_device(), self.student.disable_adapter(), plain:
            for path in self._deltas:
                module = self.student.get_submodule(PREFIX + path)
                hooks.callback(module.register_forward_hook(self._adding(path)).remove)
            if any(self._rows):
                hooks.callback(self.student.get_input_embeddings().register_forward_hook(self._with_rows).remove)
            hooks.enter_context(torch.compiler.set_stance("force_eager"))  # compiled layers know of no hooks
            yield

    def states(self, batch: Batch, teacher_ids: Sequence[str]) -> torch.Tensor:
        """See `Teachers.states`."""
        device = batch["prompt_ids"].device
        rows = torch.tensor([self.teacher_ids.index(own) for own in teacher_ids], device=device)
        self._order = _Order.of(rows.repeat_interleave(tokens_of_rows(batch)))
        return within(self.student, states_before, self.student, batch)

    def head(self, teacher_id: str) -> Head:
        """See `Teachers.head`."""
        rows = self._rows[self.teacher_ids.index(teacher_id)]
        base: Any = self.student.get_base_model()
        head = Head.of(base, _own_table(base.get_output_embeddings()))
        tied = base.config.get_text_config().tie_word_embeddings
        ids, values = rows.get("embed_tokens" if tied else "lm_head", (None, None))
        if ids is None or values is None:
            return head
        weight = head.weight_VH.detach()
        return replace(head, weight_VH=weight.index_copy(0, ids.to(weight.device), values.to(weight)))

    def _adding(self, path: str) -> Hook:
        """What a layer's adapters add to its output `[1, N, out]`."""

        def add(module: torch.nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
            assert self._order is not None
            a_EKI, b_EKO = (own[self._order.teachers_E] for own in self._deltas[path])
            shape = self._order.tokens_EL.shape
            inputs_ELI = given[0][0].index_select(0, self._order.tokens_EL.flatten()).unflatten(0, shape)
            added_ELO = torch.bmm(torch.bmm(inputs_ELI.to(a_EKI.dtype), a_EKI.mT), b_EKO)
            return out + added_ELO.flatten(0, 1).index_select(0, self._order.places_N).to(out.dtype)

        return add

    def _with_rows(
        self, module: torch.nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor
    ) -> torch.Tensor | None:
        """Embeddings `[1, N, H]`, those of trained tokens the teacher's own."""
        assert self._order is not None
        scale = getattr(_own_table(module), "embed_scale", 1.0)  # Gemma's
        for number, teacher in enumerate(self._order.teachers_E.tolist()):
            if "embed_tokens" not in self._rows[teacher]:
                continue
            ids, values = self._rows[teacher]["embed_tokens"]
            is_own_N = self._order.places_N // self._order.tokens_EL.shape[1] == number
            found_NR = (given[0][0][:, None] == ids.to(out.device)) & is_own_N[:, None]
            rows_NH = values.to(out)[found_NR.int().argmax(1)] * scale
            out = torch.where(found_NR.any(1)[:, None], rows_NH, out[0])[None]
        return out


def _own_table(module: torch.nn.Module) -> Any:
    """What PEFT wraps where an adapter trains rows of it: an embedding, or a head."""
    return getattr(getattr(module, "token_adapter", None), "base_layer", module)


@dataclass(frozen=True)
class _Adapter:
    """One teacher's, by the paths of layers."""

    a: dict[str, torch.Tensor]  # [K, in]
    b: dict[str, torch.Tensor]  # [K, out], scaled
    rows: dict[str, tuple[torch.Tensor, torch.Tensor]]  # table -> ids [R] and values [R, H]

    @classmethod
    def read(cls, folder: Path) -> "_Adapter":
        if not models.is_adapter(folder):
            return cls({}, {}, {})  # the base itself
        config = LoraConfig.from_pretrained(str(folder))
        assert isinstance(config, LoraConfig)
        tensors = {name.removeprefix(PREFIX): own for name, own in models.adapter_weights(folder).items()}
        models.check_finite(tensors, folder)
        a, b = ({n.removesuffix(end): own for n, own in tensors.items() if n.endswith(end)} for end in (A, B))
        if odd := [path for path in {**a, **b} if path not in a or path not in b or len(a[path]) != b[path].shape[1]]:
            raise ValueError(
                f"{folder}: lora_A and lora_B of {min(odd)} do not go together, or one is missing; copy or save the "
                "adapter again"
            )
        scaling = config.lora_alpha / (math.sqrt(config.r) if config.use_rslora else config.r)
        tables = config.trainable_token_indices or {}
        tables = tables if isinstance(tables, dict) else {"embed_tokens": tables}
        return cls(
            a,
            {path: own.float().T * scaling for path, own in b.items()},
            {
                table: (torch.tensor(ids), own)
                for table, ids in tables.items()
                for name, own in tensors.items()
                if name.endswith(table + ROWS)
            },
        )

    def check_layers(self, student: PeftModel, folder: Path) -> None:
        """Raise `ValueError` where the base has no such layer, or one of another width."""
        layers: dict[str, Any] = dict(student.named_modules())
        for path in self.a:
            layer, own = layers.get(PREFIX + path), (self.a[path].shape[1], self.b[path].shape[1])
            theirs = (layer.in_features, layer.out_features) if layer is not None else None
            if own != theirs:
                raise ValueError(
                    f"{folder}: its layer {path} has widths {own}, and the base has {theirs or 'no such layer'}; it is "
                    "of another model: train it on this one's base"
                )


@dataclass(frozen=True)
class _Order:
    """Which tokens each teacher scores, as many places for each as the most that one has."""

    teachers_E: torch.Tensor  # those that score here
    tokens_EL: torch.Tensor  # the token at each place; the first one where there is none
    places_N: torch.Tensor  # the place of each token

    @classmethod
    def of(cls, teacher_N: torch.Tensor) -> "_Order":
        teachers_E, own_N, counts_E = teacher_N.unique(return_inverse=True, return_counts=True)
        order_N = own_N.argsort(stable=True)
        starts_E = counts_E.cumsum(0) - counts_E
        rank_N = torch.empty_like(order_N)
        rank_N[order_N] = torch.arange(len(order_N), device=order_N.device)
        longest = int(counts_E.max())
        places_N = own_N * longest + rank_N - starts_E[own_N]
        tokens = torch.zeros(len(teachers_E) * longest, dtype=torch.long, device=own_N.device)
        tokens[places_N] = torch.arange(len(own_N), device=own_N.device)
        return cls(teachers_E, tokens.view(-1, longest), places_N)


def _stacked(matrices: Sequence[torch.Tensor | None], dtype: torch.dtype) -> torch.Tensor:
    """`[E, K, width]` of matrices `[k, width]`: 0 where a teacher has none, or one of a smaller rank."""
    there = [own for own in matrices if own is not None]
    out = torch.zeros(len(matrices), max(map(len, there)), there[0].shape[1], dtype=dtype)
    for place, own in enumerate(matrices):
        if own is not None:
            out[place, : len(own)] = own
    return out
