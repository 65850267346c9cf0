"""Common corruptions by name: those of CIFAR-10-C, computed when they are needed.

A corruption is a function ``(images, severity, generator) -> images`` on images [n, c, h, w] in
[0,1] on the CPU; severities are 1 to 5. The result may leave [0,1]: the caller clips it. Strengths
are those of CIFAR-10-C. Its lengths are for images of 32 pixels and are scaled to the size of the
image. Its frost is missing, since it needs photographs that we may not distribute.

Source:
    Hendrycks and Dietterich, 2019 (arXiv 1903.12261).
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur, rgb_to_grayscale

from prune_core.specs.registry import method

CIFAR_SIDE = 32
"""The side in pixels of the images that CIFAR-10-C's lengths are for."""


@method("gaussian-noise")
def gaussian_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Gaussian noise, as in low light."""
    scale = (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1]
    return images + scale * torch.randn(images.shape, generator=generator)


@method("shot-noise")
def shot_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Poisson noise, as of few photons."""
    photons = (500, 250, 100, 75, 50)[severity - 1]
    return torch.poisson(images * photons, generator=generator) / photons


@method("impulse-noise")
def impulse_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Salt-and-pepper noise."""
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
    draw = torch.rand(images.shape, generator=generator)
    return images.masked_fill(draw < share / 2, 0.0).masked_fill(draw > 1 - share / 2, 1.0)


@method("defocus-blur")
def defocus_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """The blur of a lens out of focus: a disk with a soft edge."""
    del generator
    radius, soft = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))[severity - 1]
    radius = _length(images, radius)
    reach = max(1, math.ceil(radius)) + 1
    place = torch.arange(-reach, reach + 1)
    disk = (place.view(-1, 1) ** 2 + place**2 <= radius**2).float()
    kernel = gaussian_blur((disk / disk.sum()).view(1, 1, *disk.shape), [3, 3], [soft, soft])
    return _filtered(images, kernel[0].expand(len(images), -1, -1))


@method("glass-blur")
def glass_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """The blur of frosted glass: pixels become copies of their neighbours.

    The benchmark means to swap the two, and its code copies one over the other; so does this.
    """
    choices = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))
    sigma, reach, rounds = choices[severity - 1]
    glass = _blurred(images, sigma).clone()
    height, width = images.shape[2:]
    every = torch.arange(len(images))
    for _ in range(rounds):
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                shift = torch.randint(-reach, reach, (2, len(images)), generator=generator)
                there = (row + shift[0], column + shift[1])
                glass[:, :, row, column] = glass[every, :, there[0], there[1]]
    return _blurred(glass, sigma)


@method("motion-blur")
def motion_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """The blur of a moving camera, at an angle of up to 45 degrees."""
    radius, sigma = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))[severity - 1]
    angle = (torch.rand(len(images), generator=generator) * 90 - 45) * math.pi / 180
    return _dragged(images, _length(images, radius), _length(images, sigma), angle)


@method("zoom-blur")
def zoom_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """The blur of a zooming camera: the mean over several magnifications."""
    del generator
    stop = (1.06, 1.11, 1.16, 1.21, 1.26)[severity - 1]
    zoomed = [_zoomed(images, float(factor)) for factor in np.arange(1, stop, 0.01)]
    return torch.stack([images, *zoomed]).mean(0)


@method("snow")
def snow(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Falling snow before a brightened scene."""
    mean, spread, zoom, least, radius, sigma, share = (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )[severity - 1]
    count, _, height, width = images.shape
    flakes = mean + spread * torch.randn(count, 1, height, width, generator=generator)
    flakes = _zoomed(flakes, zoom)
    flakes = flakes.masked_fill(flakes < least, 0.0).clamp(0, 1)
    angle = (torch.rand(count, generator=generator) * -90 - 45) * math.pi / 180
    flakes = _dragged(flakes, _length(images, radius), _length(images, sigma), angle)
    grey = rgb_to_grayscale(images) if images.shape[1] == 3 else images
    grey = grey * 1.5 + 0.5
    return share * images + (1 - share) * images.maximum(grey) + flakes + flakes.rot90(2, (2, 3))


