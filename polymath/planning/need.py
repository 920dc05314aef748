"""What a stage needs, and what there is; no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from polymath.hardware import available_memory, device_memory, gpus

Lengths = Literal["least", "most"]  # of what is sampled: a token, or as many as its mode lets the model write


GIB = 2**30


@dataclass(frozen=True)
class Machine:
    """Where stages run: on GPUs, or on the host alone."""

    on_gpu: bool
    memory: int | None  # bytes of a device, of the host where there is no GPU; None where nobody can say

    @classmethod
    def present(cls) -> "Machine":
        """This one."""
        devices = gpus()
        return cls(bool(devices), device_memory(devices) if devices else available_memory())


@dataclass(frozen=True)
class Need:
    """Of one stage."""

    stage: str
    kind: str
    moment: str  # at which its device is fullest
    parts: Mapping[str, int]  # what lies there then, bytes
    disk: int  # bytes, checkpoints included
    tokens: int  # most that it trains on

    def total(self) -> int:
        """Bytes of its device."""
        return sum(self.parts.values())

    def fits(self, machine: Machine) -> bool:
        """Whether it can run there; where nobody knows what there is, it may try."""
        return machine.memory is None or self.total() <= machine.memory

    def largest(self) -> str:
        """The parts that take most."""
        parts = sorted(self.parts.items(), key=lambda part: -part[1])[:3]
        return ", ".join(f"{name} {size / GIB:.1f}" for name, size in parts)


@dataclass(frozen=True)
class Remedy:
    """Settings with which a stage would fit."""

    stage: str
    settings: Mapping[str, object]  # field -> value
    need: Need

    def options(self) -> Sequence[str]:
        """As the command line takes them."""
        return [f"{self.stage}.{field}={_text(value)}" for field, value in self.settings.items()]


def _text(value: object) -> str:
    """As YAML has it; settings that are all the usual ones are an empty mapping."""
    return str(value).lower() if isinstance(value, bool | int | float | str) else "{}"


@dataclass(frozen=True)
class Survey:
    """What the stages of a run need, with completions as long as they may be and as short as they can."""

    most: Sequence[Need]
    least: Sequence[Need]
    remedies: Mapping[str, Remedy | None]  # by stage, of those that do not fit
