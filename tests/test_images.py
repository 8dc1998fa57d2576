"""The container images, by what their Dockerfiles say; and by a build, where there is an engine."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from automl_images import steps

ROOT = Path(__file__).parent.parent
FILES = {"gpu": "Dockerfile.gpu", "light": "images/light/Dockerfile", "serve": "images/serve/Dockerfile"}
COMPILERS = re.compile(r"\b(gcc|g\+\+|clang|build-essential|cmake|python3-dev)\b")


def instructions(name):
    """Return a Dockerfile's instructions: (word, rest), comments out and continued lines joined."""
    lines = [line for line in (ROOT / FILES[name]).read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined if line.strip()]


def stages(name):
    """Return the stages, each a list of instructions that begins with FROM."""
    found = []
    for word, rest in instructions(name):
        if word == "FROM":
            found.append([])
        if found:
            found[-1].append((word, rest))
    return found


def pins(path):
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line)] == []
    return {re.sub("[-_.]+", "-", line.partition("==")[0]).lower(): line.partition("==")[2] for line in lines}


def requirements(*extras):
    spec = importlib.util.spec_from_file_location("requirements", ROOT / "images/requirements.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.requirements(ROOT / "pyproject.toml", list(extras))


def extras(name):
    return re.search(r"requirements\.py ([a-z0-9 ]+) >", " ".join(rest for _, rest in instructions(name)))[1].split()


def make(*arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.fixture(params=FILES)
def name(request):
    return request.param


def test_no_image_runs_as_root(name):
    users = [rest for word, rest in stages(name)[-1] if word == "USER"]
    assert re.fullmatch(r"[1-9]\d*:0", users[-1])
    assert [word for word, _ in stages(name)[-1]].index("USER") > max(
        i for i, (word, _) in enumerate(stages(name)[-1]) if word == "RUN"
    )


def test_any_user_has_a_home_that_it_may_write_to(name):
    final = " ".join(rest for _, rest in stages(name)[-1])
    home = re.search(r"\bHOME=(\S+)", final)[1]
    assert f"install -d -m 1777 {home}" in final
    assert "LOGNAME=" in final  # getpass.getuser, which torch calls, fails for a user without a name


def test_what_draws_class_names_has_fonts_of_any_script():
    fonts = next(rest for word, rest in stages("gpu")[-1] if word == "RUN" and "fonts-" in rest)
    assert {"fonts-dejavu-core", "fonts-noto-core", "fonts-noto-cjk"} <= set(fonts.replace(";", " ").split())
    assert "rm -rf /var/lib/apt/lists/*" in fonts and fonts.startswith("if command -v apt-get")


def test_the_entry_point_is_the_command(name):
    final = stages(name)[-1]
    assert [json.loads(rest) for word, rest in final if word == "ENTRYPOINT"] == [["automl-images"]]
    assert "CMD" not in [word for word, _ in final]


def test_every_stage_starts_from_the_base_image_that_was_asked_for(name):
    assert instructions(name)[0] == ("ARG", "BASE_IMAGE=python:3.11-slim")
    assert {rest.partition(" AS ")[0] for word, rest in instructions(name) if word == "FROM"} == {"${BASE_IMAGE}"}


def test_nothing_is_fetched_but_by_pip_and_no_secret_is_passed(name):
    words = [word for word, _ in instructions(name)]
    text = " ".join(rest for _, rest in instructions(name))
    assert "ADD" not in words
    assert not re.search(r"https?://|\bcurl\b|\bwget\b|\bgit clone\b", text)
    settings = " ".join(rest for word, rest in instructions(name) if word in ("ARG", "ENV"))
    assert not re.search(r"token|passw|secret|credential|_key\b|index_url", settings, re.IGNORECASE)


def test_no_compilers_and_no_caches(name):
    runs = [rest for word, rest in instructions(name) if word == "RUN"]
    assert not [rest for rest in runs if COMPILERS.search(rest)]
    installs = [part for rest in runs for part in re.split(r"&&|;", rest) if "pip install" in part]
    assert installs and all("--no-cache-dir" in part for part in installs)


def test_everything_installed_is_pinned(name):
    text = " && ".join(rest for word, rest in instructions(name) if word == "RUN")
    for part in (p for p in re.split(r"&&|;", text) if "pip install" in p):
        of_the_code = part.split()[-1] == "." and "--no-deps" in part and "--no-build-isolation" in part
        of_pins = part.split()[-2:] == ["-r", "/requirements/torch.txt"] and "--no-deps" in part
        assert of_the_code or of_pins or re.search(r"-c \S*constraints\.txt", part), part
    assert "pip check" in text


def test_code_comes_after_all_that_changes_less(name):
    *_, code, final = stages(name)
    assert [rest for word, rest in code if word == "COPY"][-1] == "automl_images automl_images"
    assert len([1 for word, _ in code[code.index(("COPY", "automl_images automl_images")) :] if word == "RUN"]) == 1
    copied = final.index(("COPY", "--from=code /code /"))
    assert not [rest for word, rest in final[copied:] if word in ("RUN", "ENV")]
    assert not [rest for word, rest in final[:copied] if word == "COPY" and "automl_images" in rest]


def test_both_builders_take_it(name):
    text = (ROOT / FILES[name]).read_text()
    assert not re.search(r"^# *syntax *=|--mount|--chmod|<<", text, re.MULTILINE)


def test_labels_name_the_image_and_its_version(name):
    labels = " ".join(rest for word, rest in stages(name)[-1] if word == "LABEL")
    found = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', labels))
    assert found.pop("title") == f"automl-images/{name}" and found.pop("description").endswith(".")
    assert found == {"licenses": "Apache-2.0", "version": "$VERSION", "revision": "$REVISION"}


def test_the_build_gets_what_it_copies_and_nothing_else():
    copied = set()
    for name in FILES:
        for word, rest in instructions(name):
            if word == "COPY" and not rest.startswith("--from"):
                copied.update(rest.split()[:-1])
    first, *rest = [x for x in (ROOT / ".dockerignore").read_text().splitlines() if x and not x.startswith("#")]
    assert first == "*"
    assert {x.removeprefix("!") for x in rest if x.startswith("!")} == copied
    assert all((ROOT / path).exists() for path in copied)


def test_gpu_and_serve_share_the_layer_of_torch():
    def start(name):
        wanted, final = stages(name)[0], stages(name)[-1]
        until = next(i for i, (word, _) in enumerate(final) if word == "RUN")
        return [rest for word, rest in wanted if word == "COPY"], wanted[-1][1].split("&&")[0], final[: until + 1]

    assert start("gpu") == start("serve")
    assert "torch.txt" in start("gpu")[2][-1][1]


def test_the_layer_of_torch_holds_torch_and_cuda_alone():
    pattern = re.search(r"grep -E '([^']+)' constraints\.txt > torch\.txt", (ROOT / FILES["gpu"]).read_text())[1]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = {line.partition("==")[0] for line in lines if re.match(pattern, line)}
    assert found >= {"torch", "torchvision", "triton", "nvidia-cublas", "nvidia-cudnn-cu13", "cuda-bindings"}
    assert {x for x in found if not x.startswith(("nvidia-", "cuda-"))} == {"torch", "torchvision", "triton"}


@pytest.mark.parametrize(
    ("name", "has", "has_not"),
    [
        ("gpu", {"torch", "lightning", "timm", "scikit-learn", "s3fs"}, {"ultralytics", "kserve"}),
        (
            "light",
            {"s3fs", "gcsfs", "adlfs", "model-registry"},
            {"torch", "torchvision", "lightning", "timm", "ultralytics"},
        ),
        ("serve", {"torch", "kserve", "onnxruntime"}, {"ultralytics"}),
    ],
)
def test_what_each_image_installs(name, has, has_not):
    found = set(requirements(*extras(name)))
    assert found >= has and not found & has_not


@pytest.mark.parametrize("name", ["gpu", "serve"])
def test_ultralytics_can_be_left_out(name):
    found = [(word, rest) for word, rest in stages(name)[-1] if "ultralytics" in rest.lower()]
    assert found[0] == ("ARG", "WITH_ULTRALYTICS=1")
    assert found[1][0] == "RUN" and found[1][1].startswith('if [ "$WITH_ULTRALYTICS" = 1 ]; then')
    assert found[1][1].endswith("fi") and "opencv-python-headless" in found[1][1]
    assert [word for word, _ in found[2:]] == ["LABEL"]


def test_all_that_the_images_install_by_name_is_pinned():
    named = {r for name in FILES for r in requirements(*extras(name))} | set(requirements("yolo"))
    assert {re.split(r"[\[><=]", r)[0] for r in named} <= set(pins(ROOT / "constraints.txt"))


def test_make_builds_the_images_that_the_components_name():
    for variable in ("LIGHT", "GPU", "SERVE"):
        if f"AUTOML_IMAGES_{variable}_IMAGE" in os.environ:
            pytest.skip("the environment names other images")
    lines = re.sub(r"\\\n\s*", "", make("--dry-run", "images", "BASE_IMAGE=some/base").stdout).splitlines()
    assert len(lines) == 3 and all("--build-arg BASE_IMAGE=some/base " in line for line in lines)
    built = {re.search(r"-t (\S+) -f (\S+) \.$", line).groups() for line in lines}
    names = {"light": steps.LIGHT, "gpu": steps.GPU, "serve": steps.SERVE}
    assert built == {(names[n], file) for n, file in FILES.items()}


FAKE_ENGINE = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
case "$*" in
  *light*missing*) exit 1 ;;
  *inspect*--format*) echo reg.example/other/x@sha256:1; echo "reg.example/team/${3%:*}@sha256:2" ;;
