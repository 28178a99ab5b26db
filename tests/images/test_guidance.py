"""Every way of guiding draws with a real network, and refuses what it cannot."""

import copy

import pytest
import torch

from melies.diffusion.guidance.attention import PerturbedAttention, SmoothedEnergy
from melies.diffusion.guidance.autoguidance import Autoguidance
from melies.diffusion.guidance.frequency import FrequencyDecoupled
from melies.diffusion.guidance.named import named_equal_area
from melies.diffusion.guidance.negative import PerpendicularNegative, SignedNegative, WindowedNegative
from melies.diffusion.guidance.plus_plus import PlusPlus
from melies.diffusion.guidance.projected import Projected
from melies.diffusion.guidance.rescaled import Rescaled
from melies.diffusion.guidance.schedules import with_weights
from melies.diffusion.guidance.zero_star import ZeroStar
from melies.errors import UserError
from melies.images.generate import draw

RISING = with_weights(named_equal_area("cosine", 3.0))
METHODS = {
    "zero-star": ZeroStar(scale=RISING),
    "projected": Projected(scale=RISING, momentum=-0.5),
    "rescaled": Rescaled(scale=RISING),
    "signed": SignedNegative(scale=RISING),
    "perpendicular": PerpendicularNegative(scale=RISING),
    "windowed": WindowedNegative(scale=RISING, high=2.0),
    "frequency": FrequencyDecoupled(scales=(RISING, 1.5)),
    "plus-plus": PlusPlus(scale=0.5),
    "perturbed": PerturbedAttention(strength=2.0, scale=RISING),
    "smoothed": SmoothedEnergy(strength=2.0, blur=1.0, layers=("block1",)),
}


def drawn(model, guidance=None, *, scale=1.0, **options):
    options = {"num_steps": 6, "sampler": "ddim", "seeds": [3], "negative": "green", **options}
    return draw(model, ["a red apple"], scale=scale, guidance=guidance, **options).int()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_draws(name, latent_model):
    found = drawn(latent_model, METHODS[name])
    assert found.shape == (1, 3, 16, 16)
    assert (found - drawn(latent_model)).abs().max() > 0


def test_autoguidance_at_1_is_the_model_and_at_0_the_weak_one(latent_model):
    weak = copy.deepcopy(latent_model)
    for parameter in weak.parameters():
        parameter.data *= 0.9
    alone, other = (drawn(model, negative="") for model in (latent_model, weak))
    for scale, expected in ((1.0, alone), (0.0, other)):
        found = drawn(latent_model, Autoguidance(scale=scale), weak=weak, negative="")
        assert torch.equal(found, expected)
    beyond = drawn(latent_model, Autoguidance(scale=3.0), weak=weak, negative="")
    assert (beyond - alone).abs().max() > 0


def test_what_does_not_go_together_is_refused(latent_model, plain_model):
    with pytest.raises(UserError, match="PlusPlus does not fit the sampler 'dpmpp'; it fits euler, ddim"):
        drawn(latent_model, PlusPlus(scale=0.5), sampler="dpmpp")
    with pytest.raises(UserError, match="does not fit the sampler 'ddim' with eta"):
        drawn(latent_model, PlusPlus(scale=0.5), eta=0.5)
    with pytest.raises(UserError, match="the weak model works on"):
        drawn(latent_model, Autoguidance(scale=2.0), weak=plain_model)
    with pytest.raises(UserError, match="give a weaker checkpoint"):
        drawn(latent_model, Autoguidance(scale=2.0), weak=latent_model, negative="")
    with pytest.raises(UserError, match="no null that a negative could replace"):
        drawn(latent_model, Autoguidance(scale=2.0), weak=latent_model)
    with pytest.raises(ValueError, match="autoguidance lacks the branch weak"):
        drawn(latent_model, Autoguidance(scale=2.0), negative="")
