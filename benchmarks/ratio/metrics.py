"""Our measures against torchmetrics', scikit-learn's, `prdc`'s and `vendi-score`'s, on the same features."""

import contextlib
import io
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.ratio.comparison import TimingConfig, comparison_record, medians
from benchmarks.ratio.pair import Pair, check_equal, median_metric, ratio_metric, time_in_turn
from melies.errors import UserError
from melies.interfaces import Metric
from melies.metrics.diversity import cosine_diversity, euclidean_diversity
from melies.metrics.frechet import frechet_distance_of_features
from melies.metrics.inception import inception_score
from melies.metrics.kernel import kernel_distance
from melies.metrics.neighbours import nearest
from melies.metrics.prdc import prdc
from melies.metrics.similarity import psnr, ssim
from melies.metrics.vendi import vendi_score
from melies.report.record import Record

_NEIGHBOURS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsConfig:
    """What is measured."""

    num: int = 2500
    """Generated samples, and as many real ones."""
    dim: int = 512
    """Features of each."""
    num_pictures: int = 256
    """Pictures, and as many that they are compared with."""
    size: int = 32
    """Their side in pixels."""
    memory_runs: int = 3
    """Times that the memory of the Fréchet distance is measured."""
    memory_num: int = 10_000
    """Samples of each set there."""
    memory_dim: int = 1280
    """Features of each."""


def compare_metrics(config: TimingConfig, sizes: MetricsConfig | None = None) -> Iterator[Record]:
    """Every measure that a reference library has too; and the memory that the Fréchet distance takes."""
    sizes = sizes or MetricsConfig()
    started = perf_counter()
    pairs = [*build_feature_pairs(sizes), *build_picture_pairs(sizes, torch.float64)]
    differences = {pair.name: check_equal(pair, rtol=1e-5, atol=0) for pair in pairs}
    timed = [*build_feature_pairs(sizes, config.threads), *build_picture_pairs(sizes, torch.float32)]
    timings = [time_in_turn(pair, rounds=config.rounds, warm_up=1) for pair in timed]
    yield comparison_record(
        "ratio-metrics",
        [ratio_metric(timing) for timing in timings],
        config,
        data={
            "samples": sizes.num,
            "features": sizes.dim,
            "pictures": sizes.num_pictures,
            "size": sizes.size,
        },
        duration_s=perf_counter() - started,
        notes={
            "peer": "torchmetrics; scikit-learn for diversity and nearest; prdc; vendi-score",
            "precision": "features float64, pictures float32, which ours widens",
            "largest difference in float64": differences,
            "median seconds": medians(timings),
        },
        packages=("torchmetrics", "scikit-learn", "prdc", "vendi-score"),
    )
    started = perf_counter()
    yield comparison_record(
        "memory-frechet",
        [measure_memory(sizes)],
        config,
        data={"sizes": sizes},
        duration_s=perf_counter() - started,
        notes={"what": "largest resident memory of a process of its own, the features and torch included"},
        packages=(),
    )


class Flatten(nn.Module):
    """Stands in for Inception: features that are handed in as pictures (n, d, 1, 1)."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, x: Tensor) -> Tensor:
        """(n, d)."""
        return x.flatten(1)


def build_feature_pairs(sizes: MetricsConfig, threads: int = 1) -> list[Pair]:
    """The measures of features, all in float64."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(sizes.dim, sizes.dim, generator=generator, dtype=torch.float64) / sizes.dim**0.5
    real = torch.randn(sizes.num, sizes.dim, generator=generator, dtype=torch.float64) @ mix + 0.2
    drawn = torch.randn(sizes.num, sizes.dim, generator=generator, dtype=torch.float64) @ mix * 1.1
    logits = 3 * torch.randn(sizes.num, 10, generator=generator, dtype=torch.float64)
    return [
        _pair("fd", lambda: frechet_distance_of_features(drawn, real), _their_frechet(drawn, real)),
        _pair("kd", lambda: kernel_distance(drawn, real), _their_kernel(drawn, real)),
        _pair("prdc", lambda: prdc(drawn, real, k=_NEIGHBOURS), _their_prdc(drawn, real, threads)),
        _pair("nearest", lambda: nearest(drawn, real, _NEIGHBOURS).distances, _their_nearest(drawn, real)),
        _pair("inception score", lambda: inception_score(logits.softmax(1)), _their_inception(logits)),
        _pair("vendi", lambda: vendi_score(drawn), _their_vendi(drawn)),
        _pair("cosine diversity", lambda: cosine_diversity(drawn), _their_diversity(drawn, "cosine")),
        _pair(
            "euclidean diversity", lambda: euclidean_diversity(drawn), _their_diversity(drawn, "euclidean")
        ),
    ]


