"""What the two networks of a GAN minimise: pure functions of the discriminator's logits, in nats.

A logit is log D/(1 − D), D being the probability that a picture is real.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Logits = Float[Tensor, " b"]
Loss = Float[Tensor, ""]


def value(real: Logits, fake: Logits) -> Loss:
    """E log D(x) + E log(1 − D(G(z))), which D maximises and G minimises (Goodfellow et al. 2014, eq. 1).

    At the best D it is 2·JSD(p_data ‖ p_G) − log 4 (theorem 1 there).
    """
    return F.logsigmoid(real).mean() + F.logsigmoid(-fake).mean()


def classifying(real: Logits, fake: Logits) -> Loss:
    """The discriminator's loss in the classical game: −`value`, the cross-entropy of telling apart."""
    return -value(real, fake)


def minimax(real: Logits, fake: Logits) -> Loss:
    """The generator's loss in `value`: E log(1 − D(G(z))); flat where D is sure of the fakes."""
    return F.logsigmoid(-fake).mean()


def nonsaturating(real: Logits, fake: Logits) -> Loss:
    """The generator's loss −E log D(G(z)): same fixed point, steep where D is sure (same paper, §3)."""
    return -F.logsigmoid(fake).mean()


def relativistic(higher: Logits, lower: Logits) -> Loss:
    """−E log σ(higher − lower): the loss of preferring each sample to its partner.

    The discriminator's with (real, fake), the generator's with (fake, real) (Jolicoeur-Martineau 2019,
    §4.1; RpGAN in Huang et al. 2024, eq. 2). A generator that leaves out a mode is still told so.
    """
    return -F.logsigmoid(higher - lower).mean()


def gradient_penalty(logits: Logits, pixels: Float[Tensor, "b *event"]) -> Float[Tensor, " b"]:
    """‖∇D(x)‖² per sample, differentiable once more: R1 on real pictures, R2 on fakes.

    Zero-centred: it pulls to a flat D, so that the game comes to rest at its equilibrium (Mescheder
    et al. 2018, eq. 9 and 10). A sample's logit must depend on that sample only.

    Args:
        logits: Of `pixels`.
        pixels: What the logits were computed from, with `requires_grad`.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), pixels, create_graph=True)
    return gradient.square().flatten(1).sum(1)


class Game(NamedTuple):
    """One loss for each player, both functions of the logits of (real, fake)."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    generator_sees_real: bool
    """Whether the generator's loss depends on the real logits, which cost a pass."""


GAMES = {
    "minimax": Game(classifying, minimax, False),
    "nonsaturating": Game(classifying, nonsaturating, False),
    "relativistic": Game(relativistic, lambda real, fake: relativistic(fake, real), True),
}
"""Name → what the players minimise."""
