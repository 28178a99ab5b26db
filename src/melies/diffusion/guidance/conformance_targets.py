"""What the conformance kit measures: our ways of guiding by name, functions, and guiders of diffusers.

A name is one of

    projected:0.5                     a way of guiding of `melies.diffusion.METHODS`
    package.module:function           `function(conditional, null, scale) → guided`, tensors (b, c, h, w);
                                      it may also take `step=` and `num_steps=`, counted from 0
    package.module:Guidance           a class with `bind`, built as `Guidance(scale=…)`
    diffusers:ClassifierFreeGuidance  a guider, a class with `set_state` and `prepare_inputs`
    melies, diffusers                 all of ours, all guiders of diffusers that are installed

Nothing is run but the object that is named, which importing its module may do too.
"""

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from melies.diffusion import METHODS, NEEDS
from melies.diffusion.adapt import FROM_X0, X0_FROM
from melies.diffusion.guidance.conformance import NUM_STEPS, SHAPE, Answer, Predictions, Session, Target
from melies.diffusion.guidance.methods import guidance_of
from melies.diffusion.noise import karras
from melies.errors import UserError, choose
from melies.interfaces import Branch, Guidance
from melies.optional import import_from, require

PARAMETERS = {"frequency": "{scale}", "signed": "0", "perpendicular": "0", "windowed": "0.001"}
"""What methods are measured with where no parameter is given: one scale for all bands of frequency, and
no part for the negative, whose weight is another matter than the scale."""

PREDICTED = {"pred_cond": "conditional", "pred_uncond": "null"}
"""The guiders' names of predictions → ours; whatever else they ask for is "other"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a guider is built."""

    scales: tuple[str, ...] = ("guidance_scale",)
    """The arguments that are the scale."""
    others: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that it needs, or that show what it does."""


_LAYERS = {"start": 0.0, "stop": 1.0, "layers": [0]}
_PROJECTED = {"eta": 0.0, "adaptive_projected_guidance_rescale": 0.0}

OPTIONS = {
    "AdaptiveProjectedGuidance": Options(others=_PROJECTED),
    "AdaptiveProjectedMixGuidance": Options(
        scales=("guidance_scale", "adaptive_projected_guidance_scale"),
        others={**_PROJECTED, "adaptive_projected_guidance_momentum": None},
    ),
    "AutoGuidance": Options(others={"auto_guidance_layers": [0], "dropout": 0.1}),
    "FrequencyDecoupledGuidance": Options(scales=("guidance_scales",)),
    "PerturbedAttentionGuidance": Options(
        others={f"perturbed_guidance_{name}": value for name, value in _LAYERS.items()}
    ),
    "SkipLayerGuidance": Options(
        others={f"skip_layer_guidance_{name}": value for name, value in _LAYERS.items()}
    ),
    "SmoothedEnergyGuidance": Options(
        others={f"seg_guidance_{name}": value for name, value in _LAYERS.items()}
    ),
}
"""Guiders of diffusers that need more than a scale, on at every step; projected ones without η, for which
they are known, nor a limit."""

ORIGINAL = "use_original_formulation"
"""The switch of diffusers' guiders between two formulas; those that have it are measured with both."""


def targets_of(name: str) -> list[Target]:
    """What a name stands for.

    Raises:
        UserError: If there is no such thing, or it is nothing that guides.
    """
    if name == "melies":
        return [_ours(method) for method in METHODS if NEEDS.get(method) != "classifier"]
    if name == "diffusers":
        return _all_of_diffusers()
    if ":" in name and name.partition(":")[0] not in METHODS:
        return [_imported(name)]
    return [_ours(name)]


# Ours


def _ours(name: str) -> Target:
    method, _, parameter = name.partition(":")
    choose(method, METHODS, "guidance")
    if NEEDS.get(method) == "classifier":
        raise UserError(f"{name} is led by a classifier, and fixed predictions have none")
    parameter = parameter or PARAMETERS.get(method, "")

    def make(scale: float) -> Guidance:
        return guidance_of(f"{method}:{parameter.format(scale=scale)}" if parameter else method, scale)

    needs = NEEDS.get(method, "")
    return Target(name=name, begin=lambda scale: _bound(make(scale), needs), space=make(1.0).space)


def _bound(guidance: Guidance, needs: str) -> Session:
    """A run of one of our ways of guiding; predictions are taken and given in its own space."""
    sigmas = karras(NUM_STEPS, 0.1, 10.0)
    x = 3 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    given: dict[str, Tensor] = {}
    counted: list[str] = []

    def says(branch: str) -> Callable[..., Tensor]:
        def denoise(x: Tensor, sigma: Tensor, condition: Any, *, attention: Any = None) -> Tensor:
            if attention is not None:  # the further prediction of methods that edit attention
                tokens = x.new_zeros(1, 1, 4, 1)
                attention(tokens, tokens, tokens, "middle.self")
            counted.append(branch)
            return given["other" if attention is not None else branch]

        return denoise

    names = {"conditional": "conditional", "null": "null"}
    if needs:  # a negative is one thing more; a weaker network takes the part of the null
        names[needs] = "other" if needs == "negative" else "null"
    branches = {name: Branch(says(part), {}) for name, part in names.items()}
    bound = guidance.bind(branches, sigmas)

    def session(step: int, parts: Predictions) -> Answer:
        sigma = torch.full((len(x),), float(sigmas[step]), dtype=torch.float64)
        given.update({name: X0_FROM[guidance.space](x, sigma, part) for name, part in parts.items()})
        counted.clear()
        guided = bound(x, sigma)
        return Answer(FROM_X0[guidance.space](x, sigma, guided), len(counted))

    return session


