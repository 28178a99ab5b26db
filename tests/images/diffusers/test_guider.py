"""The guider for modular pipelines: its schedule, and a step of the loop of a modular pipeline."""

from types import SimpleNamespace

import pytest
import torch

from melies.errors import UserError


@pytest.fixture(scope="module")
def guider_class():
    from melies.images.diffusers.guider import ScheduledGuidance

    return ScheduledGuidance


def at(guider, step, steps=5):
    guider.set_state(step=step, num_inference_steps=steps, timestep=torch.tensor(0))
    return guider


def scales(guider, steps=5):
    return [at(guider, step, steps).scale() for step in range(steps)]


def test_schedule_rises_with_the_steps_at_equal_area(guider_class):
    assert scales(guider_class(guidance_scale=5.0)) == pytest.approx([1, 3, 5, 7, 9])
    assert scales(guider_class(guidance_scale=5.0, schedule="static")) == [5.0] * 5
    written = guider_class(guidance_scale=5.0, as_written=True)
    assert scales(written) == pytest.approx([1, 2, 3, 4, 5])
    assert scales(written, 3) == pytest.approx([1, 3, 5])  # another run of the same guider


def test_window_and_switch(guider_class):
    assert scales(guider_class(guidance_scale=5.0, schedule="static", start=0.2, stop=0.8)) == [1, 5, 5, 5, 1]
    guider = guider_class(guidance_scale=5.0)
    guider.disable()
    assert scales(guider) == [1.0] * 5


def test_the_rule_is_that_of_diffusers_at_a_constant_scale(guider_class):
    from diffusers import ClassifierFreeGuidance

    c, u = torch.randn(2, 3, 4, 8, 8, dtype=torch.float64)
    ours = at(guider_class(guidance_scale=4.0, schedule="static"), 1).forward(c, u).pred
    theirs = at(ClassifierFreeGuidance(guidance_scale=4.0), 1).forward(c, u).pred
    torch.testing.assert_close(ours, theirs)


def test_it_survives_its_config(guider_class, tmp_path):
    guider = guider_class(guidance_scale=5.0, schedule="clamp-linear:2")
    guider.save_pretrained(tmp_path)
    assert scales(guider_class.from_pretrained(tmp_path)) == scales(guider)
    assert scales(guider.new(guidance_scale=3.0)) != scales(guider)


def test_in_the_loop_of_a_modular_pipeline(guider_class, pipelines):
    """The denoising block of SDXL asks the network twice where guidance is on, and once where it is off."""
    from diffusers.modular_pipelines.stable_diffusion_xl.denoise import StableDiffusionXLLoopDenoiser

    unet = pipelines("sdxl").unet
    calls = []

    def network(*args, **named):
        calls.append(1)
        return unet(*args, **named)

    torch.manual_seed(0)
    guider = guider_class(guidance_scale=4.0)
    state = SimpleNamespace(
        prompt_embeds=torch.randn(1, 6, 32),
        negative_prompt_embeds=torch.randn(1, 6, 32),
        add_time_ids=torch.ones(1, 6),
        negative_add_time_ids=torch.ones(1, 6),
        pooled_prompt_embeds=torch.randn(1, 16),
        negative_pooled_prompt_embeds=torch.randn(1, 16),
        num_inference_steps=3,
        scaled_latents=torch.randn(1, 4, 8, 8),
        timestep_cond=None,
        cross_attention_kwargs=None,
    )
    components = SimpleNamespace(guider=guider, unet=network)
    denoiser = StableDiffusionXLLoopDenoiser()
    said = []
    for step, time in enumerate((900, 500, 100)):
        components, state = denoiser(components, state, i=step, t=torch.tensor(time))
        said.append(state.noise_pred)
    assert len(calls) == 1 + 2 + 2
    assert all(bool(one.isfinite().all()) for one in said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"schedule": "lineer"}, "did you mean 'linear'"),
        ({"guidance_scale": 0.5}, "guidance_scale = 0.5"),
        ({"guidance_scale": float("nan")}, "guidance_scale = nan"),
    ],
)
def test_bad_input(guider_class, options, said):
    with pytest.raises(UserError, match=said):
        guider_class(**options)
    with pytest.raises(UserError, match="set_state"):
        guider_class().scale()
