"""A control branch over a UNet of diffusers, trained by any loop, kept in the layout of its ControlNets.

Zhang, Rao & Agrawala (2023), §3: a trainable copy of the network's way down and of its middle, which reads a
hint beside the noisy latents, and convolutions that start at zero on the way out. Names and shapes of its
weights are those of diffusers' `ControlNetModel`, so that either loads what the other saved.
"""

import copy
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from melies.errors import UserError
from melies.optional import import_from
from melies.text.weights import loading

WIDTHS = (16, 32, 96, 256)
"""Channels of the hint encoder, at the hint's size, a half, a quarter and an eighth (§3.3)."""
UNSUPPORTED = ("encoder_hid_dim_type", "class_embed_type", "num_class_embeds")
"""Parts that a network may have in diffusers and of which branches are not made here."""


class Residual(NamedTuple):
    """What a branch adds to its network."""

    down: tuple[Tensor, ...]
    """To each state that the way up looks back at."""
    middle: Tensor


class HintEncoder(nn.Module):
    """A hint at the pictures' size to the latents' size, in eight times smaller steps; starts at zero."""

    def __init__(self, dim_out: int, channels: int = 3, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1)
        pairs = []
        for narrow, wide in itertools.pairwise(widths):
            pairs += [
                nn.Conv2d(narrow, narrow, 3, padding=1),
                nn.Conv2d(narrow, wide, 3, padding=1, stride=2),
            ]
        self.blocks = nn.ModuleList(pairs)
        self.conv_out = _zero(nn.Conv2d(widths[-1], dim_out, 3, padding=1))

    def forward(self, hint: Float[Tensor, "b k h w"]) -> Float[Tensor, "b d h8 w8"]:
        """Numbers from 0 to 1 to features."""
        h = F.silu(self.conv_in(hint))
        for block in self.blocks:
            h = F.silu(block(h))
        return self.conv_out(h)


class UNetBranch(nn.Module):
    """The branch. Before it is trained it adds nothing, to the last bit."""

    conv_in: nn.Conv2d
    time_proj: Any
    time_embedding: Any
    down_blocks: Any
    mid_block: Any
    add_time_proj: Any
    add_embedding: Any

    def __init__(self, unet: Any, *, channels: int = 3) -> None:
        """Copy what a `UNet2DConditionModel` begins with.

        Args:
            unet: The network that is to be steered; it is not changed.
            channels: Of the hints.

        Raises:
            UserError: If the network has parts that no branch is made of here.
        """
        super().__init__()
        there = [name for name in UNSUPPORTED if unet.config.get(name) is not None]
        if there or unet.config.get("addition_embed_type") not in (None, "text_time"):
            raise UserError(
                f"networks with {', '.join(there) or unet.config['addition_embed_type']} take no branch here",
                remedy="take one of Stable Diffusion 1, 2 or XL",
            )
        if unet.mid_block is None:
            raise UserError("the network has no middle", remedy="take one of Stable Diffusion 1, 2 or XL")
        for name in ("conv_in", "time_proj", "time_embedding", "down_blocks", "mid_block"):
            setattr(self, name, copy.deepcopy(getattr(unet, name)))
        self.sized = unet.config.get("addition_embed_type") == "text_time"
        """Whether it is told sizes and pooled words, as that of XL is."""
        if self.sized:
            for name in ("add_time_proj", "add_embedding"):
                setattr(self, name, copy.deepcopy(getattr(unet, name)))
        widths = _widths(unet)
        self.controlnet_cond_embedding = HintEncoder(widths[0], channels)
        self.controlnet_down_blocks = nn.ModuleList(_zero(nn.Conv2d(width, width, 1)) for width in widths)
        self.controlnet_mid_block = _zero(nn.Conv2d(widths[-1], widths[-1], 1))
        self.to(device=unet.device, dtype=unet.dtype).requires_grad_(True)

    def forward(
        self,
        sample: Float[Tensor, "b c h w"],
        timestep: Tensor,
        text: Float[Tensor, "b l d"],
        hint: Float[Tensor, "b k h8 w8"],
        added: Mapping[str, Tensor] | None = None,
    ) -> Residual:
        """What the network is to add.

        Args:
            sample: Noisy latents.
            timestep: Of the scheduler, () or (b,).
            text: What the text encoder says.
            hint: From 0 to 1, at the size of the pictures: eight times the latents'.
            added: Of XL: `"time_ids"` (b, 6) and `"text_embeds"` (b, d).
        """
        time = self.time_proj(timestep.expand(len(sample))).to(sample.dtype)
        told = self.time_embedding(time)
        if self.sized:
            if added is None:
                raise ValueError("this branch is told sizes and pooled words, as XL is")
            ids = self.add_time_proj(added["time_ids"].flatten()).reshape(len(sample), -1)
            told = told + self.add_embedding(torch.cat([added["text_embeds"], ids.to(sample.dtype)], dim=-1))
        h = self.conv_in(sample) + self.controlnet_cond_embedding(hint)
        states = [h]
        for block in self.down_blocks:
            if getattr(block, "has_cross_attention", False):
                h, passed = block(hidden_states=h, temb=told, encoder_hidden_states=text)
            else:
                h, passed = block(hidden_states=h, temb=told)
            states += passed
        if getattr(self.mid_block, "has_cross_attention", False):
            h = self.mid_block(h, told, encoder_hidden_states=text)
        else:
            h = self.mid_block(h, told)
        joints = zip(self.controlnet_down_blocks, states, strict=True)
        return Residual(tuple(joint(state) for joint, state in joints), self.controlnet_mid_block(h))


