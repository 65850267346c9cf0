"""Methods of the user's: functions, classes, other names for them, lambdas, partial functions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from prune_core.errors import DeclarationError, UnknownMethodError
from prune_core.specs.registry import ARCHITECTURES, CRITERIA, OBJECTIVES

Write = Callable[..., None]

NETS = """
import torch  # is not imported by anything that reads this
raise RuntimeError("nor is this module")
from functools import partial
import functools as ft
from mrsweep import method

class Net:
    "A network."
    def __init__(self, shape, classes): pass

def make(shape, classes, width=16):
    "A network of some width."

@method("declared", needs=("threat",), settings={"beta": 2.0})
def loss(network, images, labels, context, sharp=1):
    "A loss."

def undeclared(network, images, labels, context): pass

@method("scored", needs=("gradients",), traits=("comparable",))
class Score:
    "A score."
    def __call__(self, layer): pass

narrow = partial(make, width=8)
narrower = ft.partial(make, width=4)
sharp: object = partial(loss, sharp=2)
small = lambda shape, classes: Net(shape, classes)
Other = Net
made = make_one(8)
"""
PACKAGE = {
    "package/__init__.py": """
raise RuntimeError('not imported')
from .nets import Net, make as built
from package.nets import *
from . import nets
further = nets.Net
""",
    "package/nets.py": NETS,
    "package/far/__init__.py": "from ..nets import Net\nfrom .. import Net as Again\n",
}  # fmt: skip


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.syspath_prepend(str(tmp_path))

    def written(files: dict[str, str]) -> None:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)

    return written


NET, MADE = "A network.", "A network of some width."


@pytest.mark.parametrize(
    ("name", "summary"),
    [
        ("package.nets:Net", NET), ("package:Net", NET), ("package:built", MADE),
        ("package:narrow", MADE), ("package:further", NET), ("package.far:Net", NET),
        ("package.far:Again", NET), ("package.nets:Other", NET), ("package.nets:small", ""),
        ("package.nets:narrow", MADE), ("package.nets:narrower", MADE), ("package.nets:made", ""),
    ],
)  # fmt: skip
def test_whatever_can_be_called_is_an_architecture_and_nothing_is_imported(
    name: str, summary: str, write: Write
) -> None:
    write(PACKAGE)
    found = ARCHITECTURES[name]
    assert (found.name, found.origin, found.summary) == (name, name, summary)
    assert len(found.digest) == 12
    assert "package" not in sys.modules


def test_another_name_has_the_declaration_of_what_it_stands_for(write: Write) -> None:
    write(PACKAGE)
    for name in ("package.nets:loss", "package.nets:sharp", "package:sharp"):
        found = OBJECTIVES[name]
        assert (found.needs, found.settings) == (("threat",), {"beta": 2.0}), name
    assert CRITERIA["package:Score"].traits == ("comparable",)
    assert OBJECTIVES["package.nets:undeclared"].needs == OBJECTIVES.defaults


def test_an_edit_where_it_is_defined_or_partly_filled_in_makes_it_another(write: Write) -> None:
    files = {
        "a.py": "def f(shape, classes, width=4):\n    return width\n",
        "b.py": "from functools import partial\nfrom a import f\ng = partial(f, width=8)\nh = f\n",
        "c.py": "from b import f, g\n",
    }
    write(files)
    names = ["a:f", "b:h", "c:f", "b:g", "c:g"]

    def digests() -> list[str]:
        return [str(ARCHITECTURES[name].digest) for name in names]

    def changed(file: str, old: str, new: str) -> list[bool]:
        before = digests()
        write({file: files[file].replace(old, new)})
        after = digests()
        write(files)
        return [a != b for a, b in zip(before, after, strict=True)]

    assert changed("a.py", "width=4", "width=5") == [True] * 5
    assert changed("b.py", "width=8", "width=9") == [False, True, True, True, True]
    assert changed("c.py", "import f", "import  f") == [False, False, True, False, True]


def test_a_revision_does_not_stand_in_for_what_is_filled_in(write: Write) -> None:
    declared = "from mrsweep import method\n@method('f', revision=2)\ndef f(*_, **more): pass\n"
    partly = "from functools import partial\nfrom declared import f\n\n"
    write({"declared.py": declared, "partly.py": partly + "half = partial(f, width=8)\nall = f\n"})
    assert CRITERIA["declared:f"].digest == CRITERIA["partly:all"].digest == "r2"
    before = CRITERIA["partly:half"].digest
    write({"partly.py": partly + "half = partial(f, width=9)\nall = f\n"})
    assert CRITERIA["partly:half"].digest not in (before, "r2")


LOADED = """
from functools import partial

