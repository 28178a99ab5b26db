"""Our guidance inside pipelines of diffusers, on untrained ones of every supported class."""

import copy

import pytest
import torch
from torch import nn

from melies.diffusion.guidance.attention import PerturbedAttention
from melies.diffusion.guidance.autoguidance import Autoguidance
from melies.diffusion.guidance.classifier_free import ClassifierFreeGuidance, Unguided
from melies.diffusion.guidance.named import named_equal_area
from melies.diffusion.guidance.negative import PerpendicularNegative, SignedNegative, WindowedNegative
from melies.diffusion.guidance.projected import Projected
from melies.diffusion.guidance.rescaled import Rescaled
from melies.diffusion.guidance.schedules import with_weights
from melies.diffusion.guidance.zero_star import ZeroStar
from melies.errors import UserError
from melies.images.diffusers.wrap import _rows_of, guided

ALL = ("sd", "sdxl", "sd3", "flux")
STEPS = 4
VARIETY = ("sd", "flux")  # both ways in which pipelines evaluate the two branches
PROMPTS = ("a polar bear", "red apple")


def network_of(pipe):
    return getattr(pipe, "unet", None) or pipe.transformer


def plain(scale):
    return ClassifierFreeGuidance(scale=scale)


def near(found, expected, within=1e-4):
    torch.testing.assert_close(found, expected, rtol=within, atol=within)


def far(a, b):
    assert (a - b).abs().max() > 1e-2


@pytest.mark.parametrize("name", ALL)
def test_static_scale_is_the_pipelines_own(name, pipelines, draw):
    pipe = pipelines(name)
    expected = draw(pipe, 4.0, negative="blurry")
    far(draw(pipe, 4.0), expected)
    with guided(pipe, plain(4.0)) as run:
        found = draw(pipe, 2.5, negative="blurry")
    near(found, expected)
    assert run.rows == 2 * len(PROMPTS) * STEPS
    assert "forward" not in network_of(pipe).__dict__
    assert torch.equal(draw(pipe, 4.0, negative="blurry"), expected)  # it has been taken off again


@pytest.mark.parametrize("name", VARIETY)
def test_schedule_dips_to_off_and_comes_back(name, pipelines, draw, guide):
    pipe = pipelines(name)
    scales = [3.0, 1.0, 1.0, 5.0]
    found, run = guide(pipe, plain(scales))
    rows_of_null = len(PROMPTS) * sum(scale != 1 for scale in scales)
    assert run.rows == len(PROMPTS) * STEPS + rows_of_null
    again, run = guide(pipe, plain([3.0, 1 + 1e-9, 1 + 1e-9, 5.0]))  # as good as off, but evaluated
    assert run.rows == 2 * len(PROMPTS) * STEPS
    near(found, again, 1e-3)
    far(found, draw(pipe, 3.0))


@pytest.mark.parametrize("name", VARIETY)
def test_the_null_does_not_go_through_the_network_where_guidance_is_off(name, pipelines, guide):
    pipe = pipelines(name)
    seen = []
    layer = next(module for module in network_of(pipe).modules() if isinstance(module, nn.Linear | nn.Conv2d))
    handle = layer.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    try:
        guide(pipe, plain([3.0, 1.0, 3.0, 1.0]))
    finally:
        handle.remove()
    assert sum(seen) == len(PROMPTS) * (4 + 2)  # the condition at every step, the null at two


@pytest.mark.parametrize("name", VARIETY)
def test_scales_per_picture(name, pipelines, guide):
    pipe = pipelines(name)
    both, _ = guide(pipe, plain(torch.tensor([1.5, 6.0])))
    near(both[:1], guide(pipe, plain(1.5))[0][:1])
    near(both[1:], guide(pipe, plain(6.0))[0][1:])
    with pytest.raises(ValueError, match="3 scales for a batch of 2"):
        guide(pipe, plain(torch.tensor([1.5, 6.0, 2.0])))


