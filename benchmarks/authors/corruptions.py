"""Common corruptions beside hendrycks/robustness."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from authors import CPU, Row, functions_of
from prune_core.data import datasets
from prune_core.specs.registry import CORRUPTIONS
from prune_core.specs.settings import Dataset

CIFAR_C = "robustness/ImageNet-C/create_c/make_cifar_c.py"
THEIR_NAMES = {
    "gaussian-noise": "gaussian_noise", "shot-noise": "shot_noise",
    "impulse-noise": "impulse_noise", "defocus-blur": "defocus_blur", "glass-blur": "glass_blur",
    "zoom-blur": "zoom_blur", "fog": "fog", "brightness": "brightness", "contrast": "contrast",
    "elastic": "elastic_transform", "pixelate": "pixelate", "jpeg": "jpeg_compression",
}  # fmt: skip


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
