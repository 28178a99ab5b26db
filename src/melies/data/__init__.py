"""Data on disk: pictures, their captions, and how the sets that melies knows are made."""

PREPARE = {
    "emoji": "melies.data.prepare.emoji:prepare_emoji",
    "fashion-mnist": "melies.data.prepare.fashion_mnist:prepare_fashion_mnist",
    "cifar10": "melies.data.prepare.cifar10:prepare_cifar10",
    "digits": "melies.data.prepare.digits:prepare_digits",
}
"""Set → what makes it: `(out: Path, *, source: str | Path | None, progress) → Prepared`."""
