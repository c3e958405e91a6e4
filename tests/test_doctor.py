"""The doctor on machines we do not have: each fault found, each with its cure."""

import dataclasses
import io
import json
import re
import tomllib
from pathlib import Path

import pytest
from rich.console import Console

from kouji.compatibility import newest_cuda_for
from kouji.doctor import LIBRARIES, Diagnosis, diagnose, render
from kouji.errors import ConfigError
from kouji.machine import Gpu, MachineFacts, WeightsFile, check_weights, parse_nvidia_smi
from kouji.machine import read_machine as read

GIB = 1 << 30
HEALTHY = MachineFacts(
    python=(3, 12, 1),
    torch="2.13.0",
    cpu_name="Laptop",
    cpu_flags=frozenset({"avx2", "avx512f", "amx_tile", "amx_bf16"}),
    cores=8,
    threads=8,
    memory_total=16 * GIB,
    memory_available=8 * GIB,
    home=Path("/home/anna/kouji"),
    home_free=50 * GIB,
    libraries={library.name: "1.0" for library in LIBRARIES},
    weights=(WeightsFile("models/mini/weights/mini.safetensors", 20 << 20),),
)
V100 = Gpu("Tesla V100", 16 * GIB, (7, 0))
H100 = Gpu("H100 80GB", 80 * GIB, (9, 0))


def machine(**changes):
    return dataclasses.replace(HEALTHY, **changes)


def the_blocker(diagnosis: Diagnosis):
    (finding,) = diagnosis.blockers
    assert finding.cure
    return finding


def test_a_healthy_laptop_with_amx_computes_bfloat16():
    diagnosis = diagnose(HEALTHY)
    assert diagnosis.exit_code == 0
    assert diagnosis.precision.precision == "bfloat16"
    assert "AMX" in diagnosis.precision.reason


def test_a_laptop_without_amx_computes_float32():
    diagnosis = diagnose(machine(cpu_flags=frozenset({"avx2"})))
    assert diagnosis.exit_code == 0
    assert diagnosis.precision.precision == "float32"


def test_avx512_bf16_without_amx_is_enough_for_bfloat16():
    assert diagnose(machine(cpu_flags=frozenset({"avx512_bf16"}))).precision.precision == "bfloat16"


def test_a_mac_is_fine_without_flags_or_gpu():
    facts = machine(system="Darwin", architecture="arm64", cpu_flags=frozenset())
    diagnosis = diagnose(facts)
    assert diagnosis.exit_code == 0
    assert diagnosis.precision.precision == "float32"


def test_v100_computes_float16_because_it_has_no_bfloat16():
    facts = machine(
        gpus=(V100,),
        driver="560.28.03",
        torch_cuda="12.6",
        torch_archs=("sm_70", "sm_80", "sm_90a"),
        is_cuda_usable=True,
    )
    diagnosis = diagnose(facts)
    assert diagnosis.exit_code == 0
    assert diagnosis.device == "cuda"
    assert diagnosis.precision.precision == "float16"


@pytest.mark.parametrize("archs", [("sm_75", "sm_80", "sm_90"), ()])
def test_v100_with_cuda_13_is_a_blocker(archs):
    facts = machine(
        gpus=(V100,),
        driver="580.65.06",
        torch_cuda="13.0",
        torch_archs=archs,
        is_cuda_usable=True,
    )
    finding = the_blocker(diagnose(facts))
    assert "7.0" in finding.value
    assert "12.6" in finding.cure


def test_h100_with_an_old_driver_is_a_blocker_with_two_ways_out():
    facts = machine(gpus=(H100,), driver="535.104.05", torch_cuda="13.0")
    finding = the_blocker(diagnose(facts))
    assert "535.104.05" in finding.value
    assert "580.65.06" in finding.cure
    assert "CUDA 12.9" in finding.cure


def test_h100_in_order_computes_bfloat16():
    facts = machine(gpus=(H100,), driver="570.26", torch_cuda="12.8", is_cuda_usable=True)
    diagnosis = diagnose(facts)
    assert diagnosis.exit_code == 0
    assert diagnosis.precision.precision == "bfloat16"


def test_a_gpu_torch_cannot_open_is_a_blocker():
    facts = machine(gpus=(H100,), driver="580.65.06", torch_cuda="12.8")
    assert "nvidia-smi" in the_blocker(diagnose(facts)).cure


def test_a_cpu_build_beside_a_gpu_is_a_warning_not_a_blocker():
    diagnosis = diagnose(machine(gpus=(H100,), driver="570.26"))
    assert diagnosis.exit_code == 0
    assert diagnosis.device == "cpu"
    (warning,) = [f for f in diagnosis.findings if f.level == "warning"]
    assert "12.9" in warning.cure


def test_a_cuda_version_the_table_lacks_is_judged_by_its_family():
    facts = machine(gpus=(H100,), driver="520.0", torch_cuda="12.7", is_cuda_usable=True)
    assert "560.28.03" in the_blocker(diagnose(facts)).cure
    unknown = diagnose(machine(gpus=(H100,), driver="999", torch_cuda="17.1", is_cuda_usable=True))
    assert unknown.exit_code == 0


