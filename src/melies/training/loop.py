"""The one training loop.

Everything random is a function of the seed and of the samples seen, and batches are asked for by
position, so N steps equal k steps, a kill, a resume and N − k steps, bit for bit on one machine.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from melies import checkpoint
from melies.config import check_positive, check_range
from melies.errors import UserError
from melies.interfaces import Objective
from melies.machine import commit, hardware, keep_freed_memory, versions
from melies.progress import Progress, silent
from melies.rng import generator_for, seeded
from melies.training.ema import EMA
from melies.training.log import Log
from melies.training.schedule import learning_rate

Batches = Callable[[int, int], Any]
"""`(start, size) → batch`: samples start … start + size − 1 of an endless, fixed stream."""

Preview = Callable[[nn.Module, Path, int], None]
"""`(EMA model, folder for pictures, samples seen)`, called now and then on the main process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How long, how fast and how carefully to train."""

    num_samples: int = 100_000
    """Samples to see in the whole run, resumed parts included."""
    batch_size: int = 128
    """Samples per optimiser step, over all processes."""
    accumulate: int = 1
    """Parts in which a batch is computed, to save memory; divides `batch_size`."""
    learning_rate: float = 1e-3
    """Peak rate of AdamW."""
    warmup: int = 5_000
    """Samples over which the rate rises from 0."""
    decay: Literal["constant", "linear", "cosine"] = "cosine"
    """How the rate falls after the warm-up."""
    hold: float = 0.0
    """Share of the run, warm-up included, before the rate begins to fall."""
    final: float = 0.0
    """Rate at the end, as a share of the peak."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Averaging of AdamW's first and second moments."""
    weight_decay: float = 0.01
    """Decoupled decay of matrices; vectors are left alone."""
    clip: float = 1.0
    """Largest norm of the gradient of one objective; 0 leaves it as it is."""
    ema_half_life: float = 20_000
    """Half-life of the averaged weights, in samples."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """"auto" takes bf16 where the hardware computes in it."""
    compile: bool = False
    """Whether to compile the model; pays off on a GPU."""
    seed: int = 0
    """Seed of everything random."""
    log_every: int = 2_000
    """Samples between two lines of the log."""
    preview_every: int = 50_000
    """Samples between two previews; 0 for none."""
    checkpoint_every_s: float = 300.0
    """Seconds between two checkpoints; one is always written at the end."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("num_samples", "batch_size", "accumulate", "learning_rate", "ema_half_life"):
            check_positive(name, getattr(self, name))
        for name in ("log_every", "checkpoint_every_s"):
            check_positive(name, getattr(self, name))
        for name in ("warmup", "weight_decay", "clip", "preview_every"):
            check_range(name, getattr(self, name), low=0)
        for beta in self.betas:
            check_range("betas", beta, low=0, high=0.99999)
        for name in ("hold", "final"):
            check_range(name, getattr(self, name), low=0, high=1)
        if self.batch_size % self.accumulate:
            raise UserError(
                f"batch_size = {self.batch_size} does not divide by accumulate = {self.accumulate}"
            )


@dataclass(slots=True, kw_only=True)
class State:
    """A run in memory."""

    model: nn.Module
    ema: EMA
    optimizers: dict[str, torch.optim.Optimizer]
    samples_seen: int = 0
    seconds: float = 0.0
    """Time spent in training steps, over all resumed parts."""


