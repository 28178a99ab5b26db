"""Two classifiers of emoji, to measure generated ones with: a judge, and features to compare by.

    melies data prepare emoji
    melies train emoji-judge --out runs/emoji-judge
    melies train emoji-features --out runs/emoji-features

They name the sub-category, the skin tone and the drawing style. They differ in shape and seed and
leave out different pictures, so that a distance between the features of one says nothing about
the verdicts of the other. Neither sees the compositions held out of the emoji model, nor a tenth
of the other texts; `record.json` in the run folder has their accuracy on both, which for the held-out
compositions is about 0.93 for the sub-category and 0.96 for the tone. On one processor core each sees
some 500 pictures a second and is done in ten minutes.
"""

from dataclasses import replace

from melies.data.emoji import read_emoji
from melies.data.splits import split_by_hash
from melies.recipes.classifier import MODULUS, PictureClassifierConfig, train_classifier
from melies.recipes.job import Job
from melies.training.loop import State, TrainingConfig

JUDGE = PictureClassifierConfig(
    name="emoji-judge",
    prepared="emoji",
    heads=("subcategory", "tone", "style"),
    training=TrainingConfig(
        num_samples=256_000,
        batch_size=64,
        learning_rate=2e-3,
        warmup=6_400,
        betas=(0.9, 0.98),
        weight_decay=0.02,
        ema_half_life=5_000,
        preview_every=0,
        checkpoint_every_s=60,
    ),
)
FEATURES = replace(
    JUDGE,
    name="emoji-features",
    stem=4,
    widths=(32, 56, 64),
    left_out=2,
    training=replace(JUDGE.training, seed=1),
)
CONFIG = JUDGE


def run(config: PictureClassifierConfig, job: Job) -> State:
    """Train a classifier on the pictures of `data`, and say how often it is right on those left out.

    Raises:
        UserError: If a question has no answer in the data, or the model to start from does not fit.
    """
    emoji = read_emoji(job.data, size=config.size, progress=job.progress, say=job.say)
    rule = {"modulus": MODULUS, "remainder": config.left_out}
    left_out = split_by_hash([str(row.get("text", "")) for row in emoji.pictures.rows], **rule)
    unseen = {"held-out compositions": emoji.held_out, "other texts": left_out & ~emoji.held_out}
    return train_classifier(
        config,
        job,
        emoji.pictures.subset(~(emoji.held_out | left_out)),
        {title: emoji.pictures.subset(rows) for title, rows in unseen.items()},
        left_out=rule,
    )
