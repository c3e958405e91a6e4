"""`kouji classify`: predict files, folders and streams; train, evaluate, export; and wrong use."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from tiny_classifier import LABELS, RATE, make_labelled_sounds, make_tiny_classifier

from kouji.classifying import load_classifier
from kouji.cli import run

Captured = pytest.CaptureFixture[str]
SMALL = (
    "--set=model.width=4", f"--set=model.sample_rate={RATE}", "--set=model.n_fft=256",
    "--set=model.hop_length=128", "--set=model.num_mels=16", "--set=model.window_seconds=0.5",
    "--set=tensorboard=false", "--set=learning_rate=0.01", "--set=warmup_steps=0",
    "--set=batch_size=8", "--set=threads=1", "--architecture=two-conv",
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_classifier(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_labelled_sounds(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over the made-up sounds, the last fold held out."""
    out = tmp_path_factory.mktemp("runs") / "one"
    assert run(["classify", "train", str(data), "--out", str(out), "--epochs=15", *SMALL]) == 0
    return out


def predict(model: Path, *arguments: object) -> int:
    return run(
        ["classify", "predict", "--model", str(model), "--precision=float32", "--threads=1",
         *map(str, arguments)]
    )  # fmt: skip


def objects(captured: Captured) -> list[dict[str, object]]:
    return [json.loads(line) for line in captured.readouterr().out.splitlines()]


# --- predict


def test_files_and_folders_get_a_line_each(model: Path, data: Path, capfd: Captured) -> None:
    assert predict(model, data / "rain", data / "dog" / "dog0.wav", "--top=2") == 0
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 7
    path, shares = lines[-1].split(": ")
    assert path.endswith("dog0.wav")
    assert shares.count("%") == 2


def test_json_and_csv_say_what_the_library_says(model: Path, data: Path, capfd: Captured) -> None:
    path = data / "saw" / "saw1.wav"
    with load_classifier(model, precision="float32", threads=1) as classifier:
        heard = classifier.classify(path, hop_seconds=0.3)
    assert predict(model, path, "--json", "--windows", "--hop=0.3") == 0
    assert objects(capfd) == [{"path": str(path), **heard.as_dict(5)}]
    assert predict(model, path, "--csv") == 0
    [row] = csv.DictReader(io.StringIO(capfd.readouterr().out))
    assert row["label"] == heard.label
    assert float(row["end"]) == pytest.approx(heard.seconds, abs=1e-3)
    assert [name for name in row if name in LABELS] == list(LABELS)
    assert sum(float(row[name]) for name in LABELS) == pytest.approx(1.0, abs=1e-3)


def test_what_cannot_be_read_is_listed_and_told_by_the_exit_code(
    model: Path, data: Path, tmp_path: Path, capfd: Captured
) -> None:
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    (tmp_path / "sub").mkdir()
    good = tmp_path / "sub" / "good.WAV"
    good.write_bytes((data / "dog" / "dog0.wav").read_bytes())
    (tmp_path / "notes.txt").write_text("not a sound, and not asked for")
    assert predict(model, tmp_path, tmp_path / "gone.ogg", "--json") == 1
    captured = capfd.readouterr()
    told = [json.loads(line) for line in captured.out.splitlines()]
    assert ["error" in item for item in told] == [True, False, True]
    assert "bad.wav" in captured.err
    assert "gone.ogg" in captured.err
    assert "2 of 3" in captured.err


def test_an_answer_in_a_file_is_whole_or_not_there(
    model: Path, data: Path, tmp_path: Path, capfd: Captured
) -> None:
    out = tmp_path / "answers.jsonl"
    assert predict(model, data, "--json", "--out", out) == 0
    assert len(out.read_text("utf-8").splitlines()) == 18
    assert capfd.readouterr().out == ""
    assert predict(model, data, "--hop=9", "--out", tmp_path / "none.txt") == 2
    assert [item.name for item in tmp_path.iterdir()] == ["answers.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["{data}", "--model", "esc11"], "esc10"),
        (["{empty}"], "no sounds in this folder"),
        (["-", "{data}"], "standard input comes alone"),
        (["{data}", "--json", "--csv"], "one of them"),
        (["{data}", "--hop", "7"], "hop_seconds"),
        (["{data}", "--precision", "int8"], "precision"),
        (["{data}", "--raw", "s16"], "standard input"),
        (["{data}", "--top", "0"], "top"),
        (["{data}", "--out", "{empty}"], "no file of answers"),
        (["{data}", "--out", "{empty}/none/a.txt"], "no file of answers"),
    ],
)
def test_wrong_use_is_named(
    arguments: list[str], told: str, model: Path, data: Path, tmp_path: Path, capfd: Captured
) -> None:
    given = [part.format(data=data, empty=tmp_path) for part in arguments]
    assert run(["classify", "predict", "--model", str(model), *given]) == 2
    assert told in capfd.readouterr().err


# --- streams


Pipe = Callable[..., int]


