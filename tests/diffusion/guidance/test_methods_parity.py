"""The rules against the guiders of diffusers: the same predictions, in float64, in the space of each."""

import pytest
import torch

from melies.diffusion.adapt import FROM_X0
from melies.diffusion.guidance.attention import PerturbedAttention
from melies.diffusion.guidance.classifier_free import ClassifierFreeGuidance
from melies.diffusion.guidance.projected import Projected
from melies.diffusion.guidance.rescaled import Rescaled
from melies.diffusion.guidance.zero_star import ZeroStar
from melies.diffusion.noise import karras
from melies.interfaces import Branch

pytestmark = pytest.mark.parity

SIGMAS = karras(5, 0.1, 10.0)


def run(guider, pairs, num_steps):
    """What a guider makes of predictions (c, u), one pair for each step."""
    guided = []
    for step, (c, u) in enumerate(pairs):
        guider.set_state(step=step, num_inference_steps=num_steps, timestep=torch.tensor(0))
        guider.prepare_inputs({"x": (c, u)})  # which starts the momentum
        guided.append(guider.forward(c, u) if guider.num_conditions == 2 else guider.forward(c))
    return [one.pred for one in guided]


def compare(guidance, guider, space, fixed, noisy):
    parts = fixed("conditional", "null")
    denoise = guidance.bind(parts, SIGMAS)
    into = FROM_X0[space]
    levels = [torch.full((3,), level, dtype=torch.float64) for level in SIGMAS[:-1].tolist()]
    pairs = [
        tuple(into(noisy, sigma, parts[name].denoiser.x0) for name in ("conditional", "null"))
        for sigma in levels
    ]
    for sigma, expected in zip(levels, run(guider, pairs, len(levels)), strict=True):
        found = into(noisy, sigma, denoise(noisy, sigma))
        # theirs computes some factors in float32, whatever comes in
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        assert (found - into(noisy, sigma, parts["conditional"].denoiser.x0)).abs().max() > 0.1


@pytest.mark.parametrize("space", FROM_X0)
def test_plain_in_every_space(space, fixed, noisy):
    from diffusers import ClassifierFreeGuidance as Theirs

    compare(ClassifierFreeGuidance(scale=4.0), Theirs(guidance_scale=4.0), space, fixed, noisy)


@pytest.mark.parametrize("space", ["x0", "epsilon", "velocity"])
def test_rescaled(space, fixed, noisy):
    from diffusers import ClassifierFreeGuidance as Theirs

    theirs = Theirs(guidance_scale=4.0, guidance_rescale=0.7)
    compare(Rescaled(scale=4.0, share=0.7, space=space), theirs, space, fixed, noisy)


@pytest.mark.parametrize("zero_steps", [0, 2])
def test_zero_star(zero_steps, fixed, noisy):
    from diffusers import ClassifierFreeZeroStarGuidance as Theirs

    theirs = Theirs(guidance_scale=4.0, zero_init_steps=zero_steps)
    compare(ZeroStar(scale=4.0, zero_steps=zero_steps), theirs, "velocity", fixed, noisy)


@pytest.mark.parametrize(("share", "largest", "momentum"), [(0.0, 5.0, -0.5), (0.3, 50.0, 0.0)])
def test_projected(share, largest, momentum, fixed, noisy):
    from diffusers import AdaptiveProjectedGuidance as Theirs

    theirs = Theirs(
        guidance_scale=3.0,  # added to the conditional prediction, hence one less than ours
        use_original_formulation=True,
        eta=share,
        adaptive_projected_guidance_rescale=largest,
        adaptive_projected_guidance_momentum=momentum or None,
    )
    ours = Projected(scale=4.0, parallel_share=share, largest_norm=largest, momentum=momentum)
    compare(ours, theirs, "x0", fixed, noisy)


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("strength", [0.0, 2.5])
def test_edited_attention(scale, strength, noisy):
    """The rule alone; what is edited is compared in `test_attention`."""
    from diffusers import PerturbedAttentionGuidance as Theirs

    generator = torch.Generator().manual_seed(0)
    c, u, edited = torch.randn(3, 3, 2, 8, 8, generator=generator, dtype=torch.float64)

    def network(x, sigma, condition, *, attention=None):
        if attention is not None:
            tokens = torch.zeros(1, 1, 4, 2)
            assert attention(tokens, tokens, tokens, "middle.self") is not None
        return edited if attention is not None else c if bool(condition["present.class"].all()) else u

    condition = {"class": torch.zeros(3, dtype=torch.int64), "present.class": torch.ones(3).bool()}
    parts = {
        "conditional": Branch(network, condition),
        "null": Branch(
            lambda *given, **named: network(*given, **named),  # its own, so that it is called alone
            {**condition, "present.class": torch.zeros(3).bool()},
        ),
    }
    theirs = Theirs(
        guidance_scale=scale,
        perturbed_guidance_scale=strength,
        perturbed_guidance_layers=[0],
        perturbed_guidance_start=0.0,
        perturbed_guidance_stop=1.0,
    )
    theirs.set_state(step=1, num_inference_steps=5, timestep=torch.tensor(0))
    expected = theirs.forward(c, u, edited).pred
    if scale == 1 and strength:  # theirs then adds the strength to the edited prediction, not to c
        expected = expected + (c - edited)
    ours = PerturbedAttention(scale=scale, strength=strength).bind(parts, SIGMAS)
    torch.testing.assert_close(ours(noisy, torch.full((3,), 2.0, dtype=torch.float64)), expected)
