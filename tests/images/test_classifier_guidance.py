"""Classifier guidance with real networks: towards the class, with any model, and what it refuses."""

from dataclasses import replace

import pytest
import torch

from melies.diffusion.guidance.classifier import ClassifierGuidance
from melies.diffusion.guidance.classifier_free import ClassifierFreeGuidance, Unguided
from melies.errors import UserError
from melies.images.generate import draw
from melies.images.noisy_classifier import NoisyClassifier, NoisyClassifierConfig, check_guides
from melies.nn.unet import UNetConfig
from melies.transform import PixelRange

CONFIG = NoisyClassifierConfig(
    network=UNetConfig(channels=1, size=8, widths=(8, 16), blocks=1, attention=(4,), head_dim=16, dim=16),
    classes=("shirt", "bag", "coat"),  # not in the model's order
)


def made(config=CONFIG) -> NoisyClassifier:
    model = NoisyClassifier(config)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval().requires_grad_(False)


@pytest.fixture
def classifier() -> NoisyClassifier:
    return made()


def drawn(model, guidance, **options):
    options = {"num_steps": 8, "sampler": "ddim", "seeds": [3, 4], "classes": ["bag", "shirt"], **options}
    return draw(model, guidance=guidance, **options)


def confidence(classifier, pixels, names):
    sigma = torch.full((len(pixels),), 0.002)
    chances = classifier(PixelRange().forward(pixels), sigma).softmax(1)
    return chances.gather(1, classifier.labels_of(names)[:, None]).mean()


def test_it_leads_to_the_class_that_is_named(pixel_model, classifier):
    """On an unconditional base, without which the class says nothing, and by the classifier's own numbers."""
    off, on = (
        drawn(pixel_model, ClassifierGuidance(scale=scale), classifier=classifier) for scale in (0.0, 20.0)
    )
    names = ["bag", "shirt"]
    assert confidence(classifier, on, names) > confidence(classifier, off, names) + 0.02
    other = drawn(pixel_model, ClassifierGuidance(scale=0.0), classifier=classifier, classes=["coat", "coat"])
    assert torch.equal(off, other)
    assert not torch.equal(
        on,
        drawn(pixel_model, ClassifierGuidance(scale=20.0), classifier=classifier, classes=["coat", "coat"]),
    )


@pytest.mark.parametrize(
    ("base", "scale"),
    [(Unguided(), 1.0), (ClassifierFreeGuidance(scale=3.0), 3.0), (Unguided(branch="null"), 0.0)],
)
def test_at_0_it_is_its_base(base, scale, pixel_model, classifier):
    found = drawn(pixel_model, ClassifierGuidance(scale=0.0, base=base), classifier=classifier)
    assert torch.equal(found, drawn(pixel_model, None, scale=scale))


def test_a_model_without_classes_is_guided_all_the_same(plain_model, classifier):
    guidance = ClassifierGuidance(scale=20.0)
    found = drawn(plain_model, guidance, classifier=classifier)
    assert found.shape == (2, 1, 8, 8)
    assert not torch.equal(found, drawn(plain_model, ClassifierGuidance(scale=0.0), classifier=classifier))


def test_words_say_what_and_the_classifier_which(latent_model):
    latent = made(replace(CONFIG, network=replace(CONFIG.network, channels=4, size=4, attention=())))
    words = {"prompts": ["a red apple"] * 2, "classes": ["bag", "coat"]}
    found = [
        drawn(latent_model, ClassifierGuidance(scale=scale, base=Unguided()), classifier=latent, **words)
        for scale in (0.0, 20.0)
    ]
    assert not torch.equal(*found)


def test_batches_do_not_mix_classes(pixel_model, classifier):
    names = ["bag", "shirt", "coat"]
    options = {"classes": names, "seeds": [0, 1, 2], "classifier": classifier}
    together = drawn(pixel_model, ClassifierGuidance(scale=5.0), **options)
    apart = drawn(pixel_model, ClassifierGuidance(scale=5.0), batch_size=1, **options)
    assert (together.int() - apart.int()).abs().max() <= 1


@pytest.mark.parametrize("sampler", ["dpmpp", "heun", "euler", "ddim", "ddpm"])
def test_every_sampler_takes_the_gradient_without_keeping_it(sampler, pixel_model, classifier):
    before = torch.is_grad_enabled()
    found = drawn(pixel_model, ClassifierGuidance(scale=2.0), classifier=classifier, sampler=sampler)
    assert torch.is_grad_enabled() == before
    assert not found.requires_grad
    assert all(parameter.grad is None for parameter in (*pixel_model.parameters(), *classifier.parameters()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": ("shirt", "bag", "hat")}, "only one of them knows coat, hat"),
        ({"classes": ("shirt", "bag")}, "knows 2 classes and the model 3; only one of them knows coat"),
        (
            {"network": replace(CONFIG.network, size=16, attention=())},
            "1 channels of 16×16, and the model works on 1 channels of 8×8",
        ),
        ({"network": replace(CONFIG.network, channels=3)}, "reads 3 channels of 8×8"),
        ({"sigma_max": 40.0}, "noise from 0.002 to 40, and the model draws from 80"),
    ],
)
def test_a_classifier_of_other_pictures_is_refused(change, said, pixel_model):
    with pytest.raises(UserError, match=said):
        drawn(pixel_model, ClassifierGuidance(scale=1.0), classifier=made(replace(CONFIG, **change)))


def test_a_class_must_be_named_and_known(plain_model, pixel_model, classifier):
    with pytest.raises(UserError, match="needs a class to guide to"):
        check_guides(classifier, plain_model, [])
    with pytest.raises(UserError, match="'hat'"):
        drawn(plain_model, ClassifierGuidance(scale=1.0), classifier=classifier, classes=["hat", "bag"])
    with pytest.raises(ValueError, match="lacks the branch classifier"):
        drawn(pixel_model, ClassifierGuidance(scale=1.0))
