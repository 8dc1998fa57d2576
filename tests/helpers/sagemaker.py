"""Names, images and files for tests of what SageMaker reads."""

import io
import unicodedata

from hypothesis import strategies as st
from PIL import Image

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=6).map(
    lambda name: unicodedata.normalize("NFC", name)
)
UNIQUE = st.lists(NAMES.filter(bool), min_size=2, max_size=5, unique_by=lambda name: name.casefold())


def image_bytes(kind="png", colour=0, size=(12, 8)):
    file = io.BytesIO()
    Image.new("RGB", size, (colour, 0, 0)).save(file, kind)
    return file.getvalue()


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