@pytest.mark.parametrize("name", ALL)
def test_negative_beside_the_null(name, pipelines, draw, guide):
    """What the pipeline's text encoders make of it is what the pipeline makes of its own negative."""
    pipe = pipelines(name)
    away, run = guide(pipe, plain(4.0), negative="snow")
    with guided(pipe, plain(4.0)):
        near(away, draw(pipe, negative="snow"))
    assert run.rows == 2 * len(PROMPTS) * STEPS  # the null is not evaluated then
    signed, run = guide(pipe, SignedNegative(scale=4.0, weight=1.5), negative="snow")
    assert run.rows == 3 * len(PROMPTS) * STEPS
    far(signed, away)


def test_perpendicular_and_windowed_negatives(pipelines, guide):
    pipe = pipelines("sd")
    replaced, _ = guide(pipe, plain(4.0), negative="snow")
    perpendicular, run = guide(pipe, PerpendicularNegative(scale=4.0, weight=1.5), negative="snow")
    assert run.rows == 3 * len(PROMPTS) * STEPS
    windowed, run = guide(pipe, WindowedNegative(scale=4.0, high=1.0), negative="snow")
    assert run.rows == 2 * len(PROMPTS) * STEPS
    far(windowed, replaced)
    far(windowed, perpendicular)
    near(guide(pipe, WindowedNegative(scale=4.0), negative="snow")[0], replaced)


def test_methods_act_in_their_own_space(pipelines, draw, guide):
    """SD 3 predicts the velocity of a flow, so CFG-Zero* is its formula on predictions as they are."""
    pipe = pipelines("sd3")
    network = pipe.transformer
    own = network.forward

    def by_hand(*args, **named):
        said = own(*args, **named)[0]
        u, c = said.chunk(2)
        fitted = (c * u).flatten(1).sum(1) / u.square().flatten(1).sum(1)
        base = fitted.view(-1, 1, 1, 1) * u
        g = base + 4.0 * (c - base)
        return (torch.cat([g, g]),)

    network.forward = by_hand
    try:
        expected = draw(pipe)
    finally:
        del network.forward
    near(guide(pipe, ZeroStar(scale=4.0, zero_steps=0))[0], expected, 1e-3)
    still, run = guide(pipe, ZeroStar(scale=4.0, zero_steps=2))
    assert run.rows == 2 * len(PROMPTS) * (STEPS - 2)
    far(still, expected)


def test_the_pipelines_own_rescale_works(pipelines, draw, guide):
    pipe = pipelines("sd")
    expected = draw(pipe, 4.0, guidance_rescale=0.7)
    far(expected, draw(pipe, 4.0))
    near(guide(pipe, plain(4.0), guidance_rescale=0.7)[0], expected)
    near(guide(pipe, Rescaled(scale=4.0, share=0.7, space="epsilon"))[0], expected)


def test_skipped_layers_of_sd3_work(pipelines, draw, guide):
    pipe = pipelines("sd3")
    options = {"skip_guidance_layers": [0], "skip_layer_guidance_stop": 1.0}
    expected = draw(pipe, 4.0, **options)
    far(expected, draw(pipe, 4.0))
    near(guide(pipe, plain(4.0), **options)[0], expected)


def test_callbacks_and_several_runs_in_one_block(pipelines, draw):
    pipe = pipelines("sd")
    seen = []

    def callback(pipe, step, timestep, named):
        seen.append(step)
        return {"latents": named["latents"] * 1.01}

    options = {"callback_on_step_end": callback}
    expected = draw(pipe, 4.0, **options), draw(pipe, 4.0, num_inference_steps=3)
    with guided(pipe, plain(4.0)):
        near(draw(pipe, **options), expected[0])
        near(draw(pipe, num_inference_steps=3), expected[1])
        near(draw(pipe, prompts=PROMPTS[:1], seeds=(3,), num_inference_steps=3), expected[1][:1])
    assert seen == [0, 1, 2, 3] * 2


