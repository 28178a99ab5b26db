"""The second part: what a control branch is said to give, and what it costs."""

from melies.recipes.claims import exact
from melies.recipes.claims.claim import Claim, Part
from melies.recipes.claims.rules import Of, above, below, every
from melies.recipes.control import REACHED, STRICT

COMMAND = "melies control experiments"
MEMORY = Of("branch", "memory of a step, control branch")

CLAIMS = (
    Claim(
        quote="End-to-end architecture",
        test="One loss behind the base reaches every layer of the branch, once its joints have left zero.",
        rule=exact.branch_end_to_end,
        measured=False,
    ),
    Claim(
        quote="adding extra conditions",
        test="Pictures keep to hints of held-out pictures more strictly with the branch than the base alone"
        " does from the same words and noise.",
        rule=above(Of("branch", f"{STRICT}, gain"), 0),
        command=COMMAND,
    ),
    Claim(
        quote="make slight changes to a neural network's structure",
        test="Before it is trained a branch changes nothing: the output with it is that of the base to the"
        " last bit.",
        rule=exact.untrained_branch,
        measured=False,
    ),
    Claim(
        quote="Robust on small dataset (<50k images)",
        test="Learned from 1,000 pairs the branch keeps to hints at least nine tenths as strictly as the one"
        " learned from all.",
        rule=above(Of("pairs-1000", f"{STRICT} − 90 % of branch"), 0),
        command=COMMAND,
    ),
    Claim(
        quote="As fast as fine-tuning",
        test="In fewer seconds of training than the tuned base it keeps to hints so well as is nine tenths of"
        " the rise that both reach.",
        rule=below(Of("branch", f"seconds {REACHED}"), Of("tuning", f"seconds {REACHED}")),
        command=COMMAND,
    ),
    Claim(
        quote="Can be trained on personal devices",
        test="A step of training holds less memory than one that tunes the base, and less than a gibibyte.",
        rule=every(
            below(MEMORY, Of("tuning", "memory of a step, tuning the base and its hints")),
            below(MEMORY, 1024),
        ),
        command=COMMAND,
    ),
    Claim(
        quote="Can scale to large amounts of data (millions to billions)",
        test="Millions of pairs are not at hand.",
        rule=None,
    ),
)

PART = Part(
    title="Control branches",
    source="“Generative AI in Computer Vision” (V. Kalogeiton, 2024), second part, and Zhang et al. (2023)",
    records="control",
    claims=CLAIMS,
)
