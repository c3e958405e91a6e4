"""`kouji say`: text in, speech out; everything that can be wrong is checked before a model runs."""

from __future__ import annotations

import hashlib
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kouji.cli.boundary import say_to_user
from kouji.cli.speech_options import (
    DeviceOption,
    DisclosureOption,
    HaveConsentOption,
    NoticeOption,
    NoWatermarkOption,
    PrecisionOption,
    QuietOption,
    SeedOption,
    SpeedOption,
    ThreadsOption,
    TranscriptOption,
    VoiceOption,
)
from kouji.config import Settings
from kouji.errors import UsageError

if TYPE_CHECKING:
    from kouji.audio.provenance import ManifestSigner
    from kouji.cli.chapters import Rendered
    from kouji.notice import Notice
    from kouji.speaking import SpeakOptions
    from kouji.types import Samples
    from kouji.voices import Voice

MAX_SEED = 2**63 - 1
PROGRESS_CHARACTERS = 400  # shorter texts are done before a bar would help


@dataclass(frozen=True)
class SayOptions:
    """One caller's wishes, checked; `out` is None for standard output."""

    text: str
    out: Path | None
    format: str
    style: Any
    seed: int
    language: str | None
    is_watermarked: bool
    options: SpeakOptions
    notice: Notice
    signer: ManifestSigner | None


def say(
    text: Annotated[
        str | None, typer.Argument(help='What to say; "-" reads it from standard input.')
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Read the text from a file; long texts can resume."),
    ] = None,
    voice: VoiceOption = "sample",
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", help='wav, flac, mp3, opus, aac or pcm; "-" is stdout.'),
    ] = None,
    style: Annotated[
        str | None, typer.Option("--style", "-s", help='Plain words: "excited, a bit faster".')
    ] = None,
    seed: SeedOption = 0,
    subtitles: Annotated[
        Path | None, typer.Option(help="Write word timings to this .srt, .vtt or .json file.")
    ] = None,
    play: Annotated[bool, typer.Option("--play", "-p", help="Play the speech.")] = False,
    speed: SpeedOption = 1.0,
    pitch: Annotated[float, typer.Option(min=-12.0, max=12.0, help="Semitones up or down.")] = 0.0,
    volume: Annotated[float, typer.Option(min=-20.0, max=20.0, help="Decibels up or down.")] = 0.0,
    language: Annotated[
        str | None,
        typer.Option(
            help="zh or en where the text alone does not tell (digits). GPT-SoVITS: also "
            "ja, ko, yue, auto, auto_yue, all_zh, all_ja, all_ko, all_yue. CosyVoice: also "
            "ja, ko, yue, de, es, fr, it, ru."
        ),
    ] = None,
    transcript: TranscriptOption = None,
    format: Annotated[
        str | None, typer.Option("--format", help="The audio format, where the name has none.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A model or a folder; else that of the voice's own weights, or mini."),
    ] = None,
    precision: PrecisionOption = None,
    threads: ThreadsOption = 0,
    device: DeviceOption = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.01, max=5.0, help="Of sampling; models with tokens only.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Tokens to choose from.")] = None,
    top_p: Annotated[
        float | None, typer.Option(min=0.01, max=1.0, help="Probability to choose from.")
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(min=0.1, max=10.0, help="Above 1 avoids tokens already used.")
    ] = None,
    no_guard: Annotated[
        bool, typer.Option("--no-guard", help="Keep what loops, stops early or falls silent.")
    ] = False,
    disclosure: DisclosureOption = None,
    notice: NoticeOption = None,
    i_have_consent: HaveConsentOption = False,
    no_watermark: NoWatermarkOption = False,
    quiet: QuietOption = False,
) -> None:
    """Speak TEXT, or the text of a file, in the voice of a recording."""
    from kouji.audio.provenance import open_signer
    from kouji.cli import session
    from kouji.cli.playback import find_player
    from kouji.cli.playback import play as play_file
    from kouji.cli.sources import read_text
    from kouji.notice import settle_notice
    from kouji.speaking import SamplingWishes, SpeakOptions
    from kouji.subtitles import save_subtitles, subtitle_format

    began = time.perf_counter()
    settings = session.start()
    player = find_player() if play else []
    tell: Callable[[str], None] = _nothing if quiet else say_to_user
    if subtitles is not None:
        subtitle_format(subtitles)
        check_folder(subtitles)
    with _chosen_output(out, play) as target:
        options = SayOptions(
            text=read_text(text, file),
            out=target,
            format=_chosen_format(target, format),
            style=combine_style(style, speed, pitch, volume),
            seed=seed,
            language=_chosen_language(language),
            is_watermarked=chosen_watermark(no_watermark, settings),
            options=SpeakOptions(
                sampling=SamplingWishes(temperature, top_k, top_p, repetition_penalty),
                guard=False if no_guard else None,
                client="cli",
                disclosure=disclosure,
                notice=notice,
            ),
            notice=settle_notice(settings, disclosure, notice),
            signer=open_signer(settings.c2pa_certificate, settings.c2pa_key),
        )
        voice_choice = session.choose_voice(voice, settings)
        model_name = model or session.model_of(voice_choice, settings)
        model_choice = session.ModelChoice(model_name, precision, threads or None, device)
        tts = session.load_model(model_choice, settings)
        heard = session.open_voice(
            tts,
            voice_choice,
            settings,
            is_attested=i_have_consent,
            transcript=transcript,
            tell=tell,
        )
        rendered = _speak(tts, heard, options, file is not None, quiet)
        for warning in rendered.warnings:
            tell(f"warning: {warning}")
        if subtitles is not None:
            save_subtitles(subtitles, rendered.words, rendered.phones, text=options.text)
        seconds = rendered.num_samples / tts.sample_rate
        if out is not None:
            tell(describe(out, seconds, time.perf_counter() - began))
        if target is not None and player:
            play_file(target, player)


