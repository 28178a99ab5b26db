"""Measured numbers as records: a value, its unit, its interval, and what it was measured on."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from melies.interfaces import Metric
from melies.metrics.features import Features, as_pair
from melies.metrics.floor import floor
from melies.metrics.frechet import frechet_distance_of_features, frechet_replicates
from melies.metrics.interval import bootstrap, percentile_interval, recentred_interval, wilson_interval
from melies.metrics.kernel import kernel_distance, kernel_replicates
from melies.metrics.prdc import Prdc, prdc, prdc_samples


def measure(
    name: str,
    statistic: Callable,
    *samples: Tensor,
    unit: str,
    higher_is_better: bool | None,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Metric:
    """`statistic(*samples)` with a percentile interval from resampling the rows of every set.

    Right for means, medians, correlations and the like. Statistics that suffer from repeated
    rows have measures of their own below.
    """

    def of_rows(*indices: Tensor) -> float:
        return float(statistic(*(rows[i] for rows, i in zip(samples, indices, strict=True))))

    replicates = bootstrap(of_rows, *(len(rows) for rows in samples), num_resamples=num_resamples, seed=seed)
    return Metric(
        name=name,
        value=float(statistic(*samples)),
        unit=unit,
        higher_is_better=higher_is_better,
        num_samples=len(samples[0]),
        interval=percentile_interval(replicates),
        seed=seed,
    )


def measure_gap(
    name: str,
    training: Float[Tensor, " n"],
    test: Float[Tensor, " m"],
    *,
    unit: str,
    higher_is_better: bool,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Metric:
    """How much worse a number is on test samples than on training ones: what over-fitting costs.

    The difference of the means, signed so that above 0 is worse; an interval above 0 shows
    over-fitting. Both sets are resampled.

    Args:
        name: Of the gap.
        training: The number for each sample that was trained on: a loss, or right (1) or wrong (0).
        test: The same for each sample that was not.
        unit: Of the number.
        higher_is_better: Of the number: False for a loss. Of the gap it is always False.
        num_resamples: Bootstrap replicates.
        seed: Of the resampling.
    """
    sign = -1 if higher_is_better else 1

    def gap(unseen: Tensor, seen: Tensor) -> Tensor:
        return sign * (unseen.double().mean() - seen.double().mean())

    return measure(
        name, gap, test, training, unit=unit, higher_is_better=False, num_resamples=num_resamples, seed=seed
    )


def recentred_metric(
    name: str,
    value: float,
    replicates: Float[Tensor, " r"],
    *,
    unit: str,
    higher_is_better: bool,
    num_samples: int,
    seed: int,
    least: float = -math.inf,
    most: float = math.inf,
) -> Metric:
    """A record of a statistic that repeated rows bias: its interval is that of `recentred_interval`."""
    return Metric(
        name=name,
        value=value,
        unit=unit,
        higher_is_better=higher_is_better,
        num_samples=num_samples,
        interval=recentred_interval(value, replicates, least=least, most=most),
        seed=seed,
    )


def measure_share(name: str, holds: Tensor, *, higher_is_better: bool = True) -> Metric:
    """The share of samples for which `holds` (n,) bool is True, with Wilson's interval."""
    num_true = int(holds.sum())
    return Metric(
        name=name,
        value=num_true / max(1, len(holds)),
        unit="share",
        higher_is_better=higher_is_better,
        num_samples=len(holds),
        interval=wilson_interval(num_true, len(holds)),
        seed=0,
    )


def measure_frechet(
    generated: Features, real: Features, *, name: str = "fd", num_resamples: int = 200, seed: int = 0
) -> Metric:
    """Fréchet distance with a recentred bootstrap interval; lower is better.

    Near its floor the interval is wide beside the value and cut at 0: most of the distance is then the bias
    of so few samples, and resampling shows the spread of that bias too.
    """
    return recentred_metric(
        name,
        frechet_distance_of_features(generated, real),
        frechet_replicates(generated, real, num_resamples=num_resamples, seed=seed),
        unit="features²",
        higher_is_better=False,
        num_samples=len(generated),
        seed=seed,
        least=0.0,
    )


