"""A branch over a UNet of diffusers is a ControlNet of diffusers, by weights and by what it adds."""

import pytest
import torch
from torch import Tensor

from melies.errors import UserError
from melies.images.diffusers.branch import UNetBranch, read_branch, steered_loss, write_branch

NAMES = ("sd", "sdxl")


def inputs(pipe, name: str, b: int = 2) -> dict:
    rng = torch.Generator().manual_seed(3)
    width = pipe.unet.config.cross_attention_dim
    added = None
    if name == "sdxl":
        pooled = pipe.unet.add_embedding.linear_1.in_features - 6 * pipe.unet.config.addition_time_embed_dim
        added = {
            "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]] * b),
            "text_embeds": torch.randn(b, pooled, generator=rng),
        }
    return {
        "sample": torch.randn(b, 4, 8, 8, generator=rng),
        "text": torch.randn(b, 5, width, generator=rng),
        "hint": torch.rand(b, 3, 64, 64, generator=rng),
        "added": added,
    }


def shaken(branch: UNetBranch) -> UNetBranch:
    rng = torch.Generator().manual_seed(1)
    for parameter in branch.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=rng)
    return branch.eval()


@pytest.mark.parametrize("name", NAMES)
def test_before_training_nothing_is_added(name, pipelines):
    pipe = pipelines(name)
    found = UNetBranch(pipe.unet)(timestep=torch.tensor(7), **inputs(pipe, name))
    assert all((residual == 0).all() for residual in (*found.down, found.middle))


@pytest.mark.parametrize("name", NAMES)
def test_diffusers_reads_what_is_written_and_adds_the_same(name, pipelines, tmp_path):
    from diffusers import ControlNetModel

    pipe = pipelines(name)
    branch = shaken(UNetBranch(pipe.unet))
    write_branch(branch, pipe.unet, tmp_path / "net")
    net = ControlNetModel.from_pretrained(tmp_path / "net", use_safetensors=True).eval()
    told = inputs(pipe, name)
    with torch.no_grad():
        ours = branch(timestep=torch.tensor(321), **told)
        down, middle = net(
            told["sample"],
            torch.tensor(321),
            encoder_hidden_states=told["text"],
            controlnet_cond=told["hint"],
            added_cond_kwargs=told["added"],
            return_dict=False,
        )
    assert max(float(residual.abs().max()) for residual in ours.down) > 0.01
    for a, b in zip((*ours.down, ours.middle), (*down, middle), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    again = read_branch(tmp_path / "net", pipe.unet)
    assert all(torch.equal(value, branch.state_dict()[key]) for key, value in again.state_dict().items())


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_branch_learns_while_its_network_stays(prediction, pipelines):
    pipe = pipelines("sd")
    scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, prediction_type=prediction)
    before = {key: value.clone() for key, value in pipe.unet.state_dict().items()}
    told = inputs(pipe, "sd")
    branch = UNetBranch(pipe.unet)
    optimizer = torch.optim.Adam(branch.parameters(), 3e-3)

    def loss() -> Tensor:
        rng = torch.Generator().manual_seed(0)
        return steered_loss(
            pipe.unet, branch, scheduler, told["sample"], told["text"], told["hint"], rng
        ).mean()

    first = loss().item()
    for _ in range(15):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < 0.95 * first
    assert all(torch.equal(value, before[key]) for key, value in pipe.unet.state_dict().items())


def test_a_branch_has_the_precision_of_its_network(pipelines):
    import copy

    unet = copy.deepcopy(pipelines("sd").unet).to(torch.bfloat16)
    told = {
        name: None if value is None else value.bfloat16()
        for name, value in inputs(pipelines("sd"), "sd").items()
    }
    found = shaken(UNetBranch(unet))(timestep=torch.tensor(7), **told)
    assert found.middle.dtype == torch.bfloat16


def test_a_branch_of_another_network_is_refused(pipelines, tmp_path):
    pipe, other = pipelines("sd"), pipelines("sdxl")
    write_branch(UNetBranch(pipe.unet), pipe.unet, tmp_path / "net")
    with pytest.raises(UserError, match="do not fit this network"):
        read_branch(tmp_path / "net", other.unet)
    with pytest.raises(UserError, match="something in it"):
        write_branch(UNetBranch(pipe.unet), pipe.unet, tmp_path / "net")
    scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, prediction_type="sample")
    told, branch, rng = inputs(pipe, "sd"), UNetBranch(pipe.unet), torch.Generator()
    with pytest.raises(UserError, match="predicts 'sample'"):
        steered_loss(pipe.unet, branch, scheduler, told["sample"], told["text"], told["hint"], rng)
