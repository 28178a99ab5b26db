"""Camera paths drawn beside the loop of the published code, and a long path converted.

The published code passes twice through the network at each evaluation, with words and without, and gives it
every sentence at 77 tokens and every path at 300 frames. Both sides have the same network and draw the same
paths; that what is padded is not looked at holds for both.
"""

import copy
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.ratio.comparison import TimingConfig, comparison_record, medians
from benchmarks.ratio.pair import Pair, check_equal, median_metric, ratio_metric, time_in_turn
from melies.camera.character import preset_character
from melies.camera.et import path_of
from melies.camera.formats.kitti import write
from melies.camera.generate import RHO, draw_paths, pad_tracks
from melies.camera.model import CameraDiffusion, CameraDiffusionConfig
from melies.diffusion.noise import karras
from melies.geometry import exp_rotation
from melies.interfaces import Metric
from melies.recipes.camera.director import SMALL
from melies.report.record import Record
from melies.rng import noise_for
from melies.text.conditions import with_vocabulary
from melies.text.config import TextConfig

PROMPT = "While the character moves to the right, the camera trucks right and stops"
TOKENS = 77
"""Of every sentence, as CLIP pads it."""
SECONDS = "s of a conversion"
MEGABYTES = "MB of a conversion"
USD_SECONDS = "s of a conversion to USD"
"""Which Pixar's library writes."""
TARGETS = ("csv", "tum", "json", "gltf", "usda")


@dataclass(frozen=True, slots=True, kw_only=True)
class PathsConfig:
    """What is drawn and converted."""

    shots: int = 16
    """Paths at once."""
    frames: int = 300
    """Of each."""
    num_steps: int = 10
    """Steps of Heun's method, with guidance."""
    poses: int = 100_000
    """Of the path that is converted."""
    conversions: int = 5
    """Times that it is."""


def compare_camera(config: TimingConfig, drawn: PathsConfig | None = None) -> Iterator[Record]:
    """Paths drawn against the published loop, and what a conversion takes."""
    drawn = drawn or PathsConfig()
    started = perf_counter()
    pairs = [build_pair(design, drawn) for design in ("cross-attention", "in-context", "modulated")]
    for pair in pairs:
        check_equal(pair, rtol=1e-3, atol=1e-3)
    timings = [time_in_turn(pair, rounds=config.rounds) for pair in pairs]
    yield comparison_record(
        "ratio-camera",
        [*(ratio_metric(timing) for timing in timings), *conversion_metrics(drawn)],
        config,
        data={"drawn": drawn, "network": SMALL},
        duration_s=perf_counter() - started,
        notes={
            "peer": "the loop of the published code, on the same network",
            "median seconds": medians(timings),
        },
        packages=(),
    )


def build_pair(design: str, drawn: PathsConfig) -> Pair:
    """Our drawing and the published loop with one design of the shipped size."""
    torch.manual_seed(0)
    network = replace(SMALL, design=design, text_dim=64)
    words = TextConfig(name="learned", dim=64, num_layers=1, num_heads=4, max_tokens=TOKENS)
    text = with_vocabulary(words, [PROMPT], dim=64)
    model = CameraDiffusion(CameraDiffusionConfig(network=network, text=text)).eval().requires_grad_(False)
    for parameter in model.denoiser.parameters():  # a fresh network predicts zero, whatever it is asked
        parameter.add_(0.02 * torch.randn(parameter.shape))
    plain = copy.deepcopy(model).train()  # nothing is dropped, and no row is read once for several
    track = preset_character("walk-then-stop", drawn.frames)
    prompts, tracks, seeds = [PROMPT] * drawn.shots, [track] * drawn.shots, list(range(drawn.shots))

    def ours() -> Tensor:
        return _stacked(draw_paths(model, prompts, tracks, num_steps=drawn.num_steps, seeds=seeds))

    def theirs() -> Tensor:
        return _stacked(draw_as_published(plain, prompts, tracks, num_steps=drawn.num_steps, seeds=seeds))

    return Pair(name=f"{drawn.shots} shots, {design}", ours=ours, theirs=theirs)


@torch.no_grad()
def draw_as_published(
    model: CameraDiffusion,
    prompts: Sequence[str],
    characters: Sequence[np.ndarray],
    *,
    num_steps: int,
    seeds: Sequence[int],
    scale: float = 1.4,
) -> list[np.ndarray]:
    """Heun's method with two passes at each evaluation, everything padded to the longest there may be."""
    most = model.config.network.frames
    tracks, valid = pad_tracks(characters)
    lasting = torch.cat([tracks, tracks[:, -1:].expand(-1, most - tracks.shape[1], -1)], dim=1)
    valid = F.pad(valid, (0, most - valid.shape[1]))
    condition = model.with_states(model.condition_on(prompts, lasting, valid=valid))
    missing = TOKENS - condition["text"].shape[1]
    told = {
        **condition,
        "text": F.pad(condition["text"], (0, 0, 0, missing)),
        "text_valid": F.pad(condition["text_valid"], (0, missing)),
    }
    null = model.null_condition(told)
    x = 80.0 * noise_for(seeds)(-1, torch.zeros(len(prompts), *model.shape(most)))
    sigmas = karras(num_steps, model.config.sigma_min, model.config.sigma_max, RHO)

    def slope(x: Tensor, sigma: Tensor) -> Tensor:
        level = sigma.to(x).expand(len(x))
        without = model(x, level, null)
        return (x - (without + scale * (model(x, level, told) - without))) / sigma.to(x)

    for sigma, after in pairwise(sigmas):
        first = slope(x, sigma)
        there = x + float(after - sigma) * first
        x = there if after == 0 else x + float(after - sigma) / 2 * (first + slope(there, after))
    poses = model.decode(x.double(), lasting.double()).numpy()
    return [pose[: len(track)] for pose, track in zip(poses, characters, strict=True)]


def conversion_metrics(drawn: PathsConfig) -> list[Metric]:
    """Seconds and memory of `melies camera convert`, from typing to the file."""
    rng, poses = np.random.default_rng(0), np.tile(np.eye(4), (drawn.poses, 1, 1))
    poses[:, :3, :3] = exp_rotation(rng.normal(0, 0.01, (drawn.poses, 3)).cumsum(0))
    poses[:, :3, 3] = rng.normal(0, 0.01, (drawn.poses, 3)).cumsum(0)
    metrics = []
    with tempfile.TemporaryDirectory(prefix="melies-convert-") as folder:
        source = Path(folder) / "path.txt"
        source.write_bytes(write(path_of(poses)))
        for suffix in TARGETS:
            target, seconds = Path(folder) / f"path.{suffix}", []
            command = ["melies", "camera", "convert", str(source), str(target), "--overwrite", "--quiet"]
            for _ in range(drawn.conversions):
                began = perf_counter()
                subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
                seconds.append(perf_counter() - began)
            name = f"{drawn.poses:,} poses from txt to {suffix}"
            unit = USD_SECONDS if suffix == "usda" else SECONDS
            metrics.append(median_metric(name, seconds, unit=unit, higher_is_better=False))
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of all of them
    return [*metrics, Metric("the largest conversion", most, MEGABYTES, False, 1, (most, most), 0)]


def _stacked(paths: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(paths))
