"""Teachers: one for each domain, as an adapter on the student's own base where that can be, else as a whole model."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from peft import PeftModel
from trl.trainer.utils import use_adapter

from distill.divergence import Head
from polymath import models
from polymath.packed import use_packed_attention


class Teacher(Protocol):
    """Scores what the student wrote."""

    def fetch(self) -> None:
        """Begin to bring it to the device, beside what is computed there."""
        ...

    def active(self) -> AbstractContextManager[Any]:
        """A model that computes as the teacher, on the device for as long as the context is open."""
        ...

    def head(self) -> Head:
        """What makes logits of its last hidden states; on the device for as long as it is held."""
        ...


class ModelTeacher:
    """A model of its own, whose weights lie in the host's memory and come to a GPU to score.

    They are copied by a stream of their own, from pinned memory. Their place is taken from the stream that computes,
    which waits for them to arrive before it reads them, so that it may give the place to others once it has.
    """

    def __init__(self, model: Any, device: torch.device) -> None:
        self.model, self.device = model, device
        self._on_gpu = device.type == "cuda"
        tensors = [*model.parameters(), *model.buffers()]  # what is tied is there once
        self._weights = [(own, own.data.pin_memory() if self._on_gpu else own.data) for own in tensors]
        for own, on_host in self._weights:
            own.data = on_host
        self._copying = torch.cuda.Stream(device) if self._on_gpu else None
        self._is_coming = False

    def fetch(self) -> None:
        """See `Teacher.fetch`."""
        if self._copying is None or self._is_coming:
            return
        places = [torch.empty_like(on_host, device=self.device) for _, on_host in self._weights]
        self._copying.wait_stream(torch.cuda.current_stream(self.device))  # what was in these places is read until then
        with torch.cuda.stream(self._copying):
            for place, (own, on_host) in zip(places, self._weights, strict=True):
                own.data = place.copy_(on_host, non_blocking=True)
        self._is_coming = True

    @contextmanager
    def active(self) -> Iterator[Any]:
        """See `Teacher.active`."""
        self.fetch()
        if self._copying is not None:
            torch.cuda.current_stream(self.device).wait_stream(self._copying)
        try:
            yield self.model
        finally:
            for own, on_host in self._weights:
                own.data = on_host
            self._is_coming = False

    def head(self) -> Head:
        """See `Teacher.head`; the rest of the model stays where it is."""
        return Head.of(self.model).to(self.device)


@dataclass
class AdapterTeacher:
    """An adapter that sits beside the student's on the same base: no second copy of the weights."""

    student: PeftModel
    name: str

    def fetch(self) -> None:
        """It is there."""

    def head(self) -> Head:
        """See `Teacher.head`."""
        with self.active() as model:
            return Head.of(model)

    def active(self) -> AbstractContextManager[Any]:
        return _Switched(self.student, self.name)


class _Switched:
    """The student computing with another adapter, without gradient and without dropout."""

    def __init__(self, student: PeftModel, name: str) -> None:
        self.student, self.name = student, name

    def __enter__(self) -> PeftModel:
        self.training = self.student.training
        self.trainable = [parameter for parameter in self.student.parameters() if parameter.requires_grad]
        self.grad, self.adapter = torch.no_grad(), use_adapter(self.student, self.name)
        self.grad.__enter__()
        self.adapter.__enter__()
        self.student.eval()
        return self.student

    def __exit__(self, *error: Any) -> None:
        self.student.train(self.training)
        self.adapter.__exit__(*error)
        self.grad.__exit__(*error)
        # switching adapters also switches which parameters ask for gradients
        for parameter in self.student.parameters():
            parameter.requires_grad_(False)
        for parameter in self.trainable:
            parameter.requires_grad_(True)


def check_vocabularies(student: Path, folders: Mapping[str, Path]) -> None:
    """Raise `ValueError` where a token has another number for a teacher: its probabilities would be another token's."""
    ours = models.load_tokenizer(student).get_vocab()
    for teacher_id, folder in folders.items():
        theirs = models.load_tokenizer(folder).get_vocab()
        if others := [token for token, number in ours.items() if theirs.get(token) != number]:
            raise ValueError(
                f"teacher {teacher_id!r} ({folder}) has another number for {len(others)} of the student's {len(ours)} "
                f"tokens, such as {others[0]!r}: train the teacher from the student's own origin"
            )


def load_teachers(
    student: Any, student_base: Path, folders: Mapping[str, Path], dtype: models.Dtype, device: torch.device
) -> dict[str, Teacher]:
    """A teacher for each id; raises `ValueError` where a teacher's vocabulary is not the student's."""
    teachers: dict[str, Teacher] = {}
    for teacher_id, folder in folders.items():
        shared = isinstance(student, PeftModel) and models.is_adapter(folder) and models.base_of(folder) == student_base
        if shared:
            student.load_adapter(str(folder), adapter_name=f"teacher-{teacher_id}", is_trainable=False)
            teachers[teacher_id] = AdapterTeacher(student, f"teacher-{teacher_id}")
            continue
        model = models.load_model(folder, dtype).eval().requires_grad_(False)
        theirs, ours = model.config.vocab_size, student.config.vocab_size
        if theirs != ours:
            raise ValueError(
                f"teacher {teacher_id!r} ({folder}) has {theirs} tokens and the student {ours}: a divergence over the "
                "whole vocabulary needs one vocabulary; train the teacher from the student's own origin"
            )
        teachers[teacher_id] = teacher = ModelTeacher(model, device)
        with teacher.active():
            use_packed_attention(model)
    return teachers
