"""Log-likelihood of a VAE of ours and of one of `pythae`; writes `benchmarks/quality/vae-likelihood.json`.

    PYTHONPATH=.venv-peers python -m benchmarks.quality.vae_likelihood

Both have the same encoder and decoder with the same first weights, see the same black and white pictures of
Fashion-MNIST in the same order under the same optimiser, and draw their latents each by itself. What they
come to is measured on the same test pictures by the same importance-weighted bound, after it was compared
with pythae's own.
"""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor, nn

from benchmarks.ratio.vae import build_peer
from melies.autoencoders.elbo import beta_loss
from melies.autoencoders.likelihood import binarize_once
from melies.autoencoders.vae import VAE, VAEConfig
from melies.config import check_positive, check_range
from melies.data.batches import picture_batches
from melies.data.images import ImageSet
from melies.data.places import find_data
from melies.data.sets import read_set
from melies.errors import UserError
from melies.interfaces import Metric
from melies.machine import command_line, keep_freed_memory
from melies.metrics.interval import paired_difference
from melies.metrics.likelihood import (
    WeightSums,
    importance_log_likelihood,
    measure_importance_likelihood,
    weight_sums,
)
from melies.report.record import Record, record_run, write_record
from melies.rng import generator_for, seeded
from melies.training.schedule import learning_rate
from melies.transform import PixelRange

CHECKED = 4
"""Test pictures on which the bound is compared with pythae's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelihoodConfig:
    """What is trained, and how it is measured."""

    data: Path | None = None
    """Fashion-MNIST as `melies data prepare fashion-mnist` wrote it; where left out, in the usual places."""
    model: VAEConfig = VAEConfig(likelihood="bernoulli")
    """The networks of both sides."""
    samples: int = 1_200_000
    """Pictures that each side sees: twenty epochs."""
    batch: int = 128
    """Pictures per step."""
    learning_rate: float = 1e-3
    """Peak rate of Adam, which falls to nothing along a cosine."""
    test: int = 1_000
    """Test pictures, at even distances, so that all classes are among them."""
    draws: int = 1_000
    """Draws of the latent for each of them: K of the bound."""
    seed: int = 0
    """Of the weights, of the order of the pictures, and of all draws."""
    threads: int = 2
    """Threads that torch computes with."""
    out: Path = Path(__file__).with_name("vae-likelihood.json")
    """The record."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("samples", "batch", "learning_rate", "threads"):
            check_positive(name, getattr(self, name))
        check_range("test", self.test, low=CHECKED)
        check_range("draws", self.draws, low=2)
        if self.model.likelihood != "bernoulli" or self.model.classes:
            raise UserError("pythae's VAE knows black and white pictures without classes", where="model")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train both, measure, write the record and say what is in it; 2 for a user's mistake."""
    config = tyro.cli(LikelihoodConfig, args=arguments, description=__doc__)
    torch.set_num_threads(config.threads)
    keep_freed_memory()
    try:
        record = compare(config)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    write_record(config.out, record)
    for metric in record.metrics:
        low, high = metric.interval
        print(f"{metric.name:44} {metric.value:10.3f} {metric.unit}  [{low:.3f}, {high:.3f}]")
    return 0


def compare(config: LikelihoodConfig) -> Record:
    """Train both sides and measure them on the same test pictures."""
    started = time.perf_counter()
    training, test = (_black_and_white(config, split) for split in ("train", "test"))
    with seeded(config.seed, "weights"):
        ours = VAE(config.model)
    theirs = build_peer(ours)
    seconds = {
        "ours": fit(ours, _our_loss(ours, config), training, config, "ours"),
        "pythae": fit(
            theirs, lambda pixels: theirs({"data": (pixels + 1) / 2}).loss, training, config, "pythae"
        ),
    }
    read_back = _as_ours(theirs, config)
    chosen = torch.linspace(0, len(test) - 1, config.test).long()
    pixels = PixelRange().forward(test.pixels[chosen])
    checked = check_bound(theirs, read_back, pixels[:CHECKED], config)
    sums = {"ours": _sums(ours, pixels, config), "pythae": _sums(read_back, pixels, config)}
    return record_run(
        "vae-likelihood",
        _metrics(sums, pixels[0].numel()),
        data={
            "training pictures": len(training),
            "test pictures": config.test,
            "set": "Fashion-MNIST, binarised",
        },
        command=command_line(["python -m benchmarks.quality.vae_likelihood", *sys.argv[1:]]),
        duration_s=time.perf_counter() - started,
        notes={
            "config": config,
            "seconds of training": {name: round(spent, 1) for name, spent in seconds.items()},
            "bound by our estimator and by pythae's own, in nats, of one model": checked,
        },
        packages=("pythae",),
    )


