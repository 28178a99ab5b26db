"""A classifier of noisy pictures: what it reads, what it says at any σ, and how it is saved."""

from dataclasses import replace

import pytest
import torch

from melies import checkpoint
from melies.errors import UserError
from melies.images.noisy_classifier import (
    NoisyClassifier,
    NoisyClassifierConfig,
    classify_noisy,
    read_noisy_classifier,
)
from melies.nn.unet import UNetConfig

CONFIG = NoisyClassifierConfig(
    network=UNetConfig(channels=1, size=8, widths=(8, 16), blocks=2, attention=(4,), head_dim=16, dim=16),
    classes=("bag", "coat", "shirt"),
    sigma_data=0.7,
)


@pytest.fixture
def model() -> NoisyClassifier:
    made = NoisyClassifier(CONFIG)
    generator = torch.Generator().manual_seed(1)
    for parameter in made.parameters():  # a fresh one has blocks that do nothing
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return made.eval()


def noisy(sigma: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return (0.49 + sigma.square()).sqrt().view(-1, 1, 1, 1) * torch.randn(
        len(sigma), 1, 8, 8, generator=generator
    )


def test_it_says_what_and_of_what(model):
    assert model.classes == ("bag", "coat", "shirt")
    assert model.shape == (1, 8, 8)
    sigma = torch.tensor([0.002, 0.5, 80.0])
    logits = model(noisy(sigma), sigma)
    assert logits.shape == (3, 3)
    assert logits.dtype == torch.float32
    assert model.labels_of(["shirt", "bag"]).tolist() == [2, 0]
    with pytest.raises(UserError, match="coat"):
        model.labels_of(["coats"])


def test_its_input_has_unit_variance_at_every_level(model):
    """c_in of the preconditioning: what the first layer sees is as large at σ = 80 as at σ = 0.002."""
    seen = {}
    model.embed.register_forward_pre_hook(lambda _, inputs: seen.update(std=inputs[0].std(dim=(1, 2, 3))))
    sigma = torch.tensor([0.002, 0.7, 80.0])
    model(noisy(sigma), sigma)
    torch.testing.assert_close(seen["std"], torch.ones(3), rtol=0.25, atol=0.0)


def test_it_knows_the_noise_level(model):
    x = noisy(torch.full((1,), 1.0))
    low, high = (model(x * (0.49 + s**2) ** 0.5, torch.tensor([s])) for s in (0.1, 10.0))
    assert (low - high).abs().max() > 1e-3  # the scaled input is the same, only c_noise differs


def test_its_gradient_reaches_the_picture_and_each_row_by_itself(model):
    sigma = torch.tensor([0.3, 2.0])
    x = noisy(sigma).requires_grad_()
    (slope,) = torch.autograd.grad(model(x, sigma).log_softmax(1)[0, 1], x)
    assert bool(slope[0].any())
    assert not slope[1].any()


def test_batches_change_nothing(model):
    sigma = torch.tensor([0.1, 1.0, 5.0, 9.0, 30.0])
    x0, epsilon = noisy(torch.zeros(5)), noisy(torch.ones(5))
    whole = classify_noisy(model, x0, sigma, epsilon)
    parts = classify_noisy(model, x0, sigma, epsilon, batch_size=2)
    torch.testing.assert_close(whole, parts)
    torch.testing.assert_close(whole, model(x0 + sigma.view(-1, 1, 1, 1) * epsilon, sigma).detach())


def test_a_checkpoint_gives_the_same_answers(model, tmp_path):
    folder = checkpoint.save(tmp_path / "classifier", model)
    loaded = read_noisy_classifier(folder)
    assert loaded.kind == "noisy-classifier"
    assert loaded.config == CONFIG
    sigma = torch.tensor([0.5])
    torch.testing.assert_close(loaded.model(noisy(sigma), sigma), model(noisy(sigma), sigma).detach())
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_another_kind_of_model_is_named():
    with pytest.raises(UserError, match="image-classifier is not a classifier of noisy pictures"):
        read_noisy_classifier("digits-judge")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"classes": ("bag",)}, "at least two classes"),
        ({"classes": ("bag", "bag")}, "each of them once"),
        ({"sigma_data": 0.0}, "sigma_data"),
        ({"sigma_max": 0.001}, "sigma_max"),
        ({"network": replace(CONFIG.network, num_classes=3)}, "is not told what it is to say"),
        ({"network": replace(CONFIG.network, text_dim=8)}, "is not told what it is to say"),
    ],
)
def test_configs_that_cannot_be(change, what):
    with pytest.raises(UserError, match=what):
        replace(CONFIG, **change)
