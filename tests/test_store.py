"""How a store that gives no answer is asked again."""

import time

import pytest

from automl_images import store
from automl_images.errors import StoreError, UserError

URL = "memory://bucket/file"


@pytest.fixture
def clock(monkeypatch):
    """Let no time pass but that of pauses; return the pauses."""
    pauses = []
    monkeypatch.setattr(time, "monotonic", lambda: sum(pauses))
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def failing(error, times=10**9):
    asked = []

    def work(fs, path):
        asked.append(path)
        if len(asked) <= times:
            raise error
        return len(asked)

    return work


def test_pauses_grow_up_to_the_longest_and_an_answer_ends_them(clock):
    with store.patience(300):
        assert store.ask(URL, failing(ConnectionError("away"), 8)) == 9
    assert clock == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10])


def test_patience_ends_before_a_pause_that_goes_beyond_it(clock, capsys):
    with store.patience(40), pytest.raises(StoreError) as caught:
        store.ask(URL, failing(ConnectionError("connection refused")))
    assert sum(clock) == pytest.approx(32.6), "a further 10 seconds are more than 40"
    assert str(caught.value) == f"{URL}: the store gives no answer (connection refused); start again when it does"
    assert isinstance(caught.value.__cause__, ConnectionError)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"{URL}: the store gives no answer (connection refused); asking again for {left} s" for left in (27, 17)
    ]


def test_without_patience_it_is_asked_once(clock):
    with store.patience(0), pytest.raises(StoreError):
        store.ask(URL, failing(ConnectionError("away")))
    assert clock == []


@pytest.mark.parametrize(
    ("error", "raised"),
    [(FileNotFoundError("x"), FileNotFoundError), (PermissionError("x"), UserError), (UserError("x"), UserError)],
)
def test_an_answer_and_a_refusal_are_final(clock, error, raised):
    with store.patience(300), pytest.raises(raised) as caught:
        store.ask(URL, failing(error))
    assert clock == [] and not isinstance(caught.value, StoreError)
