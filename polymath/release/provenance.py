"""Where an exported model came from, as `provenance.json` in its folder, and whether that still holds."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from polymath.digest import file_digest, model_digest
from polymath.finding import Finding
from polymath.models import Dtype
from polymath.run_dir import write_json
from polymath.strict import StrictModel

PROVENANCE = "provenance.json"
CARD = "README.md"
BASE_FOLDER = "base"  # within an adapter's folder
Form = Literal["adapter", "merged", "gguf"]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def _stays_within(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.as_posix() != name or name == ".":
        raise ValueError("is no path within the folder")
    return name


FileName = Annotated[str, AfterValidator(_stays_within)]


class Base(StrictModel):
    """The model that training began from."""

    name: str = Field(description="As the recipe names it; empty for one that the run made.")
    revision: str | None
    place: str = Field(description="Where it lay, or `./base` where it is in the folder.")
    sha256: Digest = Field(description="Of its weights and settings.")


class DataFile(StrictModel):
    """A file of people's own that was trained on."""

    domain: str
    place: str
    bytes: int
    sha256: Digest


class Stage(StrictModel):
    """One stage on the way from the base to this model, as its `stage.json` has it."""

    name: str
    kind: str
    fingerprint: str | None
    data_sha256: str | None = None
    seconds: float | None = None
    adapter: dict[str, Any] | None = Field(default=None, description="Of its `adapter_config.json`, what tells of it.")


class Comparison(StrictModel):
    """How far the log-probabilities of two models are apart, over the tokens of some texts, in nats."""

    texts: int
    tokens: int
    mean: float
    most: float
    mean_bound: float
    most_bound: float

    def holds(self) -> bool:
        """Whether both are within their bounds."""
        return self.mean <= self.mean_bound and self.most <= self.most_bound


class Provenance(StrictModel):
    """All that an auditor can check."""

    version: Literal[1] = 1
    name: str
    stage: str
    form: Form
    created: str = Field(description="UTC.")
    files: dict[FileName, Digest]
    base: Base
    data: tuple[DataFile, ...]
    stages: tuple[Stage, ...]
    seed: int
    recipe: dict[str, Any] = Field(description="With every setting.")
    recipe_sha256: Digest
    made_on: dict[str, Any] = Field(description="The run's manifest: versions, hardware, code.")
    scores: tuple[dict[str, Any], ...]
    comparison: Comparison = Field(description="The exported model beside the stage's.")
    dtype: Dtype | None = Field(default=None, description="Of merged weights.")


def recipe_digest(recipe: dict[str, Any]) -> str:
    """Of a recipe as JSON, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def digests(folder: Path) -> dict[str, str]:
    """Of every file in a folder and below it, but for `provenance.json`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    names = [path.relative_to(folder).as_posix() for path in files]
    return {name: file_digest(path) for name, path in zip(names, files, strict=True) if name != PROVENANCE}


def write(provenance: Provenance, folder: Path) -> None:
    """Put it beside the files that it names."""
    write_json(folder / PROVENANCE, provenance.model_dump(mode="json"))


def read(folder: Path) -> Provenance:
    """What a folder says of itself. Raises `ValueError` that names file, field and fault."""
    path = folder / PROVENANCE
    try:
        return Provenance.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read: {error.strerror}; is {folder} what `polymath export` wrote?"
        ) from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise ValueError(f"{path}: {where + ': ' if where else ''}{fault['msg']}") from error


def verify(folder: Path, sha256: str | None = None) -> Iterator[Finding]:
    """Everything that can be checked here, one after the other; `sha256` is what `provenance.json` itself has to have.

    Raises `ValueError` as `read` does.
    """
    known = read(folder)
    if sha256 is not None:
        same = file_digest(folder / PROVENANCE) == sha256.lower()
        yield _told(PROVENANCE, same, "has another sha256 than the one that was given")
    yield from _files(known, folder)
    same = recipe_digest(known.recipe) == known.recipe_sha256
    yield _told("recipe", same, "differs from its digest")
    if known.base.place != f"./{BASE_FOLDER}":
        yield _base(known.base)
    for own in known.data:
        yield _data(own)


def _files(known: Provenance, folder: Path) -> Iterator[Finding]:
    present = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    for name, digest in known.files.items():
        path = present.get(name)
        if path is None:
            yield Finding(name, "is missing", "fault")
        elif path.resolve() != folder.resolve() / name:
            yield Finding(name, "is a link", "fault")
        elif file_digest(path) != digest:
            yield Finding(name, "was changed", "fault")
        else:
            yield Finding(name, "as it was written")
    for name in sorted(present.keys() - known.files.keys() - {PROVENANCE}):
        yield Finding(name, f"is not in {PROVENANCE}", "fault")


def _base(base: Base) -> Finding:
    what, place = f"base {base.name}".strip(), Path(base.place)
    if not place.is_dir():
        return Finding(what, f"is not at {place}, and was not checked", "note")
    return _told(what, model_digest(place) == base.sha256, f"what is at {place} is another model")


def _data(data: DataFile) -> Finding:
    what, place = f"data of {data.domain}", Path(data.place)
    if not place.is_file():
        return Finding(what, f"{place} is not here, and was not checked", "note")
    return _told(what, file_digest(place) == data.sha256, f"{place} was changed since")


def _told(what: str, same: bool, otherwise: str) -> Finding:
    return Finding(what, "as it was") if same else Finding(what, otherwise, "fault")