def fit(
    model: nn.Module,
    loss: Callable[[Tensor], Tensor],
    pictures: ImageSet,
    config: LikelihoodConfig,
    name: str,
) -> float:
    """Train one side; the seconds that its steps took."""
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    batches = picture_batches(pictures, seed=config.seed)
    total, spent, said = config.samples, 0.0, 0
    with seeded(config.seed, "latents", name):  # pythae draws from the global generator
        for seen in range(0, total, config.batch):
            batch = batches(seen, config.batch)["pixels"]
            started = time.perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(
                    seen, peak=config.learning_rate, warmup=10 * config.batch, total=total
                )
            optimizer.zero_grad(set_to_none=True)
            value = loss(batch)
            value.backward()
            optimizer.step()
            spent += time.perf_counter() - started
            if 10 * seen >= said * total:
                said += 1
                print(
                    f"{name}: {seen:,} of {total:,} pictures, loss {float(value.detach()):.2f} nats",
                    flush=True,
                )
    model.eval()
    return spent


def check_bound(
    theirs: nn.Module, read_back: VAE, pixels: Tensor, config: LikelihoodConfig
) -> dict[str, float]:
    """The mean importance-weighted bound of some pictures by our estimator and by pythae's, of one model.

    Both draw the same latents from one seed, so that nothing but rounding may part them.

    Raises:
        UserError: If they differ.
    """
    weights = read_back.log_weights(pixels, config.draws, generator_for(config.seed, "check"))
    bound = float(importance_log_likelihood(weights).mean())
    with torch.no_grad(), seeded(config.seed, "check"):
        shares = (pixels + 1) / 2
        other = float(theirs.get_nll(shares, n_samples=config.draws, batch_size=config.draws))
    if abs(bound - other) > 1e-4 * abs(other):
        raise UserError(f"the bound is {bound:.3f} nats by our estimator, and {other:.3f} by pythae's")
    return {"ours": round(bound, 3), "pythae": round(other, 3)}


def _our_loss(model: VAE, config: LikelihoodConfig) -> Callable[[Tensor], Tensor]:
    def loss(pixels: Tensor) -> Tensor:
        return beta_loss(*model(pixels, torch.randn(len(pixels), config.model.network.latent_dim)))

    return loss


def _as_ours(theirs: Any, config: LikelihoodConfig) -> VAE:
    """The peer's weights in a model of ours."""
    model = VAE(config.model)
    model.encoder.load_state_dict(theirs.encoder.network.state_dict())
    model.decoder.load_state_dict(theirs.decoder.network.state_dict())
    return model.eval()


def _sums(model: VAE, pixels: Tensor, config: LikelihoodConfig) -> WeightSums:
    return weight_sums(model.log_weights(pixels, config.draws, generator_for(config.seed, "measure")))


def _metrics(sums: dict[str, WeightSums], num_dimensions: int) -> Iterable[Metric]:
    found = [
        metric
        for name, of_side in sums.items()
        for metric in measure_importance_likelihood(of_side, num_dimensions, name=f"{name}, nll")
    ]
    difference = paired_difference(-sums["ours"].log_likelihood, -sums["pythae"].log_likelihood)
    return [
        *found,
        Metric(
            name="nll, ours − pythae",
            value=difference.value,
            unit="nats",
            higher_is_better=False,
            num_samples=len(sums["ours"].log_likelihood),
            interval=difference.interval,
            seed=0,
        ),
    ]


def _black_and_white(config: LikelihoodConfig, split: str) -> ImageSet:
    network = config.model.network
    pictures = read_set(
        find_data("fashion-mnist", config.data),
        size=network.size,
        channels=network.channels,
        classes=False,
        split=split,
    )
    return ImageSet(**{**vars(pictures), "pixels": binarize_once(pictures.pixels, seed=config.seed)})


if __name__ == "__main__":
    sys.exit(main())
