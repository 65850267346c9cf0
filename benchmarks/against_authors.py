"""Our methods beside their authors' own code, on equal networks and images.

    python benchmarks/against_authors.py FOLDER [corruptions] [trades] [grasp]

FOLDER holds clones of the authors' repositories, each under its own name. What is not there, or
needs a library that is not installed, is skipped, and the reason printed. Corruptions need
scikit-image and opencv-python-headless; motion-blur and snow, which need ImageMagick, are left out.
"""

from __future__ import annotations

import ast
import copy
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from prune_core.data import datasets
from prune_core.models import architectures
from prune_core.models.state import seeded
from prune_core.pruning.granularities import prunable_view
from prune_core.pruning.scoring import score
from prune_core.specs.recipes import Training
from prune_core.specs.registry import CORRUPTIONS, OBJECTIVES
from prune_core.specs.settings import Calibration, Dataset
from prune_core.specs.stages import Dense, Scores
from prune_core.training import loop as training
from prune_core.training.objectives import Context

CPU = torch.device("cpu")
Row = tuple[str, str]
"""What was compared, and what came of it."""
CIFAR_C = "robustness/ImageNet-C/create_c/make_cifar_c.py"
THEIR_NAMES = {
    "gaussian-noise": "gaussian_noise", "shot-noise": "shot_noise",
    "impulse-noise": "impulse_noise", "defocus-blur": "defocus_blur", "glass-blur": "glass_blur",
    "zoom-blur": "zoom_blur", "fog": "fog", "brightness": "brightness", "contrast": "contrast",
    "elastic": "elastic_transform", "pixelate": "pixelate", "jpeg": "jpeg_compression",
}  # fmt: skip


class SkippedError(Exception):
    """A comparison that cannot be made here; it says why."""


def functions_of(file: Path, imports: str, changes: dict[str, str]) -> ModuleType:
    """Import the functions of an authors' script, without what the script does at its import.

    Args:
        file: The script.
        imports: What to write in place of its own imports.
        changes: Texts of it that today's libraries need otherwise.
    """
    if not file.is_file():
        raise SkippedError(f"no {file}")
    text = file.read_text(encoding="utf-8")
    for old, new in changes.items():
        text = text.replace(old, new)
    body = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder, f"theirs_{file.stem}.py")
        module.write_text(imports + "\n\n" + ast.unparse(ast.Module(body, [])), encoding="utf-8")
        spec = importlib.util.spec_from_file_location(module.stem, module)
        if spec is None or spec.loader is None:
            raise SkippedError(f"{file} cannot be imported")
        imported = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(imported)
        except ImportError as error:
            raise SkippedError(f"{file.name} needs {error.name}, which is not installed") from error
    return imported


def corruptions(originals: Path) -> Iterator[Row]:
    """Strengths, ours over theirs, at severities 1 to 5, and how far apart the images are."""
    from PIL import Image

    theirs = functions_of(
        originals / CIFAR_C,
        "import numpy as np\nimport cv2\nimport skimage as sk\nimport skimage.color\n"
        "import skimage.util\nfrom io import BytesIO\nfrom PIL import Image as PILImage\n"
        "from scipy.ndimage import map_coordinates\nfrom scipy.ndimage import zoom as scizoom\n"
        "from skimage.filters import gaussian",
        {"multichannel=True": "channel_axis=-1", "np.float_": "np.float64"},
    )
    images = datasets.load(Dataset(name="generated", size=32), CPU).test.images[:64]
    originals_ = images.float() / 255
    np.random.seed(0)
    for ours, name in THEIR_NAMES.items():
        strengths, apart, drawn = [], 0.0, False
        for severity in range(1, 6):
            draw = torch.Generator().manual_seed(0)
            fresh = draw.get_state()
            mine = CORRUPTIONS.load(ours)(originals_, severity, draw).clamp(0, 1)
            made = [
                np.asarray(getattr(theirs, name)(Image.fromarray(one), severity), np.float32)
                for one in images.permute(0, 2, 3, 1).numpy()
            ]
            other = torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2) / 255
            change = (mine - originals_).abs().mean() / (other - originals_).abs().mean()
            strengths.append(f"{float(change):.2f}")
            apart = max(apart, float((mine - other).abs().max()) * 255)
            drawn = drawn or not torch.equal(draw.get_state(), fresh)
        same = "random, so images differ" if drawn else f"at most {apart:.2f} of 255 levels apart"
        yield f"{ours}: strength", f"{', '.join(strengths)}; {same}"


