import math

import pytest
import torch

from melies.errors import UserError
from melies.metrics.agreement import accuracy_replicates, agreement
from melies.metrics.floor import floor
from melies.metrics.frechet import frechet_distance_of_features
from melies.metrics.interval import wilson_interval
from melies.metrics.kernel import kernel_distance
from melies.metrics.measure import (
    measure,
    measure_distances,
    measure_floor,
    measure_frechet,
    measure_gap,
    measure_kernel,
    measure_prdc,
    measure_share,
)
from melies.metrics.prdc import prdc


def normal(seed, n=60, d=4, shift=0.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def labels(num_right, num):
    return torch.cat([torch.ones(num_right), torch.zeros(num - num_right)]).long()


def test_a_floor_is_measured_between_disjoint_parts_of_the_compared_size():
    seen = []

    def remember(a, b):
        seen.append((a, b))
        return 1.0

    real = torch.arange(20.0)[:, None]
    floor(remember, real, size=6, num_splits=3)
    floor(remember, real, size=50, num_splits=1)
    floor(remember, real, num_splits=1)
    assert [(len(a), len(b)) for a, b in seen] == [(6, 14)] * 3 + [(10, 10)] * 2
    assert all(torch.cat(pair).sort(0).values.equal(real) for pair in seen)
    assert not torch.equal(seen[0][0], seen[1][0])


def test_the_floor_is_what_a_perfect_model_reads():
    """Fresh samples of the real distribution measure like the floor; a shifted model does not."""
    real = normal(0, n=400)
    fresh = frechet_distance_of_features(normal(1, n=100), real)
    values = floor(frechet_distance_of_features, real, size=100, num_splits=30)
    assert values.shape == (30,)
    assert 0.3 < fresh / float(values.mean()) < 3
    assert frechet_distance_of_features(normal(1, n=100, shift=0.5), real) > float(values.max())
    kernel = floor(kernel_distance, real, size=200, num_splits=30)
    assert float(kernel.min()) < 0 < float(kernel.max())
    assert floor(prdc, real, num_splits=2).shape == (2, 4)


def test_a_measure_is_a_record_with_its_interval():
    values = torch.arange(101.0, dtype=torch.float64)
    found = measure("mean", torch.mean, values, unit="px", higher_is_better=False, seed=3)
    assert (found.name, found.value, found.unit, found.num_samples, found.seed) == ("mean", 50, "px", 101, 3)
    error = float(values.std()) / math.sqrt(101)
    assert found.interval == pytest.approx((50 - 1.96 * error, 50 + 1.96 * error), abs=1.0)
    share = measure_share("precision", torch.tensor([True, True, False, True]))
    assert share.value == 0.75
    assert share.interval == wilson_interval(3, 4)


def test_intervals_hold_their_values_and_seeds_repeat():
    a, b = normal(0), normal(1, n=70, shift=0.3)
    for found in (measure_frechet(a, b, seed=1), measure_kernel(a, b, seed=1), *measure_prdc(a, b, seed=1)):
        assert found.interval[0] <= found.value <= found.interval[1]
        assert found.interval[0] < found.interval[1]
    assert measure_frechet(a, b, seed=1) == measure_frechet(a, b, seed=1)
    assert measure_frechet(a, b, seed=1).interval != measure_frechet(a, b, seed=2).interval


def test_the_interval_of_a_frechet_distance_covers_its_expectation():
    """About the mean distance at this number of samples, which many fresh draws show."""
    fresh = torch.tensor(
        [frechet_distance_of_features(normal(2 * i, shift=0.5), normal(2 * i + 1)) for i in range(1000, 1300)]
    )
    truth = float(fresh.mean())
    hits = 0
    for i in range(60):
        found = measure_frechet(normal(2 * i, shift=0.5), normal(2 * i + 1), num_resamples=60, seed=i)
        hits += found.interval[0] <= truth <= found.interval[1]
    assert hits / 60 >= 0.8


def test_the_yardstick_gives_six_measures_each_with_its_floor():
    real = normal(0, n=200)
    found = {metric.name: metric for metric in measure_distances(normal(1), real, num_splits=5)}
    names = ["fd", "kd", "precision", "recall", "density", "coverage"]
    assert list(found) == [title for name in names for title in (name, f"{name} floor")]
    assert all(metric.num_samples == 60 for metric in found.values())
    far = {metric.name: metric for metric in measure_distances(normal(1, shift=9), real, num_splits=5)}
    for name in names:
        sign = 1 if far[name].higher_is_better else -1
        assert sign * far[name].value < sign * far[f"{name} floor"].value
    assert found["coverage floor"].unit == found["coverage"].unit == "share"
    few = measure_floor(found["fd"], frechet_distance_of_features, real[:50], num_splits=5)
    assert few.num_samples == 25
    assert few.interval[0] <= few.value <= few.interval[1]


def test_agreement_by_hand():
    found = agreement(
        "tone",
        predicted=torch.tensor([1, 2, 3, 0]),
        asked=torch.tensor([1, 2, 0, 0]),
        real_predicted=torch.tensor([0, 0]),
        real_labels=torch.tensor([0, 1]),
    )
    assert found.generated.value == 0.75
    assert found.generated.interval == wilson_interval(3, 4)
    assert found.real.value == 0.5
    assert found.ratio.value == 1.5
    assert found.ratio.unit == "ratio"
    assert found.ratio.num_samples == 4


def test_the_interval_of_a_ratio_matches_its_delta_method():
    """var(log ratio) = (1 − p)/(n p) + (1 − q)/(m q) for large sets."""
    right, real = labels(600, 1000), labels(800, 1000)
    ones = torch.ones(1000, dtype=torch.int64)
    found = agreement("x", predicted=right, asked=ones, real_predicted=real, real_labels=ones).ratio
    spread = math.sqrt(0.4 / 600 + 0.2 / 800)
    expected = (0.75 * math.exp(-1.96 * spread), 0.75 * math.exp(1.96 * spread))
    assert found.interval == pytest.approx(expected, rel=0.01)


def test_all_right_is_not_certainty():
    ones = torch.ones(20, dtype=torch.int64)
    found = agreement("x", predicted=ones, asked=ones, real_predicted=ones, real_labels=ones)
    assert found.ratio.value == 1
    assert found.ratio.interval[0] < 0.95
    assert found.ratio.interval[1] > 1.05
    none = accuracy_replicates(torch.zeros(20, dtype=torch.bool))
    assert 0 < float(none.mean()) < 0.1


def test_pictures_of_one_prompt_do_not_count_as_independent():
    right = labels(50, 100)
    groups = torch.arange(100) // 10  # ten prompts, each all right or all wrong
    args = {"asked": torch.ones(100).long(), "real_predicted": right, "real_labels": torch.ones(100).long()}
    apart = agreement("x", predicted=right, **args).generated
    together = agreement("x", predicted=right, groups=groups, **args).generated
    assert together.value == apart.value
    width = together.interval[1] - together.interval[0]
    assert width == pytest.approx(math.sqrt(10) * (apart.interval[1] - apart.interval[0]), rel=0.2)
    assert accuracy_replicates(right.bool(), groups, num_resamples=400).std() == pytest.approx(
        0.5 / math.sqrt(10), rel=0.15
    )


def test_a_useless_classifier_is_refused():
    one = torch.ones(3, dtype=torch.int64)
    with pytest.raises(UserError, match="wrong on every real sample"):
        agreement("x", predicted=one, asked=one, real_predicted=one, real_labels=one + 1)
    with pytest.raises(UserError, match="no generated samples"):
        agreement("x", predicted=one[:0], asked=one[:0], real_predicted=one, real_labels=one)
    with pytest.raises(UserError, match="at least 4"):
        floor(kernel_distance, torch.zeros(3, 2))


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_a_gap_is_above_zero_where_unseen_samples_do_worse(higher_is_better):
    sign = -1 if higher_is_better else 1
    training, test = normal(0, d=1)[:, 0], normal(1, n=200, d=1)[:, 0]
    found = measure_gap("gap", training, test + sign, unit="nats", higher_is_better=higher_is_better)
    assert found.value == pytest.approx(1 + sign * float(test.mean() - training.mean()))
    error = math.sqrt(float(training.var()) / 60 + float(test.var()) / 200)
    assert found.interval == pytest.approx((found.value - 1.96 * error, found.value + 1.96 * error), abs=0.05)
    assert (found.num_samples, found.higher_is_better) == (200, False)
    none = measure_gap("gap", training, training, unit="nats", higher_is_better=higher_is_better)
    assert none.interval[0] < 0 < none.interval[1]
