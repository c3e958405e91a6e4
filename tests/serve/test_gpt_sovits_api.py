"""GPT-SoVITS' `api_v2` on a real server around a toy GPT-SoVITS: `/tts`, `/set_*`, `/control`."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile

pytest.importorskip("transformers", reason="the extra gpt-sovits is not installed")

from live_server import Live, Running
from tiny_gpt_sovits import write_directory, write_sovits, write_t2s
from two_families import open_mini, opener, pcm_of, recording

from kouji.audio.labels import read_labels
from kouji.audio.watermark import detect
from kouji.config import Settings
from kouji.serve.keys import KeyRing
from kouji.serve.routes.gpt_sovits_body import TtsBody
from kouji.types import Audio
from kouji.voices import Voice, VoiceStore, audit
from kouji.voices.consent import attest
from kouji.voices.receipt import revoke
from kouji.voices.sample import sample_voice

TEXT = "你好，世界真好。今天天气真好。"
ASK: dict[str, Any] = {
    "text": TEXT,
    "text_lang": "zh",
    "ref_audio_path": "sample",
    "prompt_lang": "en",
    "seed": 3,
}
RATE = 32_000


@dataclass(frozen=True)
class Two:
    """A server with keys, its home and a client for each key."""

    live: Live
    home: Path
    ann: httpx.Client
    bob: httpx.Client
    others: tuple[httpx.Client, ...]
    bobs: Path  # his folder of references


@pytest.fixture(scope="module")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that speaks."""
    return write_directory(tmp_path_factory.mktemp("gpt-sovits"))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, toy_folder: Path) -> Iterator[Two]:
    """One server for all tests here: only `/set_*` changes anything, and each key for itself."""
    home = tmp_path_factory.mktemp("home")
    for index in range(2):
        write_t2s(home / f"models/tuned/voice{index}-e15.ckpt", 100 + index)
        write_sovits(home / f"models/tuned/voice{index}_e8_s200.pth", 200 + index)
    for path, sound in (
        ("all.wav", recording()),
        ("ann/own.wav", recording(1.15)),
        ("bob/own.wav", recording(0.9)),
        ("carl/own.wav", recording(1.15)),
        ("dora/own.wav", recording(0.9)),
    ):
        (home / "references" / path).parent.mkdir(parents=True, exist_ok=True)
        (home / "references" / path).write_bytes(sound)
    keys = KeyRing(home)
    tokens, ids = {}, {}
    for name in ("ann", "bob", "carl", "dora", "erik"):
        record, tokens[name] = keys.add(name, ["speak"])
        ids[name] = record.id
        (home / "references" / name).mkdir(exist_ok=True)
        (home / "references" / name).rename(home / "references" / record.id)
    settings = Settings(home=home, threads=1, serve_seats=4, guard=False)
    with Running(settings, opener(toy_folder)) as live:
        clients = {
            name: live.client(headers={"Authorization": f"Bearer {token}"})
            for name, token in tokens.items()
        }
        yield Two(
            live,
            home,
            clients["ann"],
            clients["bob"],
            tuple(clients.values())[2:],
            home / "references" / ids["bob"],
        )
        for client in clients.values():
            client.close()


def _say(client: httpx.Client, **changes: Any) -> bytes:
    answer = client.post("/tts", json=ASK | changes)
    assert answer.status_code == 200, answer.text
    return answer.content


def _refusal(client: httpx.Client, **changes: Any) -> tuple[int, dict[str, str]]:
    body = {name: value for name, value in (ASK | changes).items() if value is not ...}
    answer = client.post("/tts", json=body)
    return answer.status_code, answer.json()


def test_post_and_get_speak_alike_marked_and_labelled(two: Two) -> None:
    _say(two.ann)
    lines = len((two.home / "audit.jsonl").read_text().splitlines())
    posted = two.ann.post("/tts", json=ASK)
    got = two.ann.get("/tts", params=ASK)
    assert posted.status_code == got.status_code == 200, posted.text
    assert posted.content == got.content
    assert posted.headers["Content-Type"] == "audio/wav"
    assert posted.headers["X-AI-Generated"] == "true"
    assert posted.headers["X-Kouji-Seed"] == "3"
    assert "X-Kouji-Model-Substitute" not in posted.headers
    assert read_labels(posted.content).is_ai_generated
    assert len((two.home / "audit.jsonl").read_text().splitlines()) == lines + 2
    audit.verify(two.home / "audit.jsonl")


