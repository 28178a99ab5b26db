"""The comparisons compare equal things, and their arithmetic is right; no test waits for a clock."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from melies.optional import import_from

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _benchmarks_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.parity
def test_both_sides_draw_the_same_pictures():
    from benchmarks.ratio.pair import check_equal
    from benchmarks.ratio.sampling import SamplingConfig, build_network, build_pairs

    from melies.nn.unet import UNetConfig

    shape = UNetConfig(size=8, widths=(8, 16), blocks=1, attention=(4,), head_dim=8, dim=16, num_classes=10)
    config = SamplingConfig(network=shape, batch=2, num_steps=16)
    pairs = build_pairs(config, build_network(config, torch.float64), torch.float64)
    assert [pair.name for pair in pairs] == ["ddim", "ddim with guidance", "dpmpp", "dpmpp with guidance"]
    for pair in pairs:
        check_equal(pair, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(pair.ours(), pair.ours(), rtol=0, atol=0)  # a run leaves nothing behind
    drawn = [pair.ours() for pair in pairs]
    assert not torch.allclose(drawn[0], drawn[1])


@pytest.mark.parity
def test_both_sides_guide_alike_and_an_interval_spares_what_it_says():
    from benchmarks.ratio.guidance import build_pairs, build_run, evaluations, middle_interval
    from benchmarks.ratio.pair import check_equal
    from benchmarks.ratio.sampling import SamplingConfig, build_network

    from melies.nn.unet import UNetConfig

    shape = UNetConfig(size=8, widths=(8, 16), blocks=1, attention=(4,), head_dim=8, dim=16, num_classes=10)
    config = SamplingConfig(network=shape, batch=2, num_steps=9)
    network = build_network(config, torch.float64)
    run = build_run(config, network, torch.float64)
    rows = []
    network.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    spent = {}
    for name, pair in build_pairs(run).items():
        check_equal(pair, rtol=1e-5, atol=1e-5)
        for side, function in (("ours", pair.ours), ("theirs", pair.theirs)):
            rows.clear()
            function()
            spent[name, side] = sum(rows) / config.batch
    scales = middle_interval(run.sigmas).on(run.sigmas).tolist()
    assert scales == [1.0] * 3 + [3.0] * 3 + [1.0] * 3
    assert spent["interval", "ours"] == evaluations(scales) == 12
    assert spent["interval", "theirs"] == 18
    assert spent["schedule", "ours"] == spent["schedule", "theirs"] == 17  # it rises from scale 1


def test_a_promise_may_be_more_than_being_as_fast():
    from benchmarks.ratio.__main__ import _kept

    from melies.interfaces import Metric

    def metric(name, value, unit):
        return Metric(name, value, unit, True, 21, (value, value), 0)

    assert _kept(metric("dpmpp", 1.0, "×"))
    assert not _kept(metric("interval, both branches at every step", 1.2, "×"))
    assert _kept(metric("interval, both branches at every step", 1.4, "×"))
    assert _kept(metric("interval, time spared", 0.95, "of evaluations"))
    assert not _kept(metric("interval, time spared", 1.2, "of evaluations"))


@pytest.mark.parity
def test_both_sides_have_the_same_loss_and_gradient():
    pytest.importorskip("scipy")
    from benchmarks.ratio.pair import check_equal
    from benchmarks.ratio.training import StepConfig, build_gradient_pair, build_step_pair, import_peer

    from melies.errors import UserError
    from melies.nn.unet import UNetConfig

    try:
        import_peer()
    except UserError as error:
        pytest.skip(str(error))
    assert "torchvision" not in sys.modules  # the stub is gone again
    shape = UNetConfig(size=8, widths=(8,), blocks=1, attention=(), head_dim=8, dim=16)
    config = StepConfig(network=shape, batch=3)
    check_equal(build_gradient_pair(config), rtol=1e-4, atol=1e-6)
    step = build_step_pair(config)
    for side in (step.ours, step.theirs):
        assert torch.isfinite(side())


@pytest.mark.parity
def test_both_sides_quantise_alike_step_after_step():
    from benchmarks.ratio.pair import check_equal
    from benchmarks.ratio.quantize import QuantizeConfig, build_pairs, import_peer

    from melies.autoencoders.quantize import CodebookConfig, FiniteScalarConfig
    from melies.errors import UserError

    try:
        import_peer()
    except UserError as error:
        pytest.skip(str(error))
    config = QuantizeConfig(
        batch=2,
        cells=3,
        codebook=CodebookConfig(num_codes=7, dim=4, decay=0.5, restart=0.0),
        levels=FiniteScalarConfig(levels=(5, 4)),
    )
    pairs = build_pairs(config)
    assert [pair.name for pair in pairs] == ["codebook step", "levels step"]
    for pair in pairs:
        for _ in range(3):  # the codebook moves in between
            check_equal(pair, rtol=1e-4, atol=1e-5)
    first, second = (pairs[0].ours() for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parity
def test_both_sides_have_the_same_bound_and_gradient():
    from benchmarks.ratio.pair import check_equal
    from benchmarks.ratio.vae import VAEStepConfig, build_gradient_pair, build_step_pair, import_peer

    from melies.autoencoders.network import HalvesConfig
    from melies.autoencoders.vae import VAEConfig
    from melies.errors import UserError

    try:
        import_peer()
    except UserError as error:
        pytest.skip(str(error))
    network = HalvesConfig(size=8, latent_dim=3, widths=(8,), hidden=16)
    config = VAEStepConfig(model=VAEConfig(network=network, likelihood="bernoulli"), batch=3)
    check_equal(build_gradient_pair(config), rtol=1e-9, atol=1e-9)
    step = build_step_pair(config)
    for side in (step.ours, step.theirs):
        first = side()
        assert torch.isfinite(first)
        assert not torch.equal(side(), first)  # it draws anew, and has moved


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:Metric `:UserWarning", "ignore:std\\(\\)")
def test_both_sides_measure_the_same():
    from benchmarks.ratio.metrics import MetricsConfig, build_feature_pairs, build_picture_pairs
    from benchmarks.ratio.pair import check_equal

    sizes = MetricsConfig(num=40, dim=12, num_pictures=3, size=12)
    pairs = [*build_feature_pairs(sizes), *build_picture_pairs(sizes, torch.float64)]
    assert {"fd", "kd", "prdc", "nearest", "inception score", "vendi", "ssim", "psnr"} <= {
        pair.name for pair in pairs
    }
    for pair in pairs:
        check_equal(pair, rtol=1e-5, atol=0)


@pytest.mark.slow
def test_the_frechet_distance_of_published_sizes_stays_below_two_gigabytes():
    from benchmarks.ratio.metrics import MetricsConfig, measure_memory

    found = measure_memory(MetricsConfig(memory_runs=1))
    assert found.name == "fd of 10,000 × 1,280"
    assert 0.15 < found.value < 2.0  # the features alone take 0.1


def test_the_first_mover_changes_every_round(monkeypatch):
    from benchmarks.ratio import pair

    calls = []
    clock = iter(range(100))
    monkeypatch.setattr(pair.time, "perf_counter", lambda: float(next(clock)))
    timings = pair.time_in_turn(
        pair.Pair(name="x", ours=lambda: calls.append("o"), theirs=lambda: calls.append("t")),
        rounds=3,
        warm_up=1,
    )
    assert "".join(calls) == "to" + "ot" + "to" + "ot"
    assert timings.ours_s == timings.theirs_s == (1.0, 1.0, 1.0)


def test_a_ratio_is_their_time_over_ours_and_its_interval_holds_the_median():
    from benchmarks.ratio.pair import Timings, ratio_metric

    metric = ratio_metric(Timings(name="x", ours_s=(1.0, 2.0, 4.0), theirs_s=(2.0, 4.0, 4.0)))
    assert metric.value == 2.0
    assert metric.interval[0] <= 2.0 <= metric.interval[1]
    assert metric.num_samples == 3
    assert metric.higher_is_better


def test_overhead_is_the_share_of_time_outside_the_network(monkeypatch):
    from benchmarks.ratio import pair

    now = [0.0]
    monkeypatch.setattr(pair.time, "perf_counter", lambda: now[0])

    class Network(torch.nn.Module):
        def forward(self):
            now[0] += 8.0

    clocked = pair.Clocked(Network())

    def run():
        now[0] += 1.0
        clocked()
        now[0] += 1.0

    assert pair.overhead(run, clocked, rounds=2) == [0.25, 0.25]


def test_different_results_are_not_timed():
    from benchmarks.ratio.pair import Pair, check_equal

    wrong = Pair(name="wrong", ours=lambda: torch.zeros(2), theirs=lambda: torch.full((2,), 0.1))
    with pytest.raises(AssertionError, match="wrong computes something else"):
        check_equal(wrong, rtol=1e-3, atol=1e-3)


def test_the_command_writes_records_and_says_what_is_kept(tmp_path, capsys, monkeypatch):
    """With a clock that stands nearly still for all alike, every ratio is 1 and nothing is overhead."""
    from benchmarks.ratio import __main__ as command
    from benchmarks.ratio import pair, sampling

    from melies.nn.unet import UNetConfig

    monkeypatch.setattr(pair, "_seconds", lambda function, repeats: 1.0)
    monkeypatch.setattr(sampling, "overhead", lambda *args, rounds: [0.05] * rounds)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    shape = UNetConfig(size=8, widths=(8,), blocks=1, attention=(8,), head_dim=8, num_classes=10)
    small = sampling.SamplingConfig(network=shape, num_steps=15)
    compare = sampling.compare_sampling
    monkeypatch.setattr(sampling, "compare_sampling", lambda config: compare(config, small))
    assert command.main(["--only", "sampling", "--rounds", "2", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert said.count("NOT KEPT") == 4  # of 2 % overhead
    ratios = json.loads((tmp_path / "ratio-sampling.json").read_text())
    assert [metric["value"] for metric in ratios["metrics"]] == [1.0] * 4
    assert {"cpu", "cpu_cores"} <= ratios["hardware"].keys()
    assert "diffusers" in ratios["versions"]
    assert (tmp_path / "overhead-sampling.json").exists()


def test_every_comparison_is_there_and_is_imported_only_when_chosen():
    from benchmarks.ratio import __main__ as command

    code = (
        "import sys; from benchmarks.ratio.__main__ import COMPARISONS as table;"
        "print([place for place in table.values() if place.partition(':')[0] in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    for place in command.COMPARISONS.values():
        assert callable(import_from(place))


@pytest.mark.parity
def test_both_sides_find_the_same_edges_and_lines():
    pytest.importorskip("cv2")
    from benchmarks.ratio.conditions import ConditionsConfig, build_pairs
    from benchmarks.ratio.pair import check_equal

    pairs = build_pairs(ConditionsConfig(num_pictures=4))
    assert [pair.name for pair in pairs] == ["canny", "hough"]
    for pair in pairs:
        check_equal(pair, rtol=0, atol=0)
        assert pair.ours().any()


def test_a_controlled_run_is_the_base_s_own_and_what_it_costs_is_told_as_a_multiple():
    from benchmarks.ratio.control import ControlledConfig, build_pairs, cost_metric
    from benchmarks.ratio.pair import Timings, check_equal

    from melies.nn.transformer import TransformerConfig
    from melies.nn.unet import UNetConfig

    small = ControlledConfig(
        transformer=TransformerConfig(channels=3, size=4, dim=16, depth=2, head_dim=8, num_classes=2),
        unet=UNetConfig(
            channels=1, size=8, widths=(8, 16), attention=(4,), head_dim=8, dim=16, num_classes=2
        ),
        depth=1,
        batch=2,
        num_steps=3,
    )
    for pair in build_pairs(small):
        assert check_equal(pair, rtol=0, atol=0) == 0
        assert pair.ours().abs().max() > 0
    metric = cost_metric(Timings(name="unet", ours_s=(3.0, 3.0), theirs_s=(2.0, 2.0)))
    assert metric.value == pytest.approx(1.5)
    assert not metric.higher_is_better


@pytest.mark.parametrize("design", ["cross-attention", "in-context", "modulated"])
def test_camera_paths_are_those_of_the_published_loop(design):
    from benchmarks.ratio.camera import PathsConfig, build_pair
    from benchmarks.ratio.pair import check_equal

    pair = build_pair(design, PathsConfig(shots=2, frames=40, num_steps=3))
    check_equal(pair, rtol=1e-3, atol=1e-4)
    assert pair.ours().shape == (2, 40, 4, 4)


def test_a_conversion_is_timed_and_its_memory_told():
    from benchmarks.ratio.camera import (
        MEGABYTES,
        SECONDS,
        TARGETS,
        USD_SECONDS,
        PathsConfig,
        conversion_metrics,
    )

    *seconds, memory = conversion_metrics(PathsConfig(poses=50, conversions=1))
    assert [one.unit for one in seconds] == [SECONDS] * (len(TARGETS) - 1) + [USD_SECONDS]
    assert memory.unit == MEGABYTES
    assert memory.value > 20
