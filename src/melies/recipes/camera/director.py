"""DIRECTOR: words and a moving character to a camera path, in the three designs of the paper.

    melies train director --out runs/director
    melies train director-in-context --out runs/director-a
    melies train director-modulated --out runs/director-b
    melies train director --data SET --out runs/director-et

These are small ones, of 128 channels, that train on shots made by rule (`melies.camera.synthesis`), half of
them seen in a mirror; five frames are one token. The loss leaves out what is padded, and the steps of a path
are in the camera's own axes, in which the motions of E.T. are constants, and bent, so that slow ones and none
stay apart; noise is stronger (`--axes world --knee 0 --P-mean -1.2 --P-std 1.2` is as published).
With `--data` they are those of a set in E.T.'s layout, such as `melies camera dataset build` makes of videos.
Every preview draws held-out shots from their captions and characters, and writes into `c-f1.jsonl` how well
the tagger finds in them what was asked for. One core of a server's processor sees some 80 shots a second:
forty minutes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from melies import checkpoint
from melies.camera.dataset import is_pure, labels_of
from melies.camera.director import DirectorConfig
from melies.camera.features import NUM_FEATURES, WITH_LENS, Axes, fit_steps, moved, translation_in
from melies.camera.generate import draw_paths
from melies.camera.labels import NUM_LABELS
from melies.camera.model import CameraDiffusion, CameraDiffusionConfig, Time
from melies.camera.synthesis import Shot, SynthesisConfig
from melies.camera.tag import FPS, tag_camera
from melies.config import check_positive, check_range
from melies.diffusion.loss import denoising_loss, drop_condition, edm, flow, log_normal
from melies.errors import UserError
from melies.images.classifier import count_parameters
from melies.interfaces import Objective
from melies.metrics.labels import confusion, label_scores, weighted
from melies.recipes.camera.shots import CaptionedShots, shot_batches, training_shots
from melies.recipes.job import Job
from melies.rng import seeded
from melies.text.conditions import caption_conditions, with_vocabulary
from melies.text.config import TextConfig
from melies.text.encode import build_encoder
from melies.text.learned import LearnedEncoder
from melies.training.log import Log
from melies.training.loop import State, TrainingConfig, train

WATCHED = "c-f1.jsonl"
"""How well held-out shots do what was asked for, at each preview."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorRecipe:
    """The network, what it learns from, and its training."""

    network: DirectorConfig
    """The denoising network; the text encoder sets its `text_dim`."""
    text: TextConfig = TextConfig(name="minilm", max_tokens=48)
    """The text encoder."""
    axes: Axes = "camera"
    """In which the path's steps are: the camera's own at each frame, or those of the world, as published."""
    relative: bool = False
    """Whether positions are told from where the character is at each frame, and not only at the first."""
    time: Time = "edm"
    """What the network predicts: EDM's mixture of path and noise, or the velocity of a flow, for which
    `--P-mean -0.69 --P-std 1` makes flow time logit-normal."""
    zoom: float = 0.0
    """Share of the shots that are made to learn from in which the lens zooms; above 0 the network draws a
    focal length for each frame too."""
    knee: float = 0.05
    """Speed (m/s) from which on the camera's steps count by their ratio, so that standing still and moving
    slowly stay apart; 0 as published."""
    num_shots: int = 16_000
    """Shots made to learn from, where no set is given."""
    masked: bool = True
    """Whether padded frames count for nothing in the loss; as published they count."""
    drop_together: float = 0.1
    """Share of shots trained without text and character."""
    drop_each: float = 0.1
    """Share that loses the text, and share that loses the character."""
    P_mean: float = 0.5
    """Mean of log σ while training; −1.2 as published. Frames say the same a hundred times over, so that what
    a path does is settled at far more noise than what a pixel shows."""
    P_std: float = 1.7
    """Standard deviation of log σ while training; 1.2 as published."""
    num_watched: int = 96
    """Held-out shots drawn at each preview."""
    training: TrainingConfig
    """The run."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("num_shots", "P_std", "num_watched"):
            check_positive(name, getattr(self, name))
        for name in ("drop_together", "drop_each", "zoom"):
            check_range(name, getattr(self, name), low=0, high=1)
        check_range("knee", self.knee, low=0)


SMALL = DirectorConfig(dim=128, depth=5, patch=5, dropout=0.0, skipped=0.0, text_dim=384)
TRAINING = TrainingConfig(
    num_samples=200_000,
    batch_size=32,
    learning_rate=1e-3,
    warmup=12_800,
    decay="linear",
    hold=0.6,
    betas=(0.9, 0.95),
    weight_decay=0.01,
    ema_half_life=10_000,
    log_every=6_400,
    preview_every=32_000,
    checkpoint_every_s=180,
)
CONFIG = DirectorRecipe(network=SMALL, training=TRAINING)
IN_CONTEXT = replace(CONFIG, network=replace(SMALL, design="in-context"))
MODULATED = replace(CONFIG, network=replace(SMALL, design="modulated"))


def run(config: DirectorRecipe, job: Job) -> State:
    """Train on shots made by rule.

    Raises:
        UserError: If the model to start from is not one of camera paths, or its encoder is not found.
    """
    if job.data is not None and config.zoom:
        raise UserError(
            "a set's shots have one lens each", where="--zoom", remedy="leave --data or --zoom out"
        )
    known, held_out = training_shots(
        job.data,
        config.num_shots,
        config.num_watched,
        seed=config.training.seed,
        config=SynthesisConfig(zoom=config.zoom),
        progress=job.progress,
        say=job.say,
    )
    texts = (*known.captions, *known.mirrored_captions)
    text = with_vocabulary(config.text, texts, dim=config.network.text_dim)
    encoder = build_encoder(text, allow_download=job.allow_download, say=job.say)
    with seeded(config.training.seed, "weights"):
        model = _build(config, known, encoder, job.start_from)
    cache = job.out / "captions"
    conditions = caption_conditions(encoder, texts, progress=job.progress, cache=cache)
    job.say(
        f"{len(known):,} shots, {len(set(texts)):,} different captions, {count_parameters(model):,} weights"
    )
    return train(
        model,
        [Objective("denoiser", lambda m: m.parameters(), denoiser_loss(config, model.config))],
        shot_batches(
            known,
            conditions,
            model.encode,
            model.transforms["character"],  # type: ignore[arg-type]
            patch=config.network.patch,
            seed=config.training.seed,
        ),
        config.training,
        out=job.out,
        resume=job.resume,
        provenance=job.provenance("director", num_shots=len(known)),
        preview=Watch(held_out, job.out),
        progress=job.progress,
    )


def _build(
    config: DirectorRecipe, known: CaptionedShots, encoder: Any, start_from: str | None
) -> CameraDiffusion:
    if start_from is not None:
        loaded = checkpoint.load(start_from).model
        if not isinstance(loaded, CameraDiffusion):
            raise UserError("not a model of camera paths", where=start_from)
        return loaded.train()
    transforms = {
        "camera": fit_steps(
            [translation_in(config.axes, _told(config, shot)) for shot in known.shots],
            mirrored=True,
            knee=config.knee / FPS,
        ),
        "character": fit_steps([torch.from_numpy(shot.character) for shot in known.shots], mirrored=True),
    }
    features = WITH_LENS if config.zoom else NUM_FEATURES
    network = replace(config.network, text_dim=encoder.dim, features=features)
    return CameraDiffusion(
        CameraDiffusionConfig(
            network=network,
            text=encoder.config,
            axes=config.axes,
            relative=config.relative,
            time=config.time,
        ),
        transforms=transforms,
        text_encoder=None if isinstance(encoder, LearnedEncoder) else encoder,  # it makes its own learned one
    )


def _told(config: DirectorRecipe, shot: Shot) -> Tensor:
    poses = torch.from_numpy(shot.world_from_camera)
    return moved(poses, -torch.from_numpy(shot.character)) if config.relative else poses


def denoiser_loss(config: DirectorRecipe, made: CameraDiffusionConfig):
    """The loss on the features, by what the network predicts.

    Text and character are dropped now and then, together or one of them.
    """

    def loss_fn(model: nn.Module, batch: dict[str, Tensor], rng: torch.Generator):
        x0 = batch["x0"]
        condition = {name: value for name, value in batch.items() if name != "x0"}
        condition = drop_condition(
            condition,
            ("text", "character"),
            rng,
            joint=config.drop_together,
            independent=config.drop_each,
        )
        sigma = log_normal(len(x0), rng, P_mean=config.P_mean, P_std=config.P_std).to(x0)
        loss = denoising_loss(
            model,
            x0,
            condition,
            sigma=sigma,
            epsilon=torch.randn(x0.shape, generator=rng).to(x0),
            weight={"edm": edm, "flow": flow}[made.time](sigma, sigma_data=made.sigma_data),
            valid=batch["frames_valid"] if config.masked else None,
        )
        return loss.mean(), {}

    return loss_fn


class Watch:
    """Draws held-out shots now and then, and writes down how well they do what was asked for."""

    def __init__(self, held_out: CaptionedShots, out: Path) -> None:
        self.held_out = held_out
        self.out = out

    def __call__(self, model: nn.Module, folder: Path, samples_seen: int) -> None:
        """Draw with the averaged weights; add a line to the log."""
        assert isinstance(model, CameraDiffusion)
        shots = self.held_out.shots
        paths = draw_paths(model, self.held_out.captions, [shot.character for shot in shots])
        truth = [torch.from_numpy(labels_of(shot.camera_segments)) for shot in shots]
        found = [torch.from_numpy(tag_camera(path, model.config.fps)) for path in paths]
        pure = [is_pure(shot.camera_segments) for shot in shots]
        parts = {"pure": pure, "mixed": [not one for one in pure]}
        scores = {name: _f1(truth, found, chosen) for name, chosen in parts.items() if any(chosen)}
        with Log(self.out / WATCHED, samples_seen=samples_seen - 1) as log:
            log.write(samples_seen=samples_seen, **scores)


def _f1(truth: Sequence[Tensor], found: Sequence[Tensor], chosen: Sequence[bool]) -> float:
    pairs = [(a, b) for a, b, kept in zip(truth, found, chosen, strict=True) if kept]
    counts = sum(confusion(a, b, NUM_LABELS) for a, b in pairs)
    return round(float(weighted(label_scores(counts))[2]), 4)  # type: ignore[arg-type]
