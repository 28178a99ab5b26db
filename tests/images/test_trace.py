"""What a trace says of each step, on guidance with known numbers and on a tiny model."""

import math

import pytest
import torch

from melies.diffusion.guidance.methods import guidance_of
from melies.errors import UserError
from melies.images.generate import draw
from melies.images.trace import MOST, look, no_effect, trace_guidance


def record(scale, conditional, null, **more):
    """One step at σ = 2 from x = 0, where ε = −x0/2; two pictures of two values."""

    def full(values):
        return torch.tensor(values).expand(2, 1, 1, 2)

    c, u = full(conditional), full(null)
    return {
        "step": 3,
        "sigma": 2.0,
        "scale": torch.tensor([scale]),
        "x": torch.zeros(2, 1, 1, 2),
        "x0": {"conditional": c, "null": u},
        "guided": u + scale * (c - u),
        "rows": 14,
        **more,
    }


def seen(told):
    """As a model sees it whose latents are its pictures."""
    return look(told, told["guided"])


def test_numbers_of_a_step():
    step = seen(record(3.0, [0.6, 0.0], [0.0, 0.8]))
    assert (step.step, step.sigma, step.scale, step.evaluations) == (3, 2.0, 3.0, 7)
    assert step.conditional == pytest.approx(0.3 / math.sqrt(2))
    assert step.other == pytest.approx(0.4 / math.sqrt(2))
    assert step.difference == pytest.approx(0.5 / math.sqrt(2))
    assert step.cosine == pytest.approx(0.0)
    assert step.added == pytest.approx(2 * 0.5 / math.sqrt(2))  # (scale − 1)·|c − u|
    assert step.conflict == pytest.approx(-2 * 0.3 * 1.0 / (0.3**2 + 1.0**2))
    assert step.direction == pytest.approx(0.6)  # of (0.6, 0) and 2·(0.6, −0.8)
    assert step.saturated == 1.0  # (1.8, −1.6)


def test_phi_is_blind_to_direction_and_the_cosine_is_not():
    along = seen(record(2.0, [0.4, 0.0], [0.0, 0.0]))
    against = seen(record(2.0, [0.4, 0.0], [0.8, 0.0]))
    assert along.conflict == pytest.approx(-1.0) == against.conflict
    assert (along.direction, against.direction) == (pytest.approx(1.0), pytest.approx(-1.0))


def test_what_was_not_evaluated_is_not_told():
    told = record(1.0, [0.6, 0.0], [0.0, 0.8])
    del told["x0"]["null"]
    step = seen(told)
    assert (step.other, step.difference, step.cosine, step.direction) == (None,) * 4
    assert (step.added, step.conflict) == (0.0, 0.0)


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp"])
def test_a_trace_draws_what_draw_draws(pixel_model, sampler):
    asked = {"classes": ["bag", "shirt"], "sampler": sampler, "num_steps": 5, "seeds": [4, 9]}
    guidance = guidance_of("plain", 4.0, schedule="linear")
    found = trace_guidance(pixel_model, guidance=guidance, **asked)
    torch.testing.assert_close(found.pictures, draw(pixel_model, guidance=guidance, **asked), rtol=0, atol=0)
    torch.testing.assert_close(found.unguided, draw(pixel_model, scale=1.0, **asked), rtol=0, atol=0)
    assert [step.step for step in found.steps] == [0, 1, 2, 3, 4]
    assert [step.scale for step in found.steps] == pytest.approx([1 + 6 * i / 4 for i in range(5)])
    assert found.steps[0].other is None  # the scale starts at 1, where the null is not asked
    torch.testing.assert_close(found.aims[-1], found.pictures, rtol=0, atol=0)  # the last step goes to x̂₀
    assert found.warnings == ()


def test_a_classifier_that_is_off(pixel_model):
    found = trace_guidance(
        pixel_model,
        classes=["bag"],
        guidance=guidance_of("classifier:1", 0.0),
        num_steps=3,
        sampler="euler",
    )
    assert [step.scale for step in found.steps] == [0.0] * 3
    assert any("adds nothing" in warning for warning in found.warnings)


@pytest.mark.parametrize("scale", [1.0, 1.0 + 1e-7])
def test_guidance_without_effect_is_found_out(pixel_model, scale):
    found = trace_guidance(pixel_model, classes=["bag"], guidance=guidance_of("plain", scale), num_steps=3)
    said = " ".join(found.warnings)
    assert ("adds nothing" in said) == (scale == 1)
    assert ("adds at most" in said) == (scale > 1)
    assert "condition alone draws" in said


def test_pictures_that_nearly_agree():
    steps = [seen(record(3.0, [0.6, 0.0], [0.0, 0.8]))]
    black = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    nearly = black.clone()
    nearly[0, 0, 0, 0] = 4
    (warning,) = no_effect(steps, black, nearly)
    assert "differ from unguided ones by 0.25 levels" in warning
    assert no_effect(steps, black, black + 3) == []


def test_too_many_pictures(pixel_model):
    with pytest.raises(UserError, match=f"at most {MOST}"):
        trace_guidance(pixel_model, classes=["bag"] * 17, guidance=guidance_of("plain", 2.0))
