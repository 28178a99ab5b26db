"""One training step: our loss against `denoising-diffusion-pytorch`'s GaussianDiffusion, on one network."""

import importlib
import importlib.machinery
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn

from benchmarks.ratio.comparison import TimingConfig, comparison_record, medians
from benchmarks.ratio.pair import Pair, check_equal, ratio_metric, time_in_turn
from benchmarks.ratio.sampling import fill_zeros
from melies.diffusion.adapt import Adapted, DiscreteClock
from melies.diffusion.ddpm import alpha_bars, linear_betas
from melies.diffusion.loss import denoising_loss, discrete, simple
from melies.errors import UserError
from melies.nn.unet import UNet, UNetConfig
from melies.report.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class StepConfig:
    """What is trained."""

    network: UNetConfig = UNetConfig(widths=(32, 64, 128), attention=(8,))
    """The network of both sides, which predicts ε."""
    batch: int = 16
    """Pictures per step."""
    learning_rate: float = 1e-4
    """Of AdamW, on both sides."""


def compare_training(config: TimingConfig, step: StepConfig | None = None) -> Iterator[Record]:
    """One step on the same network."""
    step = step or StepConfig()
    started = perf_counter()
    difference = check_equal(build_gradient_pair(step), rtol=1e-4, atol=1e-6)
    timing = time_in_turn(build_step_pair(step), rounds=config.rounds)
    yield comparison_record(
        "ratio-training",
        [ratio_metric(timing)],
        config,
        data={"network": step.network, "batch": step.batch},
        duration_s=perf_counter() - started,
        notes={
            "peer": "denoising-diffusion-pytorch GaussianDiffusion",
            "largest difference of loss and gradient in float64": difference,
            "median seconds": medians([timing]),
        },
        packages=("denoising-diffusion-pytorch",),
    )


class PeerNetwork(nn.Module):
    """A UNet as GaussianDiffusion calls it: whole timesteps, no condition."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = network
        self.channels = self.out_dim = network.config.channels
        self.self_condition = False
        self.random_or_learned_sinusoidal_cond = False

    def forward(self, x: Tensor, time: Tensor, x_self_cond: Tensor | None = None) -> Tensor:
        """Noisy pictures and their timesteps to ε."""
        return self.network(x, time.to(x.dtype) / 1000, {})


class OurNetwork(nn.Module):
    """The same UNet as `Adapted` calls it."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, time: Tensor, condition, *, residuals=None, attention=None) -> Tensor:
        """Scaled noisy pictures and their timesteps to ε."""
        return self.network(x, time / 1000, condition, residuals=residuals, attention=attention)


def import_peer() -> type[nn.Module]:
    """GaussianDiffusion, imported with a stub in the place of torchvision, which its loss never uses.

    Raises:
        UserError: If the package is not installed.
    """
    stubs = {
        name: types.ModuleType(name)
        for name in ("torchvision", "torchvision.transforms", "torchvision.utils")
    }
    for name, stub in stubs.items():
        stub.__spec__ = importlib.machinery.ModuleSpec(name, None)
        _, _, child = name.partition(".")
        if child:
            setattr(stubs["torchvision"], child, stub)
    before = {name: sys.modules[name] for name in stubs if name in sys.modules}
    sys.modules.update(stubs)
    try:
        peer = importlib.import_module("denoising_diffusion_pytorch")
    except ModuleNotFoundError as error:
        raise UserError(
            f"the package {error.name!r} is needed for the comparison of training steps",
            remedy="pip install --no-deps --target .venv-peers -r benchmarks/requirements.txt,"
            " and put .venv-peers on PYTHONPATH",
        ) from None
    finally:
        for name in stubs:
            del sys.modules[name]
        sys.modules.update(before)
    return peer.GaussianDiffusion


def build_network(config: StepConfig, dtype: torch.dtype) -> UNet:
    """The network with random weights, as after some training."""
    torch.manual_seed(0)
    network = UNet(config.network)
    fill_zeros(network)
    return network.to(dtype)


def build_step_pair(config: StepConfig, dtype: torch.dtype = torch.float32) -> Pair:
    """A whole step of both: draw timesteps and noise, loss, gradient, AdamW."""
    x0 = _pictures(config, dtype)
    ours, theirs = _our_loss(config, dtype), _their_loss(config, dtype)
    generator = torch.Generator().manual_seed(0)
    alpha_bar = alpha_bars(linear_betas(1000))

    def our_loss() -> Tensor:
        sigma = discrete(len(x0), generator, alpha_bar=alpha_bar).to(x0)
        return ours.loss(x0, sigma, torch.randn(x0.shape, generator=generator).to(x0))

    def their_loss() -> Tensor:
        return theirs.model(x0)

    return Pair(
        name="training step",
        ours=optimizer_step(our_loss, ours.model, config.learning_rate),
        theirs=optimizer_step(their_loss, theirs.model, config.learning_rate),
    )


def build_gradient_pair(config: StepConfig, dtype: torch.dtype = torch.float64) -> Pair:
    """Loss and all gradients of both at the same timesteps and noise: what must agree before timing."""
    x0 = _pictures(config, dtype)
    ours, theirs = _our_loss(config, dtype), _their_loss(config, dtype)
    generator = torch.Generator().manual_seed(1)
    time = torch.randint(1000, (len(x0),), generator=generator)
    epsilon = torch.randn(x0.shape, generator=generator, dtype=torch.float64).to(dtype)
    alpha_bar = theirs.model.alphas_cumprod.double()[time]  # theirs is rounded to float32
    sigma = ((1 - alpha_bar) / alpha_bar).sqrt().to(dtype)
    return Pair(
        name="loss and gradient",
        ours=lambda: with_gradients(ours.loss(x0, sigma, epsilon), ours.model),
        theirs=lambda: with_gradients(theirs.model.p_losses(x0, time, epsilon), theirs.model),
    )


@dataclass(frozen=True)
class _Side:
    model: nn.Module
    loss: Callable[..., Tensor]


def _our_loss(config: StepConfig, dtype: torch.dtype) -> _Side:
    clock = DiscreteClock(alpha_bar=alpha_bars(linear_betas(1000)), rounding="nearest")
    denoiser = Adapted(OurNetwork(build_network(config, dtype)), predicts="epsilon", clock=clock)

    def loss(x0: Tensor, sigma: Tensor, epsilon: Tensor) -> Tensor:
        return denoising_loss(denoiser, x0, {}, sigma=sigma, epsilon=epsilon, weight=simple(sigma)).mean()

    return _Side(model=denoiser, loss=loss)


def _their_loss(config: StepConfig, dtype: torch.dtype) -> _Side:
    model = import_peer()(
        PeerNetwork(build_network(config, dtype)),
        image_size=config.network.size,
        objective="pred_noise",
        beta_schedule="linear",
        auto_normalize=False,
    )
    return _Side(model=model.to(dtype), loss=model)


def _pictures(config: StepConfig, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    shape = (config.batch, config.network.channels, config.network.size, config.network.size)
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype) * 2 - 1


def optimizer_step(
    loss: Callable[[], Tensor], model: nn.Module, learning_rate: float
) -> Callable[[], Tensor]:
    """A step of AdamW on every call, which gives the loss before it."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, fused=True)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        optimizer.step()
        return value.detach()

    return step


def with_gradients(loss: Tensor, model: nn.Module) -> Tensor:
    """The loss and its gradient in one row."""
    gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return torch.cat([loss.detach().reshape(1), *(g.flatten() for g in gradients if g is not None)])
