"""What a person sees while a run goes on: bars on a terminal, plain lines elsewhere."""

import time
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# What tells most about a stage, the first that it has; shown beside its bar
HEADLINES = ("reward/verifier", "kl/", "train/loss", "accuracy/")
LINE_EVERY_S = 10.0


class Display(Protocol):
    """Told of everything that happens in a run."""

    def note(self, text: str) -> None: ...
    def skipped(self, name: str) -> None: ...
    def started(self, name: str, again: bool) -> None: ...
    def progress(self, name: str, step: int, total: int, metrics: dict[str, float]) -> None: ...
    def finished(self, name: str, seconds: float) -> None: ...
    def failed(self, name: str, cause: str) -> None: ...


def headline(metrics: dict[str, float]) -> str:
    """The metrics to show of many, as text."""
    for prefix in HEADLINES:
        if found := {key: value for key, value in metrics.items() if key.startswith(prefix)}:
            return " ".join(f"{key} {value:.3g}" for key, value in found.items())
    return ""


class Bars:
    """A bar for each stage that runs; what is finished scrolls away above."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("  {task.description:<14}"),
            BarColumn(24),
            TextColumn("{task.completed:>5.0f}/{task.total:<5.0f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[headline]}"),
        )
        self.bars = Progress(*columns, console=console, transient=True)
        self.tasks: dict[str, TaskID] = {}
        self.latest: dict[str, str] = {}

    def __enter__(self) -> "Bars":
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def note(self, text: str) -> None:
        self.bars.console.print(f"  [yellow]{escape(text)}[/]", highlight=False)

    def skipped(self, name: str) -> None:
        self.bars.console.print(f"  [dim]= {name:<14} done before[/]", highlight=False)

    def started(self, name: str, again: bool) -> None:
        self.tasks[name] = self.bars.add_task(name, total=1, headline="goes on" if again else "starts")

    def progress(self, name: str, step: int, total: int, metrics: dict[str, float]) -> None:
        self.latest[name] = headline(metrics) or self.latest.get(name, "")
        self.bars.update(self.tasks[name], completed=step, total=total, headline=self.latest[name])

    def finished(self, name: str, seconds: float) -> None:
        self._remove(name)
        text = f"  [green]+[/] {name:<14} {seconds:6.1f} s  [dim]{self.latest.get(name, '')}[/]"
        self.bars.console.print(text, highlight=False)

    def _remove(self, name: str) -> None:
        self.bars.remove_task(self.tasks.pop(name))
        self.bars.refresh()  # at once, or the next line that is printed leaves the bar behind

    def failed(self, name: str, cause: str) -> None:
        self._remove(name)
        self.bars.console.print(f"  [red]x {name:<14} {escape(cause)}[/]", highlight=False)


class Lines:
    """One line for each event, and one for each stage every few seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.printed: dict[str, float] = {}
        self.latest: dict[str, str] = {}

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def skipped(self, name: str) -> None:
        self.note(f"{name}: done before")

    def started(self, name: str, again: bool) -> None:
        self.note(f"{name}: {'goes on' if again else 'starts'}")

    def progress(self, name: str, step: int, total: int, metrics: dict[str, float]) -> None:
        self.latest[name] = headline(metrics) or self.latest.get(name, "")
        if time.monotonic() - self.printed.setdefault(name, time.monotonic()) >= LINE_EVERY_S:
            self.printed[name] = time.monotonic()
            self.note(f"{name}: {step}/{total} {self.latest[name]}")

    def finished(self, name: str, seconds: float) -> None:
        self.note(f"{name}: finished in {seconds:.1f} s {self.latest.get(name, '')}".rstrip())

    def failed(self, name: str, cause: str) -> None:
        self.note(f"{name}: FAILED: {cause}")