def test_perturbed_attention_edits_the_unet(pipelines, draw, guide):
    pipe = pipelines("sd")
    edited, run = guide(pipe, PerturbedAttention(scale=4.0, strength=2.0))
    assert run.rows == 3 * len(PROMPTS) * STEPS
    far(edited, draw(pipe, 4.0))
    near(draw(pipe, 4.0), guide(pipe, PerturbedAttention(scale=4.0, strength=0.0))[0])
    middle, _ = guide(pipe, PerturbedAttention(scale=4.0, strength=2.0, layers=("mid_block*",)))
    far(middle, edited)
    with pytest.raises(UserError, match=r"the network has that of down_blocks\.1"):
        guide(pipe, PerturbedAttention(strength=2.0, layers=("nowhere",)))
    assert not any("_Edited" in type(one).__name__ for one in pipe.unet.attn_processors.values())


def test_an_edit_that_declines_leaves_attention_as_it_is(pipelines):
    from melies.images.diffusers.attention import edited_attention

    unet = pipelines("sd").unet
    given = torch.randn(2, 4, 8, 8), torch.tensor(500), torch.randn(2, 32, 16)
    with torch.no_grad():
        plain_said = unet(*given).sample
        with edited_attention(unet, lambda query, key, value, name: None):
            assert torch.equal(unet(*given).sample, plain_said)
        attend = nn.functional.scaled_dot_product_attention
        with edited_attention(unet, lambda query, key, value, name: attend(query, key, value)):
            near(unet(*given).sample, plain_said, 1e-5)


def test_transformers_have_no_self_attention_to_edit(pipelines, guide):
    with pytest.raises(UserError, match="the network has none"):
        guide(pipelines("sd3"), PerturbedAttention(strength=2.0))


def test_autoguidance_takes_a_weaker_network(pipelines, draw, guide):
    pipe = pipelines("sd")
    weak = copy.deepcopy(pipe.unet)
    for parameter in weak.parameters():
        parameter.data *= 0.9
    with guided(pipe, Autoguidance(scale=2.0), weak=weak) as run:
        found = draw(pipe)
    assert run.rows == 2 * len(PROMPTS) * STEPS
    far(found, guide(pipe, plain(1.0))[0])


def test_named_schedules_and_momentum_run(pipelines, draw, guide):
    pipe = pipelines("sd")
    linear, run = guide(pipe, plain(with_weights(named_equal_area("linear", 3.0))))
    assert run.rows == len(PROMPTS) * (2 * STEPS - 1)  # its first weight is 0
    far(linear, draw(pipe, 4.0))
    projected = Projected(scale=4.0, momentum=-0.5)
    first = guide(pipe, projected)[0]
    assert torch.equal(guide(pipe, projected)[0], first)  # nothing is carried from run to run


def test_trace_tells_every_step(pipelines, draw):
    pipe = pipelines("sd")
    rows = []
    with guided(pipe, plain(4.0), trace=rows.append):
        draw(pipe)
    assert [row["step"] for row in rows] == list(range(STEPS))
    assert set(rows[0]["x0"]) == {"conditional", "null"}


def test_a_forward_that_offloading_has_put_there_is_used_and_kept(pipelines, guide):
    pipe = pipelines("sd")
    own, calls = pipe.unet.forward, []

    def hooked(*args, **named):
        calls.append(1)
        return own(*args, **named)

    pipe.unet.forward = hooked
    try:
        guide(pipe, plain(4.0))
        assert pipe.unet.__dict__["forward"] is hooked
        assert len(calls) == STEPS
    finally:
        del pipe.unet.forward


