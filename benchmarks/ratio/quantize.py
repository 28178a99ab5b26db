"""One training step of a quantiser: ours against `vector-quantize-pytorch`, on the same latents and codes."""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from types import ModuleType

import torch
from torch import Tensor

from benchmarks.ratio.comparison import TimingConfig, comparison_record, medians
from benchmarks.ratio.pair import Pair, check_equal, ratio_metric, time_in_turn
from melies.autoencoders.quantize import Codebook, CodebookConfig, FiniteScalar, FiniteScalarConfig
from melies.errors import UserError
from melies.report.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeConfig:
    """What is quantised."""

    batch: int = 128
    """Pictures per step."""
    cells: int = 7
    """Side of their grids of latents."""
    codebook: CodebookConfig = CodebookConfig(restart=0.0)
    """The learned codebook. No code is restarted: that draws at random, and differently on either side."""
    levels: FiniteScalarConfig = FiniteScalarConfig()
    """The fixed levels."""
    commitment: float = 0.25
    """Weight of the commitment loss."""


def compare_quantize(config: TimingConfig, step: QuantizeConfig | None = None) -> Iterator[Record]:
    """One step with a learned codebook, and one with fixed levels."""
    step = step or QuantizeConfig()
    started = perf_counter()
    # theirs computes in float32, whatever it is given
    differences = {pair.name: check_equal(pair, rtol=1e-4, atol=1e-5) for pair in build_pairs(step)}
    timings = [time_in_turn(pair, rounds=config.rounds) for pair in build_pairs(step)]
    yield comparison_record(
        "ratio-quantize",
        [ratio_metric(timing) for timing in timings],
        config,
        data={"step": step},
        duration_s=perf_counter() - started,
        notes={
            "peer": "vector-quantize-pytorch VectorQuantize and FSQ",
            "largest difference of codes, vectors, loss, gradient and codebook": differences,
            "median seconds": medians(timings),
        },
        packages=("vector-quantize-pytorch",),
    )


def import_peer() -> ModuleType:
    """`vector_quantize_pytorch`.

    Raises:
        UserError: If the package is not installed.
    """
    try:
        return importlib.import_module("vector_quantize_pytorch")
    except ModuleNotFoundError as error:
        raise UserError(
            f"cannot import vector_quantize_pytorch: no module named {error.name!r}",
            remedy="pip install --no-deps --target .venv-peers -r benchmarks/requirements.txt,"
            " and put .venv-peers on PYTHONPATH",
        ) from None


def build_pairs(step: QuantizeConfig) -> list[Pair]:
    """Both quantisers, each beside the peer's from the same start."""
    return [
        Pair(name="codebook step", ours=_our_codebook(step), theirs=_their_codebook(step)),
        Pair(name="levels step", ours=_our_levels(step), theirs=_their_levels(step)),
    ]


def _our_codebook(step: QuantizeConfig) -> Callable[[], Tensor]:
    quantizer, generator = Codebook(step.codebook), torch.Generator()
    start = _codebook(step)
    quantizer.codebook.copy_(start)
    quantizer.sums.copy_(start)

    def run(latents: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        vectors, codes, commitment = quantizer(latents)
        quantizer.update(latents, codes, generator)
        return vectors, codes, step.commitment * commitment, quantizer.codebook

    return _training(run, _latents(step, step.codebook.dim))


def _their_codebook(step: QuantizeConfig) -> Callable[[], Tensor]:
    quantizer = import_peer().VectorQuantize(
        dim=step.codebook.dim,
        codebook_size=step.codebook.num_codes,
        decay=step.codebook.decay,
        eps=step.codebook.epsilon,
        commitment_weight=step.commitment,
        kmeans_init=False,
        threshold_ema_dead_code=0,
        rotation_trick=False,  # the gradient goes straight through, as in the paper
        accept_image_fmap=True,
    )
    start = _codebook(step)[None]
    quantizer._codebook.embed.copy_(start)
    quantizer._codebook.embed_avg.copy_(start)

    def run(latents: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        vectors, codes, commitment = quantizer(latents)
        return vectors, codes, commitment.sum(), quantizer._codebook.embed

    return _training(run, _latents(step, step.codebook.dim))


def _our_levels(step: QuantizeConfig) -> Callable[[], Tensor]:
    quantizer = FiniteScalar(step.levels)

    def run(latents: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        vectors, codes, commitment = quantizer(latents)
        return vectors, codes, commitment, torch.zeros(0)

    return _training(run, _latents(step, step.levels.dim))


def _their_levels(step: QuantizeConfig) -> Callable[[], Tensor]:
    quantizer = import_peer().FSQ(list(step.levels.levels))

    def run(latents: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        vectors, codes = quantizer(latents)
        return vectors, codes, latents.new_zeros(()), torch.zeros(0)

    return _training(run, _latents(step, step.levels.dim))


def _training(
    run: Callable[[Tensor], tuple[Tensor, Tensor, Tensor, Tensor]], latents: Tensor
) -> Callable[[], Tensor]:
    """Forward, backward and the codebook's own step; everything that comes of it in one row."""
    weight = torch.randn(latents.shape, generator=torch.Generator().manual_seed(2))
    latents.requires_grad_()

    def training_step() -> Tensor:
        latents.grad = None
        vectors, codes, commitment, codebook = run(latents)
        ((vectors * weight).sum() + commitment).backward()
        everything = (vectors.detach(), codes.float(), commitment.detach(), latents.grad, codebook)
        return torch.cat([tensor.flatten() for tensor in everything if tensor is not None])

    return training_step


def _codebook(step: QuantizeConfig) -> Tensor:
    shape = (step.codebook.num_codes, step.codebook.dim)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _latents(step: QuantizeConfig, dim: int) -> Tensor:
    shape = (step.batch, dim, step.cells, step.cells)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))
