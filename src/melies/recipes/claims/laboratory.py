"""The second part: how guidance should change over a run, where the truth is known exactly."""

from melies.recipes.claims.claim import Claim, Part
from melies.recipes.claims.rules import Of, above, below, every

COMMAND = "melies guidance laboratory"
RECORD = "laboratory"
AS_NEAR = 0.01
"""Energy distance, in units of x, within which two ways are as near: exact draws differ by that by chance."""


def _of(way: str, title: str) -> Of:
    return Of(RECORD, f"{way}: {title}")


def _less_static(way: str, title: str) -> Of:
    return Of(RECORD, f"{way} − static: {title}")


SCHEDULES = (
    Claim(
        quote="monotonically increasing guidance schedulers enhance both performance and diversity",
        test="At equal area samples by linear and cosine are nearer to p(x)·p(y|x)^s than by static guidance,"
        " and those by their mirror images, invlinear and sine, farther.",
        rule=every(
            below(_less_static("linear", "error at equal area"), 0),
            below(_less_static("cosine", "error at equal area"), 0),
            above(_less_static("invlinear", "error at equal area"), 0),
            above(_less_static("sine", "error at equal area"), 0),
        ),
        command=COMMAND,
    ),
    Claim(
        quote="simple, monotonically increasing weight schedulers consistently lead to improved performances",
        test="The same with each at the scale at which it comes nearest: linear and cosine nearer than static"
        " guidance.",
        rule=every(
            below(_less_static("linear", "error at its best scale"), 0),
            below(_less_static("cosine", "error at its best scale"), 0),
        ),
        command=COMMAND,
    ),
    Claim(
        quote="Monotonically increasing shape guidance schedulers achieve a better balance of quality,"
        " conditional adherence, and diversity",
        test="Where p(y|x) is that of static guidance, samples by linear and cosine are nearer to p(x|y) by"
        " the Fréchet distance, and more diverse.",
        rule=every(
            below(_less_static("linear", "FD at equal alignment"), 0),
            below(_less_static("cosine", "FD at equal alignment"), 0),
            above(_less_static("linear", "diversity at equal alignment"), 0),
            above(_less_static("cosine", "diversity at equal alignment"), 0),
        ),
        command=COMMAND,
    ),
    Claim(
        quote="constant guidance: not effective design",
        test="Whichever way guidance changes it comes nearer at its best scale than static guidance at its"
        " own: linear, which rises, and invlinear, which falls as much.",
        rule=every(
            below(_less_static("linear", "error at its best scale"), 0),
            below(_less_static("invlinear", "error at its best scale"), 0),
        ),
        command=COMMAND,
    ),
)

INTERVALS = (
    Claim(
        quote="guidance is clearly harmful toward the beginning of the chain",
        test="At equal area, guidance in the first third alone leaves the samples farther from p(x)·p(y|x)^s"
        " than no guidance does.",
        rule=above(_of("early", "error at equal area"), Of(RECORD, "error without guidance")),
        command=COMMAND,
    ),
    Claim(
        quote="largely unnecessary toward the end",
        test="Without any of it late, guidance in the middle third alone comes as near at its best scale as"
        f" static guidance does, within {AS_NEAR:g}.",
        rule=below(_less_static("middle", "error at its best scale"), AS_NEAR),
        command=COMMAND,
    ),
    Claim(
        quote="and only beneficial in the middle",
        test="At its best scale, guidance in the middle third alone comes nearer than static guidance, and"
        " than guidance in the first or the last third.",
        rule=every(
            below(_less_static("middle", "error at its best scale"), 0),
            below(_of("middle", "error at its best scale"), _of("early", "error at its best scale")),
            below(_of("middle", "error at its best scale"), _of("late", "error at its best scale")),
        ),
        command=COMMAND,
    ),
)

PART = Part(
    title="Guidance over the run, where the truth is known",
    source="“Generative AI in Computer Vision” (V. Kalogeiton, 2024), second part, Wang et al. (2024) and"
    " Kynkäänniemi et al. (2024)",
    records="laboratory",
    claims=(*SCHEDULES, *INTERVALS),
)
