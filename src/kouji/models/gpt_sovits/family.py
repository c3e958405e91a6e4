"""GPT-SoVITS as one object: the questions of `kouji.models.family`, answered.

Owns the files it was opened with and, bounded by memory, the weights in use: those of the
model and those that voices bring along. HuBERT, BERT and the speaker network are loaded when
they are first asked for. Knows no policies and no engine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from kouji.errors import ModelError, StyleError, TextError, VoiceError
from kouji.models.family import (
    AS_USUAL,
    Arrays,
    PreparedSegment,
    PreparedText,
    TextOptions,
    Timeline,
)
from kouji.models.gpt_sovits.conditioning import Conditioning, TextFeatures
from kouji.models.gpt_sovits.containers import read_checkpoint, require_pair
from kouji.models.gpt_sovits.cut import check_method
from kouji.models.gpt_sovits.decoder import T2SDecoder
from kouji.models.gpt_sovits.directory import VoiceParts
from kouji.models.gpt_sovits.front import MAX_TEXT_CHARACTERS, Front
from kouji.models.gpt_sovits.marks import read_marks
from kouji.models.gpt_sovits.reference import Reference, load_first, load_further
from kouji.models.gpt_sovits.renderer import SoVITSRenderer
from kouji.models.gpt_sovits.text.languages import MODES
from kouji.models.gpt_sovits.text.zh_reader import official_pinyin
from kouji.models.gpt_sovits.voice import condition, pack_conditioning, unpack_conditioning
from kouji.models.gpt_sovits.weights import load_sovits, load_t2s, sovits_config, t2s_config
from kouji.models.once import Once
from kouji.models.precision import Precision
from kouji.models.residents import Residents
from kouji.models.stages import SamplingOptions, SpeechModel
from kouji.text.style import Style
from kouji.voices import Voice

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kouji.models.gpt_sovits.bert import Bert
    from kouji.models.gpt_sovits.eres2net import Eres2Net
    from kouji.models.gpt_sovits.hubert import Hubert
    from kouji.voices.voice import WeightsFile

SAMPLE_RATE = 32_000
SEGMENT_PAUSE_SECONDS = 0.3  # upstream's fragment_interval
_CUT = "cut5"  # upstream's default
_HASH_DIGITS = 12


@dataclass(frozen=True)
class WeightsKey:
    """One checkpoint file as it must be: another content under the same path is another key."""

    kind: str
    path: Path
    sha256: str


class GptSovitsFamily:
    """Implements `kouji.models.family.Family` with one set of files and the voices' own."""

    name = "gpt-sovits"
    sample_rate = SAMPLE_RATE
    sampling = SamplingOptions()

    def __init__(
        self,
        parts: VoiceParts,
        *,
        decode: Precision,
        render: Precision,
        device: str,
        weights_bytes: int,
        compile_renderer: Callable[[Any], Any] | None = None,
    ) -> None:
        """Take over the files of one version.

        decode, render:   number formats of the two stages
        weights_bytes:    kept in memory at most
        compile_renderer: see `SoVITSRenderer`
        """
        self._compile_renderer = compile_renderer
        self.precision: str = decode
        self.device, self._decode, self._render = device, decode, render
        self._parts, self.version = parts, parts.version
        self._residents: Residents[WeightsKey, T2SDecoder | SoVITSRenderer] = Residents(
            weights_bytes, self._load
        )
        self._default = {
            "t2s": WeightsKey("t2s", parts.t2s, _hash_file(parts.t2s)),
            "sovits": WeightsKey("sovits", parts.sovits, _hash_file(parts.sovits)),
        }
        self._bert = Once(self._load_bert)
        self._hubert = Once(self._load_hubert)
        self._speaker = Once(self._load_speaker)
        self._lock = threading.Lock()
        self._fronts: dict[str, Front] = {}
        # A broken file is told when the model is loaded, not at the first request.
        self._table_of(self._default["t2s"], self._default["sovits"])

    # --- weights

    def weights_hash(self, voice: Voice | None = None) -> str:
        """Both files' hashes, shortened."""
        keys = self._keys(voice)
        return "-".join(key.sha256[:_HASH_DIGITS] for key in keys)

    @contextmanager
    def hold(self, voice: Voice) -> Iterator[SpeechModel]:
        """The voice's decoder and renderer, loaded if they are not there."""
        t2s, sovits = self._keys(voice)
        self._table_of(t2s, sovits)
        with self._residents.hold(t2s) as decoder, self._residents.hold(sovits) as renderer:
            yield SpeechModel(cast(SoVITSRenderer, renderer), cast(T2SDecoder, decoder))

    def _keys(self, voice: Voice | None) -> tuple[WeightsKey, WeightsKey]:
        own = voice.weights if voice is not None else None
        if own is not None and own.model != self.name:
            raise VoiceError(
                "this voice has weights of another family",
                seen=own.model,
                allowed=self.name,
                cure=f"speak it with --model {own.model}",
            )
        t2s = own.t2s if own is not None else None
        sovits = own.sovits if own is not None else None
        return self._key("t2s", t2s), self._key("sovits", sovits)

    def _key(self, kind: str, file: WeightsFile | None) -> WeightsKey:
        return WeightsKey(kind, Path(file.path), file.sha256) if file else self._default[kind]

    def _load(self, key: WeightsKey) -> T2SDecoder | SoVITSRenderer:
        if not key.path.is_file():
            raise ModelError("the weights are not there any more", seen=key.path)
        if _hash_file(key.path) != key.sha256:
            raise ModelError(
                "the weights have changed since the voice was made",
                seen=key.path,
                allowed=f"sha256 {key.sha256}",
                cure="add the voice again with the new file",
            )
        # Rows of one identity are computed together: other numbers are other weights.
        precision = self._decode if key.kind == "t2s" else self._render
        identity = f"{self.name}@{key.sha256[:_HASH_DIGITS]} {precision}"
        if key.kind == "t2s":
            network = load_t2s(key.path).network
            return T2SDecoder(network, identity, precision=self._decode, device=self.device)
        networks = load_sovits(key.path).network
        return SoVITSRenderer(
            networks,
            identity,
            precision=self._render,
            device=self.device,
            compile_renderer=self._compile_renderer,
        )

    def _table_of(self, t2s: WeightsKey, sovits: WeightsKey) -> str:
        """The symbol table both files were trained with, v1 or v2."""
        first, second = _table("t2s", t2s), _table("sovits", sovits)
        require_pair(first, second, f"{t2s.path.name}, {sovits.path.name}")
        return first

    def languages(self, t2s: WeightsFile | None = None) -> tuple[str, ...]:
        """The modes a text may be in, for the model's weights or for others."""
        return MODES[_table("t2s", self._key("t2s", t2s))]

    # --- texts

    def check_style(self, style: Style) -> tuple[str, ...]:
        """It follows the rate; the rest of a manner it takes from the reference."""
        if style.dialect is not None:
            raise StyleError(
                "GPT-SoVITS does not speak dialects by name",
                seen=style.dialect,
                allowed="rate in plain words; yue as a language",
                cure="use a reference in that dialect, or a CosyVoice 3 checkpoint",
            )
        usual = Style(rate=style.rate, text=style.text, unknown=style.unknown)
        if style == usual:
            return ()
        return ("GPT-SoVITS takes pitch, loudness and mood from the reference, not from a style",)

    def prepare(
        self,
        text: str,
        voice: Voice,
        *,
        language: str | None,
        style: Style,
        options: TextOptions = AS_USUAL,
    ) -> PreparedText:
        """Segments of phones with their BERT features.

        language: a mode of `text.languages`; None is auto
        options:  a method of `cut`; the pause is upstream's fragment_interval
        """
        mode, method = language or "auto", options.method or _CUT
        check_method(method)
        pause_between, front = options.pause(SEGMENT_PAUSE_SECONDS), self._front(voice)
        if len(text) > MAX_TEXT_CHARACTERS:
            front.segments(text, mode, method)  # raises
        marked = read_marks(text)
        segments: list[PreparedSegment] = []
        silent: list[TextError] = []
        for stretch in marked.stretches:
            for part in _segments(front, stretch.text, mode, method, silent):
                try:
                    features = front.features(list(marked.parts(part)), mode)
                except TextError as error:  # nothing in it has a sound; the rest of the text may
                    silent.append(error)
                    continue
                segments.append(PreparedSegment(marked.shown(part), features, pause_between))
            if segments:
                longer = segments[-1].pause_seconds + stretch.pause_seconds
                segments[-1] = replace(segments[-1], pause_seconds=longer)
        if not segments:
            raise silent[0]
        pause = max(0.0, segments[-1].pause_seconds - pause_between)
        segments[-1] = replace(segments[-1], pause_seconds=pause)
        return PreparedText(tuple(segments), (*marked.warnings, *front.check(marked.plain, mode)))

    def _front(self, voice: Voice) -> Front:
        table = self._table_of(*self._keys(voice))
        with self._lock:
            if table not in self._fronts:
                bert = self._bert()
                g2pw = _find_g2pw(self._parts.bert)
                pinyin = official_pinyin(g2pw, bert.vocabulary) if g2pw else None
                self._fronts[table] = Front(table, bert.embed, bert.num_channels, pinyin=pinyin)
            return self._fronts[table]

    # --- voices

    def condition(self, voice: Voice, model: SpeechModel) -> Conditioning:
        """Style, prompt tokens and transcript of the voice's references.

        Without a transcript the voice is reference-free: its timbre, not its way of speaking.
        raises: ReferenceRefused for a reference that is not 3 to 10 s long
        """
        renderer = cast(SoVITSRenderer, model.renderer)
        references = self._references(voice)
        return condition(
            references,
            self._transcript(voice),
            renderer.networks,
            self._hubert() if voice.transcript else None,
            self._speaker() if renderer.config.has_speaker else None,
        )

    def _references(self, voice: Voice) -> list[Reference]:
        # What is said in a part is not known, so only a voice without transcript may be cut.
        first = load_first(voice.reference, cut_long=not voice.transcript)
        return [first, *(load_further(audio, cut_long=True) for audio in voice.others)]

    def _transcript(self, voice: Voice) -> TextFeatures | None:
        if not voice.transcript:
            return None
        return self._front(voice).transcript(voice.transcript, voice.language or "auto")

    def pack(self, conditioning: Conditioning) -> dict[str, NDArray[Any]]:
        """Plain arrays."""
        return pack_conditioning(conditioning)

    def unpack(self, arrays: Arrays) -> Conditioning:
        """Undo `pack`."""
        return unpack_conditioning(arrays)

    def timeline(self, segment: PreparedSegment, info: Any, offset: float) -> Timeline:
        """Empty: the networks do not tell when which word is spoken."""
        return Timeline()

    def warnings(self, info: Any) -> tuple[str, ...]:
        """Nothing beyond what the engine reports."""
        return ()

    # --- the networks that hear

    def _load_bert(self) -> Bert:
        from kouji.models.gpt_sovits.bert import Bert

        return Bert.load(self._parts.bert, precision=self._render, device=self.device)

    def _load_hubert(self) -> Hubert:
        from kouji.models.gpt_sovits.hubert import Hubert

        return Hubert.load(self._parts.hubert, self.device)

    def _load_speaker(self) -> Eres2Net:
        from kouji.models.gpt_sovits.eres2net import Eres2Net

        if self._parts.speaker is None:
            raise ModelError(
                "this voice's weights also hear who speaks, and that network is not there",
                allowed="sv/pretrained_eres2netv2w24s4ep4.ckpt beside the weights",
                cure="kouji pull gpt-sovits-v2proplus brings it",
            )
        return Eres2Net.load(self._parts.speaker, self.device)