@method("fog")
def fog(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Fog: a bright fractal cloud."""
    thick, decay = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))[severity - 1]
    brightest = images.flatten(1).amax(1).view(-1, 1, 1, 1)
    cloud = _plasma(len(images), max(images.shape[2:]), decay, generator)
    height, width = images.shape[2:]
    return (images + thick * cloud[:, :, :height, :width]) * brightest / (brightest + thick)


@method("brightness")
def brightness(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """More light: the value of every pixel rises and its hue stays."""
    del generator
    more = (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1]
    value = images.amax(1, keepdim=True)
    brighter = (value + more).clamp(max=1)
    return torch.where(value > 0, images * brighter / value.clamp(min=1e-6), brighter)


@method("contrast")
def contrast(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Less contrast: every channel moves towards its mean."""
    del generator
    share = (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1]
    mean = images.mean((2, 3), keepdim=True)
    return (images - mean) * share + mean


@method("elastic")
def elastic(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Elastic deformation: a random affine map and a smooth random displacement."""
    strength, smooth, shake = (
        (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03),
    )[severity - 1]  # fmt: skip
    count, _, height, width = images.shape
    # Each of three corners moves by up to `shake` of the side: an affine map near the identity.
    side = min(height, width)
    corner = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]) * (2 * (side // 3) / side)
    moved = corner + 2 * shake * (2 * torch.rand(count, 3, 2, generator=generator) - 1)
    ones = torch.ones(count, 3, 1)
    solved = torch.linalg.solve(torch.cat([moved, ones], 2), corner.expand(count, -1, -1))
    grid = F.affine_grid(solved.transpose(1, 2), list(images.shape), align_corners=False)
    if strength:
        noise = 2 * torch.rand(count, 2, height, width, generator=generator) - 1
        field = _blurred(noise, smooth * max(height, width), scaled=False)
        grid = grid + 2 * strength * field.permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


@method("pixelate")
def pixelate(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Fewer pixels, magnified."""
    del generator
    share = (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1]
    height, width = images.shape[2:]
    size = (int(width * share), int(height * share))
    return _by_pillow(
        images,
        lambda image: image.resize(size, Image.Resampling.BOX).resize(
            (width, height), Image.Resampling.BOX
        ),
    )


@method("jpeg")
def jpeg(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """JPEG compression."""
    del generator
    quality = (80, 65, 58, 50, 40)[severity - 1]

    def compressed(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer)

    return _by_pillow(images, compressed)


def _by_pillow(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Change images one by one, with 8 bits a channel."""
    changed = torch.empty_like(images)
    for index, image in enumerate(images.mul(255).round().to(torch.uint8).numpy()):
        grey = image.shape[0] == 1
        read = np.asarray(change(Image.fromarray(image[0] if grey else image.transpose(1, 2, 0))))
        planes = read[None] if grey else read.transpose(2, 0, 1)
        changed[index] = torch.from_numpy(planes.astype(np.float32)) / 255
    return changed


def _zoomed(images: Tensor, factor: float) -> Tensor:
    """Magnify the middle of images, bilinearly, to their size."""
    sides = images.shape[2:]
    cut = [math.ceil(side / factor) for side in sides]
    top, left = ((side - part) // 2 for side, part in zip(sides, cut, strict=True))
    middle = images[:, :, top : top + cut[0], left : left + cut[1]]
    size = [round(part * factor) for part in cut]
    large = F.interpolate(middle, size=size, mode="bilinear", align_corners=True)
    top, left = ((part - side) // 2 for side, part in zip(sides, size, strict=True))
    return large[:, :, top : top + sides[0], left : left + sides[1]]


def _length(images: Tensor, pixels: float) -> float:
    """Scale a length in pixels from images of `CIFAR_SIDE` to these images."""
    return pixels * max(images.shape[2:]) / CIFAR_SIDE


def _blurred(images: Tensor, sigma: float, *, scaled: bool = True) -> Tensor:
    sigma = _length(images, sigma) if scaled else sigma
    reach = min(max(1, round(3 * sigma)), min(images.shape[2:]) - 1)
    blurred: Tensor = gaussian_blur(images, [2 * reach + 1] * 2, [sigma, sigma])
    return blurred


def _filtered(images: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each image with its own kernel [n, k, k]; pixels are mirrored at the edges."""
    count, channels, height, width = images.shape
    reach = min(kernels.shape[-1] // 2, height - 1, width - 1)
    middle = kernels.shape[-1] // 2
    inner = slice(middle - reach, middle + reach + 1)
    kernels = kernels[:, inner, inner]
    kernels = kernels / kernels.sum((1, 2), keepdim=True)
    padded = F.pad(images, [reach] * 4, mode="reflect")
    weight = kernels.repeat_interleave(channels, 0).unsqueeze(1)
    flat = padded.reshape(1, count * channels, *padded.shape[2:])
    return F.conv2d(flat, weight, groups=count * channels).view(count, channels, height, width)


def _dragged(images: Tensor, radius: float, sigma: float, angle: Tensor) -> Tensor:
    """Blur along a line with half a Gaussian, as ImageMagick does, each image at its angle [n]."""
    reach = max(1, round(2 * radius))
    step = torch.arange(reach + 1)
    weight = torch.exp(-(step**2) / (2 * max(sigma, 1e-3) ** 2))
    side = 2 * reach + 1
    kernels = torch.zeros(len(images), side * side)
    rows = (reach - step * angle.sin().unsqueeze(1)).round().long()
    columns = (reach - step * angle.cos().unsqueeze(1)).round().long()
    kernels.scatter_add_(1, rows * side + columns, weight.expand(len(images), -1))
    return _filtered(images, kernels.view(-1, side, side))


def _plasma(count: int, side: int, decay: float, generator: Generator) -> Tensor:
    """Return clouds [n, 1, s, s] in [0,1] by the diamond-square algorithm; s is a power of two."""
    size = 2 ** math.ceil(math.log2(max(side, 4)))
    cloud = torch.zeros(count, size, size)
    step, wobble = size, 100.0

    def shaken(total: Tensor) -> Tensor:
        noise = 2 * torch.rand(total.shape, generator=generator) - 1
        return total / 4 + wobble**2 * noise  # squared, as the benchmark's code has it

    while step >= 2:
        half = step // 2
        corners = cloud[:, ::step, ::step]
        around = corners + corners.roll(-1, 1)
        cloud[:, half::step, half::step] = shaken(around + around.roll(-1, 2))
        centres = cloud[:, half::step, half::step]
        above = centres + centres.roll(1, 1) + corners + corners.roll(-1, 2)
        cloud[:, ::step, half::step] = shaken(above)
        beside = centres + centres.roll(1, 2) + corners + corners.roll(-1, 1)
        cloud[:, half::step, ::step] = shaken(beside)
        step, wobble = half, wobble / decay
    low, high = cloud.flatten(1).amin(1), cloud.flatten(1).amax(1)
    return ((cloud - low.view(-1, 1, 1)) / (high - low).view(-1, 1, 1)).unsqueeze(1)