def combine_style(style: str | None, speed: float, pitch: float, volume: float) -> Any:
    """The style in words moved by the figures; None where nothing was asked for.

    raises: StyleError for words that mean nothing
    """
    is_moved = (speed, pitch, volume) != (1.0, 0.0, 0.0)
    if not style and not is_moved:
        return None

    from kouji.text.style import Style, parse_style

    base = parse_style(style) if style else Style()
    if not is_moved:
        return style  # understood; the words themselves go on, as models may want them
    return replace(
        base,
        rate=base.rate * speed,
        pitch_semitones=base.pitch_semitones + pitch,
        energy_db=base.energy_db + volume,
    )


def describe(out: str, seconds: float, spent: float) -> str:
    """The one line a user sees at the end."""
    return f"{out}: {seconds:.1f} s of speech in {spent:.1f} s"


def _speak(tts: Any, voice: Voice, options: SayOptions, is_file: bool, quiet: bool) -> Rendered:
    """Render a file into resumable blocks, anything else straight through."""
    if is_file and options.out is not None:
        return _speak_blocks(tts, voice, options, quiet)
    from kouji.cli.chapters import stream_into

    # Begun before the output is opened: a request that is refused leaves nothing behind.
    chunks = _stream(tts, options.text, voice, options)
    with _opened_output(tts, voice, options) as write:
        return stream_into(write, chunks)


def _speak_blocks(tts: Any, voice: Voice, options: SayOptions, quiet: bool) -> Rendered:
    from kouji.cli.chapters import PartialFolder, join_blocks, render_blocks
    from kouji.cli.progress import progress_bar
    from kouji.text.blocks import cut_blocks

    assert options.out is not None  # the caller chose blocks because there is a file
    blocks = cut_blocks(options.text)
    partial = PartialFolder(options.out, _key(tts, voice, options))
    if partial.open() and not quiet:
        say_to_user(f"going on with {partial.path}")
    num_characters = len(options.text)
    with progress_bar(num_characters, not quiet and num_characters > PROGRESS_CHARACTERS) as moved:
        render_blocks(
            blocks,
            lambda block, part: _stream(tts, block, voice, options, part),
            partial,
            tts.sample_rate,
            moved,
            is_end_noted="end" in options.notice.places,
        )
    with _opened_output(tts, voice, options) as write:
        rendered = join_blocks(len(blocks), partial, tts.sample_rate, write)
    partial.remove()
    return rendered