def measure_kernel(
    generated: Features, real: Features, *, name: str = "kd", num_resamples: int = 200, seed: int = 0
) -> Metric:
    """Kernel distance with a recentred bootstrap interval; lower is better."""
    return recentred_metric(
        name,
        kernel_distance(generated, real),
        kernel_replicates(generated, real, num_resamples=num_resamples, seed=seed),
        unit="",
        higher_is_better=False,
        num_samples=len(generated),
        seed=seed,
    )


def measure_prdc(
    generated: Features, real: Features, *, k: int = 5, num_resamples: int = 1000, seed: int = 0
) -> tuple[Metric, Metric, Metric, Metric]:
    """Precision, recall, density and coverage with intervals, in the order of `Prdc`.

    The intervals keep both manifolds as they are and are about what is counted: resampled rows
    would shrink the balls, and with them every number. `num_samples` counts generated samples in
    all four.
    """
    samples = prdc_samples(generated, real, k=k)
    density = measure(
        "density",
        torch.mean,
        samples.dense.cpu(),
        unit="",
        higher_is_better=True,
        num_resamples=num_resamples,
        seed=seed,
    )
    size = len(generated)
    return (
        measure_share("precision", samples.precise),
        measure_share("recall", samples.recalled)._replace(num_samples=size),
        density,
        measure_share("coverage", samples.covered)._replace(num_samples=size),
    )


def measure_floor(
    like: Metric, distance: Callable, real: Features, *, num_splits: int = 20, seed: int = 0
) -> Metric:
    """The real-versus-real floor of a measured number, at its number of samples.

    The value is the mean over random splits, the interval the central 95 % of them. It stands on
    the `num_samples` that the floor could use, which is less than `like`'s where real samples lack.

    Args:
        like: The metric that the floor belongs to; named after it.
        distance: `(generated, real) → number`, the function behind `like`.
        real: The real features that it was measured against.
        num_splits: Random splits.
        seed: Of the splits.
    """
    values = floor(distance, real, size=like.num_samples, num_splits=num_splits, seed=seed)
    return _floor_metric(like, values, len(real), seed)


def measure_apart(generated: Features, real: Features, *, k: int = 5, seed: int = 0) -> tuple[Metric, ...]:
    """Six distances between two sets of features: fd, kd, precision, recall, density, coverage.

    Raises:
        ValueError: If the dimensions differ.
        UserError: If there are too few samples, or a row that is not finite.
    """
    fd, kd = measure_frechet(generated, real, seed=seed), measure_kernel(generated, real, seed=seed)
    return (fd, kd, *measure_prdc(generated, real, k=k, seed=seed))


def measure_distances(
    generated: Features, real: Features, *, k: int = 5, num_splits: int = 20, seed: int = 0
) -> tuple[Metric, ...]:
    """The yardstick of a card: six distances between two sets of features, each with its floor.

    In order: fd, kd, precision, recall, density, coverage, and after each one `"… floor"`.

    Raises:
        ValueError: If the dimensions differ.
        UserError: If there are too few samples, or a row that is not finite.
    """
    generated, real = as_pair(generated, real, ("generated features", "real features"), least=2)
    size = len(generated)
    fd, kd, *shares = measure_apart(generated, real, k=k, seed=seed)

    def of_manifold(a: Tensor, b: Tensor) -> Prdc:
        return prdc(a, b, k=k)

    floors = [
        measure_floor(fd, frechet_distance_of_features, real, num_splits=num_splits, seed=seed),
        measure_floor(kd, kernel_distance, real, num_splits=num_splits, seed=seed),
    ]
    splits = floor(of_manifold, real, size=size, num_splits=num_splits, seed=seed)
    floors += [
        _floor_metric(metric, values, len(real), seed)
        for metric, values in zip(shares, splits.T, strict=True)
    ]
    return tuple(entry for pair in zip((fd, kd, *shares), floors, strict=True) for entry in pair)


def _floor_metric(like: Metric, values: Tensor, num_real: int, seed: int) -> Metric:
    return like._replace(
        name=f"{like.name} floor",
        value=float(values.mean()),
        num_samples=min(like.num_samples, num_real // 2),
        interval=percentile_interval(values),
        seed=seed,
    )