esac
"""


def engine(folder):
    script = folder / "docker"
    script.write_text(FAKE_ENGINE)
    script.chmod(0o755)
    return f"DOCKER={script}"


def test_push_tags_pushes_and_says_the_digests(tmp_path):
    done = make("push", engine(tmp_path), "REGISTRY=reg.example/team", "TAG=7", "IMAGES=light gpu")
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [c for c in calls if not c.startswith("image inspect")] == [
        f"{what} reg.example/team/automl-images/{image}:7"
        for image in ("light", "gpu")
        for what in (f"tag automl-images/{image}:7", "push")
    ]
    assert done.stdout.splitlines()[-2:] == [
        "AUTOML_IMAGES_LIGHT_IMAGE=reg.example/team/automl-images/light@sha256:2",
        "AUTOML_IMAGES_GPU_IMAGE=reg.example/team/automl-images/gpu@sha256:2",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["TAG=7"], "name the registry"), (["TAG=missing", "REGISTRY=reg.example/team"], "make images first")],
    ids=["no registry", "no image"],
)
def test_push_refuses_in_one_line(arguments, says, tmp_path):
    done = make("push", engine(tmp_path), *arguments)
    assert done.returncode == 2 and says in done.stderr.splitlines()[0]
    calls = tmp_path / "calls"
    assert not calls.exists() or "push" not in calls.read_text()


def base_image():
    """Return a base image that the local engine has, or None."""
    if not shutil.which("docker"):
        return None
    for image in (os.environ.get("BASE_IMAGE"), "local/python:3.11-slim", "python:3.11-slim"):
        if image and subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode == 0:
            return image
    return None


@pytest.mark.full
@pytest.mark.skipif(not base_image(), reason="no container engine, or no base image")
def test_the_light_image_is_small_and_quick_and_has_no_torch():
    built = make("image-light", "TAG=test", f"BASE_IMAGE={base_image()}")
    assert built.returncode == 0, built.stderr
    image = "automl-images/light:test"

    def docker(*arguments):
        return subprocess.run(["docker", *arguments], capture_output=True, text=True)

    try:
        size = int(docker("image", "inspect", image, "--format", "{{.Size}}").stdout)
        assert size <= 500e6
        took = []
        for _ in range(5):
            start = time.perf_counter()
            assert docker("run", "--rm", image, "--help").returncode == 0
            took.append(time.perf_counter() - start)
        print(f"{size / 1e6:.0f} MB; --help in {min(took):.2f} s")
        assert min(took) <= 1.0  # the best of five: others may use this machine, too
        for user in ([], ["--user", "12345:0"], ["--user", "4321:4321"]):
            script = 'test "$(id -u)" != 0 && touch "$HOME/x" && ! python3 -c "import torch" 2>&1 && ! command -v gcc'
            ran = docker("run", "--rm", *user, "--entrypoint", "sh", image, "-c", script)
            assert ran.returncode == 0 and "No module named 'torch'" in ran.stdout
    finally:
        docker("image", "rm", image)
