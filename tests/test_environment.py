"""Every environment variable that the code reads stands in one list."""

import re
from pathlib import Path

from automl_images import environment

ROOT = Path(__file__).parents[1]
SOURCES = [
    path
    for room in ("automl_images", "components", "pipelines")
    for path in sorted((ROOT / room).rglob("*.py"))
    if path != ROOT / "automl_images/environment.py"
]
OURS = {value for name, value in vars(environment).items() if name.isupper() and isinstance(value, str)}
KNOWN = OURS | set(environment.CREDENTIALS) | set(environment.OTHERS)


def test_every_variable_that_is_read_is_listed():
    pattern = r"""(?:environ(?:\.get)?[\[(]|getenv\(|envvar=)\s*["']([A-Z_]+)["']|["']([A-Z_]+)["'] in os\.environ"""
    read = {
        (name, path.name) for path in SOURCES for pair in re.findall(pattern, path.read_text()) for name in pair if name
    }
    assert {name for name, _ in read} >= {"CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE", "KF_PIPELINES_TOKEN"}
    assert [found for found in sorted(read) if found[0] not in KNOWN] == []


def test_ours_are_named_there_alone():
    assert all(name.startswith("AUTOML_IMAGES_") for name in OURS - {environment.RANK})
    literal = r"""["'](AUTOML_IMAGES_[A-Z_]+)["']"""
    assert [(p.name, n) for p in SOURCES for n in re.findall(literal, p.read_text())] == []
