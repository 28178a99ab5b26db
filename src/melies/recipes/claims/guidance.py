"""The second part: what guidance gives and takes, and when in the run it should act."""

from melies.recipes.claims.claim import Claim, Finding, Part, Records, Rule, Verdict
from melies.recipes.claims.rules import Of, above, below, every, first_measured, said, some
from melies.recipes.guidance import BESIDE_OWN, TUNED_HERE

COMMAND = "melies guidance experiments"
SEARCH = "melies guidance search --family clamp-linear --steps 10 25"
FALLING = ("invlinear", "sine")
"""The mirror images of linear and cosine."""


def _of(schedule: str) -> str:
    """At the mean scale at which static guidance is nearest to real pictures."""
    return f"same-{schedule}"


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
        test="The larger the weight, the higher the inception-style score and the distance to real pictures,"
        " seed by seed.",
        rule=every(
            above(Of("weight-1", "inception-style score − weight-0"), 0),
            above(Of("weight-3", "inception-style score − weight-1"), 0),
            above(Of("weight-1", "FD − weight-0"), 0),
            above(Of("weight-3", "FD − weight-1"), 0),
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
        test="At the mean scale that suits static guidance best linear and cosine are nearer to real"
        " pictures, seed by seed, and invlinear and sine, which fall, farther.",
        rule=every(
            below(Of(_of("linear"), "FD − static"), 0),
            below(Of(_of("cosine"), "FD − static"), 0),
            *(above(Of(_of(name), "FD − static"), 0) for name in FALLING),
        ),
        command=COMMAND,
    ),
    Claim(
        quote="simple, monotonically increasing weight schedulers consistently lead to improved performances",
        test="With each at the scale that suits it best, linear and cosine are nearer to real pictures than"
        " static guidance, seed by seed.",
        rule=every(
            below(Of("best-linear", "FD − best static"), 0),
            below(Of("best-cosine", "FD − best static"), 0),
        ),
        command=COMMAND,
    ),
    Claim(
        quote="Monotonically increasing shape guidance schedulers achieve a better balance of quality,"
        " conditional adherence, and diversity",
        test="At the mean scale that suits static guidance best linear is nearer to real pictures and more"
        " varied, within each class where there are classes, and what was asked for is seen as often, within"
        " a point.",
        rule=every(
            below(Of(_of("linear"), "FD − static"), 0),
            # Over all classes pictures also vary more when classes are farther apart, which is another thing.
            first_measured(
                above(Of(_of("linear"), "diversity within classes − static"), 0),
                above(Of(_of("linear"), "diversity − static"), 0),
            ),
            above(Of(_of("linear"), "agreement − static"), -0.01),
        ),
        command=COMMAND,
    ),
)

TUNED = (
    Claim(
        quote="Well-tuned parameterized functions can achieve better performance",
        test="A tuned clamp-linear is somewhere nearer to real pictures than static guidance at the same mean"
        " scale, on seeds that tuning has not seen.",
        rule=some("search-clamp-linear", TUNED_HERE, above_zero=False),
        command=SEARCH,
    ),
    Claim(
        quote="but risk overfitting",
        test="What was tuned for one model or number of steps is somewhere else farther from real pictures"
        " than what was tuned there.",
        rule=some("search-clamp-linear", BESIDE_OWN, above_zero=True),
        command=SEARCH,
    ),
)

CLASSIFIER = (
    Claim(
        quote="We do not need the explicit classifier",
        test="A classifier's gradient at its best scale is farther from real pictures than classifier-free"
        " guidance at its best, on the same network and seeds.",
        rule=above(Of("best-classifier", "FD − best-classifier-free"), 0),
        command=f"{COMMAND} --classifier PATH",
    ),
)

PART = Part(
    title="Guidance",
    source="“Generative AI in Computer Vision” (V. Kalogeiton, 2024), second part",
    records="guidance",
    claims=(*WEIGHTS, *PANELS, *SCHEDULES, *TUNED, *CLASSIFIER),
)
