"""Common corruptions: their range, their strength, what they leave alone, known pixels."""

from __future__ import annotations

import pytest
import torch

from prune_core.attacks import corruptions
from prune_core.specs.registry import CORRUPTIONS

from rows import names


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth_images(channels: int, side: int) -> torch.Tensor:
    """Images with structure at several lengths, as photographs have it."""
    coarse = torch.rand(6, channels, 4, 4, generator=draw(1))
    fine = torch.rand(6, channels, side, side, generator=draw(2))
    large = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    return (0.8 * large + 0.2 * fine).clamp(0, 1)


@pytest.mark.parametrize("name", names("corruptions"))
@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 32), (3, 64)])
def test_invariants(name: str, channels: int, side: int) -> None:
    images = smooth_images(channels, side)
    before = images.clone()
    corrupt = CORRUPTIONS.load(name)
    changes = []
    for severity in range(1, 6):
        found = corrupt(images, severity, draw()).clamp(0, 1)
        assert found.shape == images.shape
        assert found.isfinite().all()
        assert torch.equal(found, corrupt(images, severity, draw()).clamp(0, 1))
        changes.append(float((found - images).abs().mean()))
    assert torch.equal(images, before)
    # Of the others the severity is no size of change, or, on 8 pixels, no change at all.
    if name not in ("glass-blur", "elastic", "pixelate", "jpeg", "defocus-blur"):
        assert changes[4] > 1.15 * changes[0]
    assert changes[4] < 0.5
    assert max(changes) > 0.001


def test_strengths_are_those_of_the_benchmark() -> None:
    grey = torch.full((4, 3, 64, 64), 0.5)
    noisy = corruptions.gaussian_noise(grey, 3, draw()) - grey
    assert float(noisy.std()) == pytest.approx(0.08, rel=0.02)
    shot = corruptions.shot_noise(grey, 4, draw())
    assert float(shot.var()) == pytest.approx(0.5 / 75, rel=0.05)
    impulse = corruptions.impulse_noise(grey, 5, draw())
    assert float((impulse != 0.5).float().mean()) == pytest.approx(0.07, rel=0.1)
    assert set(impulse.unique().tolist()) == {0.0, 0.5, 1.0}
    images = smooth_images(3, 32)
    means = images.mean((2, 3), keepdim=True)
    torch.testing.assert_close(
        corruptions.contrast(images, 5, draw()) - means, 0.15 * (images - means)
    )
    coloured = torch.tensor([0.2, 0.4, 0.1]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    brighter = corruptions.brightness(coloured, 3, draw())
    torch.testing.assert_close(brighter, coloured * 0.55 / 0.4)


@pytest.mark.parametrize(
    "name", ["defocus-blur", "motion-blur", "zoom-blur", "pixelate", "elastic"]
)
def test_blurs_and_maps_keep_a_constant_image(name: str) -> None:
    grey = torch.full((2, 3, 32, 32), 77 / 255)
    torch.testing.assert_close(CORRUPTIONS.load(name)(grey, 3, draw())[:, :, 8:24, 8:24],
                               grey[:, :, 8:24, 8:24], atol=1e-5, rtol=0)  # fmt: skip


def test_glass_copies_pixels_of_the_neighbourhood() -> None:
    """But for the blur before and after, which is nearly none at the first severity."""
    images = torch.rand(2, 1, 16, 16, generator=draw())
    glass = corruptions.glass_blur(images, 1, draw())
    near = torch.stack([images.roll((row, column), (2, 3)) for row in (0, 1) for column in (0, 1)])
    apart = (near - glass).abs().amin(0)
    assert float(apart.max()) < 1e-3
    assert not torch.equal(glass, images)


def test_clouds_have_the_roughness_of_the_benchmark_s() -> None:
    """Its amplitude falls with the square of the decay: measured on 200 of its own clouds."""
    for decay, roughness in ((3.0, 0.0205), (2.0, 0.0243)):
        cloud = corruptions._plasma(200, 32, decay, draw())
        near = (cloud[:, :, 1:] - cloud[:, :, :-1]).abs().mean()
        assert float(near) == pytest.approx(roughness, rel=0.1)


def test_a_zoom_is_bilinear_about_the_middle() -> None:
    """A ramp stays a ramp, less steep by the factor."""
    ramp = torch.arange(33.0).expand(1, 1, 33, 33)
    for factor in (1.0, 1.1, 1.5):
        zoomed = corruptions._zoomed(ramp, factor)
        assert zoomed.shape == ramp.shape
        assert float(zoomed[0, 0, 16, 16]) == pytest.approx(16, abs=1)
        steps = zoomed[0, 0, :, 1:] - zoomed[0, 0, :, :-1]
        torch.testing.assert_close(steps, torch.full_like(steps, float(steps.mean())))
        assert float(steps.mean()) == pytest.approx(1 / factor, rel=0.05)


def test_pixelate_at_the_first_severity_loses_little() -> None:
    """Of 32 columns 30 remain: boxes that hold one column keep it."""
    columns = torch.randint(0, 256, (1, 3, 1, 32), generator=draw()).float().div(255)
    images = columns.expand(1, 3, 32, 32)
    changed = corruptions.pixelate(images, 1, draw())
    kept = ((changed - images).abs() < 1e-6).all(1)[0, 0]
    assert int(kept.sum()) >= 16


def test_a_point_is_dragged_along_a_line() -> None:
    point = torch.zeros(1, 1, 33, 33)
    point[0, 0, 16, 16] = 1
    dragged = corruptions._dragged(point, 6, 3, torch.zeros(1))
    row = dragged[0, 0, 16]
    assert float(dragged.sum()) == pytest.approx(1.0, rel=1e-4)
    assert float(row.sum()) == pytest.approx(1.0, rel=1e-4)
    line = row[row > 0]
    assert len(line) == 13
    steps = line / line.max()
    expected = torch.exp(-(torch.arange(13.0) ** 2) / 18)
    torch.testing.assert_close(steps.sort(descending=True).values, expected)


def test_clouds_fill_the_range() -> None:
    cloud = corruptions._plasma(3, 32, 2.0, draw())
    assert cloud.shape == (3, 1, 32, 32)
    assert torch.equal(cloud.flatten(1).amin(1), torch.zeros(3))
    assert torch.equal(cloud.flatten(1).amax(1), torch.ones(3))
    # Neighbours are alike: it is a cloud, no noise.
    near = (cloud[..., 1:] - cloud[..., :-1]).abs().mean()
    far = (cloud[..., 16:] - cloud[..., :16]).abs().mean()
    assert float(near) < 0.5 * float(far)
