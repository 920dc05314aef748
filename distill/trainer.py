"""TRL's `DistillationTrainer` with several teachers and the report's weighted sum as its loss.

    L = sum_i w_i * mean over the tokens of domain i of KL( student || teacher_i )        (report, equation 29)

The student samples; each sample has one teacher, and the divergence is exact over the whole vocabulary at every sampled
position. The mean is taken within each domain, so a domain of short answers weighs as much as one of long answers.

A step's samples are scored before it learns, teacher by teacher: what a teacher leaves are its last hidden states at
the written tokens, off the device (report, section 5.2.2), and the loss makes its logits of them again.
"""

import time
from collections import defaultdict
from collections.abc import Collection, Container, Mapping, Sequence
from itertools import accumulate, cycle, islice, pairwise
from typing import Any, cast

import torch
from accelerate.utils import gather_object
from trl.trainer.distillation_trainer import DistillationTrainer

from distill.divergence import Kernel, Reference, divergence, product_type
from distill.head import Head, HeadGradients
from distill.outcome import Outcome
from distill.states import states_before, tokens_of_rows, written
from distill.teachers import Teachers
from distill.watch import TeacherWatch
from polymath.episodes import Episode
from polymath.rollouts import Batch, RolloutMixin
from polymath.training import places_to_show, write_rollouts
from polymath.vocabulary import decode

START = "start"  # what teachers are extrapolated from
SEQUENCES = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "tool_mask")


def domain_tokens(teacher_index: torch.Tensor, lengths: torch.Tensor, teachers: int) -> torch.Tensor:
    """Tokens of each domain `[teachers]`, of rows' teachers and lengths `[B]`; float32."""
    return torch.zeros(teachers, device=lengths.device).index_add_(0, teacher_index, lengths.float())


