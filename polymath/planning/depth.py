"""A pass through a deep model, told from those through its first few layers.

Layers that are alike each keep as many bytes in the forward, and each have gradients of as many. So what is there at
any moment of a pass grows with the depth on a straight line of its own: while the upper layers have their turn by what
the other layers keep, while the lower ones do by the gradients of the others. Two depths say which line that is, and
the fullest moment is looked for among the lines at their ends: layers in the middle are between the two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from polymath.packed import backbone
from polymath.planning.memory import Moment

SHALLOW, DEEP = 3, 4  # layers: a first one, a last one, and one or two between
SETTINGS = bool | int | float | str | tuple | None


@dataclass(frozen=True)
class Pass:
    """A forward and a backward, bytes."""

    kept: int  # what the forward leaves for the backward
    peaks: Sequence[Moment]  # the most in the forward, then until a parameter has its gradient, until the next has, ...

    def fullest(self) -> Moment:
        """At which there was most."""
        return max(self.peaks, key=Moment.total)


def pass_of(model: Any, carried_out: Callable[[Any], Pass]) -> Pass:
    """What carrying it out would say of all layers; the model is without most of them thereafter, if they are alike."""
    layers = _layers(model)
    count = len(layers)
    if count <= DEEP or not _alike(layers, model.config.get_text_config()):
        return carried_out(model)
    found = []
    for depth in (DEEP, SHALLOW):
        del layers[depth:]
        found.append(carried_out(model))
    return extended(found[1], found[0], count - DEEP)


def extended(shallow: Pass, deep: Pass, more: int) -> Pass:
    """With so many layers more than the deep one has, which has one more than the shallow one."""
    half = len(shallow.peaks) // 2  # of the first ones both have as many above them, of the others below
    upper = zip(shallow.peaks[:half], deep.peaks[:half], strict=True)
    lower = zip(shallow.peaks[half:], deep.peaks[half - len(shallow.peaks) :], strict=True)

    def line(before: int, after: int) -> int:
        return after + more * (after - before)

    peaks = [
        Moment(line(old.activations, new.activations), line(old.gradients, new.gradients))
        for old, new in (*upper, *lower)
    ]
    return Pass(line(shallow.kept, deep.kept), peaks)


def _layers(model: Any) -> Any:
    """Those of the decoder, one after another; none where they are kept in another way."""
    count = model.config.get_text_config().num_hidden_layers
    lists = [own for own in backbone(model).modules() if isinstance(own, torch.nn.ModuleList) and len(own) == count]
    return lists[0] if len(lists) == 1 else []


def _alike(layers: Any, config: Any) -> bool:
    """Whether they differ in nothing but their place."""
    kinds = set(getattr(config, "layer_types", None) or ())
    return len(kinds) < 2 and all(_makeup(layer) == _makeup(layers[0]) for layer in layers)


def _makeup(layer: Any) -> list[Any]:
    """What decides how much a layer takes: its modules, their settings and the shapes of what they hold."""
    return [
        (
            name,
            type(module),
            {key: value for key, value in vars(module).items() if isinstance(value, SETTINGS) and key != "layer_idx"},
            [
                (key, own.shape, own.dtype, own.requires_grad)
                for key, own in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
            ],
        )
        for name, module in layer.named_modules()
    ]
