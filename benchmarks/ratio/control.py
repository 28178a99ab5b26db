"""Drawing with a control branch beside the same drawing without: what a controlled step costs."""

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from benchmarks.ratio.comparison import TimingConfig, comparison_record, medians
from benchmarks.ratio.pair import Pair, Timings, check_equal, median_metric, time_in_turn
from melies.diffusion.guidance.classifier_free import ClassifierFreeGuidance
from melies.diffusion.noise import karras
from melies.diffusion.sample import euler
from melies.images.control import Steering, hint_condition, new_branch, steered
from melies.images.model import ImageDiffusion, ImageDiffusionConfig
from melies.interfaces import Branch, Denoiser, Metric
from melies.nn.transformer import TransformerConfig
from melies.nn.unet import UNetConfig
from melies.recipes.control.settings import ControlRecipe
from melies.report.record import Record

UNIT = "of the base's step"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlledConfig:
    """What is drawn by."""

    transformer: TransformerConfig = TransformerConfig(
        channels=16, size=8, patch=1, dim=224, depth=5, head_dim=32, num_classes=10
    )
    """The network of the emoji model, with classes in place of words."""
    unet: UNetConfig = UNetConfig(
        channels=1, size=28, widths=(32, 64, 128), attention=(7,), head_dim=32, num_classes=10
    )
    """A network of small pictures, of which a branch copies the whole way down."""
    depth: int = ControlRecipe().depth
    """Blocks of the transformer that are copied."""
    batch: int = 4
    """Pictures at once."""
    num_steps: int = 10
    """Steps of a run, each with both branches of guidance; the hint is encoded once."""


def compare_control(config: TimingConfig, drawn: ControlledConfig | None = None) -> Iterator[Record]:
    """A controlled run against the base's own; a fresh branch changes nothing, so both must be equal."""
    drawn = drawn or ControlledConfig()
    started = perf_counter()
    pairs = build_pairs(drawn)
    for pair in pairs:
        check_equal(pair, rtol=0, atol=0)
    timings = [time_in_turn(pair, rounds=config.rounds) for pair in pairs]
    yield comparison_record(
        "ratio-control",
        [cost_metric(timing) for timing in timings],
        config,
        data={"drawn": drawn},
        duration_s=perf_counter() - started,
        notes={"peer": "the same model without its branch", "median seconds": medians(timings)},
        packages=(),
    )


def build_pairs(drawn: ControlledConfig) -> list[Pair]:
    """Both networks, each with a branch and without."""
    return [_pair("transformer", drawn.transformer, drawn), _pair("unet", drawn.unet, drawn)]


def cost_metric(timings: Timings) -> Metric:
    """Our time over that of the base: what control multiplies a step by."""
    costs = [1 / ratio for ratio in timings.ratios]
    return median_metric(f"controlled {timings.name}", costs, unit=UNIT, higher_is_better=False)


def _pair(name: str, network: TransformerConfig | UNetConfig, drawn: ControlledConfig) -> Pair:
    torch.manual_seed(0)
    config = ImageDiffusionConfig(
        network=network,
        size=network.size,
        channels=network.channels,
        classes=tuple(str(number) for number in range(network.num_classes)),
    )
    model = ImageDiffusion(config).eval().requires_grad_(False)
    for parameter in model.parameters():  # a fresh network predicts zero, whatever it is asked
        parameter.add_(0.02 * torch.randn(parameter.shape))
    branch = new_branch(model, ("scribble", "mask"), depth=drawn.depth).requires_grad_(False)
    side = branch.config.branch.hint_size
    hints = torch.randint(0, 256, (drawn.batch, 1, side, side), dtype=torch.uint8)
    steering = [Steering(branch=branch, kind="mask", hints=hints)]
    sigmas = karras(drawn.num_steps, 0.01, 80.0)
    x = 80 * torch.randn(drawn.batch, *model.shape)
    told = {"class": torch.arange(drawn.batch) % network.num_classes}

    def run(denoiser: Denoiser, hinted: dict[str, Tensor]) -> Tensor:
        condition = {**told, **hinted}
        branches = {
            "conditional": Branch(denoiser, condition),
            "null": Branch(denoiser, model.null_condition(condition)),
        }
        return euler(ClassifierFreeGuidance(scale=3.0).bind(branches, sigmas), x, sigmas)

    return Pair(
        name=name,
        ours=lambda: run(steered(model, steering, sigmas), hint_condition(steering)),
        theirs=lambda: run(model, {}),
    )
