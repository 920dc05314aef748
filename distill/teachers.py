"""Teachers: adapters on the student's own base where that can be, whole models otherwise."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer

from distill.adapters import AdapterTeachers, is_plain
from distill.head import Head
from distill.residence import Residence
from distill.states import states_before
from polymath import models
from polymath.packed import use_packed_attention
from polymath.rollouts import Batch
from polymath.sharding import shard, within
from polymath.vocabulary import apart


class Teachers(Protocol):
    """One teacher, or some that score together."""

    teacher_ids: list[str]

    def fetch(self) -> None:
        """Begin to bring them to the device, beside what is computed there."""
        ...

    def active(self) -> AbstractContextManager[None]:
        """They are on the device, ready to score, for as long as the context is open."""
        ...

    def states(self, batch: Batch, teacher_ids: Sequence[str]) -> torch.Tensor:
        """Of each row its own teacher's last hidden states before the written tokens, `[N, H]`, row by row."""
        ...

    def head(self, teacher_id: str) -> Head:
        """What makes logits of one's last hidden states; on the device for as long as it is held."""
        ...


class ModelTeacher:
    """A model of its own, whose weights are on the device while it scores."""

    def __init__(
        self, teacher_ids: Sequence[str], model: Any, device: torch.device, products: torch.dtype = torch.float32
    ) -> None:
        self.teacher_ids, self.model = list(teacher_ids), model
        use_packed_attention(model.to(device))
        _keep_as_multiplied(model.to("cpu"), products)
        # what is tied is there once
        self._residence = Residence([*model.parameters(), *model.buffers()], device)

    def fetch(self) -> None:
        """See `Teachers.fetch`."""
        self._residence.fetch()

    @contextmanager
    def active(self) -> Iterator[None]:
        """See `Teachers.active`."""
        with self._residence.on_device(), torch.no_grad():
            yield

    def states(self, batch: Batch, teacher_ids: Sequence[str]) -> torch.Tensor:
        """See `Teachers.states`."""
        return states_before(self.model, batch)

    def head(self, teacher_id: str) -> Head:
        """See `Teachers.head`; the rest of the model stays where it is."""
        return head_of_teacher(self.model).to(self._residence.device)


class ShardedTeacher:
    """A model of its own, of which each process has a part, in the host's memory; its head each process has whole."""

    def __init__(
        self, teacher_ids: Sequence[str], model: Any, device: torch.device, products: torch.dtype = torch.float32
    ) -> None:
        self.teacher_ids, self.model, self._device = list(teacher_ids), model, device
        use_packed_attention(model)
        _keep_as_multiplied(model, products)
        self._head = head_of_teacher(model).copied()  # each process learns from whom it likes
        shard(model, device)

    def fetch(self) -> None:
        """See `Teachers.fetch`: layers come one by one, and each one beside the work of the last."""

    def active(self) -> AbstractContextManager[None]:
        """See `Teachers.active`."""
        return torch.no_grad()

    def states(self, batch: Batch, teacher_ids: Sequence[str]) -> torch.Tensor:
        """See `Teachers.states`; all processes have to call this."""
        return within(self.model, states_before, self.model, batch)

    def head(self, teacher_id: str) -> Head:
        """See `Teachers.head`."""
        return self._head.to(self._device)


def head_of_teacher(model: Any) -> Head:
    """A model's that is only read: what an adapter adds to its head is added to the weight."""
    module = model.get_output_embeddings()
    if not isinstance(module, LoraLayer):
        return Head.of(model)
    layer = cast(Any, module)  # not all of them can tell what they add, but those of linear layers
    head = Head.of(model, layer.get_base_layer())
    added = sum((layer.get_delta_weight(name) for name in layer.active_adapters), torch.zeros(()))
    return replace(head, weight_VH=head.weight_VH.detach() + added)


def check_vocabularies(origin: Path, others: Mapping[str, Path]) -> None:
    """Raise `ValueError` where a token has another number for one of the others, by fields of the recipe."""
    for field, folder in others.items():
        if fault := apart(origin, folder):
            raise ValueError(f"{field}: {fault}")


def load_teachers(
    student: Any,
    student_base: Path,
    folders: Mapping[str, Path],
    dtype: models.Dtype,
    device: torch.device,
    products: torch.dtype = torch.float32,
    kind: type[ModelTeacher] | type[ShardedTeacher] = ModelTeacher,
) -> list[Teachers]:
    """Each teacher once, by `folders`' ids, also where it has several; `products` is the type that is multiplied in.

    Adapters, and the base itself, share the student's base where the student is an adapter on it as well. `kind` is
    what becomes of a teacher that is a model of its own.

    Raises `ValueError` where a teacher's vocabulary is not as large as the student's.
    """
    adapters = {
        teacher_id: folder
        for teacher_id, folder in folders.items()
        if isinstance(student, PeftModel)
        and models.base_of(folder) == student_base
        and (not models.is_adapter(folder) or is_plain(folder))
    }
    teachers: list[Teachers] = [AdapterTeachers(student, adapters, products, device)] if adapters else []
    others: defaultdict[Path, list[str]] = defaultdict(list)
    for teacher_id, folder in folders.items():
        if teacher_id not in adapters:
            others[folder].append(teacher_id)
    for folder, teacher_ids in others.items():
        model = models.load_model(folder, dtype).eval().requires_grad_(False)
        theirs, ours = model.config.vocab_size, student.config.vocab_size
        if theirs != ours:
            raise ValueError(
                f"teacher {teacher_ids[0]!r} ({folder}) has {theirs} tokens and the student {ours}: a divergence over "
                "the whole vocabulary needs one vocabulary; train the teacher from the student's own origin"
            )
        teachers.append(kind(teacher_ids, model, device, products))
    return teachers


def _keep_as_multiplied(model: Any, products: torch.dtype) -> None:
    """Linear layers of a model that is only read take the type that autocast would give them each time anew.

    Same numbers, and half of the room on the host, on the device and on the way. An embedding that is the head as well
    stays as it is: it is read besides.
    """
    if products == torch.float32:
        return
    embedding = model.get_input_embeddings().weight
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module.weight is not embedding:
            module.to(products)
