"""CLaTr: one space for camera paths and their captions, trained on shots made by rule.

    melies train clatr --out runs/clatr
    melies train clatr --data SET --out runs/clatr-et

A small one, of 96 channels and two blocks each for paths, words and decoding; five frames are one token.
Captions say what the camera does and what the character does, the same that DIRECTOR reads. At each preview
`retrieval.jsonl` gets how often a held-out path finds its caption among 256, and a caption its path. Captions
of shots made by rule repeat: several paths fit one caption, so that a rank of 1 is not always to be had. It
takes about half an hour on one core.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from melies import checkpoint
from melies.camera.clatr import CLaTr, CLaTrConfig, clatr_loss
from melies.camera.features import fit_steps
from melies.camera.generate import pad_tracks
from melies.config import check_positive, check_range
from melies.errors import UserError
from melies.images.classifier import count_parameters
from melies.interfaces import Objective
from melies.metrics.retrieval import rank_of_own
from melies.recipes.camera.shots import CaptionedShots, shot_batches, training_shots
from melies.recipes.job import Job
from melies.rng import seeded
from melies.text.conditions import caption_conditions, with_vocabulary
from melies.text.config import TextConfig
from melies.text.encode import build_encoder
from melies.text.learned import LearnedEncoder
from melies.training.log import Log
from melies.training.loop import State, TrainingConfig, train

WATCHED = "retrieval.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class CLaTrRecipe:
    """The networks, what they learn from, and their training."""

    model: CLaTrConfig
    """The networks; the text encoder sets `text_dim`."""
    num_shots: int = 16_000
    """Shots made to learn from, where no set is given."""
    temperature: float = 0.1
    """Of the contrast."""
    alike: float = 0.99
    """Cosine from which on two captions are not told apart."""
    reconstruction: float = 1.0
    """Weight of the reconstructions, as published."""
    divergence: float = 1e-5
    """Weight of the divergences, as published."""
    distance: float = 1e-5
    """Weight of the distance between both latents, as published."""
    contrast: float = 0.1
    """Weight of the contrast, as published."""
    num_watched: int = 256
    """Held-out shots among which is searched at each preview."""
    training: TrainingConfig
    """The run."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("num_shots", "temperature", "num_watched"):
            check_positive(name, getattr(self, name))
        for name in ("alike", "reconstruction", "divergence", "distance", "contrast"):
            check_range(name, getattr(self, name), low=0)


CONFIG = CLaTrRecipe(
    model=CLaTrConfig(
        text=TextConfig(name="minilm", max_tokens=48),
        text_dim=384,
        dim=96,
        depth=2,
        head_dim=32,
        patch=5,
        dropout=0.0,
    ),
    training=TrainingConfig(
        num_samples=150_000,
        batch_size=128,
        learning_rate=1e-3,
        warmup=12_800,
        decay="linear",
        hold=0.5,
        betas=(0.9, 0.95),
        ema_half_life=10_000,
        log_every=6_400,
        preview_every=25_600,
        checkpoint_every_s=180,
    ),
)


def run(config: CLaTrRecipe, job: Job) -> State:
    """Train on shots made by rule.

    Raises:
        UserError: If the model to start from is not a CLaTr, or its encoder is not found.
    """
    known, held_out = training_shots(
        job.data,
        config.num_shots,
        config.num_watched,
        seed=config.training.seed,
        progress=job.progress,
        say=job.say,
    )
    texts = (*known.captions, *known.mirrored_captions)
    text = with_vocabulary(config.model.text, texts, dim=config.model.text_dim)
    encoder = build_encoder(text, allow_download=job.allow_download, say=job.say)
    with seeded(config.training.seed, "weights"):
        if job.start_from is None:
            steps = fit_steps(
                [torch.from_numpy(shot.world_from_camera[:, :3, 3]) for shot in known.shots], mirrored=True
            )
            built = replace(config.model, text=encoder.config, text_dim=encoder.dim)
            frozen = None if isinstance(encoder, LearnedEncoder) else encoder  # it makes its own learned one
            model = CLaTr(built, transforms={"camera": steps}, text_encoder=frozen)
        else:
            model = checkpoint.load(job.start_from).model.train()
            if not isinstance(model, CLaTr):
                raise UserError("not a CLaTr", where=job.start_from)
    cache = job.out / "captions"
    conditions = caption_conditions(encoder, texts, progress=job.progress, cache=cache)
    job.say(
        f"{len(known):,} shots, {len(set(texts)):,} different captions, {count_parameters(model):,} weights"
    )
    characters = fit_steps([torch.from_numpy(shot.character) for shot in known.shots], mirrored=True)
    return train(
        model,
        [Objective("clatr", lambda m: m.parameters(), loss_of(config))],
        shot_batches(
            known,
            conditions,
            lambda poses, *_: model.features(poses),
            characters,
            patch=model.config.patch,
            seed=config.training.seed,
        ),
        config.training,
        out=job.out,
        resume=job.resume,
        provenance=job.provenance("clatr", num_shots=len(known)),
        preview=Watch(held_out, job.out),
        progress=job.progress,
    )


def loss_of(config: CLaTrRecipe):
    """The weighted sum of CLaTr's four losses."""

    def loss_fn(model: nn.Module, batch: dict[str, Tensor], rng: torch.Generator):
        told = model.with_states(batch)  # type: ignore[operator]
        parts = clatr_loss(
            model,  # type: ignore[arg-type]
            batch["x0"],
            batch["frames_valid"],
            told["text"],
            told["text_valid"],
            generator=rng,
            temperature=config.temperature,
            alike=config.alike,
        )
        loss = (
            config.reconstruction * parts.reconstruction
            + config.divergence * parts.divergence
            + config.distance * parts.distance
            + config.contrast * parts.contrast
        )
        return loss, {name: float(value.detach()) for name, value in parts._asdict().items()}

    return loss_fn


class Watch:
    """Searches among held-out shots now and then, and writes down how often the right one is found."""

    def __init__(self, held_out: CaptionedShots, out: Path) -> None:
        self.held_out = held_out
        self.out = out

    @torch.no_grad()
    def __call__(self, model: nn.Module, folder: Path, samples_seen: int) -> None:
        """Search with the averaged weights; add a line to the log."""
        assert isinstance(model, CLaTr)
        paths, texts = embed_shots(model, self.held_out)
        similarity = normalize(paths, dim=-1) @ normalize(texts, dim=-1).T
        found = {
            "path to caption": rank_of_own(similarity),
            "caption to path": rank_of_own(similarity.T),
        }
        scores = {
            f"{name} R@{k}": round(float((ranks <= k).float().mean()), 4)
            for name, ranks in found.items()
            for k in (1, 5, 10)
        }
        with Log(self.out / WATCHED, samples_seen=samples_seen - 1) as log:
            log.write(samples_seen=samples_seen, **scores)


@torch.no_grad()
def embed_shots(model: CLaTr, held_out: CaptionedShots, *, batch_size: int = 64) -> tuple[Tensor, Tensor]:
    """Where the paths and the captions of some shots lie, each (n, d) float32."""
    paths = []
    for start in range(0, len(held_out), batch_size):
        part = held_out.shots[start : start + batch_size]
        _, valid = pad_tracks([shot.character for shot in part])
        poses = [torch.from_numpy(shot.world_from_camera).float() for shot in part]
        padded = torch.nn.utils.rnn.pad_sequence(poses, batch_first=True)
        x0 = model.features(padded.to(model.device))
        paths.append(model.read_paths(x0, valid.to(model.device)).mean)
    return torch.cat(paths).float().cpu(), model.embed_texts(held_out.captions).float().cpu()