def train(
    model: nn.Module,
    objectives: Sequence[Objective],
    batches: Batches,
    config: TrainingConfig,
    *,
    out: Path,
    resume: bool = False,
    provenance: Mapping[str, Any] | None = None,
    preview: Preview | None = None,
    stop: Callable[[], bool] | None = None,
    progress: Progress = silent,
) -> State:
    """Train until `config.num_samples` were seen, writing checkpoints and a log into `out`.

    Under `torchrun` every process computes its share of each batch and one of them writes.

    Args:
        model: A `checkpoint.Model`; trained in place.
        objectives: Losses with the parameters each trains, stepped in this order.
        batches: The data, by position.
        config: Durations, rates and precision.
        out: Run folder: `checkpoint-N/`, `log.jsonl`, `preview/`.
        resume: Go on from the newest checkpoint in `out`; from the start where a run was stopped
            before its first.
        provenance: Written into every checkpoint beside seed, commit, versions, hardware and progress.
        preview: Draws pictures with the averaged weights now and then.
        stop: Asked at the beginning and after each preview whether the run has done enough.
        progress: Shows how far the run is.

    Raises:
        UserError: If `out` already holds a run and `resume` is False, or one of another model and
            `resume` is True.
        FloatingPointError: If a loss or a gradient is not finite; no checkpoint is written then.
    """
    from accelerate import Accelerator

    keep_freed_memory()
    accelerator = Accelerator(mixed_precision="no")  # it keeps one precision per process; a run has its own
    if config.batch_size % (accelerator.num_processes * config.accumulate):
        raise UserError(
            f"batch_size = {config.batch_size} does not divide by {accelerator.num_processes} processes"
            f" × accumulate = {config.accumulate}"
        )
    found = begun_run(out, resume=resume)
    model.to(accelerator.device)
    for part in getattr(model, "parts", {}).values():
        part.to(accelerator.device)
    optimizers = {objective.name: _optimizer(objective.parameters(model), config) for objective in objectives}
    state = State(
        model=model, ema=EMA(model, half_life=config.ema_half_life), optimizers=optimizers, samples_seen=0
    )
    if found:
        _restore(state, found)
    wrapped = cast(nn.Module, torch.compile(model)) if config.compile else model
    if len(objectives) == 1:  # of several, none has a gradient for every parameter, which the wrapper awaits
        wrapped = accelerator.prepare_model(wrapped)
    loop = _Loop(state, objectives, batches, config, accelerator, wrapped)
    log = Log(out / "log.jsonl", samples_seen=state.samples_seen) if accelerator.is_main_process else None
    saved_at = time.monotonic()
    came_from = {
        **(provenance or {}),
        "seed": config.seed,
        "commit": commit(),
        "versions": versions(),
        "hardware": hardware(),
    }

    def save() -> None:
        checkpoint.save(
            out / f"checkpoint-{state.samples_seen}",
            model,  # type: ignore[arg-type]
            ema=state.ema.state_dict(),
            resume=_resume_state(state),
            provenance={**came_from, "samples_seen": state.samples_seen, "seconds": round(state.seconds)},
        )
        checkpoint.remove_older(out)

    told = progress if accelerator.is_main_process else silent
    bar = told("training", total=config.num_samples, unit="samples", done=state.samples_seen)
    with bar as track, log or contextlib.nullcontext():
        finished = state.samples_seen >= config.num_samples or _enough(stop, accelerator)
        while not finished:
            before, started = state.samples_seen, time.perf_counter()
            scalars = loop.step()
            state.seconds += time.perf_counter() - started
            track.advance(config.batch_size, **scalars)
            finished = state.samples_seen >= config.num_samples
            shown = _passed(before, state.samples_seen, config.preview_every) or finished
            if log and (_passed(before, state.samples_seen, config.log_every) or finished):
                log.write(samples_seen=state.samples_seen, seconds=round(state.seconds, 2), **scalars)
            if log and preview and shown:
                (out / "preview").mkdir(exist_ok=True)
                with torch.no_grad():
                    preview(state.ema.model, out / "preview", state.samples_seen)
            if shown and not finished:
                finished = _enough(stop, accelerator)
            if log is None:
                continue
            if finished or time.monotonic() - saved_at > config.checkpoint_every_s:
                save()
                saved_at = time.monotonic()
    accelerator.wait_for_everyone()
    return state


def _enough(stop: Callable[[], bool] | None, accelerator) -> bool:
    """What `stop` says on the main process, on every one."""
    if stop is None:
        return False
    said = [accelerator.is_main_process and stop()]
    if accelerator.num_processes > 1:
        from accelerate.utils import broadcast_object_list

        broadcast_object_list(said)
    return bool(said[0])


def begun_run(out: Path, *, resume: bool) -> Path | None:
    """The checkpoint in `out` to go on from; None for a run that begins.

    Raises:
        UserError: If there is one, and it was not asked to go on.
    """
    found = checkpoint.newest_checkpoint(out)
    if found and not resume:
        raise UserError(
            "the folder already holds a run", where=str(out), remedy="add --resume, or another --out"
        )
    return found