def test_fields_left_empty_are_the_defaults(two: Two) -> None:
    names = (
        set(TtsBody.model_fields) - set(ASK) - {"prompt_text", "text_split_method", "media_type"}
    )
    empty = dict.fromkeys(names, "")
    usual = _say(two.ann)
    assert _say(two.ann, **empty) == usual
    got = two.ann.get("/tts", params=ASK | empty)
    assert (got.status_code, got.content) == (200, usual)
    assert two.ann.post("/tts", json=ASK | {"seed": ""}).status_code == 200


def test_a_body_that_is_no_json_is_told_so(two: Two) -> None:
    answer = two.ann.post("/tts", content=b'{"text": ')
    assert (answer.status_code, answer.json()) == (
        400,
        {"message": "the request: the body is no JSON"},
    )


def test_the_sound_is_marked(two: Two) -> None:
    samples, rate = soundfile.read(io.BytesIO(_say(two.ann, text=TEXT * 8)), dtype="float32")
    assert rate == RATE
    assert detect(Audio(samples, rate)).found


def test_a_streamed_wav_has_44_bytes_of_header_and_an_open_length(two: Two) -> None:
    for mode in ("true", 3):
        answer = two.ann.post("/tts", json=ASK | {"streaming_mode": mode})
        assert answer.status_code == 200, answer.text
        head, sound = answer.content[:44], answer.content[44:]
        assert (head[:4], head[8:16], head[36:40]) == (b"RIFF", b"WAVEfmt ", b"data")
        channels, rate, bits = struct.unpack("<2xHI6xH", head[20:36])
        assert (channels, rate, bits) == (1, RATE, 16)
        assert struct.unpack("<I", head[40:]) == (0xFFFFFFFF,)
        assert len(sound) > RATE / 10
        assert answer.headers["X-AI-Generated"] == "true"


def test_a_stream_of_segments_is_the_whole(two: Two) -> None:
    whole = pcm_of(_say(two.ann))
    assert _say(two.ann, streaming_mode=1)[44:] == whole
    assert _say(two.ann, media_type="raw") == whole
    assert _say(two.ann, media_type="raw", streaming_mode=1) == whole


@pytest.mark.parametrize("streaming", [False, 1])
@pytest.mark.parametrize(("media_type", "magic"), [("ogg", b"OggS"), ("aac", b"ID3")])
def test_other_media_types(two: Two, media_type: str, magic: bytes, streaming: Any) -> None:
    pytest.importorskip("av")
    answer = two.ann.post(
        "/tts", json=ASK | {"media_type": media_type, "streaming_mode": streaming}
    )
    assert answer.headers["Content-Type"] == f"audio/{media_type}"
    assert answer.content.startswith(magic)
    assert read_labels(answer.content).is_ai_generated


def test_what_has_a_meaning_is_heard(two: Two) -> None:
    usual = _say(two.ann)
    assert _say(two.ann) == usual
    changes: list[dict[str, Any]] = [
        {"seed": 4},
        {"temperature": 0.2},
        {"top_k": 1},
        {"repetition_penalty": 3.0},
        {"text_split_method": "cut0"},
        {"fragment_interval": 1.0},
        {"prompt_text": "his letter"},
        {"aux_ref_audio_paths": ["all.wav"]},
        {"ref_audio_path": "all.wav"},
    ]
    heard = [_say(two.ann, **change) for change in changes]
    assert len({usual, *heard}) == len(changes) + 1
    fast = _say(two.ann, speed_factor=2.0)
    assert len(fast) < 0.7 * len(usual)
    pause = len(pcm_of(_say(two.ann, fragment_interval=1.0))) - len(pcm_of(usual))
    assert pause == 2 * round(0.7 * RATE)  # bytes of the one pause between two segments