# What is named by its place


def _imported(name: str) -> Target:
    module = name.partition(":")[0]
    if module.partition(".")[0] == "diffusers":
        require("diffusers", extra="diffusers", why="its guiders")
    try:
        found = import_from(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"there is nothing to import there ({error})",
            where=name,
            remedy="give package.module:name of what is installed or in a folder of PYTHONPATH",
        ) from error
    if _is_guider(found):
        return _guider(found, name, OPTIONS.get(found.__name__, Options()))
    if _is_guidance(found):
        return _guidance(found, name)
    if not callable(found):
        raise UserError(f"{type(found).__name__} is nothing that can be called", where=name)
    return _function(found, name)


def _is_guidance(found: Any) -> bool:
    return inspect.isclass(found) and hasattr(found, "bind")


def _guidance(kind: Any, name: str) -> Target:
    return Target(name=name, begin=lambda scale: _bound(kind(scale=scale), ""), space=kind(scale=1.0).space)


def _function(function: Callable[..., Any], name: str) -> Target:
    taken = inspect.signature(function).parameters

    def begin(scale: float) -> Session:
        def session(step: int, parts: Predictions) -> Answer:
            named = {"step": step, "num_steps": NUM_STEPS}
            options = {key: value for key, value in named.items() if key in taken}
            return Answer(function(parts["conditional"], parts["null"], scale, **options), None)

        return session

    return Target(name=name, begin=begin)


# Guiders of diffusers


def _is_guider(found: Any) -> bool:
    return inspect.isclass(found) and hasattr(found, "set_state") and hasattr(found, "prepare_inputs")


def _all_of_diffusers() -> list[Target]:
    """Every guider that can be built here, in both formulas where it has two."""
    guiders = require("diffusers.guiders", extra="diffusers", why="its guiders")
    found = []
    for name, kind in sorted(vars(guiders).items()):
        if not _is_guider(kind) or kind is guiders.BaseGuidance:
            continue
        options = OPTIONS.get(name, Options())
        found.append(_guider(kind, f"diffusers:{name}", options))
        if ORIGINAL in inspect.signature(kind).parameters:
            both = Options(scales=options.scales, others={**options.others, ORIGINAL: True})
            found.append(_guider(kind, f"diffusers:{name}, original formulation", both))
    return found


def _guider(kind: Any, name: str, options: Options) -> Target:
    blur = BLURS.get(f"{kind.__module__.partition('.')[0]}:{kind.__name__}")
    notes = (INVERTED,) if blur is not None and blur_is_inverted(import_from(blur)) else ()

    def begin(scale: float) -> Session:
        several = [scale, scale] if options.scales == ("guidance_scales",) else scale
        try:
            with _without_warning():
                guider = kind(**dict.fromkeys(options.scales, several), **options.others)
        except (ImportError, TypeError, ValueError) as error:
            raise UserError(f"cannot be built: {error}", where=name) from error
        return _run_of(guider)

    return Target(name=name, begin=begin, notes=notes)


@contextlib.contextmanager
def _without_warning() -> Iterator[None]:
    """Guiders warn that they are experimental, each time that one is built."""
    log = logging.getLogger("diffusers.guiders.guider_utils")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _run_of(guider: Any) -> Session:
    """A run of a guider, as the loops of modular pipelines call it."""

    def session(step: int, parts: Predictions) -> Answer:
        guider.set_state(step=step, num_inference_steps=NUM_STEPS, timestep=torch.tensor(0))
        asked = guider.prepare_inputs({"x": (parts["conditional"], parts["null"])})
        for batch in asked:
            kind = getattr(batch, guider._identifier_key)
            batch.noise_pred = parts[PREDICTED.get(kind, "other")]
        return Answer(guider(asked)[0], len(asked))

    return session


# The blur of smoothed-energy guidance, which lies in a hook and not in the guider

BLURS = {
    "diffusers:SmoothedEnergyGuidance": (
        "diffusers.hooks.smoothed_energy_guidance_utils:SmoothedEnergyGuidanceHook"
    )
}
"""Guider → the hook that blurs for it."""

INVERTED = "a blur of one token gives the mean of all, and one without limit does not"
"""What is said of a hook whose limit is the wrong way round."""

SAME_MEAN = 1e-5
"""Differences from a mean below this are rounding."""


def blur_is_inverted(hook: Callable[..., Any]) -> bool:
    """Whether the limit beyond which a blur becomes a mean is the wrong way round.

    Args:
        hook: Built as `hook(blur_sigma, blur_threshold_inf)`, with `post_forward(module, tokens (b, l, d))`.
    """
    tokens = torch.randn(1, 16**2, 3, generator=torch.Generator().manual_seed(0))

    def is_mean(sigma: float) -> bool:
        blurred = hook(sigma, 9999.0).post_forward(None, tokens.clone())
        return bool((blurred - tokens.mean(1, keepdim=True)).abs().max() < SAME_MEAN)

    return is_mean(1.0) and not is_mean(1e6)
