"""Choosing an encoder costs no import of torch or transformers."""

import subprocess
import sys


def test_the_config_is_light():
    code = (
        "import sys, melies.text.config, melies.text.weights;"
        "print([name for name in ('torch', 'transformers', 'huggingface_hub') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_encoders_load_transformers_only_when_used():
    code = (
        "import sys, melies.text.encode, melies.text.learned, melies.text.cache;"
        "print('transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
