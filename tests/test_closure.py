"""The code of a user's method is in its keys: all local modules that it imports, none run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import parse_sweep
from prune_core.errors import DeclarationError
from prune_core.specs.closure import code_digest, local_modules
from prune_core.specs.registry import CRITERIA

from conftest import sweep_text

BOOM = "raise RuntimeError('was run')\n"


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        file = root / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


WAYS = {
    "import": ("import helper_a\n", "helper_a"),
    "import in a function": ("def g():\n    import helper_a\n", "helper_a"),
    "from": ("from helper_a import WIDTH\n", "helper_a"),
    "of a package": ("from pack import part\n", "pack__part"),
    "the package itself": ("import pack.part\n", "pack__init"),
    "dotted": ("import pack.part as p\n", "pack__part"),
    "of a helper's": ("import between\n", "helper_a"),
    "by name": ("import importlib\nh = importlib.import_module('helper_a')\n", "helper_a"),
    "by name, as a keyword": (
        "import importlib\nh = importlib.import_module(name='helper_a')\n",
        "helper_a",
    ),
    "by name, under another name": (
        "from importlib import import_module as get\nh = get('helper_a')\n",
        "helper_a",
    ),
    "by name, from a package": (
        "import importlib\nh = importlib.import_module('.part', 'pack')\n",
        "pack__part",
    ),
    "star": ("from helper_a import *\n", "helper_a"),
    "if typing": ("try:\n    import helper_a\nexcept ImportError:\n    pass\n", "helper_a"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_helper_that_is_edited_gives_new_keys(way: str, here: Path) -> None:
    """The numbers of the old helper were taken for those of the new one."""
    text, helper = WAYS[way]
    write(here, helper_a="WIDTH = 16\n" + BOOM, between="import helper_a\n" + BOOM)
    write(here, pack__part="WIDTH = 16\n" + BOOM, pack__init="")
    (here / "pack" / "init.py").rename(here / "pack" / "__init__.py")
    write(here, mynets=text + "def mine(shape, classes):\n    return None\n")
    sweep = parse_sweep(sweep_text(architectures="['mynets:mine']"))
    before = set(make_plan(sweep).jobs)
    assert before == set(make_plan(sweep).jobs)
    edited = here / f"{helper.replace('__init', '/__init__').replace('__', '/', 1)}.py"
    if helper == "pack__init":
        edited = here / "pack" / "__init__.py"
    edited.write_text(edited.read_text() + "WIDTH = 8\n")
    assert not before & set(make_plan(sweep).jobs)


def test_relative_imports_and_rings_are_followed(here: Path) -> None:
    write(here, ring__a="from . import b\nfrom .c import x\n", ring__b="from .. import y\n")
    write(
        here, ring__c="from .a import z\nimport ring.deep.d\n", ring__deep__d="from ..b import w\n"
    )
    assert set(local_modules("ring.a")) == {"ring.a", "ring.b", "ring.c", "ring.deep.d"}


def test_a_name_that_begins_with_a_dot_is_of_its_own_package(here: Path) -> None:
    text = "from importlib import import_module\nimport_module('.part', __package__)\n"
    write(here, dotted__nets=text, dotted__part="", part="")
    assert set(local_modules("dotted.nets")) == {"dotted.nets", "dotted.part"}


def test_neither_libraries_nor_mrsweep_nor_what_is_missing_count(here: Path) -> None:
    text = "import json, torch, prune_core.specs.keys, not_there\nfrom mrsweep import method\n"
    write(here, plain=text)
    assert set(local_modules("plain")) == {"plain"}


def test_an_installed_plug_in_is_known_by_its_whole_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    write(
        site, plug__scores="import other_lib\nfrom plug import more\n", plug__more="", other_lib=""
    )
    monkeypatch.syspath_prepend(str(site))
    assert set(local_modules("plug.scores")) == {"plug.scores", "plug.more"}


def test_where_code_lies_is_in_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = set()
    for place in ("one", "two"):
        write(tmp_path / place, moved="import moved_helper\n", moved_helper="X = 1\n")
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(tmp_path / place))
            digests.add(code_digest("moved"))
    assert len(digests) == 1


DECLARED = """from mrsweep import method
@method("mine", {arguments})
def f(layer):
    return {value}
"""


def test_a_revision_stands_in_for_the_code_of_a_users_method(here: Path) -> None:
    seen = []
    for arguments, value in (("revision=2", 1), ("revision=2", 2), ("revision=3", 2)):
        write(here, revised_one=DECLARED.format(arguments=arguments, value=value))
        seen.append(CRITERIA["revised_one:f"].digest)
    assert seen == ["r2", "r2", "r3"]


def test_files_that_a_method_names_are_in_its_keys(here: Path) -> None:
    write(here, reads_file=DECLARED.format(arguments="files=('weights.bin',)", value=1))
    with pytest.raises(DeclarationError, match=r"weights.bin: cannot be read"):
        CRITERIA["reads_file:f"]
    seen = set()
    for content in (b"1", b"2"):
        (here / "weights.bin").write_bytes(content)
        seen.add(CRITERIA["reads_file:f"].digest)
    assert len(seen) == 2


def test_an_import_that_is_computed_is_warned_of(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(here, computed="import importlib\n\nname = 'helper'\nimportlib.import_module(name)\n")
    code_digest("computed")
    assert "computed.py:4: what is imported here is not known before it runs" in caplog.text


def test_a_helper_that_is_no_python_is_named_with_its_line(here: Path) -> None:
    write(here, fine="import broken_helper\n", broken_helper="x = 1\ny = (\n")
    with pytest.raises(DeclarationError, match=r"broken_helper\.py:2: "):
        code_digest("fine")


def test_nothing_of_the_users_is_imported(here: Path) -> None:
    write(here, boom__init=BOOM, boom__f="def f(layer): pass\n")
    (here / "boom" / "init.py").rename(here / "boom" / "__init__.py")
    assert CRITERIA["boom.f:f"].digest
    assert "boom" not in sys.modules
