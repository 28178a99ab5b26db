"""A classifier of noisy pictures: what they show, asked at any noise level, to guide a diffusion model by.

Dhariwal & Nichol (2021), "Diffusion models beat GANs on image synthesis", §4.2: the way down of the UNet
that denoises, and logits of the classes in place of the way up.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from melies import checkpoint
from melies.config import check_positive, check_range, from_json
from melies.diffusion.precondition import edm, per_sample
from melies.errors import UserError, choose
from melies.images.features import best_device
from melies.images.model import ImageDiffusion
from melies.nn.embedding import ConditionEmbedding
from melies.nn.unet import GROUPS, Block, UNetConfig
from melies.transform import Transform


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyClassifierConfig:
    """Shape of a classifier of noisy pictures."""

    network: UNetConfig
    """The UNet whose way down and middle it takes: size and channels are those of x0. It is told no class."""
    classes: tuple[str, ...]
    """The possible answers, in the order of the logits."""
    sigma_data: float = 0.5
    """Standard deviation of x0."""
    sigma_min: float = 0.002
    """Smallest noise level that it is trained on, in units of x0."""
    sigma_max: float = 80.0
    """Largest noise level that it is trained on."""

    def __post_init__(self) -> None:
        """Check the ranges, and that the classes differ."""
        check_positive("sigma_data", self.sigma_data)
        check_positive("sigma_min", self.sigma_min)
        check_range("sigma_max", self.sigma_max, low=self.sigma_min, low_open=True)
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise UserError(
                f"a classifier needs at least two classes, each of them once, not {list(self.classes)}"
            )
        for name in ("num_classes", "text_dim"):
            if getattr(self.network, name):
                raise UserError(
                    f"{name} = {getattr(self.network, name)}: a classifier is not told what it is to say",
                    where="NoisyClassifierConfig.network",
                    remedy="leave it at 0",
                )


class NoisyClassifier(nn.Module):
    """Residual blocks on shrinking pictures that know σ, pooled, and a linear map to the logits.

    It works in the space of x0: pixels in [−1, 1], or the latents of a model with a codec.
    """

    kind = "noisy-classifier"

    def __init__(
        self, config: NoisyClassifierConfig, transforms: Mapping[str, Transform] | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.transforms: dict[str, Transform] = dict(transforms or {})
        self.parts: dict[str, nn.Module] = {}
        network = config.network
        self.condition = ConditionEmbedding(network.dim)
        self.embed = nn.Conv2d(network.channels, network.widths[0], 3, padding=1)
        width, down = network.widths[0], []
        for wider, size in zip(network.widths, network.sizes, strict=True):
            for _ in range(network.blocks):
                down.append(Block(network, width, wider, attend=size in network.attention))
                width = wider
        self.down = nn.ModuleList(down)
        self.middle = Block(network, width, width, attend=True)
        self.norm = nn.GroupNorm(GROUPS, width)
        self.out = nn.Linear(width, len(config.classes))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.config.classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one x0."""
        network = self.config.network
        return network.channels, network.size, network.size

    def forward(self, x: Float[Tensor, "b c h w"], sigma: Float[Tensor, " b"]) -> Float[Tensor, "b k"]:
        """Logits of the classes, float32, of x = x0 + σ·ε.

        Args:
            x: Noisy pictures or latents.
            sigma: Noise level of each, above 0.
        """
        x = x.float()
        c = edm(sigma.to(x), self.config.sigma_data)
        states = self.condition(c.c_noise, {})
        vector = F.silu(states.vector)
        h = self.embed((per_sample(c.c_in, x) * x).contiguous(memory_format=torch.channels_last))
        for index, block in enumerate(self.down):
            if index and index % self.config.network.blocks == 0:
                h = F.avg_pool2d(h, 2)
            h = block(h, vector, states, None, f"down{index}")
        h = self.middle(h, vector, states, None, "middle")
        return self.out(F.silu(self.norm(h)).mean((2, 3))).float()

    def labels_of(self, names: Sequence[str]) -> Int64[Tensor, " n"]:
        """The number of each class by its name.

        Raises:
            UserError: If it does not know one.
        """
        place = {name: number for number, name in enumerate(self.classes)}
        return torch.tensor([choose(name, place, "class of the classifier") for name in names])


@torch.no_grad()
def classify_noisy(
    model: Callable[[Tensor, Tensor], Tensor],
    x0: Float[Tensor, "n c h w"],
    sigma: Float[Tensor, " n"],
    epsilon: Float[Tensor, "n c h w"],
    *,
    batch_size: int = 256,
) -> Float[Tensor, "n k"]:
    """Logits of x0 + σ·ε, a batch at a time, on the CPU.

    Args:
        model: `(x, sigma (b,)) → logits`.
        x0: Clean pictures or latents.
        sigma: Noise level of each.
        epsilon: Standard normal noise.
        batch_size: Bounds memory.
    """
    found = []
    for start in range(0, len(x0), batch_size):
        part = slice(start, start + batch_size)
        clean, level = x0[part], sigma[part].to(x0)
        noisy = clean + per_sample(level, clean) * epsilon[part].to(clean)
        found.append(model(noisy, level).cpu())
    return torch.cat(found)


def read_noisy_classifier(name: str | Path) -> checkpoint.Loaded:
    """A classifier of noisy pictures by its name or path, on the GPU where there is one.

    Raises:
        UserError: If it is not found, damaged, or another kind of model.
    """
    loaded = checkpoint.load(name)
    if not isinstance(loaded.model, NoisyClassifier):
        raise UserError(
            f"{loaded.kind} is not a classifier of noisy pictures, which guidance needs",
            where=str(name),
            remedy="melies train fashion-mnist-noisy-classifier makes one",
        )
    loaded.model.requires_grad_(False).to(best_device())
    return loaded


def check_guides(classifier: NoisyClassifier, model: ImageDiffusion, classes: Sequence[str]) -> None:
    """Refuse to guide a model by a classifier that was made for other pictures, or to no class.

    Raises:
        UserError: Saying what differs: shape, classes, or noise levels.
    """
    if classifier.shape != model.shape:
        (c, h, w), (c2, h2, w2) = classifier.shape, model.shape
        raise UserError(
            f"the classifier reads {c} channels of {h}×{w}, and the model works on {c2} channels of"
            f" {h2}×{w2}",
            remedy="guide by a classifier that was trained for this model's pictures",
        )
    theirs = model.config.classes
    if theirs and set(theirs) != set(classifier.classes):
        odd = sorted(set(theirs) ^ set(classifier.classes))
        raise UserError(
            f"the classifier knows {len(classifier.classes)} classes and the model {len(theirs)}; only one of"
            f" them knows {', '.join(odd[:5])}{' …' if len(odd) > 5 else ''}",
            remedy="guide by a classifier of the model's classes",
        )
    ours = classifier.config
    if model.config.sigma_min < ours.sigma_min or model.config.sigma_max > ours.sigma_max:
        raise UserError(
            f"the classifier knows noise from {ours.sigma_min:g} to {ours.sigma_max:g}, and the model draws"
            f" from {model.config.sigma_max:g} to {model.config.sigma_min:g}",
            remedy="train it with the --sigma-min and --sigma-max of the model",
        )
    if not classes:
        raise UserError("classifier guidance needs a class to guide to", remedy="add --class NAME")


def restore(
    config: Mapping[str, Any], transforms: Mapping[str, Transform], parts: Mapping[str, Any]
) -> NoisyClassifier:
    """Build a classifier from the config of a checkpoint."""
    return NoisyClassifier(from_json(NoisyClassifierConfig, config), transforms)