def _find_g2pw(bert: Path) -> Path | None:
    """The reader of polyphones: beside BERT, or where a checkout of upstream has it."""
    places = (bert.parent / "G2PWModel", bert.parent.parent / "text" / "G2PWModel")
    return next((place for place in places if place.is_dir()), None)


def _segments(
    front: Front, text: str, mode: str, method: str, silent: list[TextError]
) -> list[str]:
    """The segments of a stretch; none, and why, where nothing in it has a sound."""
    try:
        return front.segments(text, mode, method)
    except TextError as error:
        silent.append(error)
        return []


@lru_cache(maxsize=256)
def _table(kind: str, key: WeightsKey) -> str:
    """The symbol table of a checkpoint, from its tensors' shapes."""
    checkpoint = read_checkpoint(key.path, kind)
    check = t2s_config if kind == "t2s" else sovits_config
    check(checkpoint)  # every tensor is there
    return checkpoint.symbols


def _hash_file(path: Path) -> str:
    """sha256 of a file; read again only when its size or time changed."""
    try:
        facts = path.stat()
    except OSError as error:
        raise ModelError("the weights cannot be read", seen=f"{path}: {error.strerror}") from error
    return _hash_content(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=256)
def _hash_content(path: Path, size: int, changed_ns: int) -> str:
    del size, changed_ns  # of the key
    return read_checkpoint(path).content_hash


def open_gpt_sovits(
    folder: Path,
    *,
    decode: Precision,
    render: Precision,
    device: str,
    weights_bytes: int,
    shared: Sequence[Path] = (),
    compile_renderer: Callable[[Any], Any] | None = None,
) -> GptSovitsFamily:
    """Open the best version a folder can speak.

    decode, render, device, weights_bytes, compile_renderer: see `GptSovitsFamily`
    shared: further folders whose HuBERT, BERT and speaker network may serve
    raises: ModelError naming what is missing
    """
    from kouji.models.gpt_sovits.directory import find_parts

    parts = find_parts(folder, shared=shared)
    return GptSovitsFamily(
        parts,
        decode=decode,
        render=render,
        device=device,
        weights_bytes=weights_bytes,
        compile_renderer=compile_renderer,
    )
