"""What the divergences from its teachers tell of a student: who is foreign, and who has no more to teach; no torch."""

import statistics
from collections.abc import Iterator, Mapping, Sequence

from polymath.alarms import Alarm

FOREIGN_FACTOR, FOREIGN_NATS = 5.0, 1.0  # over the others' median, and at least so much
RISE_SHARE, RISE_NATS = 0.5, 0.005  # more than chance makes of a plateau, which is near 0 in the end


class TeacherWatch:
    """Watches the logged `kl/<teacher>` of one stage.

    A domain is finished once the mean of its last `patience` values is no more than the share `threshold` below the
    mean of the `patience` values before; one whose divergence clearly rises has not learned, and is told of.

    Where teachers are extrapolated the divergence is that from where they are followed to: at first about
    `extrapolation**2` times as large.
    """

    def __init__(
        self, teacher_ids: Sequence[str], patience: int | None, threshold: float, extrapolation: float = 1.0
    ) -> None:
        self.finished: dict[str, int] = {}  # and in which step
        self._rising: set[str] = set()  # and told of
        self._patience, self._threshold = patience, threshold
        self._foreign_nats = FOREIGN_NATS * extrapolation**2
        self._seen: dict[str, list[float]] = {teacher_id: [] for teacher_id in teacher_ids}
        self._compared = len(teacher_ids) == 1  # there is none to compare it with

    @property
    def is_over(self) -> bool:
        """Whether no domain's divergence falls any more."""
        return self.finished.keys() >= self._seen.keys()

    @property
    def learning(self) -> set[str]:
        """Who is not finished; once all are, whoever was last."""
        last = max(self.finished.values(), default=0)
        return self._seen.keys() - self.finished.keys() or {own for own in self._seen if self.finished[own] == last}

    def feed(self, step: int, metrics: Mapping[str, float]) -> list[Alarm]:
        """See `Watch.feed`."""
        for teacher_id, values in self._seen.items():
            if f"kl/{teacher_id}" in metrics:
                values.append(metrics[f"kl/{teacher_id}"])
        return [*self._foreign(step), *self._plateaus(step)]

    def _foreign(self, step: int) -> Iterator[Alarm]:
        """Once, as soon as all are known: by what the student is like before it learns."""
        if self._compared or not all(self._seen.values()):
            return
        self._compared = True
        first = {teacher_id: values[0] for teacher_id, values in self._seen.items()}
        for teacher_id, value in first.items():
            others = statistics.median(own for other, own in first.items() if other != teacher_id)
            bound = max(FOREIGN_FACTOR * others, self._foreign_nats)
            if value > bound:
                yield Alarm("foreign_teacher", step, teacher_id, value, bound, (
                    f"step {step}: teacher {teacher_id!r} is {value:.2f} nats a token from the student, the others "
                    f"{others:.2f}: it comes from another model, or knows another template; train it from the stage "
                    f"that the student begins from, or lower domain_weights.{teacher_id}"
                ))  # fmt: skip

    def _plateaus(self, step: int) -> Iterator[Alarm]:
        if self._patience is None:
            return
        for teacher_id, values in self._seen.items():
            if teacher_id in self.finished or len(values) < 2 * self._patience:
                continue
            before = statistics.fmean(values[-2 * self._patience : -self._patience])
            latest = statistics.fmean(values[-self._patience :])
            bound = before - self._threshold * abs(before)  # estimates may be below 0
            most = before + max(RISE_SHARE * abs(before), RISE_NATS)
            if latest > most and teacher_id not in self._rising:
                self._rising.add(teacher_id)
                yield Alarm("rising_divergence", step, teacher_id, latest, most, (
                    f"step {step}: the divergence from teacher {teacher_id!r} rises, {latest:.3g} nats after "
                    f"{before:.3g}: lower learning_rate, or raise domain_weights.{teacher_id}"
                ))  # fmt: skip
            if bound <= latest <= most:
                self.finished[teacher_id] = step
                then = "this stage ends" if self.is_over else "its domain's prompts give their places to the others'"
                yield Alarm("plateau", step, teacher_id, latest, bound, (
                    f"step {step}: the divergence from teacher {teacher_id!r} falls no more, {latest:.3g} nats after "
                    f"{before:.3g}: {then}"
                ))  # fmt: skip
