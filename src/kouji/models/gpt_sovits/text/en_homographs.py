"""English words whose sound depends on their part of speech.

One row a word: Penn tag prefix, reading under that tag, reading otherwise. Written from knowledge
of English; the official code keeps a table of the same kind, which checkpoints were trained on.
Knows no sentences: the tags come from the tagger.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple


class Homograph(NamedTuple):
    """Two readings in ARPAbet and the tag prefix that asks for the first."""

    tag: str
    tagged: tuple[str, ...]
    otherwise: tuple[str, ...]

    def reading(self, pos: str) -> tuple[str, ...]:
        """The reading under a tag; a tag shorter than the prefix may also match it (VB, VBP)."""
        matches = pos.startswith(self.tag) or (bool(pos) and self.tag.startswith(pos))
        return self.tagged if matches else self.otherwise


# Nouns (or adjectives) stressed early, verbs late or with a full last vowel. A `+` adds -s.
_TABLE = """
absent V: AH1 B S AE2 N T | AE1 B S AH0 N T
abstract V: AE0 B S T R AE1 K T | AE1 B S T R AE2 K T
abuse+ V: AH0 B Y UW1 Z | AH0 B Y UW1 S
addict+ V: AH0 D IH1 K T | AE1 D IH2 K T
advocate+ V: AE1 D V AH0 K EY2 T | AE1 D V AH0 K AH0 T
affiliate+ V: AH0 F IH1 L IY0 EY2 T | AH0 F IH1 L IY0 AH0 T
aggregate+ V: AE1 G R AH0 G EY2 T | AE1 G R AH0 G AH0 T
ally V: AH0 L AY1 | AE1 L AY0
allies V: AH0 L AY1 Z | AE1 L AY0 Z
alternate+ V: AO1 L T ER0 N EY2 T | AO1 L T ER0 N AH0 T
animate V: AE1 N AH0 M EY2 T | AE1 N AH0 M AH0 T
annex V: AH0 N EH1 K S | AE1 N EH2 K S
appropriate V: AH0 P R OW1 P R IY0 EY2 T | AH0 P R OW1 P R IY0 AH0 T
approximate V: AH0 P R AA1 K S AH0 M EY2 T | AH0 P R AA1 K S AH0 M AH0 T
articulate V: AA0 R T IH1 K Y AH0 L EY2 T | AA0 R T IH1 K Y AH0 L AH0 T
associate+ V: AH0 S OW1 SH IY0 EY2 T | AH0 S OW1 SH IY0 AH0 T
attribute+ V: AH0 T R IH1 B Y UW2 T | AE1 T R IH0 B Y UW0 T
bow+ V: B AW1 | B OW1
close V: K L OW1 Z | K L OW1 S
combat V: K AH0 M B AE1 T | K AA1 M B AE0 T
combine+ V: K AH0 M B AY1 N | K AA1 M B AY0 N
compact+ V: K AH0 M P AE1 K T | K AA1 M P AE0 K T
complex JJ: K AH0 M P L EH1 K S | K AA1 M P L EH0 K S
compound+ V: K AH0 M P AW1 N D | K AA1 M P AW0 N D
compress V: K AH0 M P R EH1 S | K AA1 M P R EH0 S
concert+ V: K AH0 N S ER1 T | K AA1 N S ER0 T
conduct+ V: K AH0 N D AH1 K T | K AA1 N D AH0 K T
confine+ V: K AH0 N F AY1 N | K AA1 N F AY2 N
conflict+ V: K AH0 N F L IH1 K T | K AA1 N F L IH0 K T
console+ V: K AH0 N S OW1 L | K AA1 N S OW0 L
construct+ V: K AH0 N S T R AH1 K T | K AA1 N S T R AH0 K T
consort+ V: K AH0 N S AO1 R T | K AA1 N S AO0 R T
content N: K AA1 N T EH0 N T | K AH0 N T EH1 N T
contest+ V: K AH0 N T EH1 S T | K AA1 N T EH0 S T
contract+ V: K AH0 N T R AE1 K T | K AA1 N T R AE2 K T
contrast+ V: K AH0 N T R AE1 S T | K AA1 N T R AE0 S T
converse V: K AH0 N V ER1 S | K AA1 N V ER0 S
convert+ V: K AH0 N V ER1 T | K AA1 N V ER0 T
convict+ V: K AH0 N V IH1 K T | K AA1 N V IH0 K T
coordinate+ V: K OW0 AO1 R D AH0 N EY2 T | K OW0 AO1 R D AH0 N AH0 T
decrease+ V: D IH0 K R IY1 S | D IY1 K R IY2 S
defect+ V: D IH0 F EH1 K T | D IY1 F EH0 K T
degenerate V: D IH0 JH EH1 N ER0 EY2 T | D IH0 JH EH1 N ER0 AH0 T
delegate+ V: D EH1 L AH0 G EY2 T | D EH1 L AH0 G AH0 T
deliberate V: D IH0 L IH1 B ER0 EY2 T | D IH0 L IH1 B ER0 AH0 T
desert+ V: D IH0 Z ER1 T | D EH1 Z ER0 T
desolate V: D EH1 S AH0 L EY2 T | D EH1 S AH0 L AH0 T
diffuse V: D IH0 F Y UW1 Z | D IH0 F Y UW1 S
digest+ V: D AY0 JH EH1 S T | D AY1 JH EH0 S T
discharge V: D IH0 S CH AA1 R JH | D IH1 S CH AA2 R JH
discount+ V: D IH0 S K AW1 N T | D IH1 S K AW0 N T
dove V: D OW1 V | D AH1 V
duplicate+ V: D UW1 P L AH0 K EY2 T | D UW1 P L AH0 K AH0 T
elaborate V: IH0 L AE1 B ER0 EY2 T | IH0 L AE1 B R AH0 T
entrance V: IH0 N T R AE1 N S | EH1 N T R AH0 N S
escort+ V: EH0 S K AO1 R T | EH1 S K AO0 R T
estimate+ V: EH1 S T AH0 M EY2 T | EH1 S T AH0 M AH0 T
excuse+ V: IH0 K S K Y UW1 Z | IH0 K S K Y UW1 S
exploit+ V: EH2 K S P L OY1 T | EH1 K S P L OY2 T
export+ V: IH0 K S P AO1 R T | EH1 K S P AO0 R T
extract+ V: IH0 K S T R AE1 K T | EH1 K S T R AE2 K T
ferment V: F ER0 M EH1 N T | F ER1 M EH0 N T
fragment+ V: F R AE0 G M EH1 N T | F R AE1 G M AH0 N T
frequent V: F R IY1 K W EH2 N T | F R IY1 K W AH0 N T
graduate+ V: G R AE1 JH AH0 W EY2 T | G R AE1 JH AH0 W AH0 T
house V: HH AW1 Z | HH AW1 S
impact+ V: IH2 M P AE1 K T | IH1 M P AE0 K T
implant+ V: IH2 M P L AE1 N T | IH1 M P L AE2 N T
implement+ V: IH1 M P L AH0 M EH0 N T | IH1 M P L AH0 M AH0 N T
import+ V: IH2 M P AO1 R T | IH1 M P AO2 R T
incense V: IH2 N S EH1 N S | IH1 N S EH2 N S
incline+ V: IH0 N K L AY1 N | IH1 N K L AY0 N
increase+ V: IH0 N K R IY1 S | IH1 N K R IY2 S
initiate+ V: IH0 N IH1 SH IY0 EY2 T | IH0 N IH1 SH IY0 AH0 T
insert+ V: IH2 N S ER1 T | IH1 N S ER2 T
insult+ V: IH2 N S AH1 L T | IH1 N S AH2 L T
intern+ V: IH2 N T ER1 N | IH1 N T ER0 N
intimate V: IH1 N T AH0 M EY2 T | IH1 N T AH0 M AH0 T
lead V: L IY1 D | L EH1 D
live V: L IH1 V | L AY1 V
lives V: L IH1 V Z | L AY1 V Z
minute JJ: M AY0 N UW1 T | M IH1 N AH0 T
moderate+ V: M AA1 D ER0 EY2 T | M AA1 D ER0 AH0 T
mouth V: M AW1 DH | M AW1 TH
object+ V: AH0 B JH EH1 K T | AA1 B JH EH0 K T
overflow+ V: OW2 V ER0 F L OW1 | OW1 V ER0 F L OW2
overlap+ V: OW2 V ER0 L AE1 P | OW1 V ER0 L AE2 P
perfect+ V: P ER0 F EH1 K T | P ER1 F IH2 K T
permit+ V: P ER0 M IH1 T | P ER1 M IH2 T
pervert+ V: P ER0 V ER1 T | P ER1 V ER0 T
predicate V: P R EH1 D AH0 K EY2 T | P R EH1 D IH0 K AH0 T
present V: P R IY0 Z EH1 N T | P R EH1 Z AH0 N T
presents V: P R IY0 Z EH1 N T S | P R EH1 Z AH0 N T S
proceeds V: P R AH0 S IY1 D Z | P R OW1 S IY0 D Z
produce V: P R AH0 D UW1 S | P R OW1 D UW0 S
progress V: P R AH0 G R EH1 S | P R AA1 G R EH2 S
project+ V: P R AA0 JH EH1 K T | P R AA1 JH EH0 K T
protest+ V: P R AH0 T EH1 S T | P R OW1 T EH2 S T
read VBP: R IY1 D | R EH1 D
rebel+ V: R IH0 B EH1 L | R EH1 B AH0 L
rebound+ V: R IY0 B AW1 N D | R IY1 B AW0 N D
recall+ V: R IH0 K AO1 L | R IY1 K AO2 L
record+ V: R IH0 K AO1 R D | R EH1 K ER0 D
recount+ V: R IH0 K AW1 N T | R IY1 K AW2 N T
refund+ V: R IH0 F AH1 N D | R IY1 F AH2 N D
refuse V: R IH0 F Y UW1 Z | R EH1 F Y UW2 Z
reject+ V: R IH0 JH EH1 K T | R IY1 JH EH0 K T
relapse V: R IH0 L AE1 P S | R IY1 L AE2 P S
relay+ V: R IY0 L EY1 | R IY1 L EY2
reprint+ V: R IY0 P R IH1 N T | R IY1 P R IH0 N T
resume V: R IH0 Z UW1 M | R EH1 Z AH0 M EY2
rewrite+ V: R IY0 R AY1 T | R IY1 R AY2 T
segment+ V: S EH2 G M EH1 N T | S EH1 G M AH0 N T
separate+ V: S EH1 P ER0 EY2 T | S EH1 P ER0 IH0 T
sow N: S AW1 | S OW1
subject+ V: S AH0 B JH EH1 K T | S AH1 B JH IH0 K T
subordinate+ V: S AH0 B AO1 R D AH0 N EY2 T | S AH0 B AO1 R D AH0 N AH0 T
supplement+ V: S AH1 P L AH0 M EH0 N T | S AH1 P L AH0 M AH0 N T
survey+ V: S ER0 V EY1 | S ER1 V EY2
suspect+ V: S AH0 S P EH1 K T | S AH1 S P EH2 K T
syndicate+ V: S IH1 N D AH0 K EY2 T | S IH1 N D AH0 K AH0 T
tear+ V: T EH1 R | T IH1 R
torment+ V: T AO0 R M EH1 N T | T AO1 R M EH2 N T
transfer+ V: T R AE0 N S F ER1 | T R AE1 N S F ER0
transform+ V: T R AE0 N S F AO1 R M | T R AE1 N S F AO0 R M
transplant+ V: T R AE0 N S P L AE1 N T | T R AE1 N S P L AE0 N T
transport+ V: T R AE0 N S P AO1 R T | T R AE1 N S P AO0 R T
upgrade+ V: AH0 P G R EY1 D | AH1 P G R EY0 D
uplift V: AH0 P L IH1 F T | AH1 P L IH0 F T
use+ V: Y UW1 Z | Y UW1 S
wind+ V: W AY1 N D | W IH1 N D
wound VBD: W AW1 N D | W UW1 N D
"""
_VOICELESS = frozenset("P T K F TH HH".split())
_SIBILANTS = frozenset("S Z SH ZH CH JH".split())


def add_s(reading: tuple[str, ...], vowel: str = "AH0") -> tuple[str, ...]:
    """The reading with the sound of -s or -'s: S, Z, or `vowel` Z after a hiss."""
    if reading[-1] in _VOICELESS:
        return (*reading, "S")
    return (*reading, vowel, "Z") if reading[-1] in _SIBILANTS else (*reading, "Z")


@lru_cache(maxsize=1)
def homographs() -> dict[str, Homograph]:
    """Every homograph in lower case, forms in -s included."""
    found: dict[str, Homograph] = {}
    for line in _TABLE.strip().splitlines():
        head, readings = line.split(": ")
        word, tag = head.split()
        tagged, otherwise = (tuple(reading.split()) for reading in readings.split(" | "))
        stem = word.rstrip("+")
        found[stem] = Homograph(tag, tagged, otherwise)
        if word.endswith("+"):
            found[stem + "s"] = Homograph(tag, add_s(tagged, "IH0"), add_s(otherwise, "IH0"))
    return found
