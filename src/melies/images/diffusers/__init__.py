"""Our ways of guiding and schedules on the pretrained pipelines of `diffusers`, without retraining.

    with guided(pipe, ClassifierFreeGuidance(scale=with_weights(named_equal_area("linear", 6.5)))):
        pictures = pipe("a polar bear").images

`wrap.py` has this context manager, `guider.py` a component for modular pipelines, `draw.py` what
`melies generate --model diffusers:PATH` does.
"""
