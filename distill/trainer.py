"""TRL's `DistillationTrainer` with several teachers and the report's weighted sum as its loss.

    L = sum_i w_i * mean over the tokens of domain i of KL( student || teacher_i )        (report, equation 29)

The student samples; each sample has one teacher, and the divergence is exact over the whole vocabulary at every sampled
position. The mean is taken within each domain, so a domain of short answers weighs as much as one of long answers.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from trl.kernels.chunked_divergence import ChunkedDivergenceFunction
from trl.trainer.distillation_trainer import DistillationTrainer

from distill.teachers import Teacher
from polymath.rollouts import Batch, RolloutMixin
from polymath.training import places_to_show, write_rollouts
from polymath.vocabulary import decode

SEQUENCES = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "tool_mask")


def domain_scales(teacher_index: torch.Tensor, lengths: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """What each row's summed divergence is multiplied with: `w_i / tokens of domain i in the batch`.

    `teacher_index` and `lengths` are `[B]`, `weights` is `[teachers]`; the result is `[B]`. The weights of the domains
    that occur are kept as they are: a batch without one domain has a smaller loss, not a reweighted one.
    """
    tokens = torch.zeros_like(weights).index_add_(0, teacher_index, lengths.to(weights.dtype))
    return (weights / tokens.clamp(min=1))[teacher_index]


class Head(NamedTuple):
    """What projects hidden states, as it is now: an adapter may train rows of it, and adapters are switched."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    @classmethod
    def of(cls, module: Any) -> "Head":
        return cls(module.weight, getattr(module, "bias", None))


def _written(batch: Batch) -> torch.Tensor:
    """`[B, T]`: 1 at the tokens that the student wrote, 0 at padding and at what tools answered."""
    return batch["completion_mask"] * batch["tool_mask"]


def _trimmed(batch: Batch) -> Batch:
    """Some rows of a batch without the columns that are padding in all of them: prompts at the left, the rest right."""
    prompt = int(batch["prompt_mask"].sum(dim=1).max())
    completion = int(batch["completion_mask"].sum(dim=1).max())
    return {
        key: value[:, value.size(1) - prompt :] if key.startswith("prompt") else value[:, :completion]
        for key, value in batch.items()
    }


class MultiTeacherTrainer(RolloutMixin, DistillationTrainer):
    """Rows have a `domain`, which names their teacher. One process; the teachers stay where they were loaded."""

    def __init__(self, *, domain_weights: Mapping[str, float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.teacher_ids = list(domain_weights)
        self.domain_weights = torch.tensor(list(domain_weights.values()), device=self.accelerator.device)
        self.teachers: Mapping[str, Teacher] = {}  # set before training: adapters need the model that is trained

    def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> list[list[int]]:
        return [episode.ids for episode in self._episodes]

    def _generate_and_score_completions(self, inputs: list[Batch]) -> Batch:
        batch = super()._generate_and_score_completions(inputs)
        index = torch.tensor([self.teacher_ids.index(row["domain"]) for row in inputs], device=self.accelerator.device)
        lengths = _written(batch).sum(dim=1)
        self._keep_some(inputs)
        return batch | {
            "teacher_index": index,
            "domain_scale": domain_scales(index, lengths, self.domain_weights),
        }

    def _keep_some(self, inputs: list[Batch]) -> None:
        kept = [
            {
                "prompt": inputs[place]["prompt"],
                "completion": decode(self._tokenizer, self._episodes[place].ids),
                "teacher_id": inputs[place]["domain"],
            }
            for place in places_to_show(inputs)
        ]
        write_rollouts(self.folder, self._step_number(), kept)

    def _compute_loss(
        self, unwrapped_student: Any, inputs: Batch, num_items_in_batch: Any
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        # The trainer calls the backbone itself, past the forward that accelerate wrapped in autocast
        with self.accelerator.autocast():
            return self._weighted_divergence(unwrapped_student, inputs)

    def _weighted_divergence(self, student: Any, inputs: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        head = student.get_output_embeddings()
        loss, entropy = torch.zeros((), device=head.weight.device), torch.zeros((), device=head.weight.device)
        for index in inputs["teacher_index"].unique().tolist():
            rows = inputs["teacher_index"] == index
            # The rows of a teacher go through both models by themselves: short answers are not padded to long ones
            own = _trimmed({key: inputs[key][rows] for key in SEQUENCES})
            mask_BT = _written(own).bool()
            teacher = self.teachers[self.teacher_ids[index]]
            with teacher.active():
                teacher_BTH, teacher_head = self._hidden_states(teacher.backbone(), own), Head.of(teacher.head())
            student_BTH = self._hidden_states(student, own)
            divergence_N, entropy_N = self._divergence(student_BTH, Head.of(head), teacher_BTH, teacher_head, mask_BT)
            scale_N = inputs["domain_scale"][rows][:, None].expand_as(mask_BT)[mask_BT]
            loss = loss + (divergence_N * scale_N).sum()
            entropy = entropy + entropy_N.sum()
            self._metrics["train"][f"kl/{self.teacher_ids[index]}"].append(divergence_N.mean().item())
        return loss, entropy.detach(), _written(inputs).sum()

    def _hidden_states(self, model: Any, inputs: Batch) -> torch.Tensor:
        """Last hidden states `[B, T, H]` at the positions that predict the completion's tokens."""
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        return self._get_last_hidden_state(model, ids, mask, inputs["completion_ids"].size(1))

    def _divergence(
        self,
        student_BTH: torch.Tensor,
        head: Head,
        teacher_BTH: torch.Tensor,
        teacher_head: Head,
        mask_BT: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Divergence and student entropy, `[N]` each, at the N positions inside the mask."""
        return ChunkedDivergenceFunction.apply(
            student_BTH[mask_BT],
            head.weight,
            head.bias,
            teacher_BTH[mask_BT],
            teacher_head.weight,
            teacher_head.bias,
            self.beta,
            self.temperature,
        )