class Net:
    def __init__(self, shape, classes, width=4):
        self.made = (shape, classes, width)

class Score:
    def __init__(self, power=1): self.power = power
    def __call__(self, layer): return layer * self.power

wider = partial(Net, width=16)
make = lambda shape, classes: Net(shape, classes, 2)
double = Score(2)
"""


def test_what_is_loaded_is_called_as_a_function_is(write: Write) -> None:
    write({"loaded.py": LOADED, "again.py": "from loaded import *\n"})
    for name, width in (("Net", 4), ("wider", 16), ("make", 2)):
        for module in ("loaded", "again"):
            assert ARCHITECTURES.load(f"{module}:{name}")("s", 10).made == ("s", 10, width)
    assert CRITERIA.load("loaded:Score")(3) == 3  # an object of the class
    assert CRITERIA.load("loaded:double")(3) == 6


REFUSED = {
    "VALUE = 3\nf = VALUE": "refused.py:1: 'VALUE' is 3, not a function",
    "f = {'a': 1}['a']": r"refused.py:1: 'f' is \{'a': 1\}\['a'\], not a function",
    "f, g = min, max": r"refused.py:1: 'f' is \(min, max\), not a function",
    "if True:\n    def f(): pass": "refused.py:1: 'f' is set by another statement, not",
    "try:\n    from a import f\nexcept ImportError:\n    f = None": "'f' is set by another stat",
    "\nasync def f(): pass": "refused.py:2: 'f' is an async function, not a function",
    "import json as f": "refused.py:1: 'f' is a module, not a function",
    "from math import sqrt as f": "refused.py:1: 'sqrt' comes from 'math', whose source is not",
    "from nowhere import f": "refused.py:1: 'f' comes from 'nowhere', whose source is not found",
    "from json import f": "refused.py:1: module 'json' has no function 'f'; it has: dump, dumps",
    "from refused import *": "module 'refused' has no function 'f'",
    "f = g\ng = f": "refused.py:2: 'f' stands for itself|'f' stands for itself",
    "f = unknown": "module 'refused' has no function 'unknown'",
    "def g(): pass": "criterion 'refused:f': module 'refused' has no function 'f'; it has: g",
    "def f(:": "refused.py:1: invalid syntax",
    "f = '\0'": "refused.py",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_known_is_refused_with_its_place(text: str, write: Write) -> None:
    write({"refused.py": text})
    with pytest.raises((DeclarationError, UnknownMethodError), match=REFUSED[text]):
        _ = CRITERIA["refused:f"]


def test_a_file_that_is_no_text_is_named(tmp_path: Path, write: Write) -> None:
    write({})
    (tmp_path / "binary.py").write_bytes(b"name = '\xff\xfe'\n")
    with pytest.raises(DeclarationError, match=r"binary.py: is not text in UTF-8"):
        _ = CRITERIA["binary:f"]
    with pytest.raises(UnknownMethodError, match=r"no module 'binary.inner'"):
        _ = CRITERIA["binary.inner:f"]
    with pytest.raises(UnknownMethodError, match="no module ''"):
        _ = CRITERIA[":f"]
