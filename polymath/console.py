"""What commands say: on the screen, of what they looked at, and why they stop."""

from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from polymath.finding import Finding

out, err = Console(), Console(stderr=True)
USAGE, FAILED, INTERRUPTED = 2, 1, 130


def say(message: str) -> None:
    """One line, as it is."""
    out.print(message, highlight=False, soft_wrap=True, markup=False)


def stop(message: str, code: int = USAGE) -> NoReturn:
    """End the command, and say why."""
    err.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def stop_if_taken(folder: Path) -> None:
    """End the command where a folder to write holds something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        stop(f"{folder}: is there already; name a folder that is empty or not there yet")


def tell(findings: Iterable[Finding]) -> int:
    """Show what was looked at; how many faults there are."""
    faults = 0
    for finding in findings:
        style = {"ok": "green", "note": "yellow", "fault": "red"}[finding.state]
        out.print(
            f"[{style}]{finding.state:5}[/] [bold]{escape(finding.what)}[/]: {escape(finding.found)}",
            highlight=False,
            soft_wrap=True,
        )
        if finding.remedy:
            say(f"      {finding.remedy}")
        faults += finding.state == "fault"
    return faults
