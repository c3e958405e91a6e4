"""What clients of GPT-SoVITS `api_v2` send to `/tts`, with its names, defaults and messages.

Figures may come as text, as several clients send them; null stands for the default, and so does
an empty text where a figure, a switch or a list belongs.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from kouji.errors import UsageError
from kouji.models.family import MAX_PAUSE_SECONDS, TextOptions

MEDIA_FORMATS = {"wav": "wav", "raw": "pcm", "ogg": "opus", "aac": "aac"}
CUTS = ("cut0", "cut1", "cut2", "cut3", "cut4", "cut5")
MAX_OTHERS = 16
_STREAMING_WORDS = {"false": 0, "true": 1, "0": 0, "1": 1, "2": 2, "3": 3}
# What belongs to how the original computes: accepted, and named in a warning where it was set.
_WITHOUT_MEANING = (
    "batch_size",
    "batch_threshold",
    "split_bucket",
    "parallel_infer",
    "sample_steps",
    "super_sampling",
    "overlap_length",
    "min_chunk_length",
)
# An empty text is what they hold, and not what the client left out.
_TEXTS = (
    "text",
    "text_lang",
    "ref_audio_path",
    "prompt_lang",
    "prompt_text",
    "text_split_method",
    "media_type",
)
_OF_TOKENS = ("top_k", "top_p", "temperature", "repetition_penalty")

Line = Annotated[str, Field(max_length=1000)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Figure = Annotated[float, Field(allow_inf_nan=False)]


class TtsBody(BaseModel):
    """One request to speak.

    strict: refuse rather than let another family speak (not of the original)
    """

    model_config = ConfigDict(extra="ignore")

    text: str = ""
    text_lang: Line = ""
    ref_audio_path: Line = ""
    aux_ref_audio_paths: Annotated[list[Line], Field(max_length=MAX_OTHERS)] = []
    prompt_lang: Line = ""
    prompt_text: Line = ""
    top_k: Count = 15
    top_p: Figure = 1.0
    temperature: Figure = 1.0
    text_split_method: Line = "cut5"
    batch_size: Count = 1
    batch_threshold: Figure = 0.75
    split_bucket: bool = True
    speed_factor: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 1.0
    fragment_interval: Annotated[float, Field(ge=0, le=MAX_PAUSE_SECONDS)] = 0.3
    seed: Annotated[int, Field(ge=-1, lt=1 << 63)] = -1
    media_type: Line = "wav"
    streaming_mode: bool | int | Line = False
    parallel_infer: bool = True
    repetition_penalty: Figure = 1.35
    sample_steps: Count = 32
    super_sampling: bool = False
    overlap_length: Count = 2
    min_chunk_length: Count = 16
    strict: bool = False

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {
            name: value
            for name, value in values.items()
            if value is not None and not (value == "" and name not in _TEXTS)
        }

    @field_validator("text_lang", "prompt_lang")
    @classmethod
    def _lower(cls, value: str) -> str:
        return value.lower()

    @property
    def streaming(self) -> int:
        """0 whole, 1 by segments, 2 and 3 by chunks; UsageError."""
        mode = self.streaming_mode
        known = _STREAMING_WORDS.get(mode.lower()) if isinstance(mode, str) else int(mode)
        if known not in (0, 1, 2, 3):
            raise UsageError(
                "the value of streaming_mode must be 0, 1, 2, 3(int) or true/false(bool)"
            )
        return known

    def check(self, languages: tuple[str, ...], version: str, *, has_default: bool) -> None:
        """Raise UsageError with the original's message for the first thing that is wrong.

        has_default: a reference was set for this caller
        """
        if not (self.ref_audio_path or has_default):
            raise UsageError("ref_audio_path is required")
        if not self.text:
            raise UsageError("text is required")
        for name in ("text_lang", "prompt_lang"):
            language = getattr(self, name)
            if not language:
                raise UsageError(f"{name} is required")
            if language not in languages:
                what = f"{name}: {language[:40]} is not supported in version {version}"
                raise UsageError(what)
        if self.media_type not in MEDIA_FORMATS:
            raise UsageError(f"media_type: {self.media_type[:40]} is not supported")
        if self.text_split_method not in CUTS:
            raise UsageError(f"text_split_method:{self.text_split_method[:40]} is not supported")
        assert self.streaming in (0, 1, 2, 3)  # or it has raised

    def chosen_seed(self) -> int:
        """The seed, drawn where the caller wants any."""
        return secrets.randbelow(1 << 32) if self.seed < 0 else self.seed

    def text_options(self) -> TextOptions:
        """How to cut, as far as the caller said so."""
        return TextOptions(
            self.text_split_method if "text_split_method" in self.model_fields_set else None,
            self.fragment_interval if "fragment_interval" in self.model_fields_set else None,
        )

    def warnings(self, *, is_substitute: bool) -> tuple[str, ...]:
        """What was set and means nothing to the model that speaks."""
        names = _WITHOUT_MEANING + (_OF_TOKENS if is_substitute else ())
        fields = type(self).model_fields
        changed = [name for name in names if getattr(self, name) != fields[name].default]
        return (f"without meaning here: {', '.join(changed)}",) if changed else ()
