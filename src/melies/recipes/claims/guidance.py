"""The second part: what guidance gives and takes, and when in the run it should act."""

from melies.recipes.claims.claim import Claim, Finding, Part, Records, Rule, Verdict
from melies.recipes.claims.rules import Of, above, below, best_of, every, said

COMMAND = "melies guidance experiments"
SCALE = "3"
"""At which schedules are compared."""

FALLING = tuple(f"schedule-{name}-{SCALE}" for name in ("invlinear", "sine", "v", "lambda"))
"""The shapes that do not rise all along."""


def _of(schedule: str) -> str:
    return f"schedule-{schedule}-{SCALE}"


def _no_dearer(first: Of, second: Of) -> Rule:
    """Holds where a counted number is at most another."""

    def rule(records: Records) -> Finding:
        a, b = first.find(records), second.find(records)
        if a is None or b is None:
            return Finding(Verdict.UNMEASURED, f"{first.metric} of {first.record} and {second.record}")
        verdict = Verdict.HOLDS if a.value <= b.value else Verdict.FAILS
        return Finding(verdict, f"{said(first, a)} against {said(second, b)}")

    return rule


WEIGHTS = (
    Claim(
        quote="Non-guided: FID=1.80, IS=53.71; w = 1.0: FID=12.6, IS=170.1; w = 3.0: FID=24.83, IS=250.4",
        test="The larger the weight, the higher the inception-style score and the distance to real pictures.",
        rule=every(
            above(Of("weight-1", "inception-style score"), Of("weight-0", "inception-style score")),
            above(Of("weight-3", "inception-style score"), Of("weight-1", "inception-style score")),
            above(Of("weight-1", "FD"), Of("weight-0", "FD")),
            above(Of("weight-3", "FD"), Of("weight-1", "FD")),
        ),
        command=COMMAND,
    ),
    Claim(
        quote="strongly guided samples such as these display saturated colors",
        test="At w = 3 more of a picture is at the ends of the scale than without guidance.",
        rule=above(Of("weight-3", "pixels at the ends"), Of("weight-0", "pixels at the ends")),
        command=COMMAND,
    ),
)

PANELS = (
    Claim(
        quote="Fuzzy images, but many details and textures",
        test="At w = 2 edges are softer than at w = 14, and less of a picture is of solid colour.",
        rule=every(
            below(Of("panel-static-2", "edge contrast"), Of("panel-static-14", "edge contrast")),
            below(Of("panel-static-2", "solid colour"), Of("panel-static-14", "solid colour")),
        ),
        command=COMMAND,
    ),
    Claim(
        quote="Sharp images with many details and textures, without extra cost.",
        test="The slide's clamp-linear has sharper edges than w = 2 and less solid colour than w = 14, at no"
        " more evaluations than w = 14.",
        rule=every(
            above(Of("panel-one-liner-14", "edge contrast"), Of("panel-static-2", "edge contrast")),
            below(Of("panel-one-liner-14", "solid colour"), Of("panel-static-14", "solid colour")),
            _no_dearer(Of("panel-one-liner-14", "evaluations"), Of("panel-static-14", "evaluations")),
        ),
        command=COMMAND,
    ),
)

SCHEDULES = (
    Claim(
        quote="Removing the initial stage of Classifier-Free Guidance → improves generation quality (FID)",
        test="Without guidance in the first fifth of the run pictures are nearer to real ones than with it"
        " all along, on the same seeds.",
        rule=below(Of("removed-early", "FD − static"), 0),
        command=COMMAND,
    ),
    Claim(
        quote="Monotonically increasing shape heuristic performs the best",
        test="At the same mean scale linear and cosine are nearer to real pictures than static guidance,"
        " seed by seed, and linear nearer than every shape that falls.",
        rule=every(
            below(Of(_of("linear"), "FD − static"), 0),
            below(Of(_of("cosine"), "FD − static"), 0),
            best_of(Of(_of("linear"), "FD"), FALLING, lower=True),
        ),
        command=COMMAND,
    ),
    Claim(
        quote="Monotonically increasing shape guidance schedulers achieve a better balance of quality,"
        " conditional adherence, and diversity",
        test="At the same mean scale linear is nearer to real pictures than static guidance and more varied,"
        " and what was asked for is seen as often, within a point.",
        rule=every(
            below(Of(_of("linear"), "FD − static"), 0),
            above(Of(_of("linear"), "diversity − static"), 0),
            above(Of(_of("linear"), "agreement − static"), -0.01),
        ),
        command=COMMAND,
    ),
)

CLASSIFIER = (
    Claim(
        quote="We do not need the explicit classifier",
        test="Classifier-free guidance at its best scale is nearer to real pictures than a classifier's"
        " gradient at its best, on the same network.",
        rule=below(Of("best-classifier-free", "FD"), Of("best-classifier", "FD")),
        command=f"{COMMAND} --classifier PATH",
    ),
)

PART = Part(
    title="Guidance",
    source="“Generative AI in Computer Vision” (V. Kalogeiton, 2024), second part",
    records="guidance",
    claims=(*WEIGHTS, *PANELS, *SCHEDULES, *CLASSIFIER),
)
