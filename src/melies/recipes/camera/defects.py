"""What the published evaluation does differently, each measured beside what should be.

Samples and references are compared at half the size they have (the features' scale of ½ is never undone);
distances are taken to the shots that were trained on; and paths are scored by sentences that say more than
those CLaTr was trained on. That precision and recall change places is in the usual record, under `roles as
published`. (From reading the code that was released with Courant et al. 2024.)
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy import ndarray
from torch.nn.functional import normalize

from melies.camera.caption import write_caption
from melies.camera.clatr import CLaTr
from melies.camera.model import CameraDiffusion
from melies.interfaces import Metric
from melies.metrics.measure import measure, measure_frechet
from melies.recipes.camera.clatr import embed_shots
from melies.recipes.camera.shots import HELD_OUT_SEED, CaptionedShots

Draw = Callable[[Sequence[str], Sequence[ndarray]], list[ndarray]]


def measure_halves(
    model: CameraDiffusion,
    clatr: CLaTr,
    part: str,
    asked: CaptionedShots,
    drawn: Sequence[ndarray],
    seed: int,
) -> list[Metric]:
    """FD between paths drawn and real ones, both as small as the published code compares them."""
    characters = [shot.character for shot in asked.shots]
    real = [shot.world_from_camera for shot in asked.shots]
    ours, theirs = (
        embed_shots(
            clatr, asked.with_paths([halved(model, *one) for one in zip(paths, characters, strict=True)])
        )
        for paths in (drawn, real)
    )
    return [measure_frechet(ours[0], theirs[0], name=f"{part}, half size: FD[clatr]", seed=seed)]


def halved(model: CameraDiffusion, path: ndarray, character: ndarray) -> ndarray:
    """A path as it comes of features that are half as large as they should be."""
    beside = torch.from_numpy(character)[None]
    x0 = model.encode(torch.from_numpy(path)[None].to(model.device), beside.to(model.device))
    return model.decode(x0 / 2, beside.to(model.device))[0].cpu().numpy()


def measure_seen(
    clatr: CLaTr, seen: CaptionedShots, drawn: Sequence[ndarray], part: str, seed: int
) -> list[Metric]:
    """FD of paths drawn for the sentences of shots that were trained on, to those shots."""
    ours, real = (embed_shots(clatr, one)[0] for one in (seen.with_paths(drawn), seen))
    return [measure_frechet(ours, real, name=f"{part}, shots trained on: FD[clatr]", seed=seed)]


def measure_camera_words(
    clatr: CLaTr, part: str, asked: CaptionedShots, drawn: Sequence[ndarray], seed: int
) -> list[Metric]:
    """CLaTr-score by sentences that speak of the camera alone, where the usual ones speak of both."""
    rng = np.random.default_rng([HELD_OUT_SEED, seed])
    said = tuple(write_caption(shot.camera_segments, rng=rng) for shot in asked.shots)
    paths, _ = embed_shots(clatr, asked.with_paths(drawn))
    words = clatr.embed_texts(said).float().cpu()
    values = 100 * (normalize(paths, dim=-1) * normalize(words, dim=-1)).sum(1).clamp(min=0)
    name = f"{part}, sentences of the camera alone: CLaTr-score"
    return [measure(name, torch.mean, values, unit="", higher_is_better=True, seed=seed)]
