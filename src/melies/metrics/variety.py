"""The yardstick of variety: how much samples differ from each other, beside equally many real ones."""

from torch import Tensor

from melies.interfaces import Metric
from melies.metrics.diversity import measure_cosine_diversity, measure_euclidean_diversity
from melies.metrics.features import Features, as_pair
from melies.metrics.vendi import measure_vendi
from melies.rng import some_of


def some_rows(features: Tensor, num: int, *, seed: int = 0) -> Tensor:
    """`num` random rows without replacement; all of them where there are no more."""
    if num >= len(features):
        return features
    return features[some_of(len(features), num, seed=seed, name="rows").to(features.device)]


def measure_variety(generated: Features, real: Features, *, seed: int = 0) -> tuple[Metric, ...]:
    """Vendi score, cosine and Euclidean diversity of samples, each followed by that of real ones.

    The real number, `"… real"`, is that of as many random real rows as are generated: all three
    depend on how many there are (the last two in their intervals only). It is what a perfect model
    reads; above it is not better, for noise differs from noise.

    Raises:
        ValueError: If the dimensions differ.
        UserError: If a set has fewer than two rows, or one that is zero or not finite.
    """
    generated, real = as_pair(generated, real, ("generated features", "real features"), least=2)
    equally_many = some_rows(real, len(generated), seed=seed)
    found = []
    for measured in (measure_vendi, measure_cosine_diversity, measure_euclidean_diversity):
        metric = measured(generated, seed=seed)
        found += [metric, measured(equally_many, name=f"{metric.name} real", seed=seed)]
    return tuple(found)