def steered_loss(
    unet: Any,
    branch: UNetBranch,
    scheduler: Any,
    x0: Float[Tensor, "b c h w"],
    text: Float[Tensor, "b l d"],
    hint: Float[Tensor, "b k h8 w8"],
    rng: torch.Generator,
    added: Mapping[str, Tensor] | None = None,
) -> Float[Tensor, " b"]:
    """The mean squared error of the network's prediction with the branch beside it (§3.4, eq. 5).

    Args:
        unet: The network; its own weights need no gradient.
        branch: What is trained.
        scheduler: The pipeline's, with `add_noise` and a `prediction_type` of epsilon or v_prediction.
        x0: Latents, as the pipeline scales them.
        text: What the text encoder says; the null for some rows, so that hints alone say something.
        hint: From 0 to 1.
        rng: Draws noise and timesteps.
        added: As of `UNetBranch.forward`.

    Raises:
        UserError: If the scheduler's prediction is of another type.
    """
    epsilon = torch.randn(x0.shape, generator=rng).to(x0)
    steps = scheduler.config.num_train_timesteps
    timestep = torch.randint(0, steps, (len(x0),), generator=rng).to(x0.device)
    kind = scheduler.config.prediction_type
    if kind not in ("epsilon", "v_prediction"):
        raise UserError(f"a scheduler that predicts {kind!r}", remedy="give one of epsilon or v_prediction")
    target = epsilon if kind == "epsilon" else scheduler.get_velocity(x0, epsilon, timestep)
    noisy = scheduler.add_noise(x0, epsilon, timestep)
    residual = branch(noisy, timestep, text, hint, added)
    found = unet(
        noisy,
        timestep,
        encoder_hidden_states=text,
        down_block_additional_residuals=residual.down,
        mid_block_additional_residual=residual.middle,
        added_cond_kwargs=None if added is None else dict(added),
    ).sample
    return (found - target).square().mean(dim=(1, 2, 3))


def write_branch(branch: UNetBranch, unet: Any, folder: Path) -> Path:
    """Save a branch as a ControlNet of diffusers: `config.json` and safetensors.

    Args:
        branch: A branch over `unet`.
        unet: Its network.
        folder: New, or empty.

    Raises:
        UserError: If there is something in the folder.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UserError("there is something in it", where=str(folder), remedy="give a folder that is new")
    net = _controlnet(unet, branch)
    net.load_state_dict(branch.state_dict())
    net.to(next(branch.parameters()).dtype).save_pretrained(folder, safe_serialization=True)
    return folder


def read_branch(folder: Path, unet: Any) -> UNetBranch:
    """The branch in a folder that diffusers or `write_branch` saved, over its network.

    Raises:
        UserError: If it is damaged, or made for another network.
    """
    with loading("diffusers:ControlNetModel", folder):
        net = import_from("diffusers:ControlNetModel").from_pretrained(
            folder, use_safetensors=True, local_files_only=True
        )
    branch = UNetBranch(unet, channels=net.config.conditioning_channels)
    theirs, ours = (
        {name: tuple(value.shape) for name, value in one.state_dict().items()} for one in (net, branch)
    )
    other = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
    if other:
        raise UserError(
            f"{len(other)} of its weights do not fit this network, {other[0]} first",
            where=str(folder),
            remedy="take one that was trained for this kind of pipeline",
        )
    branch.load_state_dict(net.state_dict())
    return branch


def _controlnet(unet: Any, branch: UNetBranch) -> Any:
    return import_from("diffusers:ControlNetModel").from_unet(
        unet,
        load_weights_from_unet=False,
        conditioning_channels=branch.controlnet_cond_embedding.conv_in.in_channels,
    )


def _widths(unet: Any) -> list[int]:
    """Channels of the states that the way up looks back at, from the first on."""
    widths = [unet.conv_in.out_channels]
    for block in unet.down_blocks:
        widths += [resnet.out_channels for resnet in block.resnets]
        if block.downsamplers is not None:
            widths.append(block.resnets[-1].out_channels)
    return widths


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
