"""Our ways of guiding and schedules on the pretrained pipelines of `diffusers`, without retraining.

    with guided(pipe, guidance_of("plain", 7.5, schedule="linear")):
        pictures = pipe("a polar bear").images

`wrap.py` has this context manager, `guider.py` a component for modular pipelines, `draw.py` what
`melies generate --model diffusers:PATH` does.
"""