@pytest.mark.parametrize(
    ("changes", "topic", "cure"),
    [
        ({"python": (3, 10, 4)}, "Python", "3.11"),
        ({"torch": None}, "torch", "pip install torch"),
        ({"home_free": 10 << 20}, "Disk", "KOUJI_HOME"),
        ({"is_home_writable": False}, "Disk", "KOUJI_HOME"),
        ({"memory_available": 100 << 20}, "Memory", "close"),
        ({"weights": ()}, "Weights", "install"),
        (
            {
                "weights": (
                    WeightsFile("models/mini/mini.safetensors", 5, "not a safetensors file"),
                )
            },
            "Weights",
            "install",
        ),
        (
            {"libraries": {k: v for k, v in HEALTHY.libraries.items() if k != "soxr"}},
            "soxr",
            "pip install soxr",
        ),
    ],
)
def test_each_blocker_has_its_cure(changes, topic, cure):
    diagnosis = diagnose(machine(**changes))
    assert diagnosis.exit_code == 1
    finding = the_blocker(diagnosis)
    assert finding.topic.startswith(topic)
    assert cure in finding.cure


def test_a_missing_optional_library_is_a_note_that_says_what_it_is_for():
    libraries = {k: v for k, v in HEALTHY.libraries.items() if k != "pocketsphinx"}
    diagnosis = diagnose(machine(libraries=libraries))
    assert diagnosis.exit_code == 0
    (note,) = [f for f in diagnosis.findings if "pocketsphinx" in f.topic]
    assert "word error rate" in note.topic
    assert "kouji[eval]" in note.cure


def test_every_library_is_named_with_the_extra_that_installs_it(root_dir: Path):
    project = tomllib.loads((root_dir / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    offered = {None: project["dependencies"], **project["optional-dependencies"]}
    for library in LIBRARIES:
        packages = [re.split("[<>=]", each)[0] for each in offered[library.extra]]
        assert library.name in packages, library


def test_cures_name_extras_that_exist(root_dir: Path):
    project = tomllib.loads((root_dir / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pages = [page for kind in ("src/**/*.py", "*.md", "docs/*.md") for page in root_dir.glob(kind)]
    for page in pages:
        text = re.sub(r"ConfigDict\([^)]*\)", "", page.read_text(encoding="utf-8"))  # pydantic's
        named = re.findall(r"(?:kouji|'\.)\[([a-z,-]+)\]|extra=\"([a-z-]+)\"", text)
        extras = {extra for pair in named for extra in "".join(pair).split(",")}
        assert extras <= set(project["optional-dependencies"]), page


def test_more_threads_than_cores_is_a_warning():
    diagnosis = diagnose(machine(cores=2, threads=16))
    assert "OMP_NUM_THREADS=2" in str([f.cure for f in diagnosis.findings if f.level == "warning"])


def test_the_users_precision_wins_and_a_wrong_one_is_refused():
    assert diagnose(HEALTHY, precision="float32").precision.precision == "float32"
    assert "bfloat16" in diagnose(HEALTHY, precision="float32").precision.reason
    with pytest.raises(ConfigError, match="float33"):
        diagnose(HEALTHY, precision="float33")


def test_drivers_compare_as_numbers():
    assert newest_cuda_for("525.60.13") == "12.9"
    assert newest_cuda_for("525.9.1") == "11.8"
    assert newest_cuda_for("unknown") is None


def test_the_report_shows_findings_tables_and_verdict():
    out = io.StringIO()
    libraries = {k: v for k, v in HEALTHY.libraries.items() if k != "pocketsphinx"}
    facts = machine(home_free=10 << 20, libraries=libraries)
    render(diagnose(facts), Console(file=out, width=200))
    text = out.getvalue()
    expected = (
        "Laptop",
        "KOUJI_HOME",
        "525.60.13",
        "Volta",
        "bfloat16",
        "1 blocker",
        "kouji[eval]",
    )
    for part in expected:
        assert part in text


def test_nvidia_smi_is_parsed_and_odd_lines_skipped():
    text = "Tesla V100, 16384, 535.1, 7.0\nbroken\nOld Card, [N/A], 535.1, [N/A]\n"
    driver, gpus = parse_nvidia_smi(text)
    assert driver == "535.1"
    assert gpus == (Gpu("Tesla V100", 16 * GIB, (7, 0)), Gpu("Old Card", 0, None))


def test_weights_are_checked_against_their_header(tmp_path):
    header = json.dumps({"w": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    whole = len(header).to_bytes(8, "little") + header + b"1234"
    file = tmp_path / "a.safetensors"
    for content, fault in [(whole, None), (whole[:-1], "instead"), (b"hello", "safetensors")]:
        file.write_bytes(content)
        found = check_weights(file, tmp_path)
        assert found.name == "a.safetensors"
        assert found.fault is None if fault is None else fault in found.fault
    assert check_weights(tmp_path / "gone.safetensors", tmp_path).fault


def test_this_machine_can_be_read(tmp_path):
    facts = read(tmp_path / "not" / "there", ("numpy", "no-such-library"))
    assert facts.torch
    assert facts.memory_total > 0
    assert facts.home_free > 0
    assert facts.is_home_writable
    assert set(facts.libraries) == {"numpy"}