def test_a_seed_of_minus_one_is_drawn_and_told(two: Two) -> None:
    answers = [two.ann.post("/tts", json=ASK | {"seed": -1}) for _ in range(2)]
    seeds = [answer.headers["X-Kouji-Seed"] for answer in answers]
    assert seeds[0] != seeds[1]
    assert _say(two.ann, seed=int(seeds[0])) == answers[0].content


def test_what_means_nothing_here_is_named_in_a_warning(two: Two) -> None:
    changes = {"batch_size": 8, "parallel_infer": False, "sample_steps": 4, "split_bucket": "false"}
    answer = two.ann.post("/tts", json=ASK | changes)
    assert pcm_of(answer.content) == pcm_of(_say(two.ann))
    for name in changes:
        assert name in answer.headers["X-Kouji-Warnings"]
    defaults = {"batch_size": 1, "overlap_length": 2, "sample_steps": "32", "top_k": None}
    assert "X-Kouji-Warnings" not in two.ann.post("/tts", json=ASK | defaults).headers


def test_further_references_through_get(two: Two) -> None:
    params = [*ASK.items(), ("aux_ref_audio_paths", "all.wav"), ("aux_ref_audio_paths", "own.wav")]
    answer = two.ann.get("/tts", params=[(name, str(value)) for name, value in params])
    assert answer.status_code == 200, answer.text
    assert answer.content == _say(two.ann, aux_ref_audio_paths=["all.wav", "own.wav"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ref_audio_path": ...}, "ref_audio_path is required"),
        ({"text": ...}, "text is required"),
        ({"text": ""}, "text is required"),
        ({"text_lang": ...}, "text_lang is required"),
        ({"prompt_lang": None}, "prompt_lang is required"),
        ({"text_lang": "xx"}, "text_lang: xx is not supported in version v2"),
        ({"prompt_lang": "xx"}, "prompt_lang: xx is not supported in version v2"),
        ({"media_type": "mp3"}, "media_type: mp3 is not supported"),
        ({"text_split_method": "cut9"}, "text_split_method:cut9 is not supported"),
    ],
)
def test_the_originals_messages(two: Two, changes: dict[str, Any], message: str) -> None:
    assert _refusal(two.ann, **changes) == (400, {"message": message})


def test_errors_have_the_dialects_shape(two: Two) -> None:
    status, body = _refusal(two.ann, text="。。。")
    assert (status, body["message"]) == (400, "tts failed")
    assert body["Exception"]
    for wrong in ({"top_k": "many"}, {"speed_factor": 0}, {"streaming_mode": 7}, {"seed": -2}):
        status, body = _refusal(two.ann, **wrong)
        assert (status, list(body)) == (400, ["message"]), body
    assert two.ann.post("/tts", content=b"{").json().keys() == {"message"}
    with two.live.client() as nobody:
        answer = nobody.get("/tts", params=ASK)
        assert (answer.status_code, list(answer.json())) == (401, ["message"])
    assert "message" in two.ann.put("/tts").json()
    answer = two.ann.get("/tts", params={"text": "x", "ref_audio_path": "sample"})
    assert (answer.status_code, answer.json()) == (400, {"message": "text_lang is required"})


def test_paths_beyond_the_store_are_refused_without_telling_what_is_there(two: Two) -> None:
    bobs = two.bobs
    paths = [
        "/etc/passwd",
        "/etc/no-such-file",
        "../config.toml",
        "../keys.json",
        str(two.home / "keys.json"),
        f"{bobs.name}/own.wav",
        str(bobs / "own.wav"),
        "//host/share/x.wav",
        "\\\\host\\share\\x.wav",
        "own.wav\0",
    ]
    answers = [_refusal(two.ann, ref_audio_path=path) for path in paths]
    answers += [_refusal(two.ann, aux_ref_audio_paths=[path]) for path in paths]
    assert {str(answer) for answer in answers} == {str(answers[0])}
    assert answers[0][0] == 400
    for route in ("set_gpt_weights", "set_sovits_weights"):
        refused = [two.ann.get(f"/{route}", params={"weights_path": path}) for path in paths]
        assert {answer.status_code for answer in refused} == {400}
        assert len({answer.text for answer in refused}) == 1
    assert two.ann.get("/set_refer_audio", params={"refer_audio_path": paths[0]}).status_code == 400


