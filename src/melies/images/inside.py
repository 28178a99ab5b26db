"""What a family tells of itself: how pictures come back, and what its latents, codes and likelihood are."""

from collections.abc import Callable

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from melies.autoencoders.likelihood import binarize_once
from melies.autoencoders.vae import VAE, posteriors
from melies.autoencoders.vqvae import VQVAE, codes_of
from melies.data.images import ImageSet
from melies.images.families import Family
from melies.interfaces import Metric
from melies.metrics.codebook import measure_codebook
from melies.metrics.latent import measure_latent_use
from melies.metrics.likelihood import measure_importance_likelihood, measure_likelihood, weight_sums
from melies.metrics.measure import measure, measure_gap
from melies.metrics.similarity import PSNR_MAX, measure_similarity, psnr
from melies.rng import generator_for, some_of
from melies.transform import PixelRange

REBUILT = {"autoencoder": 1_000, "vae": 1_000, "vqvae": 1_000}
"""Kind → pictures that are encoded and decoded again; of any other `FEW`, for their way back is long."""
FEW = 60
WEIGHED, DRAWS = 200, 500
"""Pictures whose likelihood is estimated, and draws for each."""

LEVEL = 2 / 255
"""Distance of two levels of a pixel on the scale of −1 to 1."""

Distance = Callable[[UInt8[Tensor, "n c h w"]], Metric]
"""How far a set of pictures lies from the real ones."""


def measure_inside(family: Family, train: ImageSet | None, test: ImageSet, *, seed: int = 0) -> list[Metric]:
    """Active units, KL and likelihood of a VAE; use of the codebook of a VQ-VAE; nothing of other kinds.

    Args:
        family: The model.
        train: Pictures that it has learned; None where they are not known: codes are then those of `test`.
        test: Pictures that it has not.
        seed: Of the draws and the resampling.
    """
    model = family.loaded.model
    if isinstance(model, VAE):
        return [*measure_posterior(family, test, seed=seed), *_likelihood(family, test, seed=seed)]
    if isinstance(model, VQVAE):
        codes = codes_of(model, (train or test).pixels)
        return list(measure_codebook(codes, model.quantizer.num_codes, seed=seed))
    return []


def measure_reconstruction(
    family: Family,
    train: ImageSet | None,
    test: ImageSet,
    *,
    distance: Distance | None = None,
    seed: int = 0,
) -> list[Metric]:
    """How near unseen and training pictures come out again, and how near as a set they are to unseen ones.

    Args:
        family: The model.
        train: Pictures that it has learned; None where they are not known: then there is no gap.
        test: Pictures that it has not.
        distance: Of a set to the real pictures; left out where None, and where few are rebuilt.
        seed: Of the choice and the resampling.
    """
    num = REBUILT.get(family.loaded.kind, FEW)

    def there_and_back(pictures: ImageSet) -> tuple[Tensor, Tensor]:
        places = some(pictures, num, seed=seed)
        real = pictures.pixels[places]
        return real, family.reconstruct(real, labels_of(family, pictures, places))

    real, again = there_and_back(test)
    similar = measure_similarity(again, real, seed=seed)
    metrics = [
        similar[0]._replace(name="PSNR, unseen" if train else "PSNR"),
        similar[1]._replace(name="SSIM, unseen" if train else "SSIM"),
    ]
    if train is not None:
        unseen = psnr(again, real).clamp(max=PSNR_MAX)
        real, again = there_and_back(train)
        learned = psnr(again, real).clamp(max=PSNR_MAX)
        metrics += [
            measure("PSNR, training", torch.mean, learned, unit="dB", higher_is_better=True, seed=seed),
            measure_gap("train/test gap", learned, unseen, unit="dB", higher_is_better=True, seed=seed),
        ]
    if distance is not None and family.loaded.kind in REBUILT:  # of few pictures it says nothing
        found = distance(again)
        metrics.append(found._replace(name=f"reconstruction {found.name}"))
    return metrics


def measure_posterior(family: Family, pictures: ImageSet, *, seed: int = 0) -> list[Metric]:
    """Active units of a VAE, also as a share of the latent, and KL."""
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
    """−log p(x) of unseen pictures, in nats and bits per dimension, by one draw and by many.

    Of a Bernoulli likelihood the pictures are black and white, each the same whenever it is measured.
    """
    model = family.loaded.model
    likelihood = model.config.likelihood
    places = some(test, WEIGHED, seed=seed)
    chosen = test.pixels[places]
    pixels = PixelRange().forward(binarize_once(chosen, seed=seed) if likelihood == "bernoulli" else chosen)
    labels = labels_of(family, test, places)
    weights = model.log_weights(
        pixels.to(family.device),
        DRAWS,
        generator_for(seed, "likelihood"),
        None if labels is None else labels.to(family.device),
    )
    numel = pixels[0].numel()
    width = LEVEL if likelihood == "gaussian" else 1.0  # a density, where the others are probabilities
    bound = measure_likelihood(weights.mean(1), numel, name="−ELBO", level_width=width, seed=seed)
    many = measure_importance_likelihood(
        weight_sums(weights), numel, name="NLL", level_width=width, seed=seed
    )
    return [*bound, *many]


def some(pictures: ImageSet, num: int, *, seed: int) -> Int64[Tensor, " k"]:
    """Places of at most `num` pictures, chosen by the seed."""
    return some_of(len(pictures), num, seed=seed, name="some")


def labels_of(family: Family, pictures: ImageSet, places: Tensor) -> Tensor | None:
    """The classes of pictures, for a family that is told them."""
    return pictures.labels[places] if family.model.classes and pictures.labels is not None else None
