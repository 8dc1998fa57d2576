"""The swap of a served model for its new version."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from automl_images.errors import UserError
from automl_images.registry import Registry
from automl_images.serving.batching import Batching, Room
from automl_images.serving.requests import Limits, opened
from automl_images.serving.versions import Served
from tests.helpers.serving import Counted, png


def load(folder):
    """Return a model that says what its weights say; of other weights one that does not load, or not predict."""
    text = (folder / "model.pt").read_text()
    if text == "broken":
        raise UserError("its weights do not fit")

    def predict(images):
        if text == "fails":
            raise ZeroDivisionError
        return [{"says": text} for _ in images]

    return SimpleNamespace(task="other" if text == "other" else "image-classification", predict=predict)


def write(folder, text):
    folder.mkdir(exist_ok=True)
    (folder / "model.pt").write_text(text)


def play(address, scene):
    async def main():
        with ThreadPoolExecutor(1) as decoders:
            metrics = Counted()
            served = Served("cells", str(address), load, Batching(), Room(10**6), decoders, metrics)
            try:
                await asyncio.wait_for(scene(served), 10)
            finally:
                served.version.batcher.close()
            return metrics.all

    return asyncio.run(main())


async def says(version):
    (found,) = await version.batcher.answer(opened([(png(), "image")], Limits()))
    return found["says"]


def test_a_new_version_takes_over_and_what_began_before_ends_on_the_old(tmp_path):
    async def scene(served):
        old = served.version
        assert await served.refresh() is None and await says(old) == "one"
        write(tmp_path, "second")
        assert await served.refresh() == "swapped"
        assert await says(served.version) == "second" and served.version.name != old.name
        assert await says(old) == "one", "a request that took it before"
        await asyncio.wait_for(old.batcher._running, 5)

    write(tmp_path, "one")
    assert play(tmp_path, scene)["swaps", "cells", "swapped"] == 1


@pytest.mark.parametrize("broken", ["broken", "fails", "other", None])
def test_a_broken_version_leaves_the_one_that_answers(tmp_path, broken, caplog):
    async def scene(served):
        if broken:
            write(tmp_path, broken)
        else:
            (tmp_path / "model.pt").unlink()
        old = served.version
        assert await served.refresh() == "failed"
        assert served.version is old and await says(served.version) == "one"
        assert (await served.refresh()) == (None if broken else "failed"), "the same files are not tried again"
        write(tmp_path, "mended")
        assert await served.refresh() == "swapped" and await says(served.version) == "mended"

    write(tmp_path, "one")
    counted = play(tmp_path, scene)
    assert counted["swaps", "cells", "failed"] == (1 if broken else 2)
    assert "cells: the new version is left out: " in caplog.text


def test_an_alias_that_moves_is_a_new_version(tmp_path, monkeypatch):
    addresses = {"champion": str(tmp_path / "a")}
    monkeypatch.setattr(Registry, "get", lambda self, name, alias: {"uri": addresses[alias]})

    async def scene(served):
        assert await says(served.version) == "one"
        addresses["champion"] = str(tmp_path / "b")
        assert await served.refresh() == "swapped" and await says(served.version) == "two"

    write(tmp_path / "a", "one")
    write(tmp_path / "b", "two")
    play(tmp_path / "registry" / "cells@champion", scene)


def test_the_first_version_must_load(tmp_path):
    write(tmp_path, "broken")
    with pytest.raises(UserError, match="its weights do not fit"):
        play(tmp_path, None)
    with pytest.raises(UserError, match="no model folder"):
        play(tmp_path / "absent", None)