@pytest.fixture
def pipe(model: Path, monkeypatch: pytest.MonkeyPatch) -> Pipe:
    """Predict what comes through standard input."""

    def send(data: bytes, *arguments: str) -> int:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return predict(model, "-", *arguments)

    return send


def wav(seconds: float, rate: int = 16_000) -> tuple[np.ndarray, bytes]:
    rng = np.random.default_rng(0)
    samples = (rng.uniform(-0.3, 0.3, (round(seconds * rate), 2)) * 32767).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return samples, file.getvalue()


def test_a_stream_of_wav_or_raw_samples_equals_the_file(
    model: Path, pipe: Pipe, tmp_path: Path, capfd: Captured
) -> None:
    samples, data = wav(3.2)
    (tmp_path / "a.wav").write_bytes(data)
    with load_classifier(model, precision="float32", threads=1) as classifier:
        heard = classifier.classify(tmp_path / "a.wav", hop_seconds=0.5)
    endless = data[:40] + b"\xff\xff\xff\xff" + data[44:]  # as ffmpeg writes into a pipe
    raw = ["--raw=s16", "--sample-rate=16000", "--channels=2"]
    for sent, arguments in ((data, []), (endless, []), (samples.tobytes(), raw)):
        assert pipe(sent, "--json", "--hop=0.5", *arguments) == 0
        *windows, whole = objects(capfd)
        assert windows == heard.as_dict()["windows"]
        assert whole["probabilities"] == heard.as_dict()["probabilities"]


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_width_of_samples_can_be_followed(
    subtype: str, model: Path, pipe: Pipe, tmp_path: Path, capfd: Captured
) -> None:
    soundfile.write(tmp_path / "a.wav", wav(1.7)[0] / 32768, 16_000, subtype=subtype)
    assert predict(model, tmp_path / "a.wav", "--json", "--windows") == 0
    [of_file] = objects(capfd)
    assert pipe((tmp_path / "a.wav").read_bytes(), "--json") == 0
    *windows, _ = objects(capfd)
    assert windows == of_file["windows"]


def test_a_window_is_told_while_the_stream_goes_on(model: Path) -> None:
    command = [sys.executable, "-m", "kouji", "classify", "predict", "-", "--raw=s16"]
    command += [f"--sample-rate={RATE}", "--model", str(model)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(bytes(2 * RATE * 2))
        process.stdin.flush()  # and stays open
        assert process.stdout.readline().startswith(b"0.00-1.00")
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"", "nothing came"),
        (b"RIFF\x00\x00\x00\x00WAVEjunk", "header is damaged"),
        (wav(1.0)[1][:-1000], "breaks off"),
        (wav(0.0)[1], "no sound"),
        (b"some text that is no sound", "sound"),
    ],
)
def test_streams_that_are_none_are_named(
    pipe: Pipe, sent: bytes, told: str, capfd: Captured
) -> None:
    assert pipe(sent) == 1
    [line] = capfd.readouterr().err.splitlines()
    assert told in line
    assert "unexpected" not in line


def test_a_file_of_another_kind_comes_through_a_pipe(
    pipe: Pipe, tmp_path: Path, capfd: Captured
) -> None:
    samples, _ = wav(1.5)
    soundfile.write(tmp_path / "a.flac", samples, 16_000)
    assert pipe((tmp_path / "a.flac").read_bytes()) == 0
    assert capfd.readouterr().out.splitlines()[-1].startswith("1.50 s: ")


# --- train, evaluate, export


def test_training_shows_the_balance_and_leaves_a_model(
    trained: Path, data: Path, capfd: Captured
) -> None:
    report = json.loads((trained / "report.json").read_text("utf-8"))
    assert report["held_out"] == ["5"]
    assert predict(trained, data / "dog" / "dog0.wav", "--json") == 0
    [told] = objects(capfd)
    assert told["label"] in LABELS


def test_a_run_is_evaluated_on_what_it_held_out(
    trained: Path, tmp_path: Path, capfd: Captured
) -> None:
    assert run(["classify", "evaluate", str(trained), "--out", str(tmp_path)]) == 0
    captured = capfd.readouterr()
    assert "accuracy" in captured.out
    assert "note" not in captured.err
    report = json.loads((tmp_path / "evaluation.json").read_text("utf-8"))
    last = json.loads((trained / "report.json").read_text("utf-8"))
    assert report["folds"] == ["5"]
    assert report["clips"] == last["clips"]["valid"]
    assert report["confusion"] == last["classes"]["confusion"]  # heard as in training
    assert (tmp_path / "confusion.png").read_bytes()[:4] == b"\x89PNG"


def test_folds_that_were_taught_are_said_to_be(
    trained: Path, data: Path, tmp_path: Path, capfd: Captured
) -> None:
    arguments = ["classify", "evaluate", str(trained), str(data), "--out", str(tmp_path)]
    assert run([*arguments, "--fold=1", "--fold=5"]) == 0
    assert "was taught fold 1" in capfd.readouterr().err
    assert run([*arguments, "--fold=7"]) == 2
    assert "no such fold" in capfd.readouterr().err


