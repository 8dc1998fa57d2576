"""What is no plain value is refused by its place, before anything is built from it."""

import datetime
import time

import pytest

from automl_images.errors import UserError, redact
from automl_images.experiment import Experiment
from automl_images.plain import check_plain, read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{n}: &{n} [{', '.join([f'*{m}'] * 9)}]\n" for m, n in zip("abcdefgh", "bcdefghi", strict=True)
)
BAD = {
    "a bomb of aliases": (BOMB, "its aliases grow beyond 100000 values"),
    "5,000 brackets": ("[" * 5000, "is nested deeper than 32 levels"),
    "5,000 pairs of brackets": ("[" * 5000 + "]" * 5000, "is nested deeper than 32 levels"),
    "an alias of itself": ("a: &a [*a]", "names nothing that has ended"),
    "a key given twice": ("a: 1\nb: {c: 1, d: 2, c: 3}", "the key 'c' is given twice"),
    "a key given twice at the top": ("a: 1\nb: 2\na: 3", "the key 'a' is given twice"),
    "a python object": ("a: !!python/object/apply:os.system ['true']", "is not YAML"),
    "5,000 digits": ("a: " + "9" * 5000, "is not YAML"),
    "a list as a key": ("{[1, 2]: 3}", "is not YAML"),
}


@pytest.mark.parametrize(("text", "line"), BAD.values(), ids=BAD)
def test_yaml_that_nobody_means_is_refused_in_one_line_at_once(text, line):
    start = time.monotonic()
    with pytest.raises(UserError, match=line) as caught:
        read_yaml(text, "e.yaml")
    assert str(caught.value).startswith("e.yaml: ") and "\n" not in str(caught.value)
    assert time.monotonic() - start < 5


def test_yaml_is_read_as_before():
    text = "a: &x {b: 1, c: [1e-3, 0.5, true, null, 'q']}\nd: {<<: *x, b: 2}\ne: 2024-01-02"
    inner = {"b": 1, "c": ["1e-3", 0.5, True, None, "q"]}
    assert read_yaml(text, "e") == {"a": inner, "d": {**inner, "b": 2}, "e": "2024-01-02"}, "a date is text"
    assert read_yaml('{"a": [1, 2.5]}', "e") == {"a": [1, 2.5]}


PLACES = {
    "sweep.seed": ({"sweep": {"seed": 10**400}}, "has more than 18 digits"),
    "sweep.space.learning_rate.choice[0]": (
        {"sweep": {"space": {"learning_rate": {"choice": [datetime.date(2024, 1, 2)]}}}},
        "a date is no plain value",
    ),
    "data.training.source": ({"data": {"training": {"source": "a\0b"}}}, "cannot be printed"),
    "storage": ({"storage": "a\ud800"}, "cannot be printed"),
    "sweep": ({"sweep": {1: 2}}, "1 is no name"),
    "register.name": ({"register": {"name": "my model/v1"}}, "should match pattern"),
    "register": ({"register": {"name": "a" * 300}}, "at most 128 characters"),
    "serve.name": ({"serve": {"name": "éé"}}, "should match pattern"),
}


@pytest.mark.parametrize("place", PLACES)
def test_an_experiment_is_refused_by_the_place(place):
    changes, line = PLACES[place]
    with pytest.raises(UserError, match=line) as caught:
        Experiment.read({"task": "image-classification", **changes})
    assert str(caught.value).startswith(place)


SECRET = "s3cr3tW0rd"
FORMS = [
    f"https://user:{SECRET}@host/data",
    f"s3://AKIAIOSFODNN7EXAMPLE:abc/{SECRET}@bucket/key",
    f"https://{SECRET}@github.com/a/b",
    f"https://host/c?sv=2022&sig={SECRET}&se=9",
    f"https://host/c?X-Amz-Signature={SECRET}",
    f"https://host/c?X-Amz-Credential={SECRET}/20260101/us-east-1/s3",
    f"https://host/c?a=1;token={SECRET}",
    f"DefaultEndpointsProtocol=https;AccountName=me;AccountKey={SECRET}==;EndpointSuffix=x",
    f"AccountKey={SECRET}",
    f"Endpoint=sb://x;SharedAccessKey={SECRET}",
    f"AWS_SECRET_ACCESS_KEY={SECRET}",
    f"aws_session_token={SECRET}",
    f'{{"secret_access_key": "{SECRET}"}}',
    f"password={SECRET}",
    f"Authorization: Bearer {SECRET}",
    f"Authorization: Basic {SECRET}",
    f"hf_{SECRET * 3}",
    f"ghp_{SECRET * 3}",
    f"could not open https://user:{SECRET}@host/data: gone",
]
OPEN = [
    "s3://bucket/a/b.jpg",
    "http://localhost:9000/bucket/img@2x.png",
    "abfs://container@account.dfs.core.windows.net/path",
    "gs://bucket/key=value/x.png",
    "settings.secret: unknown key; did you mean 'token'?",
    "learning_rate=0.01",
    "/data/me@home/images",
    "monkey=1",
]


@pytest.mark.parametrize("text", FORMS)
def test_credentials_are_redacted_in_every_form_and_refused_in_an_experiment(text):
    assert SECRET not in redact(text)
    with pytest.raises(UserError, match="holds credentials .*environment") as caught:
        check_plain({"data": {"training": {"source": text}}})
    assert str(caught.value).startswith("data.training.source: ") and SECRET not in str(caught.value)


@pytest.mark.parametrize("text", OPEN)
def test_what_is_no_credential_stays(text):
    assert redact(text) == text
    check_plain({"storage": text})
