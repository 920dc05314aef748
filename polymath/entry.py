"""Where the command `polymath` begins: packages of the same names as Polymath's would be imported in their place.

PyPI has distributions `rl`, `sft`, `rewards` and others. Imports nothing but Python, for what is checked may be broken.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("polymath", "sft", "rl", "distill", "rewards")
ROOT = Path(__file__).resolve().parents[1]


def strangers() -> dict[str, str]:
    """Of our packages those that Python finds elsewhere, or not at all, and where."""
    found = {
        name: spec.origin or "a folder without __init__.py" if (spec := find_spec(name)) else "" for name in PACKAGES
    }
    return {name: where for name, where in found.items() if where != str(ROOT / name / "__init__.py")}


def told(name: str, where: str) -> str:
    """What is wrong with a package, and what to do about it."""
    found = f"Python finds it at {where}" if where else "Python does not find it"
    return (
        f"the package '{name}' is Polymath's, in {ROOT}, and {found}: take what is there off PYTHONPATH or out of the "
        f"folder that you are in, or `pip uninstall {name}`, and then install Polymath again"
    )


def main() -> None:
    """The command line, where all of it is ours."""
    if found := strangers():
        sys.stderr.write("".join(f"{told(name, where)}\n" for name, where in found.items()))
        sys.exit(2)
    from polymath.cli import app

    app()
