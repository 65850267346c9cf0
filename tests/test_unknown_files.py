"""What a user's method reads and no key has is refused: old results would be taken for new ones."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
from PIL import Image

from prune_core.data import datasets
from prune_core.errors import StrayReadError
from prune_core.pruning.rehearsal import rehearse
from prune_core.specs.registry import ARCHITECTURES, CRITERIA, DATASETS
from prune_core.specs.settings import Dataset

from conftest import CPU

COUNT = itertools.count()
BODY = "def mine(shape, classes):\n    return {width}\n"
READ = "json.loads((pathlib.Path(__file__).parent / 'wide.json').read_text())"
PLACE = "import importlib, json, pathlib, pkgutil, runpy\n"

READS = {
    "when it is called": (PLACE + BODY.format(width=READ), "wide.json", 4),
    "when it is imported": (PLACE + f"W = {READ}\n" + BODY.format(width="W"), "wide.json", 2),
    "by its helper": ("import HELP\n" + BODY.format(width="HELP.W"), "wide.json", 2),
    "by a name that is computed": (
        PLACE + BODY.format(width="importlib.import_module(str('HELP')).W"), "HELP.py", 3,
    ),
    "as code that is run": (
        PLACE + "P = pathlib.Path(__file__).with_name('HELP.py')\n"
        + BODY.format(width="runpy.run_path(str(P))['W']"), "HELP.py", 4,
    ),
    "as a package's data": (
        PLACE + BODY.format(width="int(pkgutil.get_data(__name__, 'wide.json'))"), "wide.json", 3,
    ),
}  # fmt: skip
"""The module, the file that it reads, and the line where it does."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "wide.json").write_text("16")
    return tmp_path


def write(here: Path, text: str) -> str:
    """Write a module of a new name, and its helper; return the name."""
    name = f"reads_{next(COUNT)}"
    (here / f"{name}.py").write_text(text.replace("HELP", f"{name}_help"))
    helper = f"import json, pathlib\nW = {READ}\n" if "import HELP" in text else "W = 16\n"
    (here / f"{name}_help.py").write_text(helper)
    return name


@pytest.mark.parametrize("how", READS)
def test_a_file_that_no_key_has_is_refused_with_its_line(how: str, here: Path) -> None:
    text, file, line = READS[how]
    name = write(here, text)
    file = file.replace("HELP", f"{name}_help")
    with pytest.raises(StrayReadError) as refused:
        ARCHITECTURES.load(f"{name}:mine")((3, 8, 8), 10)
    of = f"{name}_help.py" if how == "by its helper" else f"{name}.py"
    line -= how == "when it is called"
    said = str(refused.value)
    assert "files that are in no key, so that an edit of them would leave old results s" in said
    assert f"{here / file} ({of}:{line}); declare them, @method('mine', files=({file!r},))" in said


def test_a_module_that_a_network_imports_as_it_is_built_is_refused(here: Path) -> None:
    """It is read the first time alone, which is a trial on the meta device."""
    name = write(here, READS["by a name that is computed"][0])
    (fault,) = rehearse(f"{name}:mine", (3, 8, 8), 10, []).faults
    assert f"{name}_help.py ({name}.py:3); declare them" in fault


DECLARED = PLACE + "from mrsweep import method\n@method('mine', {how})\n" + BODY.format(width=READ)


@pytest.mark.parametrize("how", ["files=('wide.json',)", "revision=2"])
def test_what_is_declared_may_be_read(how: str, here: Path) -> None:
    assert ARCHITECTURES.load(f"{write(here, DECLARED.format(how=how))}:mine")((3, 8, 8), 10) == 16


def test_what_libraries_read_and_what_is_not_there_is_no_matter(here: Path) -> None:
    text = """import importlib.metadata, pathlib
def mine(shape, classes):
    try:
        open(pathlib.Path(__file__).with_name("none.json"))
    except FileNotFoundError:
        pathlib.Path(__file__).with_name("written").write_text("x")
    return importlib.metadata.metadata("numpy")["Name"]
"""
    assert ARCHITECTURES.load(f"{write(here, text)}:mine")((3, 8, 8), 10) == "numpy"


def test_images_below_their_root_are_in_its_key(here: Path) -> None:
    text = """import pathlib
from mrsweep import method
@method("mine", needs=("root",))
def mine(spec):
    return [int(pathlib.Path(where, "wide.json").read_text()) for where in (spec.root, FURTHER)]
"""
    (here / "images").mkdir()
    (here / "images" / "wide.json").write_text("1")
    for further, words in (
        ("spec.root", None),
        (f"{str(here)!r}", "let them lie below dataset"),
    ):
        name = f"{write(here, text.replace('FURTHER', further))}:mine"
        spec = Dataset(name=name, root=str(here / "images"), source="folder")
        if words is None:
            assert DATASETS.load(name)(spec) == [1, 1]
            continue
        with pytest.raises(StrayReadError, match=words):
            DATASETS.load(name)(spec)


def test_images_that_our_readers_decode_for_it_are_heard_of_each_time(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are decoded after the call, and the second time they are in the cache."""
    monkeypatch.setenv("MRSWEEP_CACHE", str(here / "cache"))
    for index in range(80):
        file = here / "images" / "ab"[index % 2] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (index, 0, 0)).save(file)
    text = """from mrsweep import method
from pathlib import Path
from prune_core.data.raw import Raw
from prune_core.data.readers import from_class_folders
@method("mine", needs=("root",))
def mine(spec):
    return Raw(from_class_folders(Path(WHERE), ["a", "b"], None))
"""
    where = repr(str(here / "images"))
    name = f"{write(here, text.replace('WHERE', where))}:mine"
    other = Dataset(name=name, root=str(here / "cache"), source="folder")
    for _ in range(2):
        with pytest.raises(StrayReadError, match=r"a/\d+\.png .* and \d\d more; declare"):
            datasets._load.__wrapped__(other, CPU)
    below = Dataset(name=name, root=str(here), source="folder")
    assert datasets._load.__wrapped__(below, CPU).classes == 2


def test_a_criterion_is_refused_where_it_reads(here: Path) -> None:
    name = write(here, PLACE + BODY.format(width=READ).replace("shape, classes", "layer"))
    with pytest.raises(StrayReadError, match=r"criteria: .* reads files that are in no key"):
        CRITERIA.load(f"{name}:mine")(None)
    assert name in sys.modules
