"""Which number format a model computes in, and why: one rule for every family.

A pure function over a few facts, so that the doctor, the loader and the tests agree.
Rule, by measurement: bfloat16 matrix products run 2 to 6 times faster than float32 on
CPUs with AMX or AVX512-BF16 and slower on all others; Volta and Turing compute float16
but only emulate bfloat16; from Ampere on bfloat16 is as fast as float16 and cannot
overflow.

int8 is never chosen here: it means weights of the decode stage alone, and whether it wins there
is measured by `decode_precision`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from kouji.errors import ConfigError

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "float16", "bfloat16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

VOLTA = (7, 0)  # first with float16 tensor cores
AMPERE = (8, 0)  # first with bfloat16


@dataclass(frozen=True)
class DeviceFacts:
    """What the choice depends on.

    device:      "cpu", "cuda" or "mps"
    has_amx:     the CPU has AMX tiles for bfloat16
    has_avx512_bf16: the CPU has the AVX512-BF16 dot product
    compute_capability: of the GPU, for instance (7, 0); None without one
    """

    device: str = "cpu"
    has_amx: bool = False
    has_avx512_bf16: bool = False
    compute_capability: tuple[int, int] | None = None


class PrecisionChoice(NamedTuple):
    """The number format and the reason in words for a log line."""

    precision: Precision
    reason: str


def choose_precision(facts: DeviceFacts, override: str | None = None) -> PrecisionChoice:
    """Choose the number format for a device; an explicit `override` wins.

    Raises ConfigError if `override` is none of `PRECISIONS`, or int8 on another device than a CPU.
    """
    if override is not None and override != "auto":
        return _overridden(facts, override)
    if facts.device == "cuda":
        return _for_gpu(facts.compute_capability or (0, 0))
    if facts.device != "cpu":
        return PrecisionChoice("float32", f"no half-precision measurements on {facts.device}")
    if facts.has_amx:
        return PrecisionChoice("bfloat16", "this CPU has AMX: bfloat16 is 2-6 times faster")
    if facts.has_avx512_bf16:
        return PrecisionChoice("bfloat16", "this CPU has AVX512-BF16: bfloat16 is faster")
    return PrecisionChoice("float32", "this CPU has neither AMX nor AVX512-BF16")


def _for_gpu(capability: tuple[int, int]) -> PrecisionChoice:
    name = f"compute capability {capability[0]}.{capability[1]}"
    if capability >= AMPERE:
        return PrecisionChoice("bfloat16", f"{name} (Ampere or newer) computes bfloat16")
    if capability >= VOLTA:
        return PrecisionChoice("float16", f"{name} (Volta or Turing) has float16 but no bfloat16")
    return PrecisionChoice("float32", f"{name} is older than Volta: half precision is slow")


def _overridden(facts: DeviceFacts, override: str) -> PrecisionChoice:
    if override not in PRECISIONS:
        raise ConfigError(
            "unknown precision", seen=override, allowed=", ".join(("auto", *PRECISIONS))
        )
    if override == "int8" and facts.device != "cpu":
        allowed = "float32, float16, bfloat16"
        raise ConfigError("int8 weights are for CPUs", seen=facts.device, allowed=allowed)
    advised = choose_precision(facts)
    note = "" if advised.precision == override else f"; the rule says {advised.precision}"
    return PrecisionChoice(override, f"asked for{note}")


def read_device_facts(device: str | torch.device = "cpu") -> DeviceFacts:
    """Ask torch about a device of this machine; unknown facts count as absent.

    raises: ConfigError for a device that torch or this machine does not have
    """
    import torch

    kind = _known_device(str(device)).type
    if kind == "cuda":
        return DeviceFacts("cuda", compute_capability=torch.cuda.get_device_capability(device))
    return DeviceFacts(
        kind,
        has_amx=_cpu_claims("_is_amx_tile_supported"),
        has_avx512_bf16=_cpu_claims("_is_avx512_bf16_supported"),
    )


def _known_device(name: str) -> torch.device:
    import torch

    allowed = "cpu, cuda, cuda:1, mps"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError("unknown device", seen=name, allowed=allowed) from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise ConfigError("unknown device", seen=name, allowed=allowed)
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    is_missing = device.type == "mps" and not torch.backends.mps.is_available()
    if is_missing or (device.index or 0) >= count:
        cure = "choose cpu, or let kouji doctor say what is missing"
        raise ConfigError("this machine has no such device", seen=name, cure=cure)
    return device


def _cpu_claims(question: str) -> bool:
    """Ask one of torch.cpu's private predicates: they may move, so absence means no."""
    import torch

    predicate = getattr(torch.cpu, question, None)
    return bool(predicate()) if callable(predicate) else False
