"""A control branch for the emoji model: six kinds of hint, beside the words.

    melies data prepare emoji
    melies train control-emoji --out runs/control-emoji
    melies generate "a bee" --control scribble=drawing.png --control-model runs/control-emoji

One kind of hint alone, here from a thousand pairs, if so few are to do:

    melies train control-emoji-canny --out runs/canny
    melies train control-emoji-hough --out runs/hough
    melies train control-emoji-scribble --num-pairs 1000 --out runs/scribble
    melies train control-emoji-lineart --out runs/lineart
    melies train control-emoji-softedge --out runs/softedge
    melies train control-emoji-mask --out runs/mask

The base stays as it is and is shared; what trains is a copy of its first two blocks and a hint encoder, 2.5
million weights, 5 MB as they ship. Hints are taken from the pictures while it trains. A twentieth of the
texts is held out, beside the compositions that the base has not seen: drawn from their hints at each
preview, they show how far pictures keep to hints. `fidelity.jsonl` and `fidelity.png` in the run folder have
that, with the place where it suddenly rises; when it rises no more the run is done. `record.json` has the
fidelity on 500 held-out pairs with control and without, and what a step costs beside one that tunes the whole
base. On one core of a server's processor it sees some 50 pictures a second, and is done in three and a half
hours at the latest.
"""

import copy
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from melies import checkpoint
from melies.data.captions import caption_table
from melies.data.emoji import open_emoji
from melies.diffusion.control import Control, Controlled
from melies.diffusion.loss import denoising_loss, drop_condition, edm, log_normal
from melies.errors import UserError
from melies.images.classifier import count_parameters
from melies.images.control import PictureControl, new_branch, read_branch, weights_of
from melies.images.model import ImageDiffusion
from melies.images.tuned import TunedControl
from melies.interfaces import Metric, Objective
from melies.machine import command_line, is_main_process
from melies.progress import Progress, silent
from melies.recipes.control.pairs import Pairs, held_out_pairs, pair_batches, split_pairs
from melies.recipes.control.settings import ControlRecipe
from melies.recipes.control.watch import (
    Watch,
    draw_pairs,
    fidelities,
    mean_fidelity,
    steered_by,
    strict_values,
)
from melies.recipes.emoji import encode_pixels, latents_of
from melies.recipes.job import Job
from melies.report.record import record_run, write_record
from melies.rng import generator_for, seeded
from melies.text.conditions import caption_conditions
from melies.training.cost import StepCost, step_cost
from melies.training.loop import State, in_half_precision, train

CONFIG = ControlRecipe()
CANNY, HOUGH, SCRIBBLE, LINEART, SOFTEDGE, MASK = (replace(CONFIG, kinds=(kind,)) for kind in CONFIG.kinds)


def run(config: ControlRecipe, job: Job) -> State:
    """Train a branch on the pictures of `data` beside a base that stays as it is, and measure it.

    Raises:
        UserError: As `train_control` does.
    """
    return train_control(config, job, captions_in=job.out / "captions")


