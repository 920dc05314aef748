"""Which bytes lie side by side while a stage runs: pure arithmetic, no torch.

A stage is fullest at one of a few moments: while it samples, while teachers score, at the loss, in the backward pass,
or at the update. Each moment is a mapping from part to bytes, and what a stage needs is its fullest one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

MIB = 2**20
Parts = dict[str, int]  # part -> bytes
TILE = 4096, 32_768  # rows and tokens of a tile of logits in TRL's fused head
# What is there before any tensor: the driver's context and libraries' workspaces; Python and what it imports
RUNTIME = {"cuda": 700 * MIB, "cpu": 500 * MIB}
GRAPHS = 900 * MIB  # vLLM's compiled graphs and buffers on a GPU
FOUR_BITS = 0.516  # bytes of a parameter in NF4, doubly quantized (arXiv 2305.14314, section 3)


@dataclass(frozen=True)
class Moment:
    """What comes and goes in a step, bytes."""

    activations: int
    gradients: int

    def total(self) -> int:
        """Bytes of both."""
        return self.activations + self.gradients


@dataclass(frozen=True)
class Learner:
    """A model that trains on a micro-batch. Sizes in bytes; see `polymath.planning.counting`."""

    parameters: int  # their number, an adapter's left out
    linear: int  # how many of these are in linear layers, a head that is the embedding left out
    weights: int
    adapter: int
    trained: int  # the weights that have gradients
    kept: int  # what a forward leaves for the backward
    backward: Moment  # at its fullest

    def inference(self, layers: int) -> int:
        """About what a forward takes of which nothing is learned: a layer or two of the one that is learned from."""
        return max(self.backward.activations - self.kept, 2 * self.kept // layers)

    def in_four_bits(self) -> "Learner":
        """The same on a base of which linear layers are quantized."""
        return replace(self, weights=self.weights - self.linear * self._itemsize() + int(self.linear * FOUR_BITS))

    def read_only(self, itemsize: int) -> int:
        """Of a model like it that is only read: linear layers in the type that they are multiplied in."""
        return self.linear * min(itemsize, self._itemsize()) + (self.parameters - self.linear) * self._itemsize()

    def _itemsize(self) -> int:
        return self.weights // self.parameters


@dataclass(frozen=True)
class HeadShape:
    """What makes logits of hidden states. Bytes of a number: in products, and as the weights are kept."""

    vocabulary: int
    width: int
    product: int
    kept: int
    trains: bool

    def size(self, itemsize: int) -> int:
        """Bytes of its weight, or of a gradient of that, in numbers of so many."""
        return self.vocabulary * self.width * itemsize

    def gradient(self) -> int:
        """What waits for the embedding's, or for the update, while a backward goes on."""
        return self.size(self.kept) if self.trains else 0


def fused_logits(tokens: int, vocabulary: int) -> int:
    """What TRL's fused head takes for so many tokens on a CPU: two tiles in float32."""
    return 2 * 4 * min(tokens, TILE[0]) * min(vocabulary, TILE[1])


def fused_logits_on_gpu(tokens: int, head: HeadShape) -> int:
    """The same where kernels work in place: a tile in the type of products, a tile's weights in it, and gradients.

    Those of hidden states and weights are summed in float32, and stand beside what is made of them in the end. A tile
    is never narrower than its width.
    """
    tile = head.product * min(tokens, TILE[0]) * TILE[1]
    weights = head.product * min(head.vocabulary, TILE[1]) * head.width if head.product < head.kept else 0
    of_weights = head.size(4) + (head.size(head.kept) if head.kept < 4 else 0) if head.trains else 0
    return tile + weights + tokens * head.width * (4 + (head.kept if head.kept < 4 else 0)) + of_weights


def learning(learner: Learner, logits: int, *, accumulates: bool, head: int = 0) -> dict[str, Parts]:
    """The moments of a training step; `head` is what the head's gradient takes while the rest has its turn."""
    fixed = {"weights": learner.weights, "adapter": learner.adapter, "optimizer": 2 * learner.trained}
    held = learner.trained if accumulates else 0
    return {
        "loss": fixed | {"gradients": held, "activations": learner.kept, "logits": logits},
        "backward": fixed | vars(learner.backward) | {"head": head},
        "update": fixed | {"gradients": learner.trained},
    }


def reading(learner: Learner, others: Parts, activations: int = 0) -> Parts:
    """A moment in which nothing of it trains."""
    fixed = {"weights": learner.weights, "adapter": learner.adapter, "optimizer": 2 * learner.trained}
    return fixed | {"activations": activations} | others


def fullest(moments: Mapping[str, Parts]) -> tuple[str, Parts]:
    """The moment at which most is taken."""
    name = max(moments, key=lambda moment: sum(moments[moment].values()))
    return name, {part: size for part, size in moments[name].items() if size}