def test_each_key_has_its_own_folder_of_references(two: Two) -> None:
    ann, bob = (_say(client, ref_audio_path="own.wav") for client in (two.ann, two.bob))
    assert ann != bob
    shared = [_say(client, ref_audio_path="all.wav") for client in (two.ann, two.bob)]
    assert pcm_of(shared[0]) == pcm_of(shared[1])


def test_weights_beside_a_revoked_voice_speak_no_more(two: Two) -> None:
    own = Voice.from_reference(sample_voice().reference, name="leaver", consent=attest())
    VoiceStore(two.home).add(own)
    path = write_t2s(two.home / "voices/leaver/own-e15.ckpt", 107)
    _, token = KeyRing(two.home).add("weights", ["speak"])
    with two.live.client(headers={"Authorization": f"Bearer {token}"}) as client:
        asked = {"weights_path": str(path)}
        assert client.get("/set_gpt_weights", params=asked).status_code == 200
        assert _say(client) != _say(two.ann)
        revoke(two.home, "leaver", audit_file=two.home / "audit.jsonl")
        status, told = _refusal(client)
        assert status in (400, 403)
        assert "revoked" in json.dumps(told)
        assert client.get("/set_gpt_weights", params=asked).status_code in (400, 403)


def test_weights_and_references_of_two_keys_never_mix(two: Two) -> None:
    before = _say(two.ann)
    for index, client in enumerate(two.others[:2]):
        for route, path in (
            ("set_gpt_weights", f"tuned/voice{index}-e15.ckpt"),
            ("set_sovits_weights", str(two.home / f"models/tuned/voice{index}_e8_s200.pth")),
        ):
            answer = client.get(f"/{route}", params={"weights_path": path})
            assert (answer.status_code, answer.json()) == (200, {"message": "success"})
        client.get("/set_refer_audio", params={"refer_audio_path": "own.wav"}).raise_for_status()
    alone = [_say(client, ref_audio_path="") for client in two.others[:2]]
    assert len({_say(two.ann, ref_audio_path="own.wav"), *alone}) == 3

    def ask(index: int) -> bytes:
        return _say(two.others[index % 2], ref_audio_path="")

    with ThreadPoolExecutor(4) as pool:
        for index, sound in enumerate(pool.map(ask, range(12))):
            assert sound == alone[index % 2]
    assert _say(two.ann) == before
    assert _refusal(two.ann, ref_audio_path="") == (400, {"message": "ref_audio_path is required"})


def test_weights_that_do_not_go_together_fail_that_key_alone(two: Two) -> None:
    write_sovits(two.home / "models/old/voice_e8.pth", 7, version="v1")
    erik = two.others[2]
    answer = erik.get("/set_sovits_weights", params={"weights_path": "old/voice_e8.pth"})
    assert answer.status_code == 200, answer.text
    status, body = _refusal(erik)
    assert (status, body["message"]) == (400, "tts failed")
    assert str(two.home) not in body["Exception"]
    assert _say(two.ann)


def test_json_without_a_content_type_is_read(two: Two) -> None:
    assert two.ann.post("/tts", content=json.dumps(ASK)).content == _say(two.ann)


def test_weights_that_are_wrong_change_nothing(two: Two) -> None:
    usual = _say(two.ann)
    (two.home / "models/tuned/junk.ckpt").write_bytes(b"junk" * 100)
    for route, path, message in (
        ("set_gpt_weights", "tuned/voice0_e8_s200.pth", "change gpt weight failed"),
        ("set_gpt_weights", "tuned/junk.ckpt", "change gpt weight failed"),
        ("set_gpt_weights", "tuned/missing.ckpt", "change gpt weight failed"),
        ("set_sovits_weights", "tuned/voice0-e15.ckpt", "change sovits weight failed"),
    ):
        answer = two.ann.get(f"/{route}", params={"weights_path": path})
        assert (answer.status_code, answer.json()["message"]) == (400, message)
        assert answer.json()["Exception"]
        assert str(two.home) not in answer.text
    assert two.ann.get("/set_gpt_weights").json() == {"message": "gpt weight path is required"}
    answer = two.ann.get("/set_sovits_weights")
    assert (answer.status_code, answer.json()["message"]) == (400, "sovits weight path is required")
    assert _say(two.ann) == usual