def train_control(config: ControlRecipe, job: Job, *, captions_in: Path) -> State:
    """Train what the config asks for, measure it, and write `record.json` into `job.out`.

    Args:
        config: What to train, and how.
        job: On what, and where to.
        captions_in: Folder in which what the text encoder says of the captions is kept between runs.

    Raises:
        UserError: If the base does not draw from words in latents, the pictures have no texts or are too
            few, or the branch to start from is made for another base.
    """
    loaded = checkpoint.load(config.base)
    base = _check_base(loaded, config.base)
    everything = open_emoji(job.data, size=base.config.size, progress=job.progress, say=job.say)
    split = split_pairs(everything, config)
    with seeded(config.training.seed, "weights"):
        branch = build_branch(config, base, loaded, job.start_from)
    captions = caption_table(split.training.rows)
    latents = latents_of(base, split.training, refit=False)
    standardize = base.transforms["latent"].forward
    encoder = base.load_text_encoder(allow_download=job.allow_download, say=job.say)
    conditions = caption_conditions(encoder, captions.texts, progress=job.progress, cache=captions_in)
    batches = pair_batches(
        config,
        split.training,
        latents,
        lambda pixels: standardize(encode_pixels(base, pixels)),
        captions,
        conditions,
        branch,
    )
    learner = TunedControl(copy.deepcopy(base).requires_grad_(True), branch) if config.tune_base else branch
    beside = "" if config.tune_base else f" beside {count_parameters(base):,} that stay"
    job.say(
        f"{len(split.training)} pairs to learn from, {len(split.held_out)} held out;"
        f" {count_parameters(learner):,} weights{beside}"
    )
    loss_fn = control_loss(config, base)
    watched = held_out_pairs(split.held_out, config.kinds, config.num_watched)
    watch = Watch(config, base, watched, job)
    state = train(
        learner,
        [Objective("control", lambda m: m.parameters(), loss_fn)],
        batches,
        config.training,
        out=job.out,
        resume=job.resume,
        provenance={
            **job.provenance("control-emoji", num_pictures=len(split.training)),
            "base": checkpoint.origin(loaded.folder),
            "base_sha256": weights_of(loaded),
        },
        preview=watch.preview,
        stop=watch.stop,
        progress=job.progress,
    )
    if is_main_process():
        pairs = held_out_pairs(split.held_out, config.kinds, config.num_measured)
        fidelity, kept = measure_control(config, base, state.ema.model, pairs, progress=job.progress)
        metrics = [*fidelity, *_costs(config, base, learner, batches)]
        for metric in metrics:
            job.say(f"{metric.name}: {metric.value:.3g} {metric.unit}".rstrip())
        record = record_run(
            "control-emoji",
            metrics,
            data={"training": len(split.training), "held out": len(split.held_out)},
            command=command_line(sys.argv),
            duration_s=state.seconds,
            notes={
                "config": config,
                "samples_seen": state.samples_seen,
                "jump": None if (jump := watch.jump) is None else jump._asdict(),
                "strict fidelity of each pair": [round(value, 4) for value in kept.tolist()],
            },
        )
        write_record(job.out / "record.json", record)
    return state


def control_loss(config: ControlRecipe, base: ImageDiffusion):
    """EDM's loss of the base with the branch beside it; the text is dropped now and then."""

    def loss_fn(model: nn.Module, batch: dict[str, Tensor], rng: torch.Generator):
        x0 = batch["x0"]
        if base.device != x0.device:
            base.to(x0.device)
        told = {name: value for name, value in batch.items() if name != "x0"}
        with torch.no_grad():
            states = base.with_states(told)  # the branch reads the base's own, where that has learned them
        condition = drop_condition(states, ("text",), rng, joint=config.drop)
        sigma = log_normal(len(x0), rng, P_mean=config.P_mean, P_std=config.P_std).to(x0)
        epsilon = torch.randn(x0.shape, generator=rng).to(x0)
        weight = edm(sigma, sigma_data=base.config.sigma_data)
        denoise = model if config.tune_base else Controlled(base, [Control(branch=model)])
        loss = denoising_loss(
            denoise,  # type: ignore[arg-type]
            x0,
            condition,
            sigma=sigma,
            epsilon=epsilon,
            weight=weight,
        )
        return loss.mean(), {}

    return loss_fn


def measure_control(
    config: ControlRecipe,
    base: ImageDiffusion,
    trained: nn.Module,
    pairs: Sequence[Pairs],
    *,
    progress: Progress = silent,
) -> tuple[list[Metric], Float[Tensor, " n"]]:
    """Fidelity with control and of the same words and seeds without, with intervals; that of each pair."""
    controlled, branch = steered_by(trained, base)
    steps, metrics, values = config.measured_steps, [], []
    with progress("measuring", total=2 * sum(len(one.prompts) for one in pairs), unit="pictures") as track:
        for what, model, steers in (("with control", controlled, branch), ("without", base, None)):
            drawn = []
            for one in pairs:
                drawn.append(draw_pairs(config, model, steers, one, steps))
                track.advance(len(one.prompts))
            metrics += fidelities(config, pairs, drawn, what)
            values.append(strict_values(config, pairs, drawn))
    return [*metrics, mean_fidelity("gain", values[0] - values[1])], values[0]


