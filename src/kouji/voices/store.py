"""The voices kept on this machine: one directory each, written whole or not at all.

`<home>/voices/<id>/` holds voice.json, reference.flac, the consent recording where there
is one, and `<model>@<weights-hash>.safetensors` for every model that has met the voice. A
voice that was imported has imported.arrays (safetensors too) in place of the recording.
Adding renames a finished directory into place, so two processes cannot mix their files
and a crash leaves nothing but a hidden folder that the next `add` sweeps away.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kouji.errors import UnknownVoice, VoiceError
from kouji.types import Audio
from kouji.voices.consent import Consent
from kouji.voices.voice import (
    REFERENCE_RATE,
    RESERVED_IDS,
    Adaptation,
    Imported,
    Voice,
    VoiceWeights,
    conditioning_key,
    from_grid,
    hash_audio,
    hash_grid,
    to_grid,
    voice_id,
)

FORMAT = 1  # of voice.json
_IMPORTED = "imported.arrays"  # no cache of a model's, which a revocation removes
_ADDING = ".adding-"
_STALE_SECONDS = 3600.0
_FIELDS = ("id", "name", "content_hash", "transcript", "language", "created", "report")


@dataclass(frozen=True)
class VoiceStore:
    """The directory of voices under `home`; holds no state, so any number may be open."""

    home: Path

    @property
    def folder(self) -> Path:
        """Where the voices' directories lie."""
        return self.home / "voices"

    def add(self, voice: Voice, *, consent_recording: bytes | None = None) -> Voice:
        """Keep a voice and return it.

        consent_recording: the bytes of the recording that `voice.consent` names
        raises: VoiceError if the name is taken or reserved, or the disk refuses
        """
        if voice.id in RESERVED_IDS:
            raise VoiceError("this voice name is reserved", seen=voice.name, cure="take another")
        target = self.folder / voice.id
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            draft = Path(tempfile.mkdtemp(prefix=_ADDING, dir=self.folder))
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        try:
            _write_voice(draft, voice, consent_recording)
            # rename onto a directory that is not empty fails: exactly one of two adds wins
            os.rename(draft, target)
        except OSError as error:
            if target.exists():
                raise VoiceError(
                    f"a voice named {voice.name!r} exists already",
                    cure=f"take another name or run: kouji voice remove {voice.id}",
                ) from error
            raise _unwritable(target, error) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return voice

    def get(self, name: str) -> Voice:
        """The voice of this name or id; VoiceError if there is none or its files are damaged."""
        folder = self._find(name)
        values = _read_json(folder / "voice.json")
        reference, imported = _read_speaker(folder, values)
        try:
            consent, weights = values.get("consent"), values.get("weights")
            adapted = values.get("adapted")
            return Voice(
                reference=reference,
                imported=imported,
                consent=Consent.from_json(consent) if consent else None,
                others=tuple(_read_others(folder, values)),
                weights=VoiceWeights.from_json(weights) if weights else None,
                owner=str(values.get("owner", "")),
                adapted=Adaptation(**adapted) if adapted else None,
                **{key: values[key] for key in _FIELDS},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(folder / "voice.json", error) from error

    def list(self) -> list[dict[str, Any]]:
        """The content of every voice.json, by name; a damaged one is {"id", "damaged": message}."""
        found = []
        for folder in sorted(self.folder.glob("*/")):
            if folder.name.startswith("."):
                continue
            try:
                found.append(_read_json(folder / "voice.json"))
            except VoiceError as error:
                found.append({"id": folder.name, "name": folder.name, "damaged": str(error)})
        return sorted(found, key=lambda values: str(values["name"]).casefold())

    def describe(self, name: str) -> dict[str, Any]:
        """The content of one voice.json, without its sound; VoiceError as `get`."""
        return _read_json(self._find(name) / "voice.json")

    def set_consent(self, name: str, consent: Consent, *, recording: bytes | None = None) -> None:
        """Give a kept voice another consent in place of the one it has.

        recording: the bytes of the recording that `consent` names
        raises:    UnknownVoice, VoiceError if the disk refuses
        """
        folder = self._find(name)
        values = _read_json(folder / "voice.json")
        if recording is not None:
            write_atomically(folder / "consent.recording", recording)
        values["consent"] = consent.to_json()
        write_atomically(folder / "voice.json", _to_text(values).encode())
        if recording is None:
            (folder / "consent.recording").unlink(missing_ok=True)

    def drop_conditionings(self, name: str) -> tuple[str, ...]:
        """Remove what models computed from a voice; the names of the files that are gone."""
        dropped = []
        for path in sorted(self._find(name).glob("*.safetensors")):
            try:
                path.unlink()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _unwritable(path, error) from error
            dropped.append(path.name)
        return tuple(dropped)

    def __contains__(self, name: str) -> bool:
        return self.locate(name) is not None

    def remove(self, name: str) -> None:
        """Forget a voice with all its files; VoiceError if there is none."""
        folder = self._find(name)
        # Moved aside first: a reader sees the whole voice or none of it.
        hidden = folder.with_name(f"{_ADDING}removed-{os.getpid()}-{folder.name}")
        try:
            os.rename(folder, hidden)
            shutil.rmtree(hidden)
        except OSError as error:
            raise _unwritable(folder, error) from error

    def save_conditioning(
        self, name: str, model: str, weights_hash: str, arrays: Mapping[str, NDArray[Any]]
    ) -> None:
        """Cache what a model computed from the voice's reference.

        arrays: name -> numpy array; read back by `load_conditioning` with the same key
        """
        from safetensors.numpy import save

        path = self._conditioning_path(name, model, weights_hash)
        facts = {"key": _stored_key(path.parent)}
        whole = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
        write_atomically(path, save(whole, metadata=facts))

    def load_conditioning(
        self, name: str, model: str, weights_hash: str
    ) -> dict[str, NDArray[Any]] | None:
        """The cached arrays, or None if this model never met the voice or the cache is unusable.

        An unusable cache (cut off, or of another reference or transcript) is not an error: it is
        computed again.
        """
        from safetensors import SafetensorError, safe_open

        path = self._conditioning_path(name, model, weights_hash)
        try:
            with safe_open(path, framework="numpy") as content:
                if (content.metadata() or {}).get("key") != _stored_key(path.parent):
                    return None
                return {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118
        except (FileNotFoundError, SafetensorError):
            return None

    def _conditioning_path(self, name: str, model: str, weights_hash: str) -> Path:
        for part in (model, weights_hash):
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", part):
                raise VoiceError(
                    "unusable model name or weights hash",
                    seen=repr(part),
                    allowed="letters, digits, . _ -",
                )
        return self._find(name) / f"{model}@{weights_hash}.safetensors"

    def locate(self, name: str) -> Path | None:
        """The directory of a voice given by name or id, or None."""
        with contextlib.suppress(VoiceError):
            folder = self.folder / voice_id(name)
            if folder.is_dir():
                return folder
        # An id with a hash (my-voice-1a2b3c4d) is its own slug, so it was found above.
        return None

    def _find(self, name: str) -> Path:
        folder = self.locate(name)
        if folder is None:
            known = [str(values["name"]) for values in self.list()]
            shown = ", ".join(known[:20]) + (" …" if len(known) > 20 else "")
            raise UnknownVoice(
                "no such voice",
                seen=name,
                allowed=shown or "none is kept yet",
                cure="add it with: kouji voice add NAME RECORDING",
            )
        return folder

    def _sweep(self) -> None:
        """Remove drafts of processes that died more than an hour ago."""
        for folder in self.folder.glob(f"{_ADDING}*"):
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > _STALE_SECONDS:
                    shutil.rmtree(folder)


def _write_voice(folder: Path, voice: Voice, consent_recording: bytes | None) -> None:
    if voice.imported is None:
        _write_flac(folder / "reference.flac", voice.reference)
    else:
        _write_arrays(folder / _IMPORTED, voice.imported.arrays)
    for index, audio in enumerate(voice.others):
        _write_flac(folder / _other_name(index), audio)
    if consent_recording is not None:
        (folder / "consent.recording").write_bytes(consent_recording)
    values: dict[str, Any] = {"format": FORMAT} | {key: getattr(voice, key) for key in _FIELDS}
    values["report"] = dict(voice.report)
    values["others"] = [hash_audio(audio) for audio in voice.others]
    values["weights"] = asdict(voice.weights) if voice.weights else None
    values["owner"] = voice.owner
    values["adapted"] = asdict(voice.adapted) if voice.adapted else None
    values["imported"] = voice.imported.model if voice.imported else None
    values["duration"] = round(voice.reference.duration, 3)
    values["consent"] = voice.consent.to_json() if voice.consent else None
    (folder / "voice.json").write_text(_to_text(values), encoding="utf-8")


def _to_text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, indent=2) + "\n"


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    from safetensors.numpy import save

    path.write_bytes(save({name: np.ascontiguousarray(value) for name, value in arrays.items()}))


def _read_speaker(folder: Path, values: Mapping[str, Any]) -> tuple[Audio, Imported | None]:
    """The recording of a voice, or what was imported in its place; checked against its hash."""
    if values.get("imported"):
        path = folder / _IMPORTED
        imported = Imported(str(values["imported"]), _read_arrays(path))
        if imported.content_hash != values["content_hash"]:
            raise _damaged(path, "its values differ from those imported")
        return Audio(np.zeros(0, np.float32), REFERENCE_RATE), imported
    path = folder / "reference.flac"
    grid = _read_grid(path)
    if hash_grid(grid) != values["content_hash"]:
        raise _damaged(path, "its samples differ from those enrolled")
    return Audio(from_grid(grid), REFERENCE_RATE), None


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays: dict[str, NDArray[Any]] = load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error
    return arrays


def _write_flac(path: Path, audio: Audio) -> None:
    import soundfile

    sound = io.BytesIO()  # libsndfile does not say when a disk is full, a file object does
    grid = to_grid(audio.samples)
    soundfile.write(sound, grid, REFERENCE_RATE, format="FLAC", subtype="PCM_16")
    path.write_bytes(sound.getvalue())


def _other_name(index: int) -> str:
    return f"reference-{index + 2}.flac"


def _read_others(folder: Path, values: Mapping[str, Any]) -> Iterator[Audio]:
    """The further references, each checked against its hash."""
    for index, known in enumerate(values.get("others", [])):
        path = folder / _other_name(index)
        grid = _read_grid(path)
        if hash_grid(grid) != known:
            raise _damaged(path, "its samples differ from those enrolled")
        yield Audio(from_grid(grid), REFERENCE_RATE)


def _stored_key(folder: Path) -> str:
    """`Voice.key` of a kept voice, without reading its sound."""
    values = _read_json(folder / "voice.json")
    others = [str(known) for known in values.get("others", [])]
    if values.get("adapted"):
        others.append(str(values["adapted"]["digest"]))
    return conditioning_key(
        values["content_hash"], values.get("transcript"), values.get("language"), others
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(values, dict) or not isinstance(values.get("content_hash"), str):
        raise _damaged(path, "it is not the description of a voice")
    if values.get("format") != FORMAT:
        raise VoiceError(
            f"{path} has an unknown format",
            seen=values.get("format"),
            allowed=str(FORMAT),
            cure="update Kouji or add the voice again",
        )
    if not isinstance(values.get("name"), str) or not isinstance(values.get("id"), str):
        raise _damaged(path, "it names no voice")
    return values


def _read_grid(path: Path) -> NDArray[np.int16]:
    import soundfile

    try:
        samples, sample_rate = soundfile.read(path, dtype="int16")
    except (soundfile.LibsndfileError, OSError) as error:
        raise _damaged(path, error) from error
    if sample_rate != REFERENCE_RATE or samples.ndim != 1:
        raise _damaged(path, "it is not 24 kHz mono")
    grid: NDArray[np.int16] = samples
    return grid


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all; VoiceError if the disk refuses."""
    descriptor, draft = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(draft, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)


def _damaged(path: Path, reason: object) -> VoiceError:
    cure = f"remove it with: kouji voice remove {path.parent.name}, and add it again"
    return VoiceError(f"the voice file {path} is damaged", seen=reason, cure=cure)


def _unwritable(path: Path, error: OSError) -> VoiceError:
    return VoiceError(
        f"cannot write {path}",
        seen=error.strerror or error,
        cure="free space, or set KOUJI_HOME to a folder you can write to",
    )
