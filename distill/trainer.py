"""TRL's `DistillationTrainer` with several teachers and the report's weighted sum as its loss.

    L = sum_i w_i * mean over the tokens of domain i of KL( student || teacher_i )        (report, equation 29)

The student samples; each sample has one teacher, and the divergence is exact over the whole vocabulary at every sampled
position. The mean is taken within each domain, so a domain of short answers weighs as much as one of long answers.

A step's samples are scored before it learns, teacher by teacher: what a teacher leaves are its last hidden states at
the written tokens, off the device (report, section 5.2.2), and the loss makes its logits of them again.
"""

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from trl.trainer.distillation_trainer import DistillationTrainer

from distill.divergence import Head, divergence, product_type
from distill.teachers import Teacher
from polymath.packed import Packed, backbone
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


def written(batch: Batch) -> torch.Tensor:
    """`[B, T]`: 1 at the tokens that the student wrote, 0 at padding and at what tools answered."""
    return batch["completion_mask"] * batch["tool_mask"]


def states_before(model: Any, batch: Batch) -> torch.Tensor:
    """Last hidden states `[N, H]` of the tokens before those that the student wrote, which predict them; row by row."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    packed = Packed.of(ids, torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1))
    width = batch["prompt_ids"].shape[1]
    predicts = torch.nn.functional.pad(written(batch), (width - 1, 1)).bool()
    hidden = backbone(model)(**packed.inputs()).last_hidden_state[0]
    return hidden[predicts[packed.mask_BT]]


class MultiTeacherTrainer(RolloutMixin, DistillationTrainer):
    """Rows have a `domain`, which names their teacher. One process; the teachers stay where they were loaded."""

    def __init__(self, *, domain_weights: Mapping[str, float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.teacher_ids = list(domain_weights)
        self.domain_weights = torch.tensor(list(domain_weights.values()), device=self.accelerator.device)
        self.teachers: Mapping[str, Teacher] = {}  # set before training: adapters need the model that is trained
        self._states: list[torch.Tensor] = []  # of each place in the batch, what its teacher left
        # Of each teacher, in this step: the sums of divergence, entropy and agreement, and the tokens
        self._told: defaultdict[str, torch.Tensor] = defaultdict(lambda: torch.zeros(4, device=self.accelerator.device))

    def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> list[list[int]]:
        return [episode.ids for episode in self._episodes]

    def _generate_and_score_completions(self, inputs: list[Batch]) -> Batch:
        batch = super()._generate_and_score_completions(inputs)
        index = torch.tensor([self.teacher_ids.index(row["domain"]) for row in inputs], device=self.accelerator.device)
        batch |= {
            "teacher_index": index,
            "domain_scale": domain_scales(index, written(batch).sum(1), self.domain_weights),
            "place": torch.arange(len(index), device=index.device),
        }
        started = time.perf_counter()
        self._states = self._scored(batch)
        self._log("time/teachers", time.perf_counter() - started)
        self._keep_some(inputs)
        return batch

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

    @torch.no_grad()
    def _scored(self, batch: Batch) -> list[torch.Tensor]:
        """Of each row, what its teacher makes of it: `[tokens written, H]` on the host, in the type of products."""
        states: dict[int, torch.Tensor] = {}
        for index, teacher_id in enumerate(self.teacher_ids):
            teacher = self.teachers[teacher_id]
            for places in (batch["teacher_index"] == index).nonzero()[:, 0].split(self._train_batch_size):
                own = {key: batch[key][places] for key in SEQUENCES}
                with teacher.active() as model, self.accelerator.autocast():
                    hidden = states_before(model, own)
                    hidden = _on_host(hidden.to(product_type(hidden)))
                states |= zip(places.tolist(), hidden.split(written(own).sum(1).tolist()), strict=True)
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # what was copied has arrived
        return [states[place] for place in range(len(states))]

    def _compute_loss(
        self, unwrapped_student: Any, inputs: Batch, num_items_in_batch: Any
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        # The trainer calls the backbone itself, past the forward that accelerate wrapped in autocast
        with self.accelerator.autocast():
            loss, entropy = self._weighted_divergence(unwrapped_student, inputs)
        if (self._step + 1) % self.args.gradient_accumulation_steps == 0:
            self._note_teachers()
        return loss, entropy, written(inputs).sum()

    def _weighted_divergence(self, student: Any, inputs: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of a micro-batch, and the sum of the student's entropy."""
        student_NH, head = states_before(student, inputs), Head.of(student)
        row_N = torch.arange(len(inputs["place"]), device=student_NH.device).repeat_interleave(written(inputs).sum(1))
        teacher_N, scale_N = inputs["teacher_index"][row_N], inputs["domain_scale"][row_N]
        loss, entropy = student_NH.new_zeros((), dtype=torch.float32), student_NH.new_zeros((), dtype=torch.float32)
        for index in inputs["teacher_index"].unique().tolist():
            own_N = teacher_N == index
            places = inputs["place"][inputs["teacher_index"] == index].tolist()
            teacher = self.teachers[self.teacher_ids[index]]
            teacher_NH = torch.cat([self._states[place] for place in places]).to(student_NH.device)
            with teacher.active() as model:
                teacher_head = Head.of(model)
            told = divergence(
                student_NH[own_N], head, teacher_NH, teacher_head, scale_N[own_N],
                beta=self.beta, temperature=self.temperature,
            )  # fmt: skip
            loss, entropy = loss + told.loss, entropy + told.entropy_N.sum()
            sums = torch.stack([told.divergence_N.sum(), told.entropy_N.sum(), told.agreement_N.sum()])
            self._told[self.teacher_ids[index]] += torch.cat([sums, sums.new_tensor([len(teacher_NH)])])
        return loss, entropy

    def _note_teachers(self) -> None:
        """Each teacher's share of the step's tokens, and means over these, where it has any."""
        tokens = torch.stack([self._told[teacher_id][3] for teacher_id in self.teacher_ids])
        for teacher_id, share in zip(self.teacher_ids, (tokens / tokens.sum().clamp(min=1)).tolist(), strict=True):
            self._log(f"token_share/{teacher_id}", share)
            if share:
                kl, entropy, agreement = (self._told[teacher_id][:3] / self._told[teacher_id][3]).tolist()
                self._log(f"kl/{teacher_id}", kl)
                self._log(f"policy/entropy/{teacher_id}", entropy)
                self._log(f"agreement/{teacher_id}", agreement)
        self._told.clear()


def _on_host(states: torch.Tensor) -> torch.Tensor:
    """A copy that is under way: in pinned memory, where there is a GPU."""
    if not states.is_cuda:
        return states
    return torch.empty_like(states, device="cpu", pin_memory=True).copy_(states, non_blocking=True)
