"""Challenges: who was shown which sentence, for what, until when; each is used once.

A small file each under `challenges/` in the home, so that they survive a restart and every
process knows them. Using one renames its file, which exactly one process can do. Knows no
sound and no voices.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kouji.errors import ConsentError, VoiceError
from kouji.verification.sentences import Sentence, random_sentence
from kouji.voices.consent import Scope, moment_of
from kouji.voices.store import write_atomically

LIFETIME_SECONDS = 600.0
MAX_OPEN = 100  # of one owner: a caller who only asks cannot fill the disk
KEPT_SECONDS = 86_400.0  # how long a used or expired one can still be told from an unknown one
_OPEN, _USED = ".json", ".used"


@dataclass(frozen=True)
class Challenge:
    """One sentence to be read by one person for one purpose.

    sentence: the text to show
    words:    the random ones among its words
    purpose:  what it was made for, as `voice` (any) or `voice:alice` (this one alone)
    owner:    the id of the key that asked; empty: somebody at this machine
    scope:    of the consent it leads to
    expires:  ISO 8601, UTC
    """

    id: str
    sentence: str
    language: str
    words: tuple[str, ...]
    purpose: str
    owner: str
    scope: Scope
    expires: str

    @property
    def reading(self) -> Sentence:
        """The sentence in its parts."""
        return Sentence(self.language, self.words)

    def covers(self, purpose: str) -> bool:
        """Whether it was made for this purpose, or for all of its kind."""
        return purpose == self.purpose or purpose.startswith(f"{self.purpose}:")


@dataclass(frozen=True)
class ChallengeStore:
    """The challenges under one home; holds no state, so any number may be open."""

    home: Path

    def add(
        self, language: str, purpose: str, owner: str, scope: Scope, lifetime_seconds: float
    ) -> Challenge:
        """Make a new one.

        raises: UsageError for a language without sentences, ConsentError if too many are open,
                VoiceError if the disk refuses
        """
        sentence = random_sentence(language)
        expires = datetime.now(UTC) + timedelta(seconds=lifetime_seconds)
        challenge = Challenge(
            id=secrets.token_hex(8),
            sentence=sentence.text,
            language=language,
            words=sentence.words,
            purpose=purpose,
            owner=owner,
            scope=scope,
            expires=expires.isoformat(),
        )
        folder = self._folder(owner)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VoiceError(
                f"cannot write {folder}", seen=error.strerror, cure="make KOUJI_HOME writable"
            ) from error
        self._sweep(folder)
        text = json.dumps(asdict(challenge), ensure_ascii=False) + "\n"
        write_atomically(folder / f"{challenge.id}{_OPEN}", text.encode())
        return challenge

    def get(self, number: str, *, purpose: str, owner: str) -> Challenge:
        """An open challenge; ConsentError if it is unknown, used, expired or for something else."""
        path = self._path(number, owner)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            challenge = Challenge(**{**values, "words": tuple(values["words"])})
        except FileNotFoundError:
            raise self._missing(number, owner) from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise VoiceError(f"the challenge {path} is damaged", seen=error) from error
        if not challenge.covers(purpose):
            raise ConsentError(
                "this sentence was made for something else",
                reason="other_challenge",
                seen=challenge.purpose,
                allowed=purpose,
                cure="ask for a new sentence",
            )
        if datetime.now(UTC) >= moment_of(challenge.expires):
            raise ConsentError(
                "this sentence has expired",
                reason="expired_challenge",
                seen=challenge.expires,
                cure="ask for a new sentence and read it at once",
            )
        return challenge

    def use(self, challenge: Challenge) -> None:
        """Use it up; ConsentError for everybody but the first."""
        path = self._path(challenge.id, challenge.owner)
        try:
            os.rename(path, path.with_suffix(_USED))
        except FileNotFoundError:
            raise self._missing(challenge.id, challenge.owner) from None
        except OSError as error:
            raise VoiceError(f"cannot write {path}", seen=error.strerror) from error

    def _missing(self, number: str, owner: str) -> ConsentError:
        if self._path(number, owner).with_suffix(_USED).exists():
            return ConsentError(
                "this sentence was used already",
                reason="used_challenge",
                seen=number,
                cure="ask for a new sentence: each is used once, also when the check failed",
            )
        return ConsentError(
            "there is no such challenge",
            reason="unknown_challenge",
            seen=repr(number),
            cure="ask for a new sentence",
        )

    def _folder(self, owner: str) -> Path:
        """One for each owner: nobody meets the challenges of others."""
        return self.home / "challenges" / hashlib.sha256(owner.encode()).hexdigest()[:16]

    def _path(self, number: str, owner: str) -> Path:
        name = number if number.isascii() and number.isalnum() else "none"
        return self._folder(owner) / f"{name[:64]}{_OPEN}"

    def _sweep(self, folder: Path) -> None:
        """Forget what is long over; ConsentError if too many are still open."""
        num_open = 0
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                age = time.time() - path.stat().st_mtime
                if age > KEPT_SECONDS:
                    path.unlink()
                elif path.suffix == _OPEN and age < LIFETIME_SECONDS:
                    num_open += 1
        if num_open >= MAX_OPEN:
            raise ConsentError(
                "too many sentences wait to be read",
                reason="too_many_challenges",
                seen=num_open,
                allowed=f"{MAX_OPEN} within {LIFETIME_SECONDS / 60:g} minutes",
                cure="use one of them, or wait",
            )
