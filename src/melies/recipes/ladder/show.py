"""Every figure of a ladder's page, with what it shows in a sentence."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from PIL import Image

from melies.images.families import Family
from melies.interfaces import Metric
from melies.metrics.spectrum import radial_spectrum
from melies.recipes.ladder import BETAS, RUNGS, STEPS
from melies.recipes.ladder.drawn import Drawn
from melies.recipes.ladder.figures import (
    in_turn,
    interpolations_figure,
    latent_map_figure,
    nearest_figure,
    overview_figure,
    reconstructions_figure,
    samples_figure,
)
from melies.recipes.ladder.page import Figure
from melies.recipes.ladder.sweep import SWEEP
from melies.recipes.ladder.yardstick import Yardstick
from melies.report.plot import Line, bars_figure, lines_figure
from melies.report.record import Record

MAPPED = ("autoencoder", "vae", "cvae", "vqvae")
"""Rungs with an encoder of their own."""
UNASKED = ("autoencoder", "vae", "gan-minimax", "gan")
"""Rungs that draw whichever class they like."""


def make_figures(
    families: Mapping[str, Family],
    drawn: Mapping[str, Drawn],
    yard: Yardstick,
    records: Mapping[str, Record],
) -> list[Figure]:
    """All figures that the rungs that were climbed have something for."""
    figures = [
        *_overview(drawn, yard),
        *_samples(drawn, yard),
        *_ways(families, yard),
        *_maps(families, yard),
    ]
    return [*figures, *_lacks(drawn, yard, records), *_nearest(drawn, yard), *_costs(records)]


def _overview(drawn: Mapping[str, Drawn], yard: Yardstick) -> Iterator[Figure]:
    if drawn:
        caption = "The first pictures of each rung, not the best; those that know classes draw them in turn."
        yield Figure("The ladder", "ladder", caption, overview_figure(drawn, yard.test))


def _samples(drawn: Mapping[str, Drawn], yard: Yardstick) -> Iterator[Figure]:
    classes = yard.test.classes
    real = yard.test.subset(in_turn(yard.test))
    real = Drawn(pixels=real.pixels, labels=real.labels, seconds=0.0)
    yield Figure("Pictures", "real", "Real pictures that no rung has seen.", samples_figure(real, classes))
    for name, pictures in drawn.items():
        caption = f"{name}: {RUNGS[name]}. The first pictures, not the best."
        yield Figure("Pictures", f"samples-{name}", caption, samples_figure(pictures, classes))


def _ways(families: Mapping[str, Family], yard: Yardstick) -> Iterator[Figure]:
    if not families:
        return
    yield Figure(
        "There and back",
        "reconstructions",
        "Unseen pictures through each model and back: by its encoder, by descent for the GANs, and along"
        " the ODE for the diffusion model.",
        reconstructions_figure(families, yard.test),
    )
    yield Figure(
        "From one picture to another",
        "interpolations",
        "Halfway the straight way leaves the sphere on which Gaussian latents lie; the spherical one does"
        " not.",
        interpolations_figure(families, yard.test),
    )


def _maps(families: Mapping[str, Family], yard: Yardstick) -> Iterator[Figure]:
    for name in MAPPED:
        if name in families:
            caption = f"Latents of unseen pictures in {name}, in the plane in which they spread most."
            yield Figure(
                "Maps of latents", f"map-{name}", caption, latent_map_figure(name, families[name], yard.test)
            )


def _lacks(drawn: Mapping[str, Drawn], yard: Yardstick, records: Mapping[str, Record]) -> Iterator[Figure]:
    """What each rung is said to lack, measured."""
    section = "What each rung lacks"
    for title, name, metrics, caption in (
        (
            "PSNR (dB)",
            "overfitting",
            ("PSNR, training", "PSNR, unseen"),
            "Over-fitting: how well training pictures are rebuilt, and unseen ones.",
        ),
        (
            "FD",
            "holes",
            ("reconstruction FD", "midpoint FD", "FD"),
            "Holes: what is decoded from encodings, from halfway between two of them, and from the prior.",
        ),
    ):
        found = {
            metric: {rung: records[rung].find(metric) for rung in MAPPED if rung in records}
            for metric in metrics
        }
        rungs = [rung for rung in MAPPED if all(column.get(rung) is not None for column in found.values())]
        if rungs:
            yield Figure(section, name, caption, _bars(found, rungs, y=title))
    if drawn:
        yield Figure(
            section,
            "spectrum",
            "Blur: power by spatial frequency, as against that of real pictures. A line that falls on the"
            " right is not sharp.",
            _spectrum(drawn, yard),
        )
    yield from _collapse(section, records)
    unasked = {name: pictures for name, pictures in drawn.items() if name in UNASKED}
    if unasked:
        classes = yard.test.classes
        shares = {
            name: (
                torch.bincount(yard.seen(pictures.pixels), minlength=len(classes)) / len(pictures.pixels)
            ).tolist()
            for name, pictures in unasked.items()
        }
        yield Figure(
            section,
            "modes",
            "Mode coverage: how often each class is drawn by rungs that are not told one. The line is an even"
            " share.",
            bars_figure(shares, classes, y="share", level=1 / len(classes)),
        )
    yield from _steps(section, records)


def _spectrum(drawn: Mapping[str, Drawn], yard: Yardstick) -> Image.Image:
    real = radial_spectrum(yard.test.pixels)
    frequencies, level = real.frequencies[1:].tolist(), real.power.mean(0)[1:]
    lines = {"real": Line(frequencies, [1.0] * len(frequencies))}
    for name, pictures in drawn.items():
        share = radial_spectrum(pictures.pixels).power.mean(0)[1:] / level.clamp_min(1e-12)
        lines[name] = Line(frequencies, share.tolist())
    return lines_figure(lines, x="cycles per pixel", y="power ÷ that of real pictures")


def _collapse(section: str, records: Mapping[str, Record]) -> Iterator[Figure]:
    if SWEEP not in records:
        return
    found = {beta: records[SWEEP].find(f"active share, β = {beta:g}") for beta in BETAS}
    known = {beta: metric for beta, metric in found.items() if metric is not None}
    if known:
        yield Figure(
            section,
            "collapse",
            "Posterior collapse: the share of latent dimensions that carry something, against β.",
            lines_figure({"active": _line(known)}, x="β", y="share of dimensions", logarithmic=("x",)),
        )


def _steps(section: str, records: Mapping[str, Record]) -> Iterator[Figure]:
    if "ddpm" not in records:
        return
    found = {num: records["ddpm"].find(f"FD, {num} steps") for num in STEPS}
    known = {float(num): metric for num, metric in found.items() if metric is not None}
    real = records["ddpm"].find("FD of training pictures")
    if known:
        lines = {"ddpm": _line(known)}
        if real is not None:
            lines["training pictures"] = Line(list(known), [real.value] * len(known))
        yield Figure(
            section,
            "steps",
            "The price of diffusion: distance to real pictures against steps of the sampler.",
            lines_figure(lines, x="steps", y="FD", logarithmic=("x", "y")),
        )


def _nearest(drawn: Mapping[str, Drawn], yard: Yardstick) -> Iterator[Figure]:
    for name, pictures in drawn.items():
        caption = f"{name}: drawn pictures, each with the training pictures nearest to it in features."
        yield Figure("Has it been seen before?", f"nearest-{name}", caption, nearest_figure(pictures, yard))


def _costs(records: Mapping[str, Record]) -> Iterator[Figure]:
    for name, metric, y, caption in (
        (
            "times",
            "training time",
            "training (s)",
            "Wall-clock time of training, of all stages of a rung together.",
        ),
        (
            "drawing",
            "drawing time",
            "drawing (ms per picture)",
            "Wall-clock time of drawing, many pictures at once.",
        ),
    ):
        found = {metric: {rung: record.find(metric) for rung, record in records.items()}}
        rungs = [rung for rung in RUNGS if found[metric].get(rung) is not None]
        if rungs:
            yield Figure("What each rung costs", name, caption, _bars(found, rungs, y=y))


def _bars(found: Mapping[str, Mapping[str, Metric | None]], rungs: Sequence[str], *, y: str) -> Image.Image:
    """For each rung one bar per metric, with its interval."""
    known = {
        name: [metric for rung in rungs if (metric := column[rung]) is not None]
        for name, column in found.items()
    }
    return bars_figure(
        {name: [metric.value for metric in metrics] for name, metrics in known.items()},
        rungs,
        y=y,
        intervals={name: [metric.interval for metric in metrics] for name, metrics in known.items()},
    )


def _line(found: Mapping[float, Metric]) -> Line:
    metrics = list(found.values())
    return Line(list(found), [metric.value for metric in metrics], [metric.interval for metric in metrics])