def test_rows_are_taken_from_whatever_is_of_the_batch():
    """Lists of embeddings, as of IP adapters, and residuals, as of ControlNets, go with their rows."""
    batch = torch.arange(4)
    inputs = {
        "sample": batch.float()[:, None],
        "timestep": torch.tensor(7),
        "added_cond_kwargs": {"image_embeds": [batch, batch + 10]},
        "down_block_additional_residuals": (batch + 20,),
        "cross_attention_kwargs": {"scale": 0.5, "ip_adapter_masks": [torch.zeros(1, 3)]},
    }
    taken = _rows_of(inputs, torch.tensor([2, 3]), 4)
    assert taken["sample"].flatten().tolist() == [2, 3]
    assert [one.tolist() for one in taken["added_cond_kwargs"]["image_embeds"]] == [[2, 3], [12, 13]]
    assert taken["down_block_additional_residuals"][0].tolist() == [22, 23]
    assert taken["timestep"] is inputs["timestep"]
    assert taken["cross_attention_kwargs"]["ip_adapter_masks"][0].shape == (1, 3)
    assert _rows_of(inputs["sample"], batch, 4) is inputs["sample"]


class LowRank(nn.Module):
    """A LoRA by hand: what adapters put in the place of a linear layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.down = nn.Linear(layer.in_features, 2, bias=False)
        self.up = nn.Linear(2, layer.out_features, bias=False)

    def forward(self, x):
        return self.layer(x) + self.up(self.down(x))


def test_low_rank_layers_keep_working(pipelines, draw):
    """Whatever sits inside the network, put there before or while it is guided."""
    pipe = pipelines("sd")
    block = next(module for name, module in pipe.unet.named_modules() if name.endswith("attn2"))
    before, plain_layer = draw(pipe, 4.0), block.to_q
    try:
        with guided(pipe, plain(4.0)):
            block.to_q = LowRank(plain_layer)
            found = draw(pipe)
        near(found, draw(pipe, 4.0))
        far(found, before)
    finally:
        block.to_q = plain_layer


def test_lora_of_peft_keeps_working(pipelines, draw, guide):
    import peft  # by which pipelines read LoRA files

    pipe = pipelines("sd")
    before = draw(pipe, 4.0)
    pipe.unet.add_adapter(peft.LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    try:
        expected = draw(pipe, 4.0)
        far(expected, before)
        near(guide(pipe, plain(4.0))[0], expected)
    finally:
        pipe.unet.delete_adapters("default")


@pytest.mark.parametrize("name", VARIETY)
def test_a_pipeline_called_without_a_null_is_refused(name, pipelines, guide):
    with pytest.raises(UserError, match=r"called without a null.*above 1"):
        guide(pipelines(name), plain(4.0), scale=1.0)
    assert "forward" not in network_of(pipelines(name)).__dict__


def test_a_pipeline_is_guided_once(pipelines):
    pipe = pipelines("sd")
    with (
        guided(pipe, plain(2.0)),
        pytest.raises(UserError, match="is guided already"),
        guided(pipe, plain(3.0)),
    ):
        pass
    assert "forward" not in pipe.unet.__dict__


def test_another_class_of_pipeline_is_named_with_those_that_are_supported():
    class DiTPipeline:
        pass

    with (
        pytest.raises(
            UserError, match="class DiTPipeline cannot be guided; supported: StableDiffusionPipeline"
        ),
        guided(DiTPipeline(), Unguided()),
    ):
        pass


@pytest.mark.parametrize("name", VARIETY)
def test_half_precision_stays_half(name, pipelines, draw, guide):
    """Flux tells its network a timestep in half precision, and the right level is found all the same."""
    pipe = pipelines(name)
    pipe = type(pipe)(**copy.deepcopy(pipe.components)).to(torch.bfloat16)
    pipe.set_progress_bar_config(disable=True)
    found, run = guide(pipe, plain([4.0, 4.0, 1.0, 4.0]))
    assert found.dtype == torch.bfloat16
    assert run.rows == len(PROMPTS) * (2 * STEPS - 1)
    near(guide(pipe, plain(2.0))[0], draw(pipe, 2.0), 0.1)
