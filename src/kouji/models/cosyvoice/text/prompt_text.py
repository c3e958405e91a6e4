"""What stands around a text for the language model, by mode; and the same pasted into a text.

CosyVoice 3 wants `You are a helpful assistant.`, an instruction if there is one, and
`<|endofprompt|>` before what is spoken or quoted; CosyVoice 2 only an instruction has the token.
People who know the models write this into their texts: it is understood and not doubled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kouji.models.cosyvoice.conditioning import Mode
from kouji.models.cosyvoice.config import Version
from kouji.models.cosyvoice.text.sounds import Atom
from kouji.models.cosyvoice.text.special_tokens import END_OF_PROMPT
from kouji.models.cosyvoice.text.text_tokenizer import TextTokenizer

SYSTEM = "You are a helpful assistant."
MAX_PASTED_CHARACTERS = 400  # a longer text before the token is no instruction
_END = Atom(END_OF_PROMPT)


class Pasted(NamedTuple):
    """A text as people paste it: instruction, what is spoken, and where that begins."""

    instruction: str
    text: str
    start: int


class Around(NamedTuple):
    """What is read before the text: as a prompt of its own, and at the text's beginning."""

    prompt: tuple[Atom, ...]
    prefix: tuple[Atom, ...] = ()


def read_pasted(text: str) -> Pasted:
    """Take the system words and instruction off a text that begins with them."""
    head, found, rest = text.partition(END_OF_PROMPT)
    if not found or not rest.strip() or len(head) > MAX_PASTED_CHARACTERS:
        return Pasted("", text, 0)
    return Pasted(bare_instruction(head), rest, len(head) + len(found))


def bare_instruction(written: str) -> str:
    """An instruction without the system words and the token some write around it."""
    bare = written.replace(END_OF_PROMPT, "").strip()
    return bare.removeprefix(SYSTEM).strip()


def around(
    version: Version, mode: Mode, *, instruction: str = "", transcript: Sequence[Atom] = ()
) -> Around:
    """The prompt and prefix of a mode.

    instruction: of mode `instruct`
    transcript:  of mode `zero_shot`, spelled
    """
    system = (Atom(SYSTEM, False), _END) if version == "cosyvoice3" else ()
    if mode == "zero_shot":
        return Around((*system, *transcript))
    if mode == "instruct":
        words = f"{SYSTEM} {instruction}" if version == "cosyvoice3" else instruction
        return Around((Atom(words, False), _END))
    return Around((), system)


def encode(atoms: Sequence[Atom], tokenizer: TextTokenizer) -> list[int]:
    """Ids of tokens and of the text between them, which may not hold any itself."""
    ids: list[int] = []
    plain = ""
    for atom in (*atoms, Atom("")):
        if not atom.is_token:
            plain += atom.text
            continue
        if plain:
            ids += tokenizer.encode_plain(plain)
            plain = ""
        ids += tokenizer.encode(atom.text)
    return ids
