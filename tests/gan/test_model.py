"""The GAN as a model of pictures: shapes, seeds, the way back, and what it refuses."""

import pytest
import torch

from melies import checkpoint
from melies.errors import UserError
from melies.gan.block import GroupedResidual
from melies.gan.config import ConvolutionalConfig, GANConfig, ResidualConfig
from melies.gan.model import GAN
from melies.gan.project import pyramid
from melies.interfaces import PictureModel
from melies.rng import noise_for

NETWORKS = {
    "residual": lambda n: ResidualConfig(widths=(8, 16, 24, 32)[:n], group_width=8),
    "convolutional": lambda n: ConvolutionalConfig(widths=(8, 16, 24, 32)[:n]),
}
SHAPES = [(8, 1, 1), (28, 1, 2), (32, 3, 3), (64, 3, 4)]
both = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def tiny(network=NETWORKS["residual"], *, size=8, channels=1, widths=1, **fields) -> GAN:
    torch.manual_seed(0)
    config = GANConfig(network=network(widths), size=size, channels=channels, latent_dim=4, **fields)
    return GAN(config).eval()


def stirred(model: GAN) -> GAN:
    """With no weights at zero, as after training."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


@both
@pytest.mark.parametrize(("size", "channels", "widths"), SHAPES)
@pytest.mark.parametrize("classes", [(), ("a", "b", "c")])
def test_pictures_of_every_size_with_and_without_classes(network, size, channels, widths, classes):
    model = tiny(network, size=size, channels=channels, widths=widths, classes=classes)
    labels = torch.tensor([2, 0, 1]) if classes else None
    drawn = model.sample(3, noise=noise_for([0, 1, 2]), labels=labels)
    assert isinstance(model, PictureModel)
    assert drawn.shape == (3, *model.shape) == (3, channels, size, size)
    assert drawn.dtype == torch.float32
    assert float(drawn.abs().max()) <= 1
    assert model.discriminator(drawn, labels).shape == (3,)
    assert model.classes == classes


@both
@pytest.mark.parametrize("widths", [1, 2])
def test_every_latent_number_and_every_pixel_counts(network, widths):
    model = stirred(tiny(network, widths=widths))
    z = torch.randn(1, 4, requires_grad=True)
    pixels = model.generator(z)
    assert bool((torch.autograd.grad(pixels.sum(), z)[0] != 0).all())
    x = pixels.detach().requires_grad_()
    assert bool((torch.autograd.grad(model.discriminator(x).sum(), x)[0] != 0).all())


@both
def test_a_seed_is_a_picture_whatever_the_batch(network):
    model = stirred(tiny(network, widths=2, classes=("a", "b")))
    labels = torch.tensor([0, 1, 1, 0])
    together = model.sample(4, noise=noise_for([5, 6, 7, 8]), labels=labels)
    alone = model.sample(1, noise=noise_for([7]), labels=labels[2:3])
    assert torch.allclose(alone[0], together[2], atol=1e-5)
    assert not torch.allclose(together[1], together[2], atol=1e-2)


@both
def test_the_class_changes_the_picture_and_the_verdict(network):
    model = stirred(tiny(network, classes=("a", "b")))
    z = torch.randn(1, 4).repeat(2, 1)
    a, b = model.decode(z, torch.tensor([0, 1]))
    assert (a - b).abs().max() > 0.01
    logits = model.discriminator(torch.stack([a, a]), torch.tensor([0, 1]))
    assert (logits[0] - logits[1]).abs() > 1e-3


def test_a_fresh_residual_block_is_the_identity_and_a_deep_row_starts_smaller():
    config = ResidualConfig(widths=(16,), group_width=8)
    torch.manual_seed(0)
    x = torch.randn(2, 16, 5, 5)
    shallow, deep = (GroupedResidual(16, config, num_blocks=n) for n in (1, 16))
    assert torch.equal(shallow(x), x)
    for name in ("widen", "mix"):
        small, large = (float(getattr(block, name).weight.detach().std()) for block in (deep, shallow))
        assert small / large == pytest.approx(0.5, rel=0.1)  # 16^(−1/4)


def test_projection_finds_the_pictures_that_the_generator_draws():
    model = stirred(tiny(classes=("a", "b")))
    model.generator.out.weight.data *= 0.05  # nothing is clipped
    labels = torch.tensor([0, 1, 1, 0])
    drawn = model.sample(4, noise=noise_for(range(4)), labels=labels)
    latents = model.encode(drawn, labels)
    assert latents.shape == (4, 4)
    assert latents.abs().max() < 5
    error = (model.decode(latents, labels) - drawn).square().mean((1, 2, 3))
    assert bool((error < 0.02 * drawn.var(0).mean()).all())


def test_projection_is_the_same_each_time_and_in_each_batch_and_leaves_no_gradients():
    model = stirred(tiny())
    pixels = torch.rand(3, 1, 8, 8) * 2 - 1
    together = model.encode(pixels)
    assert torch.equal(model.encode(pixels), together)
    assert torch.allclose(model.encode(pixels[1:2]), together[1:2], atol=1e-3)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not together.requires_grad


def test_the_pyramid_adds_up_the_errors_of_all_sizes():
    a, b = torch.rand(2, 1, 8, 8)
    expected = (a - b).square().mean() + (
        torch.nn.functional.avg_pool2d(a[None], 2) - torch.nn.functional.avg_pool2d(b[None], 2)
    ).square().mean()
    assert torch.isclose((pyramid(a[None]) - pyramid(b[None])).square().sum(), expected)


@both
def test_a_checkpoint_draws_the_same(network, tmp_path):
    model = stirred(tiny(network, widths=2, classes=("a", "b")))
    model.generator.train()(torch.randn(8, 4), torch.zeros(8).long())  # moves the statistics of batches
    checkpoint.save(tmp_path / "gan", model.eval())
    again = checkpoint.load(tmp_path / "gan").model
    labels = torch.tensor([0, 1])
    noise = noise_for([1, 2])
    assert again.config == model.config
    assert torch.equal(
        again.sample(2, noise=noise, labels=labels), model.sample(2, noise=noise, labels=labels)
    )


def test_labels_and_shapes_that_do_not_fit_are_refused():
    plain, classy = tiny(), tiny(classes=("a", "b"))
    with pytest.raises(UserError, match="has no classes"):
        plain.sample(1, noise=noise_for([0]), labels=torch.tensor([0]))
    with pytest.raises(UserError, match="needs the class of every picture"):
        classy.sample(1, noise=noise_for([0]))
    with pytest.raises(UserError, match="for a model of 2 classes"):
        classy.decode(torch.zeros(1, 4), torch.tensor([2]))
    with pytest.raises(UserError, match="grey 8×8 pictures"):
        plain.encode(torch.zeros(1, 3, 8, 8))
    for network, shape in ((plain.generator, (1, 4)), (plain.discriminator, (1, 1, 8, 8))):
        with pytest.raises(ValueError, match="labels are for a model with classes"):
            network(torch.zeros(shape), torch.tensor([0]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"latent_dim": 0}, "latent_dim = 0"),
        ({"size": 30}, "30 cannot be halved 2 times"),
        ({"channels": 0}, "channels = 0"),
        ({"classes": ("one",)}, "at least two different"),
        ({"classes": ("a", "a")}, "at least two different"),
    ],
)
def test_a_model_that_cannot_be_is_refused(fields, message):
    with pytest.raises(UserError, match=message):
        GANConfig(**{"network": ResidualConfig(), **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"widths": ()}, "at least one width"),
        ({"widths": (12,)}, "multiple of 8"),
        ({"group_width": 48}, "does not divide by group_width"),
        ({"blocks": 0}, "blocks = 0"),
    ],
)
def test_networks_that_cannot_be_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        ResidualConfig(**fields)
    if "widths" in fields:
        with pytest.raises(UserError, match=message):
            ConvolutionalConfig(**fields)
