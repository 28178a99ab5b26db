"""Draw pictures: words or classes in, pictures out, in memory; `images/pictures.py` writes them as files.

One sampling step reads in three files: `diffusion/sample.py` (the sampler), `diffusion/guidance/`
(the branches it combines) and `nn/` (the network).
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from melies import checkpoint
from melies.config import check_range
from melies.diffusion import GRIDS, SAMPLERS
from melies.diffusion.guidance.bind import check_fits
from melies.diffusion.guidance.classifier import classifier_branch
from melies.diffusion.guidance.classifier_free import ClassifierFreeGuidance
from melies.errors import UserError, choose
from melies.images.control import Steering, hint_condition, steered
from melies.images.model import ImageDiffusion
from melies.images.noisy_classifier import NoisyClassifier, check_guides
from melies.interfaces import Branch, Denoise, Guidance, Noise
from melies.optional import import_from
from melies.progress import Progress, silent
from melies.rng import noise_for
from melies.transform import PixelRange


@torch.no_grad()
def draw(
    model: ImageDiffusion | str | Path,
    prompts: Sequence[str] = (),
    *,
    classes: Sequence[str] = (),
    negative: str = "",
    scale: float | Sequence[float] | Tensor = 4.0,
    guidance: Guidance | None = None,
    weak: ImageDiffusion | None = None,
    classifier: NoisyClassifier | None = None,
    steering: Sequence[Steering] = (),
    guess: bool = False,
    num_steps: int = 25,
    sampler: str = "dpmpp",
    grid: str = "karras",
    eta: float = 0.0,
    seeds: Sequence[int] | None = None,
    init: UInt8[Tensor, "b c h w"] | None = None,
    strength: float = 0.6,
    mask: UInt8[Tensor, "b 1 h w"] | None = None,
    batch_size: int = 8,
    progress: Progress = silent,
) -> UInt8[Tensor, "b c h w"]:
    """Draw one picture per prompt (or class).

    Args:
        model: A loaded model, or the name or path of one.
        prompts: What to draw, in words.
        classes: Class names instead, or besides: one per picture.
        negative: What not to draw.
        scale: Guidance scale: one, or one per picture; 1 is off.
        guidance: Another way of guiding; takes the place of `scale`.
        weak: A weaker model of the same pictures and conditions, for `Autoguidance`.
        classifier: For `ClassifierGuidance`: what the classes are guided to by, and a model without
            classes is told nothing of them.
        steering: Hints with the control branches that read them, made for this model; beside them words and
            classes may be left out.
        guess: Whether the hints are to say alone what is drawn: only the conditional branch gets them, less
            at fine detail.
        num_steps: Steps of the sampler.
        sampler: A name in `melies.diffusion.SAMPLERS`.
        grid: A name in `melies.diffusion.GRIDS`.
        eta: Fresh noise of the DDIM sampler, 0 … 1.
        seeds: One per picture, so that a picture does not depend on its neighbours; 0, 1, 2 …
            when not given.
        init: Pictures to start from (0 … 255), at the model's size.
        strength: How far they are changed, in (0, 1].
        mask: 255 where `init` is painted anew, 0 where it is kept.
        batch_size: Pictures at once; bounds memory.
        progress: Shows the network evaluations' progress.

    Returns:
        Pictures, 0 … 255.

    Raises:
        UserError: If the model, a sampler or a class is unknown, or the model cannot do what is asked.
        ValueError: If there is not one scale, seed, `init` or `mask` for each picture.
    """
    if isinstance(prompts, str) or isinstance(classes, str):
        raise ValueError("prompts and classes are sequences of texts, one for each picture")
    if not isinstance(model, ImageDiffusion):
        model = load_diffusion(model)
    total = max(len(prompts), len(classes)) or (len(steering[0].hints) if steering else 0)
    if total == 0 or any(len(given) not in (0, total) for given in (prompts, classes)):
        raise UserError("one prompt, class or hint is needed per picture")
    if guidance is not None:
        check_fits(guidance, sampler, eta)
    if weak is not None and weak.shape != model.shape:
        raise UserError(f"the weak model works on {weak.shape}, the model on {model.shape}")
    if classifier is not None:
        check_guides(classifier, model, classes)
    told = classes if classifier is None or model.config.classes else ()
    seeds = list(range(total)) if seeds is None else list(seeds)
    scales = torch.as_tensor(scale, dtype=torch.float32)
    for name, given in (
        ("scales", scales if scales.ndim else None),
        ("seeds", seeds),
        ("init", init),
        ("mask", mask),
        *(("hints", one.hints) for one in steering),
    ):
        if given is not None and len(given) != total:
            raise ValueError(f"{len(given)} {name} for {total} pictures")
    scales = scales.expand(total)
    drawn = []
    with progress("drawing", total=total * num_steps, unit="steps") as track:
        for start in range(0, total, batch_size):
            part = slice(start, min(start + batch_size, total))
            others = {}
            if weak is not None:
                others["weak"] = Branch(weak, weak.condition_on(prompts[part], told[part]))
            if classifier is not None:
                labels = classifier.labels_of(classes[part]).to(model.device)
                others["classifier"] = classifier_branch(classifier, labels)
            x0 = _draw_batch(
                model,
                part.stop - part.start,
                condition=model.condition_on(prompts[part], told[part]),
                hints=hint_condition(steering, part) if steering else {},
                steering=steering,
                guess=guess,
                others=others,
                negative=negative,
                guidance=guidance or ClassifierFreeGuidance(scale=scales[part]),
                sigmas=sigma_grid(model, num_steps, grid, strength if init is not None else 1.0),
                sampler=choose_sampler(sampler, eta),
                noise=noise_for(seeds[part]),
                init=None if init is None else init[part],
                mask=None if mask is None else mask[part],
                tick=functools.partial(track.advance, part.stop - part.start),
            )
            drawn.append(x0)
    return torch.cat(drawn)


def _draw_batch(
    model: ImageDiffusion,
    b: int,
    *,
    condition: dict[str, Tensor],
    hints: dict[str, Tensor],
    steering: Sequence[Steering],
    guess: bool,
    others: dict[str, Branch],
    negative: str,
    guidance: Guidance,
    sigmas: Tensor,
    sampler: Callable,
    noise: Noise,
    init: Tensor | None,
    mask: Tensor | None,
    tick: Callable[[], None],
) -> Tensor:
    denoiser = steered(model, steering, sigmas, guess=guess) if steering else model
    null = model.null_condition(condition)
    unhinted = dict(hints)
    if guess and hints:
        unhinted["present.hint"] = torch.zeros(b, dtype=torch.bool, device=model.device)
    branches = {
        "conditional": Branch(denoiser, {**condition, **hints}),
        "null": Branch(denoiser, {**null, **unhinted}),
        **others,
    }
    if negative:  # the class that is wanted is not part of what is not
        unwanted = {**null, **model.condition_on([negative] * b), **unhinted}
        unwanted["present.text"] = torch.ones(b, dtype=torch.bool, device=model.device)
        branches["negative"] = Branch(denoiser, unwanted)
    denoise = guidance.bind(branches, sigmas)
    start = torch.zeros(b, *model.shape, device=model.device)
    known = None
    if init is not None:
        known = model.encode(PixelRange().forward(init).to(model.device))
        start = known
    if mask is not None:
        denoise = keep_outside(denoise, known, mask.to(model.device))
    x = start + float(sigmas[0]) * noise(-1, start)
    x0 = sampler(ticking(denoise, sigmas, tick), x, sigmas, noise=noise)
    pixels = PixelRange().inverse(model.decode(x0)).cpu()
    return pixels if mask is None or init is None else torch.where(mask > 127, pixels, init)


def sigma_grid(model: ImageDiffusion, num_steps: int, grid: str, strength: float = 1.0) -> Tensor:
    """The noise levels of a run, from σ_max or, for a starting picture, from further down.

    The steps asked for are all taken; a lower strength spaces them more finely.
    """
    check_range("strength", strength, low=0, high=1, low_open=True)
    whole = import_from(choose(grid, GRIDS, "grid"))
    low, high = model.config.sigma_min, model.config.sigma_max
    if strength < 1:
        levels = whole(1000, low, high)
        high = max(float(levels[round((1 - strength) * 999)]), low * 1.01)
    return whole(num_steps, low, high)


def choose_sampler(name: str, eta: float = 0.0) -> Callable:
    """The sampler of that name; `eta` where it takes one."""
    sampler = import_from(choose(name, SAMPLERS, "sampler"))
    if eta and "eta" not in inspect.signature(sampler).parameters:
        raise UserError(f"the sampler {name!r} takes no eta", remedy="use --sampler ddim")
    return functools.partial(sampler, eta=eta) if eta else sampler


def keep_outside(denoise: Denoise, known: Float[Tensor, "b c h w"] | None, mask: Tensor) -> Denoise:
    """In-painting: outside the mask the denoised picture is always the known one.

    The sampler then carries the noise there straight to the known picture, and the painted part
    sees it at every step. A cell that the mask touches at all is painted anew.
    """
    if known is None:
        raise UserError("a mask needs a picture to keep the rest of")
    paint = torch.nn.functional.adaptive_max_pool2d((mask > 127).float(), known.shape[-2:])

    def kept(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.lerp(known, denoise(x, sigma), paint)

    return kept


def ticking(denoise: Denoise, sigmas: Tensor, tick: Callable[[], None]) -> Denoise:
    """Call `tick` once for every step that is reached, however often a sampler evaluates in it."""
    waiting = [float(sigma) for sigma in sigmas[:-1]]

    def ticked(x: Tensor, sigma: Tensor) -> Tensor:
        denoised = denoise(x, sigma)
        while waiting and float(sigma[0]) <= waiting[0] * (1 + 1e-6):
            waiting.pop(0)
            tick()
        return denoised

    return ticked


def load_diffusion(name: str | Path) -> ImageDiffusion:
    """The model alone, as `read_diffusion` finds it, with the same errors."""
    return read_diffusion(name).model


def read_diffusion(name: str | Path) -> checkpoint.Loaded:
    """A diffusion model by name or path, with what its checkpoint says; on the GPU where there is one.

    Raises:
        UserError: If it is not found, damaged, or another kind of model.
    """
    loaded = checkpoint.load(name)
    if not isinstance(loaded.model, ImageDiffusion):
        raise UserError(
            f"{loaded.kind} is not a model that draws", where=str(name), remedy="see `melies models`"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for part in loaded.model.parts.values():
        part.to(device)
    loaded.model.to(device)
    return loaded
