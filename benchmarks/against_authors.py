"""Our methods beside their authors' own code, on equal networks and images.

    python benchmarks/against_authors.py FOLDER [part ...]

FOLDER holds clones of the authors' repositories, each under its own name. What is not there, or
needs a library that is not installed, is skipped, and the reason printed. Corruptions need
scikit-image and opencv-python-headless; motion-blur and snow, which need ImageMagick, are left out.
RigL needs tensorflow-cpu.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from authors import Row, SkippedError
from authors.allocations import erk, lamp
from authors.attacks import autoattack, carlini_wagner, parts, simple
from authors.corruptions import corruptions
from authors.growth import flying_bird, rigl
from authors.harp import harp
from authors.hydra import hydra
from authors.loops import attacks, averages
from authors.mad import mad
from authors.nearest import fmn, ho_fmn
from authors.objectives import ard, awp, mart, trades
from authors.scores import filters, grasp, groups, snip, synflow, taylor

COMPARISONS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "corruptions": corruptions, "trades": trades, "mart": mart, "awp": awp, "ard": ard,
    "attacks": attacks, "averages": averages, "grasp": grasp, "hydra": hydra, "harp": harp,
    "mad": mad, "filters": filters, "groups": groups, "taylor": taylor, "snip": snip,
    "synflow": synflow,
    "lamp": lamp, "erk": erk, "autoattack": autoattack, "autoattack-parts": parts,
    "simple-attacks": simple, "carlini-wagner": carlini_wagner,
    "fmn": fmn, "ho-fmn": ho_fmn,
    "rigl": rigl, "flying-bird": flying_bird,
}  # fmt: skip


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(str(__doc__))
    originals = Path(sys.argv[1])
    print("| what | measured |\n| --- | --- |")
    for name in sys.argv[2:] or COMPARISONS:
        try:
            for what, measured in COMPARISONS[name](originals):
                print(f"| {what} | {measured} |", flush=True)
        except SkippedError as why:
            print(f"| {name} | skipped: {why} |")


if __name__ == "__main__":
    main()
