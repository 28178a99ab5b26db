"""A step of the two players: the objectives that the training loop takes in turn."""

from typing import Any

import torch
from torch import Tensor

from melies.errors import choose
from melies.gan.objective import GAMES, gradient_penalty
from melies.interfaces import Objective


def adversarial_objectives(game: str, *, gamma: float) -> tuple[Objective, Objective]:
    """The discriminator's objective and the generator's, for a model with networks of those names.

    Batches have `"pixels"` and, for a model with classes, `"class"`, which fakes are asked for too.

    Args:
        game: A name in `melies.gan.objective.GAMES`.
        gamma: Weight of the penalties; γ/2·(R1 + R2) is added to the discriminator's loss.

    Raises:
        UserError: If there is no such game.
    """
    losses = choose(game, GAMES, "game")

    def discriminator_loss(model: Any, batch: dict[str, Tensor], rng: torch.Generator):
        real, labels = batch["pixels"], batch.get("class")
        with torch.no_grad():
            fake = _draw(model, real, labels, rng)
        if not gamma:
            logits = model.discriminator(real, labels), model.discriminator(fake, labels)
            return losses.discriminator(*logits), _scalars(*logits, real, fake)
        real, fake = real.detach().requires_grad_(), fake.requires_grad_()
        with torch.autocast(real.device.type, enabled=False):  # gradients of gradients need the digits
            logits = model.discriminator(real, labels), model.discriminator(fake, labels)
            r1, r2 = (gradient_penalty(a, x).mean() for a, x in zip(logits, (real, fake), strict=True))
            loss = losses.discriminator(*logits) + gamma / 2 * (r1 + r2)
        return loss, _scalars(*logits, real, fake) | {"r1": float(r1.detach()), "r2": float(r2.detach())}

    def generator_loss(model: Any, batch: dict[str, Tensor], rng: torch.Generator):
        real, labels = batch["pixels"], batch.get("class")
        fake = _draw(model, real, labels, rng)
        on_fake = model.discriminator(fake, labels)
        on_real = model.discriminator(real, labels) if losses.generator_sees_real else on_fake.detach()
        return losses.generator(on_real, on_fake), {}

    return (
        Objective("discriminator", lambda model: model.discriminator.parameters(), discriminator_loss),
        Objective("generator", lambda model: model.generator.parameters(), generator_loss),
    )


def _draw(model: Any, real: Tensor, labels: Tensor | None, rng: torch.Generator) -> Tensor:
    z = torch.randn(len(real), model.config.latent_dim, generator=rng).to(real.device)
    return model.generator(z, labels).float()  # autocast may have made it shorter


@torch.no_grad()
def _scalars(on_real: Tensor, on_fake: Tensor, real: Tensor, fake: Tensor) -> dict[str, float]:
    """What tells a game that is lost: logits far apart, or fakes that are all alike (spread near 0)."""
    return {
        "logit_real": float(on_real.mean()),
        "logit_fake": float(on_fake.mean()),
        "spread": float(fake.std(0).mean() / real.std(0).mean().clamp(min=1e-6)),
    }
