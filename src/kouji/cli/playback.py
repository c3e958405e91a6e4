"""Play a sound file with whatever player the machine has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from kouji.errors import UsageError

# In order of preference: the first plays every format, the others at least WAV.
PLAYERS = {
    "ffplay": ("-nodisp", "-autoexit", "-loglevel", "error"),
    "paplay": (),
    "pw-play": (),
    "aplay": ("-q",),
    "afplay": (),
}


def find_player() -> list[str]:
    """The command of the first player found; UsageError names all that would do."""
    for name, options in PLAYERS.items():
        path = shutil.which(name)
        if path is not None:
            return [path, *options]
    raise UsageError(
        "no player found for --play",
        allowed=", ".join(PLAYERS),
        cure="install one (Debian: apt install alsa-utils), or use --out alone",
    )


def play(path: Path, player: list[str]) -> None:
    """Play to the end; UsageError with the player's own words if it fails."""
    result = subprocess.run([*player, str(path)], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        said = " ".join(result.stderr.split())[:200] or f"exit code {result.returncode}"
        raise UsageError(f"{Path(player[0]).name} could not play the speech", seen=said)