def test_nobody_controls_the_server(two: Two) -> None:
    for answer in (
        two.ann.get("/control", params={"command": "exit"}),
        two.ann.get("/control"),
        two.ann.post("/control", json={"command": "restart"}),
    ):
        assert (answer.status_code, list(answer.json())) == (403, ["message"])
    assert two.ann.get("/livez").status_code == 200


def test_a_recording_needs_consent_where_it_is_verified(
    toy_folder: Path, home_dir: Path, serve_both: Callable[[Settings], Live]
) -> None:
    (home_dir / "references").mkdir(parents=True)
    (home_dir / "references/a.wav").write_bytes(recording())
    ring = KeyRing(home_dir)
    keys = {
        name: ring.add(name, ["speak", *more])[1] for name, more in (("x", []), ("y", ["clone"]))
    }
    live = serve_both(Settings(home=home_dir, threads=1, guard=False, consent="verify"))
    with live.client() as client:
        for name, wanted in (("x", 403), ("y", 200)):
            headers = {"Authorization": f"Bearer {keys[name]}"}
            answer = client.post("/tts", json=ASK | {"ref_audio_path": "a.wav"}, headers=headers)
            assert answer.status_code == wanted, answer.text
            extra = ASK | {"aux_ref_audio_paths": ["a.wav"]}
            assert client.post("/tts", json=extra, headers=headers).status_code == wanted
    assert not VoiceStore(home_dir).list()


@pytest.fixture
def serve_both(toy_folder: Path) -> Iterator[Callable[[Settings], Live]]:
    """Starts servers with both families."""
    from contextlib import ExitStack

    with ExitStack() as running:
        yield lambda settings: running.enter_context(Running(settings, opener(toy_folder)))


def test_without_the_family_the_best_at_hand_speaks_and_says_so(home_dir: Path) -> None:
    (home_dir / "models").mkdir(parents=True)
    with Running(Settings(home=home_dir, threads=1), open_mini) as live, live.client() as client:
        answer = client.post("/tts", json=ASK | {"top_k": 5, "text_split_method": "cut1"})
        assert answer.status_code == 200, answer.text
        assert answer.headers["X-Kouji-Model-Substitute"] == "true"
        assert answer.headers["X-Kouji-Model"] == "mini"
        assert "top_k" in answer.headers["X-Kouji-Warnings"]
        assert "cut" in answer.headers["X-Kouji-Warnings"]
        for strict in ({"strict": True}, {"strict": "true"}):
            refused = client.post("/tts", json=ASK | strict)
            assert (refused.status_code, list(refused.json())) == (404, ["message"])
        assert client.get("/tts", params=ASK | {"strict": "true"}).status_code == 404
        assert client.post("/tts?strict=true", json=ASK).status_code == 404
        body = client.post("/tts", json=ASK | {"text_lang": "ja"}).json()
        assert body == {"message": "text_lang: ja is not supported in version mini"}
        weights = client.get("/set_gpt_weights", params={"weights_path": "a.ckpt"})
        assert weights.status_code == 400


def test_a_client_that_leaves_frees_its_seat(two: Two) -> None:
    with two.ann.stream("POST", "/tts", json=ASK | {"text": TEXT * 20, "streaming_mode": 2}) as got:
        next(got.iter_raw(100))
    _say(two.ann)
    assert two.live.service.gate.num_inside == 0
    assert two.live.service.models.get().engine.stats().num_requests == 0


def test_every_field_is_on_the_page(root_dir: Path) -> None:
    page = (root_dir / "docs" / "api.md").read_text("utf-8")
    for name in TtsBody.model_fields:
        assert f"`{name}`" in page, name
