"""A classifier of noisy pictures, by whose gradient a diffusion model can be guided to a class.

    melies train fashion-mnist-noisy-classifier --out runs/noisy
    melies generate --model runs/fashion-mnist --guidance classifier --classifier runs/noisy/best --class bag

The set comes from `melies data prepare`; with --data it learns one's own pictures, in a folder per class.
It sees every picture at a noise level of its own, drawn so that all levels from σ_min to σ_max come as
often, for a gradient is asked of it at each. The test part of the set is not trained on; where there is
none, a tenth of the pictures is kept for that. By one half of it the training is watched: `held-out.jsonl`
has the loss there, `best` the weights at which it was lowest, and the run says when it has begun to rise.
On the other half these weights are measured: `record.json` and `levels.png` have the accuracy and the
calibration error at each noise level. 860 thousand weights; on one core of a server's processor the run
of 300 thousand pictures takes a quarter of an hour.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor, nn

from melies import checkpoint
from melies.config import check_positive, check_range
from melies.data.batches import picture_batches
from melies.data.images import ImageSet
from melies.data.places import find_or_make
from melies.data.sets import read_parts
from melies.diffusion.loss import log_uniform
from melies.diffusion.precondition import per_sample
from melies.errors import UserError
from melies.files import write_bytes
from melies.images.classifier import count_parameters
from melies.images.noisy_classifier import NoisyClassifier, NoisyClassifierConfig, classify_noisy
from melies.interfaces import Metric, Objective
from melies.machine import command_line, commit, hardware, is_main_process, versions
from melies.metrics.calibration import measure_calibration
from melies.metrics.measure import measure_share
from melies.nn.unet import UNetConfig
from melies.recipes.job import Job
from melies.report.plot import Line, lines_figure
from melies.report.png import png_bytes
from melies.report.record import record_run, write_record
from melies.rng import generator_for, seeded
from melies.training.log import Log, read_log
from melies.training.loop import Preview, State, TrainingConfig, train
from melies.transform import PixelRange

BEST = "best"
"""Folder of the weights at which the held-out loss was lowest."""
WATCHED = "held-out.jsonl"
"""The held-out loss after each stretch of training."""
PATIENCE = 3
"""Stretches without a lower held-out loss after which the run says that it rises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyClassifierRecipe:
    """The network, what it learns from, and its training."""

    name: str
    """What its numbers are named after."""
    prepared: str
    """The prepared set that it learns, when no other data is given."""
    network: UNetConfig
    """The UNet whose way down it takes; size and channels are those of the pictures."""
    sigma_data: float = 0.5
    """Standard deviation of the pixels, on the scale of −1 to 1."""
    sigma_min: float = 0.002
    """Smallest noise level, as of the diffusion model that is to be guided."""
    sigma_max: float = 80.0
    """Largest noise level, as of that model."""
    flip: bool = False
    """Whether half of the pictures are shown mirrored."""
    num_watched: int = 1_000
    """Most held-out pictures by which the best weights are chosen."""
    num_measured: int = 2_000
    """Most other held-out pictures that are measured at each level."""
    levels: tuple[float, ...] = (0.01, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 40.0)
    """Noise levels at which it is measured, in units of x0."""
    training: TrainingConfig
    """The run; the held-out loss is taken where a preview is due."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("sigma_data", "sigma_min", "num_watched", "num_measured"):
            check_positive(name, getattr(self, name))
        check_range("sigma_max", self.sigma_max, low=self.sigma_min, low_open=True)
        if not self.levels or len(set(self.levels)) < len(self.levels):
            raise UserError("at least one noise level is needed, and each of them once", where="levels")
        for level in self.levels:
            check_range("levels", level, low=self.sigma_min, high=self.sigma_max)
        if not self.training.preview_every:
            raise UserError(
                "without previews the best weights are not kept",
                where="training.preview_every",
                remedy="give the number of pictures after which the held-out loss is taken",
            )


CONFIG = NoisyClassifierRecipe(
    name="fashion-mnist-noisy-classifier",
    prepared="fashion-mnist",
    network=UNetConfig(
        channels=1, size=28, widths=(32, 64, 128), blocks=1, attention=(7,), head_dim=32, dim=128
    ),
    sigma_data=0.7,
    training=TrainingConfig(
        num_samples=300_000,
        batch_size=128,
        learning_rate=1e-3,
        warmup=6_400,
        weight_decay=0.05,
        ema_half_life=5_000,
        log_every=6_400,
        preview_every=12_800,
        checkpoint_every_s=120,
    ),
)


def run(config: NoisyClassifierRecipe, job: Job) -> State:
    """Train on the training part of `data`, keep what is best on the test part, and measure it there.

    Raises:
        UserError: If the pictures are not those of a set with classes, as `read_set` checks, too few to hold
            some out, or the model to start from does not fit.
    """
    source = find_or_make(config.prepared, job.data, progress=job.progress)
    parts = read_parts(
        source,
        size=config.network.size,
        channels=config.network.channels,
        progress=job.progress,
        say=job.say,
    )
    if len(parts.test) < 2:
        raise UserError(
            f"{len(parts.test)} pictures are held out, and two are needed: to choose by, and to measure on",
            where=str(source),
            remedy="add pictures, or a folder test/ with some of each class",
        )
    in_order = torch.randperm(len(parts.test), generator=generator_for(0, "held out"))
    half = len(in_order) // 2
    watched = parts.test.subset(in_order[:half][: config.num_watched])
    measured = parts.test.subset(in_order[half:][: config.num_measured])
    with seeded(config.training.seed, "weights"):
        model = _build(config, parts.train.classes, job.start_from)
    facts = {} if parts.left_out is None else {"left_out": dict(parts.left_out)}
    provenance = job.provenance(config.name, num_pictures=len(parts.train), **facts)
    job.say(f"{len(parts.train)} training pictures, {count_parameters(model):,} weights")
    state = train(
        model,
        [Objective("classifier", lambda m: m.parameters(), noisy_classifier_loss(config))],
        picture_batches(parts.train, seed=config.training.seed, flip=config.flip),
        config.training,
        out=job.out,
        resume=job.resume,
        provenance=provenance,
        preview=keep_best(watched, config, job, provenance=provenance),
        progress=job.progress,
    )
    if is_main_process():
        best = checkpoint.load(job.out / BEST)
        metrics = measure_levels(best.model, measured, config.levels)
        for metric in metrics:
            low, high = metric.interval
            job.say(f"{metric.name}: {metric.value:.3f} [{low:.3f}, {high:.3f}] of {metric.num_samples}")
        record = record_run(
            config.name,
            metrics,
            data={"training": len(parts.train), "watched": len(watched), "measured": len(measured)},
            command=command_line(sys.argv),
            duration_s=state.seconds,
            notes={
                "config": config,
                "samples_seen": state.samples_seen,
                "best": {name: best.provenance[name] for name in ("samples_seen", "held_out_loss")},
            },
        )
        write_record(job.out / "record.json", record)
        write_bytes(job.out / "levels.png", png_bytes(levels_figure(metrics, config.levels)))
    return state


def noisy_classifier_loss(config: NoisyClassifierRecipe):
    """Cross-entropy in nats at noise levels drawn evenly in log σ."""

    def loss_fn(model: nn.Module, batch: dict[str, Tensor], rng: torch.Generator):
        x0, labels = batch["pixels"], batch["class"]
        sigma = _levels(len(x0), rng, config).to(x0)
        epsilon = torch.randn(x0.shape, generator=rng).to(x0)
        logits = model(x0 + per_sample(sigma, x0) * epsilon, sigma)
        right = (logits.argmax(1) == labels).float().mean()
        return F.cross_entropy(logits, labels), {"accuracy": float(right)}

    return loss_fn


def keep_best(
    watched: ImageSet, config: NoisyClassifierRecipe, job: Job, *, provenance: dict | None = None
) -> Preview:
    """A preview for the loop: the loss on held-out pictures, and the weights where it was lowest so far.

    The pictures, their noise and its levels are the same each time, so that two losses can be compared.

    Args:
        watched: Pictures that are not trained on.
        config: The noise levels.
        job: Told when the loss has begun to rise.
        provenance: Written beside the weights that are kept.
    """
    x0, labels = PixelRange().forward(watched.pixels), _labels(watched)
    rng = generator_for(0, "watched")
    sigma, epsilon = _levels(len(x0), rng, config), torch.randn(x0.shape, generator=rng)

    def preview(model: nn.Module, folder: Path, samples_seen: int) -> None:
        if not isinstance(model, NoisyClassifier):
            raise TypeError(f"expected the model that is trained, got {type(model).__name__}")
        out = folder.parent
        device = next(model.parameters()).device
        logits = classify_noisy(model, x0.to(device), sigma, epsilon)
        loss = float(F.cross_entropy(logits, labels))
        before = [row for row in read_log(out / WATCHED) if row["samples_seen"] < samples_seen]
        with Log(out / WATCHED, samples_seen=samples_seen - 1) as log:
            log.write(samples_seen=samples_seen, loss=loss)
        best = min(before, key=lambda row: row["loss"], default=None)
        if best is None or loss < best["loss"]:
            checkpoint.save(
                out / BEST,
                model,  # type: ignore[arg-type]
                provenance={
                    **(provenance or {}),
                    "seed": config.training.seed,
                    "commit": commit(),
                    "versions": versions(),
                    "hardware": hardware(),
                    "samples_seen": samples_seen,
                    "held_out_loss": loss,
                },
            )
        elif len(before) - before.index(best) == PATIENCE:
            job.say(
                f"the held-out loss rises since {best['samples_seen']} pictures, where it was"
                f" {best['loss']:.4f} (now {loss:.4f}): the weights of then are kept in {BEST}"
            )

    return preview


def measure_levels(
    model: NoisyClassifier, pictures: ImageSet, levels: Sequence[float], *, seed: int = 0
) -> list[Metric]:
    """Accuracy, then calibration error, at each noise level; each level has noise of its own.

    Args:
        model: The classifier.
        pictures: Real ones that it was not trained on.
        levels: σ.
        seed: Of the noise and the resampling.
    """
    device = next(model.parameters()).device
    x0, labels = PixelRange().forward(pictures.pixels).to(device), _labels(pictures)
    shares, errors = [], []
    for level in levels:
        epsilon = torch.randn(x0.shape, generator=generator_for(seed, "noise", f"{level:g}"))
        logits = classify_noisy(model, x0, torch.full((len(x0),), level), epsilon)
        confidence, predicted = logits.softmax(1).max(1)
        right = predicted == labels
        shares.append(measure_share(f"accuracy at σ = {level:g}", right))
        errors.append(
            measure_calibration(f"calibration error at σ = {level:g}", confidence, right, seed=seed)
        )
    return shares + errors


def levels_figure(metrics: Sequence[Metric], levels: Sequence[float]) -> Image.Image:
    """Both of `measure_levels` against σ."""
    named = {metric.name: metric for metric in metrics}
    lines = {}
    for what in ("accuracy", "calibration error"):
        found = [named[f"{what} at σ = {level:g}"] for level in levels]
        lines[what] = Line(
            x=list(levels),
            y=[metric.value for metric in found],
            intervals=[metric.interval for metric in found],
        )
    return lines_figure(lines, x="noise level σ", y="share", logarithmic=("x",))


def _levels(count: int, rng: torch.Generator, config: NoisyClassifierRecipe) -> Float[Tensor, " b"]:
    return log_uniform(count, rng, sigma_min=config.sigma_min, sigma_max=config.sigma_max)


def _labels(pictures: ImageSet) -> Int64[Tensor, " n"]:
    if pictures.labels is None:
        raise ValueError("pictures without classes")
    return pictures.labels


def _build(
    config: NoisyClassifierRecipe, classes: tuple[str, ...], start_from: str | None
) -> NoisyClassifier:
    if start_from is None:
        return NoisyClassifier(
            NoisyClassifierConfig(
                network=config.network,
                classes=classes,
                sigma_data=config.sigma_data,
                sigma_min=config.sigma_min,
                sigma_max=config.sigma_max,
            )
        )
    model = checkpoint.load(start_from).model
    if not isinstance(model, NoisyClassifier):
        raise UserError("not a classifier of noisy pictures", where=start_from)
    if model.classes != classes:
        ours, theirs = (", ".join(names) for names in (model.classes, classes))
        raise UserError(f"the classifier knows the classes {ours}, the data {theirs}", where=start_from)
    shape = (config.network.channels, config.network.size, config.network.size)
    if model.shape != shape:
        raise UserError(
            f"the classifier reads {model.shape} (channels, height, width), the recipe {shape}",
            where=start_from,
        )
    return model.train()
