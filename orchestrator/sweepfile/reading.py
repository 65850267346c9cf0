"""Files of a user's, read and checked whole: every fault with its line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from orchestrator.errors import OrchestratorError
from orchestrator.sweepfile.errors import describe
from orchestrator.sweepfile.shipped import shipped_sweeps
from prune_core.specs.fields import Spec
from prune_core.specs.plain_yaml import YamlError, read_yaml

S = TypeVar("S", bound=Spec)
KINDS = {
    "architectures": "a sweep file: mrsweep plan and run take",
    "claim": "a claim file: mrsweep claim takes",
}
"""The key by which each kind of file is known, and who takes it."""


class SweepFileError(OrchestratorError):
    """A sweep file with faults; ``faults`` holds a line of text for each."""

    def __init__(self, faults: Sequence[str]):
        super().__init__("\n".join(faults))
        self.faults = list(faults)


def read_text(path: str | Path) -> str:
    """Return a file's text.

    Raises:
        SweepFileError: It cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SweepFileError([f"{path}: cannot be read: {reason}{_instead(Path(path))}"]) from error


def _instead(path: Path) -> str:
    """Return what may have been meant by a file that is not there; empty where nothing is near."""
    try:
        if not path.name or path.exists():
            return ""
        beside = path.with_name(f"{path.name}.yaml")
        if beside.is_file():
            return f"; did you mean {beside}?"
    except OSError:  # no name can be so long
        return ""
    if path.stem in shipped_sweeps():
        return f"; to write mrsweep's own sweep of that name here: mrsweep sweeps {path.stem}"
    return ""


def parse(model: type[S], text: str, name: str, form: str) -> S:
    """Check a text that a model describes; return what it says.

    Args:
        model: What it must be.
        text: The file's content.
        name: Written before the line number of every fault.
        form: What to say of a text that is no mapping.

    Raises:
        SweepFileError: It holds every fault.
    """
    try:
        document = read_yaml(text)
    except YamlError as error:
        raise SweepFileError([f"{name}:{error.line}: {error}"]) from error
    faults, read = document.faults, None
    if isinstance(document.data, dict):
        (mine, *others) = sorted(KINDS, key=lambda key: key not in model.model_fields)
        for key in (one for one in others if one in document.data and mine not in document.data):
            raise SweepFileError([f"{name} is {KINDS[key]} it"])
    if isinstance(document.data, dict):
        try:
            read = model.model_validate(document.data)
        except ValidationError as error:
            said = {line for line, _ in faults}  # a value that YAML lacks fits no setting either
            found = describe(error, model, document.lines)
            faults = faults + [fault for fault in found if fault[0] not in said]
    else:
        faults = [*faults, (1, form)]
    if read is None or faults:
        raise SweepFileError([f"{name}:{line}: {fault}" for line, fault in sorted(faults)])
    return read
