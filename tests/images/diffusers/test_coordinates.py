"""x, σ and predictions of a pipeline's run in our coordinate, for schedulers of every kind."""

import pytest
import torch

from melies.diffusion.guidance.bind import bind_rule
from melies.diffusion.guidance.classifier_free import ClassifierFreeGuidance
from melies.diffusion.guidance.plus_plus import PlusPlus
from melies.diffusion.guidance.schedules import LimitedInterval
from melies.errors import UserError
from melies.images.diffusers.coordinates import coordinates_of


def plain(scale):
    return ClassifierFreeGuidance(scale=scale)


def near(found, expected, within=1e-4):
    torch.testing.assert_close(found, expected, rtol=within, atol=within)


def far(a, b):
    assert (a - b).abs().max() > 1e-2


class Seen:
    """Guidance as a plain rule that keeps what it was given."""

    space, samplers = "x0", ("euler", "ddim", "ddpm", "heun", "dpmpp")

    def __init__(self):
        self.at = []

    def bind(self, branches, sigmas, *, valid=None, trace=None):
        def rule(at):
            self.at.append(at)
            return at.x0["conditional"]

        table = {"scale": torch.full((1, len(sigmas) - 1), 2.0).double()}
        return bind_rule(rule, lambda scales: ("conditional", "null"), table, branches, sigmas, method="seen")


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample", "zero-snr"])
def test_x_and_sigma_are_ours_whatever_the_network_predicts(kind, pipelines, draw, guide):
    """x = x0 + σ·ε of what the network saw, and x0 goes back to the prediction it came from."""
    from diffusers import DDIMScheduler

    pipe = pipelines("sd")
    kept = pipe.scheduler
    snr = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"}
    options = snr if kind == "zero-snr" else {"prediction_type": kind}
    pipe.scheduler = DDIMScheduler.from_config(kept.config, **options)
    try:
        seen = Seen()
        found, _ = guide(pipe, seen)
        near(found, guide(pipe, plain(1.0))[0])
        alpha_bar = pipe.scheduler.alphas_cumprod[pipe.scheduler.timesteps].double()
        sigmas = coordinates_of(pipe.scheduler).sigmas
        assert sigmas[-1] == 0
        assert bool((sigmas.diff() < 0).all())
        first = kind == "zero-snr"
        near(sigmas[first:-1], ((1 - alpha_bar) / alpha_bar).sqrt()[first:], 1e-6)
        assert [float(at.sigma[0]) for at in seen.at] == pytest.approx(sigmas[:-1].tolist())
        assert all(bool(at.x0["null"].isfinite().all()) for at in seen.at)
        near(guide(pipe, plain(4.0))[0], draw(pipe, 4.0), 1e-3)
    finally:
        pipe.scheduler = kept


@pytest.mark.parametrize(
    "kind",
    [
        "EulerDiscreteScheduler",
        "DPMSolverMultistepScheduler",
        "PNDMScheduler",
    ],
)
def test_schedulers_of_other_steps(kind, pipelines, draw, guide):
    import diffusers

    pipe = pipelines("sd")
    kept = pipe.scheduler
    options = {"use_karras_sigmas": True} if kind == "EulerDiscreteScheduler" else {}
    pipe.scheduler = getattr(diffusers, kind).from_config(kept.config, **options)
    try:
        always, whole = guide(pipe, plain(4.0))
        near(always, draw(pipe, 4.0), 1e-3)
        found, run = guide(pipe, plain(LimitedInterval(scale=4.0, low=0.2, high=3.0)))
        far(found, always)
        assert whole.rows / 2 < run.rows < whole.rows
    finally:
        pipe.scheduler = kept


def test_a_method_that_does_not_fit_the_scheduler_is_refused(pipelines, guide):
    from diffusers import DPMSolverMultistepScheduler, EDMEulerScheduler

    pipe = pipelines("sd")
    kept = pipe.scheduler
    try:
        near(guide(pipe, PlusPlus(scale=0.0))[0], guide(pipe, plain(0.0))[0])
        pipe.scheduler = DPMSolverMultistepScheduler.from_config(kept.config)
        with pytest.raises(UserError, match="PlusPlus does not fit the sampler 'dpmpp'"):
            guide(pipe, PlusPlus(scale=0.5))
        pipe.scheduler = EDMEulerScheduler()
        with pytest.raises(UserError, match="EDMEulerScheduler is neither variance preserving nor a flow"):
            guide(pipe, plain(4.0))
    finally:
        pipe.scheduler = kept
