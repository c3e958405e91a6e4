"""Voices: what was heard of a speaker, on disk and in memory, and the leave to use it."""

from __future__ import annotations

from kouji.voices.consent import Consent
from kouji.voices.store import VoiceStore
from kouji.voices.voice import Voice, VoiceWeights

__all__ = ["Consent", "Voice", "VoiceStore", "VoiceWeights"]
