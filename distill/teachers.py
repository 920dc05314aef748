"""Teachers: one for each domain, as an adapter on the student's own base where that can be, else as a whole model."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from peft import PeftModel
from trl.trainer.utils import use_adapter

from polymath import models
from polymath.packed import use_packed_attention


class Teacher(Protocol):
    """Scores what the student wrote."""

    def active(self) -> AbstractContextManager[Any]:
        """A model that computes as the teacher, for as long as the context is open."""
        ...


@dataclass
class ModelTeacher:
    """A model of its own."""

    model: Any

    def active(self) -> AbstractContextManager[Any]:
        return nullcontext(self.model)


@dataclass
class AdapterTeacher:
    """An adapter that sits beside the student's on the same base: no second copy of the weights."""

    student: PeftModel
    name: str

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
        model = models.load_model(folder, dtype).to(device).eval().requires_grad_(False)
        theirs, ours = model.config.vocab_size, student.config.vocab_size
        if theirs != ours:
            raise ValueError(
                f"teacher {teacher_id!r} ({folder}) has {theirs} tokens and the student {ours}: a divergence over the "
                "whole vocabulary needs one vocabulary; train the teacher from the student's own origin"
            )
        use_packed_attention(model)
        teachers[teacher_id] = ModelTeacher(model)
    return teachers