def test_each_fold_in_its_turn_and_all_evaluated(
    data: Path, tmp_path: Path, capfd: Captured
) -> None:
    out = tmp_path / "cv"
    arguments = ["classify", "train", str(data), "--out", str(out), "--epochs=2", *SMALL]
    assert run([*arguments, "--folds=1,3"]) == 0
    assert "mean over 2 folds" in capfd.readouterr().out
    assert run(["classify", "evaluate", str(out)]) == 0
    report = json.loads((out / "evaluation.json").read_text("utf-8"))
    pooled = json.loads((out / "cross_validation.json").read_text("utf-8"))["pooled"]
    assert report["folds"] == ["1", "3"]
    assert report["clips"] == pooled["clips"]
    assert run(["classify", "export", str(out), "--out", str(tmp_path / "x")]) == 1
    assert "several runs" in capfd.readouterr().err


def test_other_labels_are_a_mismatch(
    trained: Path, data: Path, tmp_path: Path, capfd: Captured
) -> None:
    make_labelled_sounds(tmp_path, per_class=2)
    (tmp_path / "dog").rename(tmp_path / "wolf")
    assert run(["classify", "evaluate", str(trained), str(tmp_path)]) == 1
    assert "wolf" in capfd.readouterr().err


def test_a_run_becomes_a_folder_that_predicts_alike(
    trained: Path, data: Path, tmp_path: Path, capfd: Captured
) -> None:
    out = tmp_path / "small"
    assert run(["classify", "export", str(trained), "--checkpoint", "--out", str(out)]) == 0
    document = json.loads((out / "classifier.json").read_text("utf-8"))
    assert document["metadata"]["data"]["folder"] == data.name
    assert document["metadata"]["data"]["valid"] == ["5"]
    answers = []
    for model in (trained, out):
        capfd.readouterr()
        assert predict(model, data, "--csv") == 0
        rows = csv.DictReader(io.StringIO(capfd.readouterr().out))
        answers.append([[float(row[name]) for name in LABELS] for row in rows])
    np.testing.assert_allclose(*answers, atol=5e-3)  # float16 on disk


def test_a_recipe_may_be_the_start(data: Path, tmp_path: Path, capfd: Captured) -> None:
    recipe = tmp_path / "r.yaml"
    model = {"architecture": "two-conv", "width": 2, "sample_rate": RATE, "window_seconds": 0.5}
    run_block = {"steps": 3, "batch_size": 4, "tensorboard": False, "threads": 1, "seed": 7}
    recipe.write_text(yaml.safe_dump({"recipe": "classifier", "model": model, "run": run_block}))
    out = tmp_path / "run"
    arguments = ["classify", "train", str(data), "--out", str(out), "--recipe", str(recipe)]
    assert run([*arguments, "--folds=none"]) == 0
    assert json.loads((out / "report.json").read_text("utf-8"))["held_out"] == []
    [checkpoint] = (out / "checkpoints").glob("step-*")
    state = json.loads((checkpoint / "state.json").read_text("utf-8"))
    assert (state["settings"]["seed"], state["settings"]["steps"]) == (7, 3)
    recipe.write_text("recipe: mini-acoustic\n")
    assert run(arguments) == 2
    assert "recipe: classifier" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--folds=9"], "no such fold"),
        (["--folds=1,9"], "no such fold"),
        (["--seeds=a"], "seeds"),
        (["--seeds=1,1"], "seeds"),
        (["--group-by=town"], "grouping"),
        (["--set=model.labels=[a]"], "labels"),
        (["--set=stepps=3"], "stepps"),
        (["--set=data.augment.colour=3"], "colour"),
        (["--architecture=transformer"], "architecture"),
        (["--layout=wheel"], "layout"),
    ],
)
def test_wrong_training_is_named(
    arguments: list[str], told: str, data: Path, tmp_path: Path, capfd: Captured
) -> None:
    base = ["classify", "train", str(data), "--out", str(tmp_path / "x"), "--epochs=1", *SMALL]
    assert run([*base, *arguments]) in (1, 2)
    assert told in capfd.readouterr().err


def test_an_empty_folder_is_named(tmp_path: Path, capfd: Captured) -> None:
    (tmp_path / "data").mkdir()
    data = str(tmp_path / "data")
    assert run(["classify", "train", data, "--out", str(tmp_path / "x"), *SMALL]) in (1, 2)
    assert "data" in capfd.readouterr().err


def test_damaged_weights_are_named(
    model: Path, data: Path, tmp_path: Path, capfd: Captured
) -> None:
    damaged = make_tiny_classifier(tmp_path / "damaged")
    (damaged / "classifier.json").write_text("{")
    assert predict(damaged, data) == 1
    assert "classifier.json" in capfd.readouterr().err
    assert run(["classify", "export", str(damaged), "--out", str(tmp_path / "x")]) == 1
    assert run(["classify", "export", str(tmp_path), "--out", str(tmp_path / "x")]) == 1
