"""Draw camera paths: words and a moving character in, poses out, in memory."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray
from torch import Tensor

from melies.camera.constraint import Constraint, at_speed, held, put_right
from melies.camera.model import CameraDiffusion
from melies.diffusion import SAMPLERS
from melies.diffusion.guidance.bind import check_fits
from melies.diffusion.guidance.classifier_free import ClassifierFreeGuidance
from melies.diffusion.noise import karras
from melies.errors import UserError, choose
from melies.interfaces import Branch, Guidance
from melies.optional import import_from
from melies.progress import Progress, silent
from melies.rng import noise_for

RHO = 40.0
"""Of the published grid: nearly even in log σ."""


class Drawn(NamedTuple):
    """One shot that was drawn."""

    world_from_camera: Float64[ndarray, "n 4 4"]
    """Metres, in the world of the character."""
    focal: Float64[ndarray, " n"] | None
    """Of the lens, in heights of the picture; None of a model that knows no lenses."""


def draw_paths(
    model: CameraDiffusion,
    prompts: Sequence[str],
    characters: Sequence[Float64[ndarray, "_ 3"]],
    **options: Any,
) -> list[Float64[ndarray, "_ 4 4"]]:
    """The poses `world_from_camera` alone of what `draw_shots` draws, which takes the same options."""
    return [shot.world_from_camera for shot in draw_shots(model, prompts, characters, **options)]


@torch.no_grad()
def draw_shots(
    model: CameraDiffusion,
    prompts: Sequence[str],
    characters: Sequence[Float64[ndarray, "_ 3"]],
    *,
    scale: float = 1.4,
    guidance: Guidance | None = None,
    num_steps: int = 10,
    sampler: str = "heun",
    rho: float = RHO,
    seeds: Sequence[int] | None = None,
    constraints: Sequence[Constraint] | None = None,
    batch_size: int = 32,
    progress: Progress = silent,
) -> list[Drawn]:
    """Draw one path beside each character, as long as its track.

    Args:
        model: A trained model.
        prompts: What each camera does, in words.
        characters: Where each character's hips are, metres, at the model's frame rate; at most as many frames
            as the network knows. Only the way from the first place counts.
        scale: Guidance scale; 1 is off.
        guidance: Another way of guiding; takes the place of `scale`.
        num_steps: Steps of the sampler.
        sampler: A name in `melies.diffusion.SAMPLERS`.
        rho: Of the noise levels: 7 as of Karras et al., 40 as published for DIRECTOR.
        seeds: One per path, so that a path does not depend on its neighbours; 0, 1, 2 … when not given.
        constraints: What each path is held to; nothing when not given.
        batch_size: Paths at once; bounds memory.
        progress: Shows the progress of the paths.

    Raises:
        UserError: If a track is empty or too long, a key is at a frame that is not there, or the guidance
            does not fit the sampler.
        ValueError: If there is not one prompt, one seed and one constraint for each character.
    """
    seeds = list(range(len(prompts))) if seeds is None else list(seeds)
    constraints = [Constraint()] * len(prompts) if constraints is None else list(constraints)
    if not len(prompts) == len(characters) == len(seeds) == len(constraints):
        raise ValueError(
            f"{len(prompts)} prompts, {len(characters)} characters, {len(seeds)} seeds,"
            f" {len(constraints)} constraints"
        )
    longest = model.config.network.frames
    for track in characters:
        if not 1 <= len(track) <= longest:
            raise UserError(f"a path of {len(track)} frames", remedy=f"give from 1 to {longest}")
    if guidance is not None:
        check_fits(guidance, sampler, 0.0)
    sample = import_from(choose(sampler, SAMPLERS, "sampler"))
    sigmas = karras(num_steps, model.config.sigma_min, model.config.sigma_max, rho)
    paths: list[Drawn] = []
    with progress("drawing", total=len(prompts), unit="paths") as track:
        for start in range(0, len(prompts), batch_size):
            part = slice(start, min(start + batch_size, len(prompts)))
            paths += _draw_batch(
                model,
                prompts[part],
                characters[part],
                guidance=guidance or ClassifierFreeGuidance(scale=scale),
                sigmas=sigmas,
                sample=sample,
                seeds=seeds[part],
                constraints=constraints[part],
            )
            track.advance(part.stop - part.start)
    return paths


def _draw_batch(
    model: CameraDiffusion,
    prompts: Sequence[str],
    characters: Sequence[ndarray],
    *,
    guidance: Guidance,
    sigmas: Tensor,
    sample,
    seeds: Sequence[int],
    constraints: Sequence[Constraint],
) -> list[Drawn]:
    starts = [track[0] for track in characters]
    own = [track - start for track, start in zip(characters, starts, strict=True)]
    constraints = [one.seen_from(start) for one, start in zip(constraints, starts, strict=True)]
    tracks, valid = pad_tracks(own)
    condition = model.condition_on(prompts, tracks.to(model.device), valid=valid.to(model.device))
    branches = {
        "conditional": Branch(model, condition),
        "null": Branch(model, model.null_condition(condition)),
    }
    denoise = guidance.bind(branches, sigmas, valid=condition["frames_valid"][:, None])
    beside = tracks.to(model.device).double()
    denoise = held(denoise, model, own, constraints, beside)
    # Each path's noise is drawn at full length and cut, so that no other path in the batch changes it.
    noise = noise_for(seeds)
    whole = torch.zeros(len(prompts), *model.shape(model.config.network.frames), device=model.device)
    length = tracks.shape[1]

    def cut(step: int, like: Tensor) -> Tensor:
        return noise(step, whole)[..., :length]

    x = float(sigmas[0]) * cut(-1, whole)
    x0 = sample(denoise, x, sigmas, noise=cut).double()
    poses, focal = model.decode(x0, beside).cpu().numpy(), model.focal(x0)
    lenses = [None] * len(own) if focal is None else list(focal.cpu().numpy())
    found = []
    for pose, lens, track, start, constraint in zip(poses, lenses, own, starts, constraints, strict=True):
        pose = at_speed(pose[: len(track)], constraint.speed)
        pose = put_right(pose, track, constraint, axes=model.config.axes)
        pose[:, :3, 3] += start
        found.append(Drawn(pose, None if lens is None else lens[: len(track)]))
    return found


def pad_tracks(tracks: Sequence[Float64[ndarray, "_ d"]]) -> tuple[Tensor, Tensor]:
    """Tracks of several lengths as (b, n, d) float32, the last place repeated, and which frames they have."""
    n = max(len(track) for track in tracks)
    rows = [np.concatenate([track, np.repeat(track[-1:], n - len(track), axis=0)]) for track in tracks]
    lengths = torch.tensor([len(track) for track in tracks])
    return torch.from_numpy(np.stack(rows)).float(), torch.arange(n) < lengths[:, None]
