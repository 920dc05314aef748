"""Where the files are that a recipe names: seen from its own folder, or else from the one where a command runs."""

import os
from pathlib import Path

from pydantic import ValidationInfo

FOLDER = "folder"  # of the recipe, in the context of its validation


def found(path: Path, info: ValidationInfo) -> Path:
    """The path from the root; that where a command runs would have it, if there is nothing in either place.

    The recipe's folder goes first, for the same recipe is to read the same data wherever it is run.
    """
    here = Path(os.path.realpath(path.expanduser()))  # unlike pathlib's, raises nothing at links in a circle
    folder = folder_of(info)
    there = Path(os.path.realpath(folder / path.expanduser())) if folder else here
    return there if os.path.exists(there) else here


def folder_of(info: ValidationInfo) -> Path | None:
    """The recipe's; None where settings are of no file."""
    return (info.context or {}).get(FOLDER)


def beside(folder: Path | None, before: str) -> str:
    """The recipe's folder for a message that has told of the one where a command runs; nothing where they are one."""
    own = os.path.realpath(folder) if folder else os.getcwd()
    return "" if own == os.getcwd() else f"{before} {own}, where the recipe lies"
