"""The third part: camera paths from words, beside a character that moves."""

from melies.recipes.claims.claim import Claim, Part
from melies.recipes.claims.rules import Of, above, below, best_of, every

COMMAND = "melies camera experiments"
A, B, C = "director-in-context", "director-modulated", "director"
MIXED, PURE = "mixed: C F1", "pure: C F1"
TURNED = "mirrored character, camera {}: lateral motion flips"

CLAIMS = (
    Claim(
        quote="→ Config A (in-context): has a good tradeoff efficiency/performances",
        test="It draws a shot in less time than C, and does what words ask for in mixed shots better than B.",
        rule=every(
            below(Of(A, "mixed: drawing time"), Of(C, "mixed: drawing time")),
            above(Of(A, MIXED), Of(B, MIXED)),
        ),
        command=COMMAND,
    ),
    Claim(
        quote="→ Config B (adaLN): fails to handle complex sequential conditions",
        test="It does what words ask for worse in mixed shots than in pure ones, and worse there than C.",
        rule=every(below(Of(B, MIXED), Of(B, PURE)), below(Of(B, MIXED), Of(C, MIXED))),
        command=COMMAND,
    ),
    Claim(
        quote="→ Config C (CA): performs the best thanks to CA conditioning",
        test="In mixed shots its C-F1 is above that of the others and its FD in CLaTr's space below.",
        rule=every(
            best_of(Of(C, MIXED), (A, B), lower=False), best_of(Of(C, "mixed: FD"), (A, B), lower=True)
        ),
        command=COMMAND,
    ),
    Claim(
        quote="Qualitative results: controlability",
        test="In pure shots C-F1 is above that of the same paths' words given to others.",
        rule=above(Of(C, PURE), Of(C, "pure, shuffled text: C F1")),
        command=COMMAND,
    ),
    Claim(
        quote="Qualitative results: diversity",
        test="The paths drawn for held-out mixed shots come near more than half of the real ones (coverage).",
        rule=above(Of(C, "mixed: coverage"), 0.5),
        command=COMMAND,
    ),
    Claim(
        quote="Qualitative results: complexity",
        test="In mixed shots C-F1 is above that of the same paths' words given to others.",
        rule=above(Of(C, MIXED), Of(C, "mixed, shuffled text: C F1")),
        command=COMMAND,
    ),
    Claim(
        quote="Qualitative results: character-awareness",
        test="Under the same words, of a camera that follows and of one that stays, a character that goes the"
        " other way turns the lateral motion round in more than nine of ten pairs.",
        rule=every(above(Of(C, TURNED.format("follows")), 0.9), above(Of(C, TURNED.format("stays")), 0.9)),
        command=COMMAND,
    ),
    Claim(
        quote="→ Scale: 120+ hours of content",
        test="The data set E.T. is not at hand; `melies camera dataset stats` counts what a set holds.",
        rule=None,
    ),
)

PART = Part(
    title="Camera paths",
    source="“Generative AI in Computer Vision” (V. Kalogeiton, 2024), third part, and Courant et al. (2024)",
    records="camera",
    claims=CLAIMS,
)