class _Loop:
    """One optimiser step per objective, on this process's share of the batch."""

    def __init__(self, state, objectives, batches, config, accelerator, wrapped) -> None:
        self.state, self.objectives, self.batches = state, objectives, batches
        self.config, self.accelerator, self.wrapped = config, accelerator, wrapped
        self.autocast = partial(
            torch.autocast,
            accelerator.device.type,
            torch.bfloat16,
            enabled=in_half_precision(config.precision),
        )
        self.share = config.batch_size // accelerator.num_processes

    def step(self) -> dict[str, float]:
        config, state, accelerator = self.config, self.state, self.accelerator
        start = state.samples_seen + accelerator.process_index * self.share
        part = self.share // config.accumulate
        rate = learning_rate(
            state.samples_seen,
            peak=config.learning_rate,
            warmup=config.warmup,
            total=config.num_samples,
            decay=config.decay,
            hold=config.hold,
            final=config.final,
        )
        scalars: dict[str, float] = {}
        parts = [
            _to(self.batches(start + i * part, part), accelerator.device) for i in range(config.accumulate)
        ]
        for objective in self.objectives:
            optimizer = state.optimizers[objective.name]
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            total = 0.0
            with self._others_fixed(objective):
                for i, batch in enumerate(parts):
                    place = ("train", objective.name, start + i * part)
                    rng = generator_for(config.seed, *place)
                    unasked = seeded(config.seed, *place, "dropout", device=accelerator.device)
                    with self.autocast(), unasked:
                        loss, extra = objective.loss_fn(self.wrapped, batch, rng)
                    if not torch.isfinite(loss):
                        raise FloatingPointError(
                            self._not_finite(objective.name, f"the loss is {loss.item()}")
                        )
                    accelerator.backward(loss / config.accumulate)
                    total += float(loss.detach()) / config.accumulate
                    scalars.update(extra)
            self._share_gradients(objective)
            norm = self._clip(objective)
            optimizer.step()
            label = "loss" if len(self.objectives) == 1 else f"loss_{objective.name}"
            scalars |= {label: total, label.replace("loss", "gradient_norm"): norm}
        state.samples_seen += config.batch_size
        state.ema.update(state.model, num_samples=config.batch_size, samples_seen=state.samples_seen)
        return scalars | {"learning_rate": rate}

    @contextlib.contextmanager
    def _others_fixed(self, objective: Objective) -> Iterator[None]:
        """Inside, of several objectives only this one's parameters take gradients: the others' cost time."""
        own = {id(p) for p in objective.parameters(self.state.model)}
        everything = self.state.model.parameters() if len(self.objectives) > 1 else ()
        others = [p for p in everything if p.requires_grad and id(p) not in own]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in others:
                parameter.requires_grad_(True)

    def _share_gradients(self, objective: Objective) -> None:
        """Average over the processes, which the wrapper does where there is one."""
        if self.accelerator.num_processes > 1 and len(self.objectives) > 1:
            for parameter in objective.parameters(self.state.model):
                if parameter.grad is not None:
                    parameter.grad = self.accelerator.reduce(parameter.grad, "mean")

    def _clip(self, objective: Objective) -> float:
        parameters = [p for p in objective.parameters(self.state.model) if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not torch.isfinite(norm):
            bad = [name for name, p in self.state.model.named_parameters() if not _finite(p.grad)]
            raise FloatingPointError(
                self._not_finite(objective.name, f"the gradient is not finite in {', '.join(bad[:3])}")
            )
        if self.config.clip:
            nn.utils.clip_grads_with_norm_(parameters, self.config.clip, norm)
        return float(norm)

    def _not_finite(self, name: str, what: str) -> str:
        return (
            f"{what}: objective {name!r}, after {self.state.samples_seen} samples; lower the learning rate"
            f" (now {self.config.learning_rate:g}) or look at that batch; the last checkpoint is untouched"
        )


def in_half_precision(precision: str) -> bool:
    """Whether a run of that precision computes in bf16."""
    return precision == "bf16" or (precision == "auto" and computes_in_bf16())


def computes_in_bf16() -> bool:
    """Whether the GPU, or else the processor, multiplies matrices in bf16 natively."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _optimizer(parameters, config: TrainingConfig) -> torch.optim.Optimizer:
    parameters = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


def _resume_state(state: State) -> dict[str, Any]:
    return {
        "samples_seen": state.samples_seen,
        "seconds": state.seconds,
        "optimizers": {name: optimizer.state_dict() for name, optimizer in state.optimizers.items()},
    }


def _restore(state: State, folder: Path) -> None:
    saved = checkpoint.read_resume(folder)
    checkpoint.fit(state.model, checkpoint.read_tensors(folder / "weights.safetensors"), folder)
    checkpoint.fit(state.ema.model, checkpoint.read_tensors(folder / "ema.safetensors"), folder)
    try:
        for name, optimizer in state.optimizers.items():
            optimizer.load_state_dict(saved["optimizers"][name])
        state.samples_seen, state.seconds = saved["samples_seen"], saved["seconds"]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"not the state of this run: {error}",
            where=str(folder / checkpoint.RESUME),
            remedy="give the recipe and the options that the run was begun with",
        ) from None


def _passed(before: int, after: int, every: int) -> bool:
    return every > 0 and before // every != after // every


def _finite(x: Tensor | None) -> bool:
    return x is None or bool(torch.isfinite(x).all())


def _to(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {name: _to(value, device) for name, value in batch.items()}
    return batch
