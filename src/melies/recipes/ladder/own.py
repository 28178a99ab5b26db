"""The numbers of a rung that not all have: what its latents, its codes, its game or its steps tell."""

from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from melies.autoencoders.vae import VAE, posteriors
from melies.autoencoders.vqvae import VQVAE, codes_of
from melies.data.images import ImageSet
from melies.images.families import Family, open_family
from melies.images.mix import mixed
from melies.images.model import ImageDiffusion
from melies.interfaces import Metric
from melies.metrics.codebook import measure_codebook
from melies.metrics.latent import measure_latent_use
from melies.metrics.likelihood import measure_importance_likelihood, measure_likelihood, weight_sums
from melies.metrics.measure import measure, measure_gap
from melies.metrics.similarity import PSNR_MAX, measure_similarity, psnr
from melies.recipes.ladder import STEPS
from melies.recipes.ladder.drawn import draw_many
from melies.recipes.ladder.settings import LadderSettings
from melies.recipes.ladder.train import lead
from melies.recipes.ladder.yardstick import Yardstick
from melies.rng import generator_for
from melies.transform import PixelRange

REBUILT = {"autoencoder": 1_000, "vae": 1_000, "vqvae": 1_000}
"""Kind → pictures that are encoded and decoded again; of any other `FEW`, for their way back is long."""
FEW = 60
WEIGHED, DRAWS = 200, 500
"""Pictures whose likelihood is estimated, and draws for each."""
MOST_PER_STEPS = 500
"""Pictures drawn for each number of steps."""


def measure_own(family: Family, yard: Yardstick, log: Path, settings: LadderSettings) -> list[Metric]:
    """Reconstructions of every family, and what its kind alone has."""
    seed, model = settings.seed, family.loaded.model
    metrics = rebuilt(family, yard, seed=seed)
    if family.loaded.kind in REBUILT:
        metrics += [_between(family, yard, seed=seed)]
    if isinstance(model, VAE):
        metrics += [*latent_use(family, yard.test, seed=seed), *_likelihood(family, yard.test, seed=seed)]
    if isinstance(model, VQVAE):
        codes = codes_of(model, yard.train.pixels)
        metrics += measure_codebook(codes, model.quantizer.num_codes, seed=seed)
    if leads := lead(log):
        values = torch.tensor(leads, dtype=torch.float64)
        name = "discriminator's lead"
        metrics.append(measure(name, torch.mean, values, unit="nats", higher_is_better=False, seed=seed))
    if isinstance(model, ImageDiffusion):
        metrics += _by_steps(family, yard, settings)
    return metrics


def rebuilt(family: Family, yard: Yardstick, *, seed: int) -> list[Metric]:
    """How near unseen and training pictures come out again, and how near as a set they are to unseen ones."""
    num = REBUILT.get(family.loaded.kind, FEW)
    found = {}
    for title, pictures in (("training", yard.train), ("unseen", yard.test)):
        places = some(pictures, num, seed=seed)
        real = pictures.pixels[places]
        found[title] = real, family.reconstruct(real, labels_of(family, pictures, places))
    quality = {title: psnr(again, real).clamp(max=PSNR_MAX) for title, (real, again) in found.items()}
    similar = measure_similarity(found["unseen"][1], found["unseen"][0], seed=seed)
    metrics = [
        similar[0]._replace(name="PSNR, unseen"),
        similar[1]._replace(name="SSIM, unseen"),
        measure(
            "PSNR, training", torch.mean, quality["training"], unit="dB", higher_is_better=True, seed=seed
        ),
        measure_gap(
            "train/test gap",
            quality["training"],
            quality["unseen"],
            unit="dB",
            higher_is_better=True,
            seed=seed,
        ),
    ]
    if family.loaded.kind in REBUILT:  # of few pictures the distance says nothing
        distance = yard.frechet(found["training"][1], seed=seed)
        metrics.append(distance._replace(name=f"reconstruction {distance.name}"))
    return metrics


def _between(family: Family, yard: Yardstick, *, seed: int) -> Metric:
    """The distance of pictures decoded straight halfway between two training pictures of one class."""
    places = some(yard.train, REBUILT[family.loaded.kind], seed=seed)
    if yard.train.labels is not None:  # one class after the other, so that neighbours share theirs
        places = places[yard.train.labels[places].argsort(stable=True)]
    labels = labels_of(family, yard.train, places)
    latents = family.encode(yard.train.pixels[places], labels)
    halfway = mixed(latents, latents.roll(-1, 0), num=3, mixing="linear")[:, 1]
    distance = yard.frechet(family.decode(halfway, labels), seed=seed)
    return distance._replace(name=f"midpoint {distance.name}")


def latent_use(family: Family, pictures: ImageSet, *, seed: int) -> list[Metric]:
    """Active units, also as a share of the latent, and KL."""
    labels = pictures.labels if family.model.classes else None
    posterior = posteriors(family.loaded.model, pictures.pixels, labels)
    active, kl = measure_latent_use(posterior.mean, posterior.logvar, seed=seed)
    size = posterior.mean.shape[1]
    low, high = active.interval
    share = active._replace(
        name="active share", unit="share", value=active.value / size, interval=(low / size, high / size)
    )
    return [active, share, kl._replace(name="KL")]


def _likelihood(family: Family, test: ImageSet, *, seed: int) -> list[Metric]:
    """−log p(x) of unseen pictures, in nats and bits per dimension, by one draw and by many."""
    model = family.loaded.model
    places = some(test, WEIGHED, seed=seed)
    pixels = PixelRange().forward(test.pixels[places]).to(family.device)
    labels = labels_of(family, test, places)
    weights = model.log_weights(
        pixels,
        DRAWS,
        generator_for(seed, "likelihood"),
        None if labels is None else labels.to(family.device),
    )
    numel = pixels[0].numel()
    bound = measure_likelihood(weights.mean(1), numel, name="−ELBO", seed=seed)
    return [*bound, *measure_importance_likelihood(weight_sums(weights), numel, name="NLL", seed=seed)]


def _by_steps(family: Family, yard: Yardstick, settings: LadderSettings) -> list[Metric]:
    """The Fréchet distance for each number of steps of the sampler."""
    count = min(settings.num_drawn, MOST_PER_STEPS)
    found = []
    for num_steps in STEPS:
        opened = open_family(family.loaded.folder, scale=settings.scale, num_steps=num_steps)
        pixels = draw_many(opened, count, seed=settings.seed).pixels
        distance = yard.frechet(pixels, seed=settings.seed)
        found.append(distance._replace(name=f"{distance.name}, {num_steps} steps"))
    return found


def some(pictures: ImageSet, num: int, *, seed: int) -> Int64[Tensor, " k"]:
    """Places of at most `num` pictures, chosen by the seed."""
    return torch.randperm(len(pictures), generator=generator_for(seed, "some"))[:num]


def labels_of(family: Family, pictures: ImageSet, places: Tensor) -> Tensor | None:
    """The classes of pictures, for a family that is told them."""
    return pictures.labels[places] if family.model.classes and pictures.labels is not None else None
