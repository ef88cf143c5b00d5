"""``import superface_hf`` costs little and makes transformers know the task."""

from __future__ import annotations

import subprocess
import sys

import pytest

import superface_hf


def run_python(code: str) -> str:
    """The last line that a fresh Python prints; it must print nothing on stderr."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip().splitlines()[-1]


def test_the_import_is_cheap():
    code = "import sys, superface_hf; print(sorted({'torch', 'transformers', 'numpy', 'av', 'PIL'} & set(sys.modules)))"
    assert run_python(code) == "[]"


@pytest.mark.e2e
@pytest.mark.parametrize(
    "imports",
    [
        "import superface_hf; from transformers import pipeline",
        "from transformers import pipeline; import superface_hf",
        "from superface_hf import SuperFaceTeacherModel; from transformers import pipeline",
        "from transformers import AutoModel; import superface_hf; from transformers import pipeline",
    ],
)
def test_the_task_is_known_in_whatever_order_things_are_imported(imports):
    code = (
        f"{imports}; from transformers.pipelines import PIPELINE_REGISTRY; "
        "print(PIPELINE_REGISTRY.check_task('talking-face')[1]['impl'].__name__)"
    )
    assert run_python(code) == "TalkingFacePipeline"


@pytest.mark.e2e
@pytest.mark.parametrize("first", ["AutoConfig", "AutoModel"])
def test_the_auto_classes_know_our_models(first):
    code = (
        f"import superface_hf; from transformers import {first}; from superface_hf.hub import weights_folder; "
        f"print(type({first}.from_pretrained(weights_folder('teacher'))).__name__)"
    )
    assert run_python(code) in ("SuperFaceTeacherConfig", "SuperFaceTeacherModel")


def test_every_public_name_exists():
    for name in superface_hf.__all__:
        assert getattr(superface_hf, name).__name__ == name
    assert set(superface_hf.__all__) <= set(dir(superface_hf))
    with pytest.raises(AttributeError, match="Unknown"):
        superface_hf.Unknown  # noqa: B018
