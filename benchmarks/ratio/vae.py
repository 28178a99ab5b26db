"""One training step of a VAE: ours against the VAE of `pythae`, around the same encoder and decoder."""

import copy
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.ratio.comparison import TimingConfig, comparison_record, medians
from benchmarks.ratio.pair import Pair, check_equal, ratio_metric, time_in_turn
from benchmarks.ratio.training import optimizer_step, with_gradients
from melies.autoencoders.elbo import beta_loss
from melies.autoencoders.likelihood import binarize
from melies.autoencoders.vae import VAE, VAEConfig
from melies.errors import UserError
from melies.report.record import Record
from melies.rng import seeded


@dataclass(frozen=True, slots=True, kw_only=True)
class VAEStepConfig:
    """What is trained."""

    model: VAEConfig = VAEConfig(likelihood="bernoulli")
    """The networks of both sides; pixels are black and white, which is what both losses are for."""
    batch: int = 128
    """Pictures per step."""
    learning_rate: float = 1e-3
    """Of AdamW, on both sides."""


def compare_vae(config: TimingConfig, step: VAEStepConfig | None = None) -> Iterator[Record]:
    """One step on the same networks."""
    step = step or VAEStepConfig()
    started = perf_counter()
    difference = check_equal(build_gradient_pair(step), rtol=1e-8, atol=1e-8)
    timing = time_in_turn(build_step_pair(step), rounds=config.rounds)
    yield comparison_record(
        "ratio-vae",
        [ratio_metric(timing)],
        config,
        data={"step": step},
        duration_s=perf_counter() - started,
        notes={
            "peer": "pythae VAE",
            "largest difference of loss and gradient in float64": difference,
            "median seconds": medians([timing]),
        },
        packages=("pythae",),
    )


class Peer(NamedTuple):
    """What is needed of `pythae`."""

    model: Any
    config: Any
    encoder: Any
    decoder: Any
    output: Any


def import_peer() -> Peer:
    """The classes of `pythae`.

    Raises:
        UserError: If the package is not installed.
    """
    try:
        models = importlib.import_module("pythae.models")
        halves = importlib.import_module("pythae.models.nn")
        output = importlib.import_module("pythae.models.base.base_utils")
    except ModuleNotFoundError as error:
        raise UserError(
            f"cannot import pythae: no module named {error.name!r}",
            remedy="pip install --no-deps --target .venv-peers -r benchmarks/requirements.txt,"
            " and put .venv-peers on PYTHONPATH",
        ) from None
    return Peer(models.VAE, models.VAEConfig, halves.BaseEncoder, halves.BaseDecoder, output.ModelOutput)


def build_peer(ours: VAE) -> nn.Module:
    """Their VAE with copies of our encoder and decoder in it, weights and all; it reads pictures in [0, 1].

    Raises:
        UserError: If the package is not installed.
    """
    peer = import_peer()

    class PeerEncoder(peer.encoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = copy.deepcopy(ours.encoder)

        def forward(self, x: Tensor):
            mean, logvar = self.network(2 * x - 1).chunk(2, dim=1)
            return peer.output(embedding=mean, log_covariance=logvar)

    class PeerDecoder(peer.decoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = copy.deepcopy(ours.decoder)

        def forward(self, z: Tensor):
            return peer.output(reconstruction=self.network(z).sigmoid())

    config = peer.config(
        input_dim=ours.shape, latent_dim=ours.config.network.latent_dim, reconstruction_loss="bce"
    )
    return peer.model(config, encoder=PeerEncoder(), decoder=PeerDecoder())


def build_gradient_pair(step: VAEStepConfig, dtype: torch.dtype = torch.float64) -> Pair:
    """Loss and all gradients of both at the same draw of the latents: what must agree before timing."""
    ours = build_ours(step, dtype)
    theirs, pixels = build_peer(ours), _pictures(step, dtype)
    shape = (step.batch, step.model.network.latent_dim)

    def our_loss() -> Tensor:
        with seeded(1):  # theirs draws from the global generator
            return beta_loss(*ours(pixels, torch.randn(shape, dtype=dtype)))

    def their_loss() -> Tensor:
        with seeded(1):
            return theirs({"data": (pixels + 1) / 2}).loss

    return Pair(
        name="loss and gradient",
        ours=lambda: with_gradients(our_loss(), nn.ModuleList([ours.encoder, ours.decoder])),
        theirs=lambda: with_gradients(their_loss(), nn.ModuleList([theirs.encoder, theirs.decoder])),
    )


def build_step_pair(step: VAEStepConfig, dtype: torch.dtype = torch.float32) -> Pair:
    """A whole step of both: draw latents, loss, gradient, AdamW; each reads pictures in its own range."""
    ours = build_ours(step, dtype)
    theirs, pixels = build_peer(ours), _pictures(step, dtype)
    shares, generator = (pixels + 1) / 2, torch.Generator().manual_seed(0)
    shape = (step.batch, step.model.network.latent_dim)

    def our_loss() -> Tensor:
        return beta_loss(*ours(pixels, torch.randn(shape, generator=generator, dtype=dtype)))

    return Pair(
        name="training step of a VAE",
        ours=optimizer_step(our_loss, ours, step.learning_rate),
        theirs=optimizer_step(lambda: theirs({"data": shares}).loss, theirs, step.learning_rate),
    )


def build_ours(step: VAEStepConfig, dtype: torch.dtype) -> VAE:
    """Our VAE with the weights that both sides start from."""
    with seeded(0, "weights"):
        return VAE(step.model).to(dtype)


def _pictures(step: VAEStepConfig, dtype: torch.dtype) -> Tensor:
    network, generator = step.model.network, torch.Generator().manual_seed(2)
    shape = (step.batch, network.channels, network.size, network.size)
    return binarize(torch.rand(shape, generator=generator, dtype=dtype) * 2 - 1, generator)
