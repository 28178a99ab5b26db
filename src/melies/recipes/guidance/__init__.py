"""Guidance, measured: figures and numbers of guided drawings, each made by one command."""

EXPERIMENTS = {
    "weights": "without guidance, w = 1 and w = 3: distance, score and saturation",
    "panels": "w = 2, w = 14 and the slide's clamp-linear: sharpness, texture and solid colour",
    "schedules": "every schedule over scales: distance and variety against agreement",
    "removed": "guidance taken out early, in the middle and late",
    "classifier": "a classifier's gradient against classifier-free guidance",
}
"""The tutorial's experiments, and what each is about."""

PARTS_REMOVED = {"early": (0.8, 1.0), "middle": (0.4, 0.6), "late": (0.0, 0.2)}
"""Fifths of the run, in t/T, which falls from 1 to 0."""

TUNED_HERE, BROUGHT, BESIDE_OWN = "tuned here − static: ", "tuned elsewhere − static: ", "elsewhere − here: "
"""How metrics of the record begin; after it come the distance and the places."""
