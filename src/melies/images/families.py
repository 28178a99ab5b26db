"""Any family of models of pictures, opened from its checkpoint: bytes in and out, a batch at a time.

What an autoencoder, a GAN and a diffusion model have in common is `melies.interfaces.PictureModel`;
here it gets names for its classes, seeds for its pictures and a bound on its memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from melies import checkpoint
from melies.checkpoint import Loaded
from melies.errors import UserError, choose
from melies.images.inversion import DiffusionPictures
from melies.images.mix import Mixing
from melies.images.model import ImageDiffusion
from melies.interfaces import PictureModel
from melies.progress import Progress, silent
from melies.rng import noise_for
from melies.transform import PixelRange

MIXINGS_OF: dict[str, Mixing] = {
    "autoencoder": "linear",
    "vae": "spherical",
    "vqvae": "linear",
    "gan": "spherical",
    "image-diffusion": "spherical",
}
"""Kind of model → how its latents are best mixed: along the sphere where they are Gaussian of unit scale."""

BATCH = 64
"""Pictures at once where nothing else is asked: bounds memory."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Family:
    """A model of pictures, whatever it is made of; pictures are uint8 (n, c, h, w), on the CPU."""

    model: PictureModel
    """What draws, encodes and decodes."""
    mixing: Mixing
    """How its latents are best mixed."""
    device: torch.device
    """Where its weights are."""
    loaded: Loaded
    """Its checkpoint."""

    @property
    def draws(self) -> bool:
        """Whether it makes new pictures: a VQ-VAE does not before it has a prior over its codes."""
        return self.loaded.kind != "vqvae" or "prior" in self.loaded.model.parts

    def labels_of(self, names: Sequence[str], num: int) -> Int64[Tensor, " n"] | None:
        """The labels of `num` pictures: one name for all, or one each; None for a model without classes.

        Raises:
            UserError: If a class is unknown or missing, the model has none, or their number does not fit.
        """
        classes = self.model.classes
        if not classes:
            if names:
                raise UserError("this model has no classes", remedy="leave out --class")
            return None
        if not names:
            raise UserError("this model draws one class or another", remedy=f"--class {_listed(classes)}")
        if len(names) not in (1, num):
            raise UserError(
                f"{len(names)} classes for {num} pictures", remedy="give one for all, or one each"
            )
        place = {name: index for index, name in enumerate(classes)}
        chosen = [choose(name, place, "class") for name in names]
        return torch.tensor(chosen * num if len(chosen) < num else chosen)

    @torch.no_grad()
    def encode(
        self,
        pixels: UInt8[Tensor, "n c h w"],
        labels: Int64[Tensor, " n"] | None = None,
        *,
        batch_size: int = BATCH,
        progress: Progress = silent,
    ) -> Float[Tensor, "n *latent"]:
        """Latents of pictures, on the CPU."""

        def encode(part: slice) -> Tensor:
            x = PixelRange().forward(pixels[part]).to(self.device)
            return self.model.encode(x, self._part(labels, part)).cpu()

        return _in_batches(encode, len(pixels), batch_size, progress, "encoding")

    @torch.no_grad()
    def decode(
        self,
        latents: Float[Tensor, "n *latent"],
        labels: Int64[Tensor, " n"] | None = None,
        *,
        batch_size: int = BATCH,
        progress: Progress = silent,
    ) -> UInt8[Tensor, "n c h w"]:
        """Pictures of latents."""

        def decode(part: slice) -> Tensor:
            x = self.model.decode(latents[part].to(self.device), self._part(labels, part))
            return PixelRange().inverse(x).cpu()

        return _in_batches(decode, len(latents), batch_size, progress, "decoding")

    def reconstruct(
        self,
        pixels: UInt8[Tensor, "n c h w"],
        labels: Int64[Tensor, " n"] | None = None,
        *,
        batch_size: int = BATCH,
        progress: Progress = silent,
    ) -> UInt8[Tensor, "n c h w"]:
        """Pictures through the model and back."""
        latents = self.encode(pixels, labels, batch_size=batch_size, progress=progress)
        return self.decode(latents, labels, batch_size=batch_size, progress=progress)

    @torch.no_grad()
    def sample(
        self,
        seeds: Sequence[int],
        labels: Int64[Tensor, " n"] | None = None,
        *,
        batch_size: int = BATCH,
        progress: Progress = silent,
    ) -> UInt8[Tensor, "n c h w"]:
        """One new picture for each seed, whatever else is in its batch."""

        def sample(part: slice) -> Tensor:
            noise = noise_for(seeds[part])
            x = self.model.sample(len(seeds[part]), noise=noise, labels=self._part(labels, part))
            return PixelRange().inverse(x).cpu()

        return _in_batches(sample, len(seeds), batch_size, progress, "drawing")

    def _part(self, labels: Tensor | None, part: slice) -> Tensor | None:
        return None if labels is None else labels[part].to(self.device)


def open_family(
    name: str | Path,
    *,
    scale: float = 1.5,
    num_steps: int = 25,
    sampler: str = "dpmpp",
    grid: str = "karras",
    eta: float = 0.0,
) -> Family:
    """A model of pictures by name or path, of whatever kind; on the GPU where there is one.

    Args:
        name: A shipped model, the user's own, a checkpoint or a run.
        scale: Guidance scale of a diffusion model's samples; this and what follows says nothing to the
            other families.
        num_steps: Steps of a diffusion model, either way.
        sampler: How a diffusion model draws.
        grid: How its noise levels are spaced.
        eta: Fresh noise of the DDIM sampler, 0 … 1.

    Raises:
        UserError: If it is not found, damaged, or no model of pictures.
    """
    loaded = checkpoint.load(name)
    return family_of(loaded, scale=scale, num_steps=num_steps, sampler=sampler, grid=grid, eta=eta)


def family_of(loaded: Loaded, **options: Any) -> Family:
    """As `open_family`, of a checkpoint that is in memory."""
    if loaded.kind not in MIXINGS_OF:
        raise UserError(
            f"{loaded.kind} is not a model that draws", where=loaded.folder.name, remedy="see `melies models`"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    _move(loaded, device)
    model = loaded.model
    return Family(
        model=DiffusionPictures(model, **options) if isinstance(model, ImageDiffusion) else model,
        mixing=MIXINGS_OF[loaded.kind],
        device=device,
        loaded=loaded,
    )


def _move(loaded: Loaded, device: torch.device) -> None:
    loaded.model.to(device)
    for part in loaded.parts.values():
        _move(part, device)


def _in_batches(
    work: Callable[[slice], Tensor], num: int, size: int, progress: Progress, title: str
) -> Tensor:
    if not num:
        raise UserError("there are no pictures to work on")
    found = []
    with progress(title, total=num, unit="pictures") as track:
        for start in range(0, num, size):
            part = slice(start, min(start + size, num))
            found.append(work(part))
            track.advance(part.stop - part.start)
    return torch.cat(found)


def _listed(classes: Sequence[str], most: int = 6) -> str:
    """Some class names, as they are typed."""
    return " | ".join(classes[:most]) + (" | …" if len(classes) > most else "")
