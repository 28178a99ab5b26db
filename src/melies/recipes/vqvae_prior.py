"""VQ-VAE, second stage: a prior over the codes of a trained autoencoder, by class.

    melies train vqvae --out runs/vqvae
    melies train vqvae-prior --from runs/vqvae --out runs/vqvae-prior
    melies generate --model runs/vqvae-prior --class sneaker --count 8

On one processor core it sees some 600 pictures a second and is done in six minutes. After 200,000
pictures `fashion-mnist-judge` sees the class that was asked for in 88.4 % [86.9, 89.7] of 2,000 drawings at
the temperature of 0.8 that they are drawn at, and in 85.2 % [83.6, 86.7] at 1; the Fréchet distance in
`fashion-mnist-features` is 1.7 and 2.1.

The run folder keeps the prior alone in `prior/`; when it is done, the autoencoder with its prior is written
beside it, and is what the folder stands for.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from melies import checkpoint
from melies.autoencoders.prior import CodePrior, CodePriorConfig, code_nats
from melies.autoencoders.vqvae import VQVAE, codes_of
from melies.data.balance import index_stream
from melies.errors import UserError
from melies.interfaces import Objective
from melies.machine import is_main_process
from melies.recipes.job import Job
from melies.recipes.preview import write_drawn
from melies.rng import noise_for, seeded
from melies.training.loop import State, TrainingConfig, train

PREVIEW_ROWS = 4
"""Pictures of each class in a preview."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodePriorRunConfig:
    """The prior and its training."""

    prior: CodePriorConfig = CodePriorConfig(depth=3, dropout=0.0)
    """Shape of the transformer: its codes and cells are those of the autoencoder, and the classes come
    from the data."""
    flip: bool = False
    """Whether the codes of mirrored pictures are learned as well."""
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            num_samples=200_000,
            batch_size=32,
            learning_rate=4e-3,
            warmup=3_200,
            decay="linear",
            betas=(0.9, 0.95),
            weight_decay=0.05,
            ema_half_life=5_000,
            log_every=3_200,
            preview_every=40_000,
        )
    )
    """The run."""


CONFIG = CodePriorRunConfig()


def run(
    config: CodePriorRunConfig,
    job: Job,
) -> State:
    """Train on the codes of Fashion-MNIST, or of one's own pictures; folders are classes.

    Raises:
        UserError: If no VQ-VAE to start from is given, or its prior knows other classes than the data.
    """
    autoencoder = _read_autoencoder(job.start_from)
    size, channels = autoencoder.config.size, autoencoder.config.channels
    pictures = job.read("fashion-mnist", size=size, channels=channels, classes=False)
    with seeded(config.training.seed, "weights"):
        model = _build(config.prior, autoencoder, pictures.classes, str(job.start_from))
    codes, labels = codes_of(autoencoder, pictures.pixels), pictures.labels
    if config.flip:
        codes = torch.cat([codes, codes_of(autoencoder, pictures.pixels.flip(-1))])
        labels = None if labels is None else labels.repeat(2)
    count = sum(p.numel() for p in model.parameters())
    job.say(f"{codes.numel():,} codes of {len(pictures)} pictures, {count:,} weights")
    part = replace(job, out=job.out / "prior")
    state = train(
        model,
        [Objective("prior", lambda m: m.parameters(), prior_loss(math.prod(autoencoder.shape)))],
        code_batches(codes, labels, seed=config.training.seed),
        config.training,
        out=part.out,
        resume=job.resume,
        provenance=part.provenance("vqvae-prior", num_pictures=len(pictures)),
        preview=_preview(autoencoder),
        progress=job.progress,
    )
    _write_whole(job.out, autoencoder, checkpoint.load(part.out).model)
    return state


def _read_autoencoder(start_from: str | None) -> VQVAE:
    if start_from is None:
        raise UserError(
            "a prior needs the VQ-VAE whose codes it learns", remedy="name one with --from, see vqvae"
        )
    model = checkpoint.load(start_from).model
    if not isinstance(model, VQVAE):
        raise UserError("not a VQ-VAE", where=start_from, remedy="name one that melies train vqvae made")
    return model.requires_grad_(False)


def _build(
    config: CodePriorConfig, autoencoder: VQVAE, classes: tuple[str, ...], start_from: str
) -> CodePrior:
    prior = autoencoder.parts.get("prior")
    if prior is None:
        shape = autoencoder.config
        return CodePrior(
            replace(config, num_codes=shape.quantizer.num_codes, cells=shape.cells, classes=classes)
        )
    if prior.config.classes != classes:
        raise UserError(
            f"the prior knows the classes {', '.join(prior.config.classes) or '(none)'},"
            f" the data {', '.join(classes) or '(none)'}",
            where=start_from,
            remedy="name the folders as the model does, or start from the VQ-VAE alone",
        )
    return prior.train()


def code_batches(
    codes: Tensor, labels: Tensor | None, *, seed: int
) -> Callable[[int, int], dict[str, Tensor]]:
    """Codes of pictures, with their classes where they have some, as a function of position."""
    order = index_stream(torch.ones(len(codes), dtype=torch.float64), seed=seed)

    def batches(start: int, size: int) -> dict[str, Tensor]:
        chosen = order(start, size)
        return {"codes": codes[chosen], **({} if labels is None else {"class": labels[chosen]})}

    return batches


def prior_loss(dims: int) -> Callable[..., tuple[Tensor, dict[str, float]]]:
    """Mean cross-entropy of a code; it is also logged in bits for each of the `dims` numbers of a picture."""

    def loss_fn(model, batch, rng):
        codes = batch["codes"]
        nats = code_nats(model(codes, batch.get("class")), codes).mean()
        bits_per_dim = float(nats.detach()) / (dims * math.log(2))
        return nats / codes[0].numel(), {"bits_per_dim": bits_per_dim}

    return loss_fn


def _preview(autoencoder: VQVAE) -> Callable[[Any, Path, int], None]:
    def preview(prior: Any, folder: Path, samples_seen: int) -> None:
        classes = prior.config.classes
        columns = len(classes) or 8
        labels = torch.arange(len(classes)).repeat(PREVIEW_ROWS) if classes else None
        codes = prior.sample(
            PREVIEW_ROWS * columns, noise=noise_for(range(PREVIEW_ROWS * columns)), labels=labels
        )
        pixels = autoencoder.decode_codes(codes.to(autoencoder.device))
        write_drawn(folder, samples_seen, pixels, columns=columns, classes=classes)

    return preview


def _write_whole(out: Path, autoencoder: VQVAE, prior: CodePrior) -> None:
    """The autoencoder with its prior, as one checkpoint."""
    if not is_main_process():
        return
    whole = VQVAE(autoencoder.config, prior=prior)
    whole.load_state_dict(autoencoder.state_dict())
    provenance: dict[str, Any] = prior.provenance  # type: ignore
    folder = out / f"checkpoint-{provenance['samples_seen']}"
    checkpoint.save(folder, whole, provenance=provenance)  # type: ignore[arg-type]
    checkpoint.remove_older(out)