def domain_scales(teacher_index: torch.Tensor, tokens: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """What each row's summed divergence is multiplied with: `w_i / tokens of domain i in the batch`.

    `teacher_index` is `[B]`, `tokens` and `weights` are `[teachers]`; the result is `[B]`. The weights of the domains
    that occur are kept as they are: a batch without one domain has a smaller loss, not a reweighted one.
    """
    return (weights / tokens.clamp(min=1))[teacher_index]


def unfinished(rows: list[Batch], learning: Container[str]) -> list[Batch]:
    """The rows; in the places of domains that learn no more there are the others' once more, to be sampled anew."""
    left = [row for row in rows if row["domain"] in learning]
    return [*left, *(dict(row) for row in islice(cycle(left), len(rows) - len(left)))] if left else rows


def by_tokens(tokens: Sequence[int], parts: int) -> list[slice]:
    """The rows in so many parts of neighbours, each of at least one row, with about as many tokens in each.

    `ValueError` where there are fewer rows than parts.
    """
    if len(tokens) < parts:
        raise ValueError(f"{len(tokens)} rows do not make {parts} parts")
    sums, ends = list(accumulate(tokens)), [0]
    for part in range(1, parts):
        nearest = min(range(len(sums)), key=lambda row: abs(sums[row] - sums[-1] * part / parts)) + 1
        ends.append(min(max(nearest, ends[-1] + 1), len(tokens) - parts + part))
    return [slice(start, end) for start, end in pairwise([*ends, len(tokens)])]


class MultiTeacherTrainer(RolloutMixin, DistillationTrainer):
    """Rows have a `domain`, which names their teacher; each process's batch is in the order of its teachers."""

    reads_logprobs = False  # the loss is of the student's own distribution

    def __init__(
        self,
        *,
        domain_weights: Mapping[str, float],
        watch: TeacherWatch,
        estimate: Kernel | None = None,
        extrapolation: float = 1.0,
        outcome: Outcome | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.watch = watch  # fed by a callback
        self.estimate = estimate  # None: the divergence is exact
        self.extrapolation = extrapolation
        self.outcome = outcome
        self.teacher_ids = list(domain_weights)
        self.domain_weights = torch.tensor(list(domain_weights.values()), device=self.accelerator.device)
        self.teachers: list[Teachers] = []  # set before training: adapters need the model that is trained
        self.start: list[Teachers] = []  # one, under the name START, where teachers are extrapolated
        # Of each place in the batch, what its teacher left, and what the start did
        self._states: list[torch.Tensor] = []
        self._start_states: list[torch.Tensor] = []
        self._head: tuple[str, Head] | None = None  # of the teacher that was last learned from
        self._start_head: Head | None = None
        # Of each teacher, in this step: the sums of divergence, entropy and agreement, and the tokens
        self._told: defaultdict[str, torch.Tensor] = defaultdict(lambda: torch.zeros(4, device=self.accelerator.device))

    @property
    def has_learned_all(self) -> bool:
        """Whether the stage ends before its last step."""
        return self.watch.is_over

    def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> list[list[int]]:
        return [episode.ids for episode in self._episodes]

    def _collect(self, rows: list[Batch]) -> tuple[list[Batch], list[Episode]]:
        if self.has_learned_all:
            self.control.should_training_stop = True  # after this step
        rows = unfinished(rows, self.watch.learning)
        self._expect({row["domain"] for row in rows})
        rows, episodes = super()._collect(rows)
        order = sorted(range(len(rows)), key=lambda place: self.teacher_ids.index(rows[place]["domain"]))
        return [rows[place] for place in order], [episodes[place] for place in order]

    def _expect(self, domains: Collection[str]) -> None:
        """Begin to bring the teachers that will score first, beside the sampling, where that leaves them room."""
        if not self.engine.can_sleep:
            first = next(own for own in self.teachers if not set(own.teacher_ids).isdisjoint(domains))
            first.fetch()

    def _prepare_inputs(self, generation_batch: list[Batch]) -> Batch:
        """A micro-batch. TRL's are shuffled and of equal rows; these are in the order of teachers, and of equal tokens.

        So a teacher's head is brought to the device once a step, and the longest domain's rows do not meet in one part
        that is larger than the others.
        """
        parts = self.args.gradient_accumulation_steps
        if self._step % parts == 0 or self._buffered_inputs is None:
            batch = self._generate_and_score_completions(generation_batch)
            self._buffered_inputs = [
                {key: value[own] if _has_rows(value) else value for key, value in batch.items()}
                for own in by_tokens(tokens_of_rows(batch).tolist(), parts)
            ]
        return self._buffered_inputs[self._step % parts]

    def _generate_and_score_completions(self, inputs: list[Batch]) -> Batch:
        batch = super()._generate_and_score_completions(inputs)
        names = [row["domain"] for row in self._rows]  # as they were collected
        index = torch.tensor([self.teacher_ids.index(name) for name in names], device=self.accelerator.device)
        lengths, processes = written(batch).sum(1), self.accelerator.num_processes
        tokens = self._of_all(domain_tokens(index, lengths, len(self.teacher_ids)))
        batch |= {
            "teacher_index": index,
            # Of all processes' tokens; gradients are means over the processes
            "domain_scale": domain_scales(index, tokens, self._weights()) * processes,
            "place": torch.arange(len(index), device=index.device),
            "advantage": torch.tensor(self._advantages(), device=index.device),
        }
        started = time.perf_counter()
        self._states = self._scored(batch, self.teachers, names)
        if self.extrapolation != 1:
            self._start_states = self._scored(batch, self.start, [START] * len(names))
        self._log("time/teachers", time.perf_counter() - started)
        self._keep_some()
        return batch

    def _weights(self) -> torch.Tensor:
        """Of the domains; those that learn no more have none, for a process may have had rows of them alone."""
        learns = [float(teacher_id in self.watch.learning) for teacher_id in self.teacher_ids]
        return self.domain_weights * self.domain_weights.new_tensor(learns)

    def _advantages(self) -> list[float]:
        """Of each row, by its outcome; 0 where none is asked for."""
        if self.outcome is None:
            return [0.0] * len(self._rows)
        started = time.perf_counter()
        rewards = self.outcome.rewards(self._rows)
        self._log("time/rewards", time.perf_counter() - started)
        for reward in rewards:
            self._log("reward/total", reward)
        scorer = self.outcome.scorer
        self._log_all(scorer.part_means() | scorer.means())
        return self.outcome.advantages(self._rows, rewards)

    def _of_all(self, own: torch.Tensor) -> torch.Tensor:
        """The sum of what the processes have."""
        return cast(torch.Tensor, self.accelerator.reduce(own, "sum"))

    def _keep_some(self) -> None:
        kept = [
            {
                "prompt": self._rows[place]["prompt"],
                "completion": decode(self._tokenizer, self._episodes[place].ids),
                "teacher_id": self._rows[place]["domain"],
            }
            | ({} if self.outcome is None else {"rewards": self.outcome.scorer.told(place)})
            for place in places_to_show(self._rows)
        ]
        write_rollouts(self.folder, self._step_number(), kept)

    @torch.no_grad()
    def _scored(self, batch: Batch, known: Sequence[Teachers], names: Sequence[str]) -> list[torch.Tensor]:
        """Of each row what the one so named makes of it: `[tokens written, H]` on the host, in the type of products."""
        states: dict[int, torch.Tensor] = {}
        work = [(teachers, self._turns(teachers, names)) for teachers in known]
        work = [(teachers, turns) for teachers, turns in work if turns]
        for (teachers, turns), following in zip(work, [*work[1:], None], strict=True):
            with teachers.active(), self.accelerator.autocast():
                if following is not None:
                    following[0].fetch()  # while these score
                for places in turns:
                    own = {key: batch[key][places or [0]] for key in SEQUENCES}
                    hidden = teachers.states(own, [names[place] for place in places] or teachers.teacher_ids[:1])
                    if places:
                        hidden = _on_host(hidden.to(product_type(hidden)))
                        states |= zip(places, hidden.split(written(own).sum(1).tolist()), strict=True)
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # what was copied has arrived
        return [states[place] for place in range(len(states))]

    def _turns(self, teachers: Teachers, names: Sequence[str]) -> list[list[int]]:
        """The places of teachers' rows, as many at once as in training.

        What is sharded computes in all processes or in none: one that has no rows left scores one for nobody.
        """
        places = [place for place, name in enumerate(names) if name in teachers.teacher_ids]
        size = self._train_batch_size
        turns = [places[start : start + size] for start in range(0, len(places), size)]
        most = max(gather_object([len(turns)])) if self.is_fsdp_enabled else len(turns)
        return turns + [[]] * (most - len(turns))

    def _compute_loss(
        self, unwrapped_student: Any, inputs: Batch, num_items_in_batch: Any
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        # The trainer calls the backbone itself, past the forward that accelerate wrapped in autocast
        with self.accelerator.autocast():
            loss, entropy = self._weighted_divergence(unwrapped_student, inputs)
        if (self._step + 1) % self.args.gradient_accumulation_steps == 0:
            self._note_teachers()
            self._head, self._start_head, self._states, self._start_states = None, None, [], []
        return loss, entropy, written(inputs).sum()

    def _weighted_divergence(self, student: Any, inputs: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of a micro-batch, and the sum of the student's entropy."""
        student_NH, head = states_before(student, inputs), Head.of(student)
        gathered = HeadGradients(head)
        row_N = torch.arange(len(inputs["place"]), device=student_NH.device).repeat_interleave(written(inputs).sum(1))
        teacher_N, scale_N = inputs["teacher_index"][row_N], inputs["domain_scale"][row_N]
        advantage_N = inputs["advantage"][row_N]
        tokens_N = inputs["completion_ids"][written(inputs).bool()]
        loss, entropy = student_NH.new_zeros((), dtype=torch.float32), student_NH.new_zeros((), dtype=torch.float32)
        for index in inputs["teacher_index"].unique().tolist():
            own_N = teacher_N == index
            places = inputs["place"][inputs["teacher_index"] == index].tolist()
            teacher_NH = _brought(self._states, places, student_NH.device)
            told = divergence(
                student_NH[own_N], head, teacher_NH, self._head_of(self.teacher_ids[index]), scale_N[own_N],
                beta=self.beta, temperature=self.temperature, estimate=self.estimate, tokens_N=tokens_N[own_N],
                advantages_N=None if self.outcome is None else advantage_N[own_N],
                reference=self._reference(places), head_gradients=gathered,
            )  # fmt: skip
            loss, entropy = loss + told.loss, entropy + told.entropy_N.sum()
            sums = torch.stack([told.divergence_N.sum(), told.entropy_N.sum(), told.agreement_N.sum()])
            self._told[self.teacher_ids[index]] += torch.cat([sums, sums.new_tensor([len(teacher_NH)])])
        return gathered.attached(loss), entropy

    def _head_of(self, teacher_id: str) -> Head:
        """One teacher's is on the device at a time."""
        if self._head is None or self._head[0] != teacher_id:
            self._head = None  # before the next one comes
            (teachers,) = (own for own in self.teachers if teacher_id in own.teacher_ids)
            self._head = teacher_id, teachers.head(teacher_id)
        return self._head[1]

    def _reference(self, places: Sequence[int]) -> Reference | None:
        """What the teachers of these rows began as, where they are followed beyond where they ended."""
        if self.extrapolation == 1:
            return None
        self._start_head = self._start_head or self.start[0].head(START)
        states_NH = _brought(self._start_states, places, self.accelerator.device)
        return Reference(states_NH, self._start_head, self.extrapolation)

    def _note_teachers(self) -> None:
        """Each teacher's share of the step's tokens, and means over these, where it has any."""
        told = torch.stack([self._told[teacher_id] for teacher_id in self.teacher_ids])
        sums, tokens = self._of_all(told).split([3, 1], dim=1)
        shares, means = tokens[:, 0] / tokens.sum().clamp(min=1), sums / tokens
        for teacher_id, share, (kl, entropy, agreement) in zip(
            self.teacher_ids, shares.tolist(), means.tolist(), strict=True
        ):
            self._log(f"token_share/{teacher_id}", share)
            if share:
                self._log(f"kl/{teacher_id}", kl)
                self._log(f"policy/entropy/{teacher_id}", entropy)
                self._log(f"agreement/{teacher_id}", agreement)
        self._told.clear()


def _has_rows(value: Any) -> bool:
    return value is not None and value.ndim > 0


def _on_host(states: torch.Tensor) -> torch.Tensor:
    """A copy that is under way: in pinned memory, where there is a GPU."""
    if not states.is_cuda:
        return states
    return torch.empty_like(states, device="cpu", pin_memory=True).copy_(states, non_blocking=True)


def _brought(states: Sequence[torch.Tensor], places: Sequence[int], device: torch.device) -> torch.Tensor:
    """What was left of some rows, together on the device."""
    return torch.cat([states[place].to(device, non_blocking=True) for place in places])