def build_picture_pairs(sizes: MetricsConfig, dtype: torch.dtype) -> list[Pair]:
    """The measures of pictures in [−1, 1]."""
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    generator = torch.Generator().manual_seed(1)
    shape = (sizes.num_pictures, 3, sizes.size, sizes.size)
    a = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    b = (a + 0.2 * torch.randn(shape, generator=generator, dtype=torch.float64)).clamp(-1, 1)
    a, b = a.to(dtype), b.to(dtype)
    return [
        _pair(
            "ssim",
            lambda: ssim(a, b),
            # Their constants stand on a scale that begins at black; a range of two ends cuts, as ours does.
            lambda: structural_similarity_index_measure(
                a + 1, b + 1, data_range=(0.0, 2.0), reduction="none"
            ),
        ),
        _pair(
            "psnr",
            lambda: psnr(a, b),
            lambda: peak_signal_noise_ratio(a, b, data_range=(-1.0, 1.0), dim=(1, 2, 3), reduction="none"),
        ),
    ]


def measure_memory(sizes: MetricsConfig) -> Metric:
    """Largest resident memory of a process that computes one Fréchet distance, in GB (10⁹ bytes)."""
    program = (
        "import torch; from melies.metrics.frechet import frechet_distance_of_features as fd;"
        "from benchmarks.ratio.metrics import peak_memory;"
        f"n, d = {sizes.memory_num}, {sizes.memory_dim};"
        "fd(torch.randn(n, d), torch.randn(n, d));"
        "print(peak_memory())"
    )
    found = []
    for _ in range(sizes.memory_runs):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"the distance failed: {''.join(done.stderr.splitlines()[-1:])}", where="memory")
        found.append(int(done.stdout) / 1e9)
    name = f"fd of {sizes.memory_num:,} × {sizes.memory_dim:,}"
    return median_metric(name, found, unit="GB", higher_is_better=False)


def peak_memory() -> int:
    """Largest resident memory that this process has had, in bytes.

    On Linux the program's own: what getrusage(2) tells there begins with the memory of its parent.
    """
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _pair(name: str, ours: Callable, theirs: Callable) -> Pair:
    def as_tensor(function: Callable) -> Callable[[], Tensor]:
        return lambda: torch.as_tensor(function(), dtype=torch.float64)

    return Pair(name=name, ours=as_tensor(ours), theirs=as_tensor(theirs))


def _their_frechet(drawn: Tensor, real: Tensor) -> Callable:
    from torchmetrics.image.fid import FrechetInceptionDistance

    def run() -> Tensor:
        found = FrechetInceptionDistance(
            feature=Flatten(real.shape[1]), normalize=True, input_img_size=(real.shape[1], 1, 1)
        ).set_dtype(torch.float64)
        found.update(real[:, :, None, None], real=True)
        found.update(drawn[:, :, None, None], real=False)
        return found.compute()

    return run


def _their_kernel(drawn: Tensor, real: Tensor) -> Callable:
    from torchmetrics.image.kid import KernelInceptionDistance

    def run() -> Tensor:
        found = KernelInceptionDistance(
            feature=Flatten(real.shape[1]), subsets=1, subset_size=len(real), normalize=True
        ).set_dtype(torch.float64)
        found.update(real[:, :, None, None], real=True)
        found.update(drawn[:, :, None, None], real=False)
        return found.compute()[0]

    return run


def _their_inception(logits: Tensor) -> Callable:
    from torchmetrics.image.inception import InceptionScore

    def run() -> Tensor:
        found = InceptionScore(feature=Flatten(logits.shape[1]), splits=1)
        found.update(logits[:, :, None, None])
        return found.compute()[0]

    return run


def _their_prdc(drawn: Tensor, real: Tensor, threads: int) -> Callable:
    import prdc as reference
    import sklearn.metrics

    inner = sklearn.metrics.pairwise_distances

    def with_threads(*args, n_jobs=None, **kwargs):
        return inner(*args, n_jobs=threads, **kwargs)  # it asks for eight, whatever the machine has

    def run() -> list[float]:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            mock.patch.object(sklearn.metrics, "pairwise_distances", with_threads),
        ):
            found = reference.compute_prdc(real.numpy(), drawn.numpy(), nearest_k=_NEIGHBOURS)
        return [float(found[name]) for name in ("precision", "recall", "density", "coverage")]

    return run


def _their_nearest(drawn: Tensor, real: Tensor) -> Callable:
    from sklearn.neighbors import NearestNeighbors

    return lambda: NearestNeighbors(n_neighbors=_NEIGHBOURS).fit(real.numpy()).kneighbors(drawn.numpy())[0]


def _their_vendi(drawn: Tensor) -> Callable:
    from vendi_score import vendi

    return lambda: vendi.score_dual(drawn.numpy())


def _their_diversity(drawn: Tensor, metric: str) -> Callable:
    from sklearn.metrics import pairwise_distances

    n = len(drawn)
    return lambda: pairwise_distances(drawn.numpy(), metric=metric).sum() / (n * (n - 1))
