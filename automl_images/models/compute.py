"""The memory layout and the precision that train a classifier fastest, found by a short probe on this machine."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from automl_images.models.classifier import Classifier

SHARE = 0.02  # of a trial's images that the probe may use
ROUNDS, LEAST = 7, 2  # timed passes of each candidate: at most, at least
SECONDS = 5.0  # that the probe should take; past them no further round begins
GAIN = 1.1  # a layout or precision other than the plain one must be this much faster, or timing noise would choose
CPU_IMAGES = 16, 8, 4  # of a batch, as many as there is time for; a GPU is probed with whole batches

Choice = dict[str, Any]  # channels_last: None where the model could not be
_BEFORE = 2  # passes on a CPU that tell how many images there is time for
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def fastest(
    model: Classifier, batch: Tensor, device: torch.device, *, steps: int, precision: str | None = None
) -> Choice:
    """Return the layout and precision to train with; what a resumed trial must use again, so it is plain data.

    Every candidate does two to seven forward and backward passes on a copy of the model, in turns, after one that is
    not timed; the fastest pass of each counts. The plain candidate (NCHW) stays unless another is at least a tenth
    faster. Only a model whose row in the table of models allows it is channels_last: it makes ResNeSts slower on GPUs,
    about 2.6 times in timm's published benchmarks, and no difference to ViTs. A trial too short for a probe computes as
    :func:`known` says.

    Args:
        model: a classifier on ``device``.
        batch: a training batch on ``device``, [B, 3, H, W].
        device: where training runs.
        steps: batches in the whole trial; no probe where it would use more than a fiftieth of their images.
        precision: ``float32`` (no autocast), ``float16`` (on a CPU bfloat16), or None: bfloat16 on GPUs that have it,
            and where it is faster on CPUs that have it.

    Returns:
        ``channels_last`` (None where the model cannot be), ``dtype`` (``float32``, ``bfloat16`` or ``float16``) and
        ``note``, a line.
    """
    plain, *others = _candidates(model, device, precision)
    substitute = ", float16 is bfloat16 on a CPU" if precision == "float16" and device.type == "cpu" else ""
    if not others:
        return {**plain, "note": f"layout: {describe(plain)} (the only one{substitute})"}
    least = min(*CPU_IMAGES, len(batch)) if device.type == "cpu" else len(batch)
    allowed = (SHARE * steps * len(batch) - _BEFORE * least) / (1 + len(others))  # images of each
    if allowed < (1 + LEAST) * least:
        chosen = known([plain, *others], device)
        return {**chosen, "note": f"layout: {describe(chosen)} (not probed, too little training{substitute})"}
    times = _probe(model, batch, device, [plain, *others], allowed)
    best = min(range(len(times)), key=times.__getitem__)
    if times[best] * GAIN > times[0]:
        best = 0
    chosen = [plain, *others][best]
    note = f"layout: {describe(chosen)} ({times[0] / times[best]:.1f} times as fast as {describe(plain)}{substitute})"
    return {**chosen, "note": note}


def known(choices: Sequence[Choice], device: torch.device) -> Choice:
    """Return what to compute with unmeasured, of ``choices`` with the plain one first.

    On GPUs, channels_last where it is among the choices: 1.2 to 1.5 times as fast in timm's published benchmarks of
    ResNets, SE-ResNeXts and MobileNets. On CPUs that multiply bfloat16, that and channels_last: 1.3
    to 2.9 times as fast with 224 pixels on an EPYC with AVX512-BF16 and a Xeon with AMX. On others the plain one.
    """
    trusted = device.type == "cuda" or (choices[-1]["dtype"] == "bfloat16" and cpu_has_bfloat16())
    return choices[-1] if trusted else choices[0]


def laid_out(model: Classifier, choice: Mapping[str, Any], device: torch.device) -> bool:
    """Return whether a model is channels_last under a choice that another model of the sweep may have made.

    Where that one could not be (``channels_last`` is None), it is as :func:`known` says.
    """
    layout = choice["channels_last"]
    if layout is None:
        plain, other = ({**choice, "channels_last": last} for last in (False, True))
        layout = known([plain, other], device)["channels_last"]
    return bool(layout and model.architecture.channels_last)


def describe(choice: Mapping[str, Any]) -> str:
    """Return a choice in words, such as ``bfloat16 channels_last``."""
    return f"{choice['dtype']} {'channels_last' if choice['channels_last'] else 'NCHW'}"


def apply(model: nn.Module, choice: Mapping[str, Any]) -> nn.Module:
    """Return the model with its weights in the chosen memory layout; values do not change."""
    return model.to(memory_format=torch.channels_last if choice["channels_last"] else torch.contiguous_format)


def autocast(choice: Mapping[str, Any], device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which the chosen precision is computed; float16 needs its losses scaled besides."""
    dtype = _DTYPES[choice["dtype"]]
    return torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)


@contextlib.contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute in float32 whatever trains around, so that what an evaluation scores is what is served.

    GPUs multiply by TensorFloat-32, whose products have 10 bits after the point, as convolutions do by default.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if device.type == "cuda" else before)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _candidates(model: Classifier, device: torch.device, precision: str | None) -> list[Choice]:
    """Return the choices to try, the plain one first."""
    layouts = [False, True] if model.architecture.channels_last else [None]
    if precision == "float32":
        dtypes = ["float32"]
    elif precision == "float16":
        dtypes = ["bfloat16" if device.type == "cpu" else "float16"]
    elif device.type == "cuda":
        dtypes = ["bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"]
    else:
        dtypes = ["float32", *(["bfloat16"] if device.type == "cpu" and cpu_has_bfloat16() else [])]
    return [{"channels_last": layout, "dtype": dtype} for dtype in dtypes for layout in layouts]


def cpu_has_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX); else it would be slower."""
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def _probe(model: nn.Module, batch: Tensor, device: torch.device, choices: list[Choice], allowed: float) -> list[float]:
    """Return the seconds of the fastest pass of each choice, of passes with up to ``allowed`` images altogether."""
    times = [float("inf")] * len(choices)
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus), torch.enable_grad():
        copies = {c["channels_last"]: apply(copy.deepcopy(model), c).train() for c in choices}
        sample, begun = batch, time.perf_counter()
        if device.type == "cpu":
            sample = batch[: min(CPU_IMAGES)]
            plain = copies[choices[0]["channels_last"]]
            each = min(_pass(plain, sample, device, choices[0]) for _ in range(_BEFORE)) / len(sample)
            most = min(allowed, SECONDS / (each * len(choices))) / (1 + LEAST)
            sample = batch[: next((n for n in CPU_IMAGES if n <= most), min(CPU_IMAGES))]
        rounds = min(ROUNDS, int(allowed / len(sample)) - 1)
        for turn in range(rounds + 1):  # in turns, so that a busy moment of the machine hits all alike
            if turn > LEAST and time.perf_counter() - begun > SECONDS:
                break
            for i, choice in enumerate(choices):
                seconds = _pass(copies[choice["channels_last"]], sample, device, choice)
                if turn:  # the first pass chooses kernels and takes memory
                    times[i] = min(times[i], seconds)
    return times


def _pass(model: nn.Module, batch: Tensor, device: torch.device, choice: Choice) -> float:
    wait = torch.cuda.synchronize if device.type == "cuda" else torch.cpu.synchronize
    wait(device)
    start = time.perf_counter()
    with autocast(choice, device):
        loss = model(batch).square().mean()
    loss.backward()
    model.zero_grad(set_to_none=True)
    wait(device)
    return time.perf_counter() - start
