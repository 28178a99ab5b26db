"""The verbs of the command: a table of strings, so that help loads nothing of what they do."""

from typing import NamedTuple


class Verb(NamedTuple):
    """One verb, written with one word or with two."""

    call: str
    """`"module:function"` of `(argv) → Answer`; imported when the verb is chosen."""
    usage: str
    """What follows the verb."""
    what: str
    """One line for the help."""


VERBS = {
    "generate": Verb("melies.cli.generate:generate", "PROMPT…", "draw pictures from words or classes"),
    "reconstruct": Verb(
        "melies.cli.reconstruct:reconstruct", "MODEL PICTURE…", "take pictures through a model and back"
    ),
    "interpolate": Verb(
        "melies.cli.interpolate:interpolate", "A B --model M", "draw the way from one picture to another"
    ),
    "train": Verb("melies.cli.train:train", "RECIPE", "train a model, or tune one on your own pictures"),
    "recipes": Verb("melies.cli.recipes:recipes", "[NAME]", "list what can be trained, or show one recipe"),
    "evaluate": Verb("melies.cli.evaluate:evaluate", "MODEL", "measure a model and write the record"),
    "ladder": Verb("melies.cli.ladder:ladder", "", "train every family for the same minutes, and compare"),
    "sweep": Verb("melies.cli.sweep:sweep", "--model M", "draw in many ways of guiding, and compare them"),
    "guidance schedule": Verb(
        "melies.cli.guidance:schedule", "NAME", "list how guidance changes over a run, and plot it"
    ),
    "guidance check": Verb(
        "melies.cli.conformance:check", "TARGET…", "say what a guidance function does, by measuring it"
    ),
    "guidance scales": Verb(
        "melies.cli.classifier_guidance:scales",
        "",
        "draw with more and more classifier guidance, and judge it",
    ),
    "guidance neighbours": Verb(
        "melies.cli.classifier_guidance:neighbours",
        "",
        "show what a classifier guided beside the nearest training pictures",
    ),
    "guidance experiments": Verb(
        "melies.cli.experiments:experiments", "--model M", "make the tutorial's experiments with guidance"
    ),
    "guidance search": Verb(
        "melies.cli.search:search", "--family F", "tune a schedule's parameters, and test them elsewhere"
    ),
    "guidance trace": Verb(
        "melies.cli.trace:trace", "PROMPT…", "draw, and say step by step what guidance did"
    ),
    "guidance laboratory": Verb(
        "melies.cli.laboratory:laboratory", "", "hold every way of guiding against exactly known densities"
    ),
    "control extract": Verb(
        "melies.cli.control:extract", "KIND PATH", "take edges, depth, poses … from pictures or a video"
    ),
    "control evaluate": Verb(
        "melies.cli.control:evaluate",
        "--branch B",
        "measure how well pictures keep to hints, and their words",
    ),
    "control experiments": Verb(
        "melies.cli.control:experiments", "", "train a control branch with parts changed, and compare"
    ),
    "camera generate": Verb(
        "melies.cli.camera:generate", "PROMPT…", "draw camera paths from words, beside a character"
    ),
    "camera evaluate": Verb(
        "melies.cli.camera:evaluate", "--model M", "measure a model of camera paths on held-out shots"
    ),
    "camera experiments": Verb(
        "melies.cli.camera:experiments", "--models M…", "the slides' prompts, designs and guidance scales"
    ),
    "camera convert": Verb(
        "melies.cli.camera_files:convert", "IN OUT", "camera paths from one format into another"
    ),
    "camera tag": Verb(
        "melies.cli.camera_files:tag", "FILE", "say what a camera path does, in labels and in words"
    ),
    "camera search": Verb(
        "melies.cli.camera_search:search", "WORDS PLACE…", "find the camera paths that do what words say"
    ),
    "camera view": Verb("melies.cli.camera_files:view", "FILE", "a page to look at a camera path with"),
    "camera dataset build": Verb(
        "melies.cli.camera_build:build", "VIDEO… --out FOLDER", "make a set of camera paths from videos"
    ),
    "camera dataset synthesize": Verb(
        "melies.cli.camera_dataset:synthesize", "--out FOLDER", "make shots by rule, in the layout of E.T."
    ),
    "camera dataset stats": Verb(
        "melies.cli.camera_dataset:stats", "FOLDER", "count the shots, frames and words of a set"
    ),
    "camera dataset score": Verb(
        "melies.cli.camera_dataset:score", "", "how much of spoiled shots the builder brings back"
    ),
    "claims": Verb("melies.cli.claims:claims", "[PART]", "hold the tutorial's sentences against the records"),
    "data prepare": Verb("melies.cli.data:prepare", "SET", "make one of the data sets that melies knows"),
    "data show": Verb("melies.cli.data:show", "PATH", "check a set of pictures and say what is in it"),
    "models": Verb("melies.cli.models:models", "", "list the models that are here"),
    "models show": Verb("melies.cli.models:show", "NAME", "show the card of a model"),
    "models add": Verb("melies.cli.models:add", "FILE", "check a model brought by hand and keep it"),
    "doctor": Verb("melies.cli.doctor:doctor", "", "say what is installed, what is missing, what works"),
}

GROUPS = tuple(
    dict.fromkeys(
        words
        for name in VERBS
        for count in range(1, len(name.split()))
        if (words := " ".join(name.split()[:count])) not in VERBS
    )
)
"""First words that are no verb by themselves."""

EXAMPLES = (
    ('melies generate "a polar bear" "a mechanic, dark skin tone" --count 8', "a grid of pictures in out/"),
    ("melies generate --from out/a-polar-bear-0.png", "the same picture again"),
    ("melies train emoji --from emoji --data my-pictures.zip", "tune the shipped model on your pictures"),
    ("melies data show my-pictures.zip", "check pictures and captions first"),
    ("melies ladder", "train every family, and compare them on a page"),
    ("melies doctor", "what works on this machine"),
)


def help_text(group: str = "") -> str:
    """What `melies --help` prints; with a group such as `data`, its verbs only."""
    verbs = [
        (f"{name} {verb.usage}".strip(), verb.what)
        for name, verb in VERBS.items()
        if not group or name.startswith(f"{group} ")
    ]
    if group:
        return "\n".join([f"usage: melies {group} VERB …", "", "verbs", *_columns(verbs)])
    return "\n".join(
        [
            "usage: melies VERB … [--quiet] [--json]",
            "",
            "Méliès: words in, pictures out; train, measure and share the models that draw them.",
            "",
            "verbs",
            *_columns(verbs),
            "",
            "examples",
            *_columns(list(EXAMPLES)),
            "",
            "`melies VERB --help` lists the options of a verb. Every verb takes --quiet (nothing but errors",
            "and what was asked for) and --json (one JSON object on standard output). MELIES_DEBUG=1 makes",
            "an error show where in the code it was found. `melies --version` prints the version.",
        ]
    )


def _columns(rows: list[tuple[str, str]]) -> list[str]:
    width = max(len(left) for left, _ in rows)
    return [f"  {left:<{width}}  {right}" for left, right in rows]
