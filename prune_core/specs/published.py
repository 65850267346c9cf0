"""Weights that others publish, by name: where their file lies here; it is fetched once."""

from __future__ import annotations

from pathlib import Path

HUB, TORCHVISION, TIMM = REMOTE = ("hf-hub:", "torchvision:", "timm:")
"""What the names of weights begin with that are no paths."""


def located(name: str) -> Path:
    """Return where a checkpoint's file lies on this machine; one that is published is fetched once.

    Args:
        name: A path; ``hf-hub:OWNER/NAME[@REVISION][/FILE]``, by default its ``model.safetensors``;
            ``timm:NAME``, which is ``hf-hub:timm/NAME``; or what torchvision calls its weights,
            ``torchvision:ResNet18_Weights.IMAGENET1K_V1``.

    Raises:
        OSError: Nothing of this name is published, or it cannot be had.
    """
    if name.startswith(HUB):
        return _of_the_hub(name.removeprefix(HUB), name)
    if name.startswith(TIMM):
        return _of_the_hub(f"timm/{name.removeprefix(TIMM)}", name)
    if name.startswith(TORCHVISION):
        return _of_torchvision(name.removeprefix(TORCHVISION))
    return Path(name)


def _of_the_hub(where: str, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    owner, _, rest = where.partition("/")
    repository, _, file = rest.partition("/")
    repository, _, revision = repository.partition("@")
    try:
        return Path(
            hf_hub_download(
                f"{owner}/{repository}", file or "model.safetensors", revision=revision or None
            )
        )
    except ValueError as error:  # the Hub's errors are its own kinds of these two
        tag = " (timm's names of weights end with a tag, as in resnet18.a1_in1k)"
        raise OSError(f"{name}: {error}{tag if name.startswith(TIMM) else ''}") from error


def _of_torchvision(name: str) -> Path:
    """Return the file where torchvision keeps it too."""
    from torch import hub
    from torchvision.models import get_weight

    try:
        url = str(get_weight(name).url)
    except (ValueError, KeyError, AttributeError) as error:
        raise OSError(
            f"torchvision has no weights {name!r}; names are like ResNet18_Weights.IMAGENET1K_V1"
        ) from error
    file = Path(hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        digest = file.stem.rpartition("-")[2]
        try:
            hub.download_url_to_file(url, str(file), hash_prefix=digest, progress=False)
        except (RuntimeError, OSError) as error:  # its digest is another, or there is no network
            raise OSError(f"{url}: {error}") from error
    return file