def _stream(
    tts: Any, text: str, voice: Voice, options: SayOptions, part: str = "whole"
) -> Iterator[Any]:
    chunks: Iterator[Any] = tts.stream(
        text,
        voice,
        style=options.style,
        seed=options.seed,
        language=options.language,
        produce_id=_produce_id(tts, voice, options),
        watermark=options.is_watermarked,
        options=replace(options.options, part=part),
        in_chunks=options.out is None,
    )
    return chunks


def _key(tts: Any, voice: Voice, options: SayOptions) -> dict[str, object]:
    """Everything the sound depends on, for the partial folder and the produce id."""
    return {
        "text": options.text,
        "voice": voice.content_hash,
        "style": repr(options.style),
        "seed": options.seed,
        "language": options.language,
        "watermark": options.is_watermarked,
        "options": repr(options.options),
        "notice": [sorted(options.notice.places), options.notice.kind],
        "model": str(getattr(tts, "identity", "mini")),
    }


def _produce_id(tts: Any, voice: Voice, options: SayOptions) -> int:
    """One id for label, watermark and audit lines of the whole work, block by block the same."""
    content = repr(sorted(_key(tts, voice, options).items()))
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:4], "big")


@contextmanager
def _opened_output(
    tts: Any, voice: Voice, options: SayOptions
) -> Iterator[Callable[[Samples], object]]:
    """A function that takes samples: into a file that appears whole, or down the pipe."""
    from kouji.audio.encode import AudioWriter, Encoder
    from kouji.audio.labels import label_tags

    tags = label_tags(f"{_produce_id(tts, voice, options):08x}")
    if options.out is not None:
        with AudioWriter(
            options.out,
            tts.sample_rate,
            format=options.format,
            tags=tags,
            signer=options.signer,
        ) as writer:
            yield writer.write
        return
    if options.signer is not None:
        say_to_user("warning: a stream cannot hold a C2PA manifest; write a file to sign it")
    encoder = Encoder(options.format, tts.sample_rate, tags=tags)
    pipe = sys.stdout.buffer

    def send(samples: Samples) -> None:
        pipe.write(encoder.write(samples))
        pipe.flush()  # whoever listens hears each chunk when it is made

    yield send
    pipe.write(encoder.close())
    pipe.flush()


@contextmanager
def _chosen_output(out: str | None, play: bool) -> Iterator[Path | None]:
    """The file to write, None for stdout; a file of its own where only --play is given."""
    if out is None and not play:
        raise UsageError("nowhere to put the speech", allowed="--out FILE, --out -, --play")
    if out is None:
        with tempfile.TemporaryDirectory(prefix="kouji-") as folder:
            yield Path(folder) / f"{secrets.token_hex(4)}.wav"
        return
    if out == "-":
        if play:
            raise UsageError("--play needs a file", seen="--out -", cure="leave one of them out")
        if sys.stdout.isatty():
            raise UsageError("stdout is a terminal", cure="pipe it on, or use --out FILE")
        yield None
        return
    path = Path(out).expanduser()
    check_folder(path)
    yield path


def check_folder(path: Path) -> None:
    """Raise UsageError before any work if the folder of an output is not there."""
    if path.is_dir():
        raise UsageError("the output is a folder", seen=str(path), cure="add a file name")
    if not path.parent.is_dir():
        raise UsageError("no such folder", seen=str(path.parent), cure="make it first")


def _chosen_format(path: Path | None, format: str | None) -> str:
    from kouji.audio.encode import format_of

    return format_of(path or "stdout.wav", format)


def _chosen_language(language: str | None) -> str | None:
    from kouji.types import LANGUAGE_MODES

    if language is not None and language not in LANGUAGE_MODES:
        raise UsageError(
            "unknown language",
            seen=language,
            allowed=", ".join(LANGUAGE_MODES),
            cure="name one of these, or leave it out",
        )
    return language


def chosen_watermark(no_watermark: bool, settings: Settings) -> bool:
    """False only where the operator permits it and the caller asks for it."""
    if no_watermark and settings.watermark:
        raise UsageError(
            "--no-watermark is not permitted here",
            seen="watermark = true",
            cure=f"the operator can set watermark = false in {settings.home / 'config.toml'}",
        )
    return not no_watermark


def _nothing(message: str) -> None:
    del message
