"""Classifier guidance: towards what a classifier of noisy pictures takes for the class.

A score is a sum: ∇ log p(x|y) = ∇ log p(x) + ∇ log p(y|x). So the classifier can stand among the branches
as a denoiser of its own, whose x0_hat is x + σ²·∇ log p(y|x_σ) and whose shift from x is added to what
any other guidance predicts.

Dhariwal & Nichol (2021), "Diffusion models beat GANs on image synthesis", §4.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from melies.config import check_range
from melies.diffusion.guidance.bind import (
    Evaluated,
    Scale,
    Scales,
    Trace,
    bind_rule,
    check_scale,
    scale_table,
)
from melies.diffusion.guidance.classifier_free import Unguided
from melies.diffusion.guidance.plus_plus import PlusPlus
from melies.diffusion.guidance.zero_star import ZeroStar
from melies.diffusion.precondition import per_sample
from melies.errors import UserError, choose
from melies.interfaces import AttentionEdit, Branch, Condition, Denoise, Denoiser, Guidance

Classifier: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""`(x_sigma (b, …), sigma (b,)) → logits (b, classes)`."""

FORMS = ("score", "mean-shift")
"""How the gradient enters: into the score, or into the mean of DDPM's reverse step."""


def log_probability_gradient(
    classifier: Classifier,
    x: Float[Tensor, "b *event"],
    sigma: Float[Tensor, " b"],
    labels: Int64[Tensor, " b"],
) -> Float[Tensor, "b *event"]:
    """∇ₓ log p(y|x, σ), in the shape of x; it may be asked for under `no_grad`, not in inference mode.

    Args:
        classifier: Gives logits; each row depends on its own sample alone.
        x: Noisy samples, x0 + σ·ε.
        sigma: Noise level of each.
        labels: The class y of each.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        log_probability = classifier(x, sigma).log_softmax(1)
        chosen = log_probability.gather(1, labels[:, None].to(x.device))
        (gradient,) = torch.autograd.grad(chosen.sum(), x)
    return gradient


def classifier_branch(classifier: Classifier, labels: Int64[Tensor, " b"]) -> Branch:
    """The "classifier" branch: `x0_hat = x + σ²·∇ log p(y|x_σ)`, what the classifier alone would denoise to.

    Args:
        classifier: Made for the same x0 as the model that it guides.
        labels: The class that each sample is to be of, by the classifier's numbers.
    """

    def denoise(
        x: Tensor, sigma: Tensor, condition: Condition, *, attention: AttentionEdit | None = None
    ) -> Tensor:
        gradient = log_probability_gradient(classifier, x, sigma, condition["class"])
        return x + per_sample(sigma, x).square() * gradient

    return Branch(denoise, {"class": labels})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassifierGuidance:
    """x0 + scale·σ²·∇ log p(y|x_σ), with x0 from the guidance `base`, which may be none.

    In ε this is ε − scale·σ·∇ₓ log p(y|x_σ), or with x_t = √ᾱ·x_σ as in the papers
    ε − scale·√(1−ᾱ)·∇ log p(y|x_t): the sign that raises p(y|x).
    """

    scale: Scale
    """γ: 0 is off, 1 is Bayes' rule on an unconditional base."""
    base: Guidance = Unguided(branch="null")
    """What predicts x0 before: `Unguided(branch="null")` knows no class, `Unguided()` is told it, and
    `ClassifierFreeGuidance` and its kin are guided already."""
    form: str = "score"
    """"score", for every sampler; or "mean-shift", mean + scale·Σ·∇ log p(y|x) with the posterior variance
    Σ, for `ddpm` alone. The shift is that of the score times (σ_next/σ)², as the variance of the step is."""

    @property
    def space(self) -> str:
        """Where it acts; being a sum it acts the same in every space, so this is that of the base."""
        return self.base.space

    @property
    def samplers(self) -> tuple[str, ...]:
        """Those of the base, with a mean to shift."""
        fitting = ("ddpm",) if self.form == "mean-shift" else self.base.samplers
        return tuple(name for name in fitting if name in self.base.samplers)

    def __post_init__(self) -> None:
        """Check the numbers, and that the base can be added to."""
        check_scale(self.scale, low=0.0)
        choose(self.form, FORMS, "form of classifier guidance")
        if isinstance(self.base, ClassifierGuidance | PlusPlus | ZeroStar):
            reason = {
                ClassifierGuidance: "two classifiers are guided by as one, whose logits are a sum",
                PlusPlus: "CFG++ takes the noise of the next level from the null, without any guidance",
                ZeroStar: "CFG-Zero* stands still at first, and scales its null to fit the condition",
            }[type(self.base)]
            raise UserError(
                f"classifier guidance cannot be added to {type(self.base).__name__}: {reason}",
                remedy="take another base, such as ClassifierFreeGuidance",
            )

    def bind(
        self,
        branches: Mapping[str, Branch],
        sigmas: Tensor,
        *,
        valid: Tensor | None = None,
        trace: Trace | None = None,
    ) -> Denoise:
        """A bound denoiser for one run.

        Where the scale is 0 for the whole batch the classifier is not asked.

        Args:
            branches: "classifier", from `classifier_branch`, and those that the base needs.
            sigmas: The grid of the run.
            valid: As the base takes it.
            trace: As of `ClassifierFreeGuidance.bind`, with what the base tells and `classifier_scale`; x0
                has "base" and, where it was asked, "classifier" too.

        Raises:
            ValueError: If a branch is missing, or the number of scales is not that of the steps.
            UserError: If a scale is negative, or there is a negative that the base has no use for.

        Source: Dhariwal & Nichol (2021), "Diffusion models beat GANs on image synthesis", Algorithms 1 and 2.
        """
        if "negative" in branches and isinstance(self.base, Unguided):
            raise UserError(
                "without classifier-free guidance beside it there is no null that a negative could replace",
                remedy="leave the negative out, or take the guidance classifier:2",
            )
        table = scale_table(self.scale, sigmas, "classifier_scale")
        check_range("scale", float(table.min()), low=0.0)
        if self.form == "mean-shift":
            levels = sigmas.detach().cpu().double()
            table = table * (levels[1:] / levels[:-1]).square()
        told: list[Mapping[str, Any]] = []
        base = self.base.bind(
            {name: branch for name, branch in branches.items() if name != "classifier"},
            sigmas,
            valid=valid,
            trace=told.append if trace else None,
        )
        named = {"base": Branch(_as_denoiser(base), {})}
        if "classifier" in branches:
            named["classifier"] = branches["classifier"]
        return bind_rule(
            _add,
            _needed,
            {"classifier_scale": table},
            named,
            sigmas,
            method="classifier guidance",
            trace=_with_base(trace, told) if trace else None,
        )


def _add(at: Evaluated) -> Tensor:
    if "classifier" not in at.x0:
        return at.x0["base"]
    return at.x0["base"] + at.scale("classifier_scale") * (at.x0["classifier"] - at.x)


def _needed(scales: Scales) -> tuple[str, ...]:
    off = bool((scales["classifier_scale"] == 0).all())
    return ("base",) if off else ("base", "classifier")


def _as_denoiser(bound: Denoise) -> Denoiser:
    def denoise(
        x: Tensor, sigma: Tensor, condition: Condition, *, attention: AttentionEdit | None = None
    ) -> Tensor:
        return bound(x, sigma)

    return denoise


def _with_base(trace: Trace, told: list[Mapping[str, Any]]) -> Trace:
    """One record of both: the base's branches and scales too, and what all their calls have cost."""
    counted = {"network_calls": 0, "rows": 0}  # as if the base were one call

    def trace_both(record: Mapping[str, Any]) -> None:
        inside = told.pop()
        counted["network_calls"] += 1
        counted["rows"] += len(record["guided"])
        spent = {name: record[name] - own + inside[name] for name, own in counted.items()}
        trace({**inside, **record, "x0": {**inside["x0"], **record["x0"]}, **spent})

    return trace_both
