"""Dynamic batching: what goes together, what waits, what a fault and a client that leaves do."""

import asyncio
import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from automl_images.errors import UserError
from automl_images.serving import batching
from automl_images.serving.batching import Batcher, Batching, Room
from tests.helpers.serving import Sizes, png


class Held(Sizes):
    """A model that is busy until it is let go."""

    def __init__(self):
        super().__init__()
        self.go, self.busy = threading.Event(), threading.Event()

    def predict(self, images):
        self.busy.set()
        assert self.go.wait(10)
        return super().predict(images)


def image(side, data=None):
    return Image.open(io.BytesIO(data or png(side, side))), f"image {side}"


def play(scene, model, how=Batching(4, 0), pixels=10**6):
    async def main():
        with ThreadPoolExecutor(2) as decoders:
            queue = Batcher(model.predict, how, Room(pixels), decoders, lambda n: None)
            try:
                return await asyncio.wait_for(scene(queue), 10)
            finally:
                queue.close()

    return asyncio.run(main())


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


def test_each_request_gets_its_own_answers_in_order():
    async def scene(queue):
        asked = [queue.answer([image(side), image(side + 100)]) for side in range(1, 12)]
        return await asyncio.gather(*asked)

    model = Sizes()
    found = play(scene, model)
    assert found == [[{"size": [n, n]}, {"size": [n + 100, n + 100]}] for n in range(1, 12)]
    assert sum(map(len, model.batches)) == 22 and max(map(len, model.batches)) <= 4


def test_what_waits_while_the_model_is_busy_goes_together():
    model = Held()

    async def scene(queue):
        first = asyncio.create_task(queue.answer([image(1)]))
        await until(model.busy.is_set)
        others = [asyncio.create_task(queue.answer([image(side)])) for side in (2, 3, 4, 5, 6)]
        await until(lambda: len(queue._ready) == 5)
        model.go.set()
        return await asyncio.gather(first, *others)

    assert play(scene, model) == [[{"size": [n, n]}] for n in range(1, 7)]
    assert [len(batch) for batch in model.batches] == [1, 4, 1]


def test_a_lone_client_does_not_wait_and_one_of_a_crowd_does():
    model = Sizes()

    async def scene(queue):
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await queue.answer([image(1)])
        await queue.answer([image(2), image(3)])
        alone = loop.time() - begun
        queue._crowd = True  # as after a batch of several requests
        begun = loop.time()
        await queue.answer([image(4)])
        crowded = loop.time() - begun
        return alone, crowded

    alone, crowded = play(scene, model, Batching(4, 0.5))
    assert alone < 0.4 and crowded > 0.45


def test_a_batch_of_one_is_no_batching():
    model = Sizes()

    async def scene(queue):
        await asyncio.gather(*(queue.answer([image(side)]) for side in range(1, 9)))

    play(scene, model, Batching(1, 0.5))
    assert [len(batch) for batch in model.batches] == [1] * 8


def test_an_image_that_does_not_open_refuses_its_request_alone():
    broken = png(64, 64)[:-30]
    model = Sizes()

    async def scene(queue):
        asked = (queue.answer([image(1), image(64, broken)]), queue.answer([image(2)]))
        return await asyncio.gather(*asked, return_exceptions=True)

    refused, answered = play(scene, model)
    assert isinstance(refused, UserError) and str(refused) == "image 64: is not an image that opens"
    assert answered == [{"size": [2, 2]}]


def test_an_image_that_the_model_fails_on_does_not_spoil_the_others():
    class Failing(Held):
        def predict(self, images):
            found = super().predict(images)
            if any(i.size == (3, 3) for i in images):
                raise ZeroDivisionError
            return found

    model = Failing()

    async def scene(queue):
        first = asyncio.create_task(queue.answer([image(1)]))
        await until(model.busy.is_set)
        others = [asyncio.create_task(queue.answer([image(side)])) for side in (2, 3, 4)]
        await until(lambda: len(queue._ready) == 3)
        model.go.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    found = play(scene, model)
    assert [found[0], found[1], found[3]] == [[{"size": [n, n]}] for n in (1, 2, 4)]
    assert isinstance(found[2], ZeroDivisionError)


def test_who_leaves_is_not_predicted_and_gives_its_room_back():
    model = Held()

    async def scene(queue):
        first = asyncio.create_task(queue.answer([image(10)]))
        await until(model.busy.is_set)
        leaving = asyncio.create_task(queue.answer([image(10), image(11), image(30)]))
        await until(lambda: len(queue._ready) == 2)  # the third has no room
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert not queue._ready
        model.go.set()
        await first
        assert queue._room.left == 1000
        return await queue.answer([image(31), image(12)])

    assert play(scene, model, pixels=1000) == [{"size": [31, 31]}, {"size": [12, 12]}]
    assert all((11, 11) not in batch for batch in model.batches)


def test_no_more_is_decoded_than_there_is_room_for():
    async def main():
        room, inside, most = Room(100), [], []

        async def use(pixels):
            async with room.of(pixels):
                inside.append(min(pixels, 100))
                most.append(sum(inside))
                await asyncio.sleep(0.001)
                inside.remove(min(pixels, 100))

        await asyncio.gather(*(use(n) for n in (60, 60, 40, 500, 10, 10)))
        return room.left, max(most)

    assert asyncio.run(main()) == (100, 100)


def test_memory_is_given_back_once_nobody_asks(monkeypatch):
    given = []
    monkeypatch.setattr(batching, "_IDLE", 0.05)
    monkeypatch.setattr(batching, "give_memory_back", lambda: given.append(1))

    async def scene(queue):
        await queue.answer([image(1)])
        await asyncio.sleep(0.3)

    play(scene, Sizes())
    assert given == [1]


def test_a_closed_queue_ends_after_its_last_answer():
    model = Held()

    async def scene(queue):
        last = asyncio.create_task(queue.answer([image(1)]))
        await until(model.busy.is_set)
        queue.close()
        model.go.set()
        assert await last == [{"size": [1, 1]}]
        await queue._running

    play(scene, model)