def trades(originals: Path) -> Iterator[Row]:
    """Loss, gradient and BatchNorm's statistics of one step, from the same attacked images."""
    theirs = functions_of(
        originals / "TRADES" / "trades.py",
        "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
        "from torch.autograd import Variable\nimport torch.optim as optim",
        {".cuda()": "", "size_average=False": "reduction='sum'"},
    )
    data = datasets.load(Dataset(name="digits"), CPU)
    images, labels = data.train.batch(slice(0, 64))
    network = architectures.build("resnet8", data.shape, data.classes, data.mean, data.std, 0)
    other = copy.deepcopy(network).train()
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    passed: list[Tensor] = []

    def noted(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if module.training:
            passed.append(inputs[0].detach())  # clean, attacked, clean

    other.register_forward_pre_hook(noted)
    with seeded(0, CPU):
        loss = theirs.trades_loss(other, images, labels, optimizer, 0.02, 0.15, 3, 6.0)
    loss.backward()
    recipe = Training(objective="trades", epochs=1, lr=0.1).resolved()
    network.train()
    mine, _ = OBJECTIVES.load("trades")(
        network, images, labels, Context(recipe, lambda *_: passed[1])
    )
    mine.backward()
    yield "trades: loss, relative difference", f"{abs(float((mine / loss).detach()) - 1):.1e}"
    pairs = zip(network.parameters(), other.parameters(), strict=True)
    worst = max(_apart(a.grad, b.grad) for a, b in pairs if b.grad is not None)
    yield "trades: gradient, largest relative difference of a tensor", f"{worst:.1e}"
    buffers = zip(network.buffers(), other.buffers(), strict=True)
    worst = max(_apart(a.float(), b.float()) for a, b in buffers)
    yield "trades: BatchNorm's statistics, the same", f"{worst:.1e}"


def _apart(mine: Tensor | None, theirs: Tensor) -> float:
    if mine is None:
        return float("inf")
    return float((mine - theirs).norm() / theirs.norm().clamp_min(1e-12))


def grasp(originals: Path) -> Iterator[Row]:
    """Weights kept at 90 % by ours and by theirs, from the same 10 images of every class."""
    theirs = functions_of(
        originals / "GraSP" / "pruner" / "GraSP.py",
        "import copy, math, types\nimport torch\nimport torch.nn as nn\n"
        "import torch.autograd as autograd\nimport torch.nn.functional as F",
        {},
    )
    stage = Dense(
        dataset=Dataset(name="digits"), architecture="resnet8", threat=None, seed=0,
        training=Training(objective="standard", epochs=3, lr=0.05).resolved(),
    )  # fmt: skip
    data = datasets.load(stage.dataset, CPU)
    network = architectures.build("resnet8", data.shape, data.classes, data.mean, data.std, 0)
    training.fit(network, data, stage.training, None, stage.key)
    network.eval()
    order = sorted(range(len(data.train)), key=lambda i: int(data.train.labels[i]))
    chosen = [i for label in range(10) for i in
              [j for j in order if int(data.train.labels[j]) == label][:10]]  # fmt: skip
    some = replace(data, train=data.train.take(torch.tensor(chosen)))
    kept = theirs.GraSP(
        network, 0.9, [data.train.batch(slice(None))] * 2, CPU, 10, 10, 1, 200, False
    )
    modules = {name: module for name, module in network.named_modules() if module in kept}
    theirs_kept = torch.cat([kept[module].bool().flatten() for module in modules.values()])
    for name in ("grasp", "grasp-1"):
        scored = Scores(
            network=stage, criterion=name, unit="weight",
            calibration=Calibration(samples=100, batch_size=50),
        )  # fmt: skip
        scores = score(network, some, prunable_view(network, data.shape, "weight").modules, scored)
        whole = torch.cat([scores[module] for module in modules])
        best = whole >= whole.topk(int(theirs_kept.sum())).values[-1]
        both = float((best & theirs_kept).sum() / theirs_kept.sum())
        yield f"{name}: weights of theirs (temperature 200) kept too", f"{both:.3f}"


COMPARISONS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "corruptions": corruptions, "trades": trades, "grasp": grasp,
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
