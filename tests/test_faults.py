"""The list of faults fits the code: each one's text stands once, and its tests are there."""

from __future__ import annotations

import pytest

from faults import PACKAGES, PAGE, ROOT, Fault, read_faults

FAULTS = read_faults()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what.replace(" ", "-"))
def test_a_fault_fits_the_code(fault: Fault) -> None:
    assert (ROOT / fault.file).read_text(encoding="utf-8").count(fault.old) == 1
    assert fault.new != fault.old
    assert all((ROOT / file).exists() for file in fault.test_files)


def test_there_are_faults_in_every_room_and_all_were_tried() -> None:
    rooms = {
        f"{package}/{folder.name}/"
        for package in PACKAGES
        for folder in (ROOT / package).iterdir()
        if (folder / "__init__.py").exists()
    }
    assert len(FAULTS) >= 40
    assert {room for room in rooms if not any(f.file.startswith(room) for f in FAULTS)} == set()
    tried = PAGE.read_text(encoding="utf-8")
    assert [f.what for f in FAULTS if f"| {f.what} |" not in tried] == []
    assert "**missed**" not in tried