def _costs(config: ControlRecipe, base: ImageDiffusion, learner: nn.Module, batches) -> list[Metric]:
    """Time and memory of a step, of what was trained and of tuning the whole base on words alone."""
    batch = {name: value.to(base.device) for name, value in batches(0, config.training.batch_size).items()}
    plain = {name: value for name, value in batch.items() if not name.startswith("hint")}
    rng = partial(generator_for, config.training.seed, "cost")
    autocast = partial(
        torch.autocast,
        base.device.type,
        torch.bfloat16,
        enabled=in_half_precision(config.training.precision),
    )
    tuned = ImageDiffusion(base.config, codec=base.parts["codec"], transforms=base.transforms)  # type: ignore[arg-type]
    tuned.load_state_dict(base.state_dict())
    tuned.to(base.device)

    def of_run() -> Tensor:
        with autocast():
            return control_loss(config, base)(learner, batch, rng())[0]

    def of_base() -> Tensor:
        x0 = plain["x0"]
        sigma = log_normal(len(x0), rng(), P_mean=config.P_mean, P_std=config.P_std).to(x0)
        condition = {name: value for name, value in plain.items() if name != "x0"}
        with autocast():
            loss = denoising_loss(
                tuned,
                x0,
                condition,
                sigma=sigma,
                epsilon=torch.randn(x0.shape, generator=rng()).to(x0),
                weight=edm(sigma, sigma_data=base.config.sigma_data),
            )
        return loss.mean()

    own = "tuning the base and its hints" if config.tune_base else "control branch"
    locked = () if config.tune_base else base.parameters()
    found = {
        own: step_cost(of_run, trained=learner.parameters(), locked=locked),
        "tuning the base": step_cost(of_base, trained=tuned.parameters()),
    }
    return [
        metric
        for name, cost in found.items()
        for metric in _cost_metrics(name, cost, config.training.batch_size)
    ]


def _cost_metrics(name: str, cost: StepCost, batch_size: int) -> list[Metric]:
    numbers = {
        "seconds per step": (cost.seconds, "s"),
        "memory of a step": (cost.peak_bytes / 2**20, "MiB"),
    }
    return [
        Metric(f"{what}, {name}", value, unit, False, batch_size, (value, value), 0)
        for what, (value, unit) in numbers.items()
    ]


def _check_base(loaded: checkpoint.Loaded, name: str) -> ImageDiffusion:
    base = loaded.model
    if not isinstance(base, ImageDiffusion) or base.config.text is None or not base.parts:
        raise UserError("not a text-to-image model with a codec", where=name)
    return base.requires_grad_(False)


def build_branch(
    config: ControlRecipe, base: ImageDiffusion, loaded: checkpoint.Loaded, start_from: str | None
) -> PictureControl:
    """The branch to train: a new one, or that of a checkpoint to start from, checked against the base."""
    if start_from is not None:
        branch = read_branch(start_from, loaded).model
        if branch.config.kinds != config.kinds:
            theirs = ", ".join(branch.config.kinds)
            raise UserError(
                f"the branch knows the hints {theirs}", where=start_from, remedy="give these --kinds"
            )
        return branch.requires_grad_(True).train()
    branch = new_branch(base, config.kinds, depth=config.depth, hint_width=config.hint_width)
    if not config.zero_joints:
        for joint in (*branch.branch.join, branch.branch.hint[-1]):
            joint.reset_parameters()  # type: ignore[operator]
    return branch
