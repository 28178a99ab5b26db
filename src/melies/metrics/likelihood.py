"""Log-likelihoods: from importance weights, in nats and in bits per dimension."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from melies.config import check_positive
from melies.errors import UserError
from melies.interfaces import Metric
from melies.metrics.measure import measure

LogWeights = Float[Tensor, "n k"]
"""log p(x, z) − log q(z|x), in nats, of k draws of z for each x."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSums:
    """Sums of importance weights of n samples; `a + b` are those of the draws of both."""

    num_draws: int
    """Draws for each sample."""
    log_sum: Float[Tensor, " n"]
    """Logarithm of the sum of weights, float64."""
    log_sum_of_squares: Float[Tensor, " n"]
    """Logarithm of the sum of squared weights, float64."""

    def __add__(self, other: "WeightSums") -> "WeightSums":
        """As if all draws had been made at once."""
        if self.log_sum.shape != other.log_sum.shape:
            raise ValueError(f"weights of {len(self.log_sum)} and {len(other.log_sum)} samples do not add up")
        return WeightSums(
            num_draws=self.num_draws + other.num_draws,
            log_sum=torch.logaddexp(self.log_sum, other.log_sum),
            log_sum_of_squares=torch.logaddexp(self.log_sum_of_squares, other.log_sum_of_squares),
        )

    @property
    def log_likelihood(self) -> Float[Tensor, " n"]:
        """Estimated log p(x), in nats; see `importance_log_likelihood`."""
        return self.log_sum - math.log(self.num_draws)

    @property
    def effective_draws(self) -> Float[Tensor, " n"]:
        """(Σw)²/Σw², from 1 to k: near 1 a single draw decides, and more would still raise the estimate."""
        return (2 * self.log_sum - self.log_sum_of_squares).exp()


def weight_sums(log_weights: LogWeights) -> WeightSums:
    """The sums of a block of draws, for adding up more draws than fit in memory.

    Raises:
        UserError: If there is no draw, or a weight is not a number or infinite.
    """
    if not log_weights.shape[1]:
        raise UserError("a likelihood needs at least one draw", where="importance weights")
    log_weights = log_weights.detach().double()
    if log_weights.isnan().any() or (log_weights == math.inf).any():
        raise UserError(
            "importance weights are not finite",
            where="importance weights",
            remedy="look at the decoder: the model may have diverged",
        )
    return WeightSums(
        num_draws=log_weights.shape[1],
        log_sum=log_weights.logsumexp(1),
        log_sum_of_squares=(2 * log_weights).logsumexp(1),
    )


def importance_log_likelihood(log_weights: LogWeights) -> Float[Tensor, " n"]:
    """Log (1/k · Σ p(x, z)/q(z|x)), in nats: a lower bound on log p(x) in expectation.

    The bound of one draw is the ELBO; it rises with k and reaches log p(x) in the limit.

    Raises:
        UserError: If there is no draw, or a weight is not a number or infinite.

    Source: Burda et al. (2016), eq. 8 and theorem 1.
    """
    return weight_sums(log_weights).log_likelihood


def bits_per_dimension(
    log_likelihood: Float[Tensor, " n"], num_dimensions: int, *, level_width: float = 1.0
) -> Float[Tensor, " n"]:
    """Bits that each number of a sample costs: −(log p / D + log width) / log 2; lower is better.

    Args:
        log_likelihood: In nats, of whole samples.
        num_dimensions: D, numbers in a sample: channels · height · width of a picture.
        level_width: 1 where p is a probability. Where it is a density: the distance of two levels of
            the data in its units, 2/255 for 8-bit pictures in [−1, 1].
    """
    check_positive("num_dimensions", num_dimensions)
    check_positive("level_width", level_width)
    return -(log_likelihood.double() / num_dimensions + math.log(level_width)) / math.log(2)


def measure_likelihood(
    log_likelihood: Float[Tensor, " n"],
    num_dimensions: int,
    *,
    name: str = "nll",
    level_width: float = 1.0,
    num_resamples: int = 1000,
    seed: int = 0,
) -> tuple[Metric, Metric]:
    """Mean negative log-likelihood in nats, and in bits per dimension, over samples with their intervals.

    The intervals are about which samples were tested. Arguments as `bits_per_dimension` takes them.

    Raises:
        UserError: If a likelihood is zero, or there are no samples.
    """
    if not len(log_likelihood) or not log_likelihood.isfinite().all():
        num_bad = int((~log_likelihood.isfinite()).sum())
        raise UserError(
            f"{num_bad} of {len(log_likelihood)} samples have a likelihood of 0 or none", where=name
        )
    bits = bits_per_dimension(log_likelihood, num_dimensions, level_width=level_width)
    rest = {"higher_is_better": False, "num_resamples": num_resamples, "seed": seed}
    return (
        measure(name, torch.mean, -log_likelihood.double(), unit="nats", **rest),
        measure(f"{name}, per dimension", torch.mean, bits, unit="bits", **rest),
    )


def measure_importance_likelihood(
    sums: WeightSums,
    num_dimensions: int,
    *,
    name: str = "nll",
    level_width: float = 1.0,
    num_resamples: int = 1000,
    seed: int = 0,
) -> tuple[Metric, Metric, Metric]:
    """As `measure_likelihood`, of the importance-weighted estimate with k in its name; and effective draws.

    The estimate of the negative log-likelihood is too high, the less the more effective draws stand
    behind it: their median over samples comes third, as a share of k.
    """
    title = f"{name}, K = {sums.num_draws:,}"
    nats, bits = measure_likelihood(
        sums.log_likelihood,
        num_dimensions,
        name=title,
        level_width=level_width,
        num_resamples=num_resamples,
        seed=seed,
    )
    effective = measure(
        f"{title}, effective draws",
        torch.median,
        sums.effective_draws / sums.num_draws,
        unit="share",
        higher_is_better=True,
        num_resamples=num_resamples,
        seed=seed,
    )
    return nats, bits, effective
