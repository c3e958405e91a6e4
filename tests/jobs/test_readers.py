"""Files of every kind to lines: what people write is read, what is wrong is named by its place."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kouji.errors import JobError, KoujiError
from kouji.jobs import epub, reading
from kouji.jobs.job import JobLine
from kouji.jobs.reading import READERS, kind_of, read_lines

CONTAINER = """<?xml version="1.0"?>
<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>"""
PACKAGE = """<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf"><manifest>
<item id="two" href="two%20b.xhtml" media-type="application/xhtml+xml"/>
<item id="one" href="one.xhtml" media-type="application/xhtml+xml"/>
<item id="css" href="a.css" media-type="text/css"/></manifest>
<spine><itemref idref="one"/><itemref idref="css"/><itemref idref="two"/></spine></package>"""
ONE = """<!DOCTYPE html><html><head><title>no</title><style>p{}</style></head><body>
<h1>Chapter <b>one</b></h1><p>First&nbsp;<i>words</i> &amp; more.<!-- not this --></p>
<p><ruby>汉<rt>han</rt></ruby>字</p><script>no()</script></body></html>"""


def texts(lines: list[JobLine]) -> list[str]:
    return [line.text for line in lines]


def book(**changes: str | bytes | None) -> bytes:
    """An EPUB; files may be replaced, added or (None) left out."""
    files: dict[str, str | bytes | None] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": CONTAINER,
        "OEBPS/book.opf": PACKAGE,
        "OEBPS/one.xhtml": ONE,
        "OEBPS/two b.xhtml": "<html><body><div>Second chapter.</div></body></html>",
    } | {name.replace("__", "/"): content for name, content in changes.items()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            if content is not None:
                archive.writestr(name, content)
    return out.getvalue()


def test_the_name_says_how_it_is_read() -> None:
    assert kind_of("A/B.TXT") == "text"
    assert kind_of("b.dat", "csv") == "csv"
    with pytest.raises(KoujiError, match="suffix"):
        kind_of("song.mp3")
    with pytest.raises(KoujiError, match="allowed: text, markdown"):
        kind_of("a.txt", "pdf")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_plain_text_in_any_usual_encoding(encoding: str) -> None:
    lines = read_lines("a.txt", "第一行。\n\n第二行。\r\nThird.\n".encode(encoding))
    assert texts(lines) == ["第一行。", "第二行。", "Third."]
    assert [line.where for line in lines] == ["line 1", "line 3", "line 4"]
    assert [line.id for line in lines] == ["1", "2", "3"]


def test_a_wrapped_paragraph_is_one_line() -> None:
    text = "It was a bright\ncold day in\nApril.\n\nThe clocks were\nstriking."
    found = read_lines("a.txt", text.encode())
    assert texts(found) == ["It was a bright cold day in April.", "The clocks were striking."]


def test_a_long_paragraph_is_cut_at_sentences() -> None:
    text = "This is a sentence of the book. " * 200
    lines = read_lines("a.txt", text.encode())
    assert len(lines) > 3
    assert all(line.text.endswith("book.") for line in lines)
    assert " ".join(texts(lines)) == text.strip()


def test_markdown_is_read_as_one_would_aloud() -> None:
    text = """---
title: no
---
# Head *ing* #

A [link](https://a.b/c) and ![picture](x.png), `code` and
**bold** words.[^1]

```python
no = 1
```
- item one
- [x] item two
> quoted

| a | b |
|---|---|
| 1 | 2 |

Title
=====
[ref]: https://no.where
***
"""
    assert texts(read_lines("a.md", text.encode())) == [
        "Head ing",
        "A link and picture, code and bold words.",
        "item one",
        "item two quoted",
        "a, b",
        "1, 2",
        "Title",
    ]


def test_srt_as_it_is_found() -> None:
    text = """1
00:00:01,000 --> 00:00:02,500
<i>Hello</i>
there {\\an8}

00:00:04.000 --> 00:00:05,000 X1:10
No number.
3
00:00:03,000 --> 00:00:03,500
Between.

4
00:01:00,000 --> 00:01:01,000

"""
    lines = read_lines("a.srt", text.encode())
    assert [(line.start, line.end, line.text) for line in lines] == [
        (1.0, 2.5, "Hello there"),
        (3.0, 3.5, "Between."),
        (4.0, 5.0, "No number."),
    ]


def test_vtt_without_its_notes() -> None:
    text = "WEBVTT - x\n\nNOTE no\n\nSTYLE\n::cue {}\n\nid\n00:01.000 --> 00:02.000 line:0\n"
    lines = read_lines("a.vtt", (text + "<v Ann>Fish &amp; chips</v>\n").encode())
    assert [(line.start, line.text) for line in lines] == [(1.0, "Fish & chips")]
    with pytest.raises(KoujiError, match="begins with WEBVTT"):
        read_lines("a.vtt", b"1\n00:01.000 --> 00:02.000\nx\n")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("1\nxx --> 00:00:02,000\nhello", "line 2: the times of this cue cannot be read"),
        ("1\n00:00:03,000 --> 00:00:02,000\nhello", "line 2: this cue ends before it begins"),
        ("1\n99:00:00,000 --> 99:00:01,000\nhello", "within 24 hours"),
        ("1\n\n", "nothing to speak"),
    ],
)
def test_what_is_wrong_in_subtitles_is_named(row: str, told: str) -> None:
    with pytest.raises(KoujiError, match=told):
        read_lines("a.srt", row.encode())


def test_csv_with_every_column() -> None:
    content = 'Text;id;voice;style;seed;language\n"a; ""b""";x;ann;sad;7;en\nplain;;;;;\n\n'
    one, two = read_lines("a.csv", content.encode())
    assert one == JobLine("x", 'a; "b"', "line 2", "ann", "sad", 7, "en")
    assert (two.id, two.voice, two.seed) == ("2", None, None)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("id,txt\n1,a", "line 1: unknown columns.*txt"),
        ("id,voice\n1,a", "line 1: the header has no text"),
        ("id,text\n1,a,b", "line 2: this row does not fit"),
        ("id,text\n1,a\n\n1,b", "line 4: the id '1' is that of line 2"),
        ("id,text\n1,\n2,x\n3, ", "line 2: the text is missing; line 4: the text is missing"),
        ("text,seed\na,b", "line 2: the seed is not a number"),
        ("text,seed\na,-1", "line 2: the seed -1 is out of range"),
        ("text,language\na,xx", "line 2: unknown language 'xx'"),
        ('id,text\n1,"a', "this is not CSV"),
        ("text,start,end\na,0,1\nb,,", "1 lines without a slot among 1"),
        ("text,start\na,nan", "a start and an end, or neither"),
        ("text,start,end\na,nan,2", "line 2: its slot is nan"),
    ],
)
def test_what_is_wrong_in_a_table_is_named_by_its_line(content: str, told: str) -> None:
    with pytest.raises(KoujiError, match=told):
        read_lines("a.csv", content.encode())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"text": "a"}\n[1]', "line 2: this is not a JSON object"),
        ('{"text": "a"', "line 1: this is not JSON"),
        ("[" * 100_000, "line 1: this is not JSON"),
        ('{"text": "a", "vioce": "b"}', "line 1: unknown keys.*vioce"),
        ('{"text": ["a"]}', "line 1: text is not text"),
        ('{"text": "\\ud800"}', "half of a character"),
        ('{"text": "a", "seed": 1.5}', "the seed is not a number"),
    ],
)
def test_what_is_wrong_in_json_is_named_by_its_line(content: str, told: str) -> None:
    with pytest.raises(KoujiError, match=told):
        read_lines("a.jsonl", content.encode())


def test_many_faults_are_told_in_one_message() -> None:
    content = "text,seed\n" + "a,-1\n" * 50
    with pytest.raises(JobError, match="and 45 more"):
        read_lines("a.csv", content.encode())


def test_ten_thousand_lines() -> None:
    rows = "\n".join(json.dumps({"id": f"n{n}", "text": f"Line {n}."}) for n in range(10_000))
    lines = read_lines("a.jsonl", rows.encode())
    assert (len(lines), lines[-1].id) == (10_000, "n9999")


def test_a_book_in_the_order_of_its_spine() -> None:
    lines = read_lines("a.epub", book())
    assert texts(lines) == ["Chapter one", "First words & more.", "汉字", "Second chapter."]
    assert [line.where for line in lines] == ["chapter 1"] * 3 + ["chapter 2"]


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)
)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"no zip", "not an EPUB"),
        (book()[:-40], "not an EPUB"),
        (book(**{"META-INF__container.xml": None}), "lacks a file.*container.xml"),
        (book(**{"META-INF__container.xml": "<a>"}), "broken XML"),
        (book(**{"META-INF__container.xml": "<a/>"}), "names no package"),
        (book(**{"OEBPS__book.opf": PACKAGE.replace("itemref", "x")}), "has no spine"),
        (book(**{"OEBPS__book.opf": BOMB + "]><a>&j;</a>"}), "declares XML entities"),
        (book(**{"OEBPS__one.xhtml": None}), "lacks a file"),
        (book(**{"OEBPS__one.xhtml": "a" * (65 << 20)}), "unpacks to too much"),
        (book(**{"OEBPS__book.opf": " " * (5 << 20) + PACKAGE}), "unpacks to too much"),
        (book(**{"OEBPS__one.xhtml": b"\x89PNG\x00\x00"}), "not a text"),
        (book(**{"OEBPS__one.xhtml": "<p/>", "OEBPS__two b.xhtml": "<p/>"}), "nothing to speak"),
    ],
)
def test_a_hostile_book_is_refused_in_words(content: bytes, told: str) -> None:
    with pytest.raises(KoujiError, match=told):
        read_lines("a.epub", content)


def test_a_book_as_tools_make_it() -> None:
    """Entities declared, a `>` in a value, marks of footnotes, images and hyphens in words."""
    chapter = """<?xml version="1.0"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.1//EN" "x.dtd" [
<!ENTITY mdash "&#x2014;">]><html xmlns:epub="http://www.idpf.org/2007/ops"><body>
<nav epub:type="toc"><ol><li><a href="a">no</a></li></ol><nav>no</nav></nav>
<h1 title="a > b">One</h1>
<p>He stop&shy;ped<a epub:type="noteref" href="#n">1</a>, the <img src="x" alt="x"/> star.</p>
<p>* * *</p><p>&#160;</p><p>It isn't <a href="#b">over</a>.</p></body></html>"""
    found = read_lines("a.epub", book(**{"OEBPS__one.xhtml": chapter}))
    assert texts(found) == [
        "One", "He stopped, the star.", "It isn't over.", "Second chapter."
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("encoding", "head"),
    [
        ("gb2312", '<?xml version="1.0" encoding="GB2312"?>'),
        ("latin-1", '<?xml version="1.0" encoding="ISO-8859-1"?>'),
        ("cp1252", '<meta http-equiv="Content-Type" content="text/html; charset=windows-1252"/>'),
    ],
)
def test_a_chapter_says_its_encoding(encoding: str, head: str) -> None:
    said = "国标编码。" if encoding == "gb2312" else "Fermé à midi, déjà."
    chapter = f"{head}<html><body><p>{said}</p></body></html>".encode(encoding)
    found = read_lines("a.epub", book(**{"OEBPS__one.xhtml": chapter}))
    assert texts(found) == [said, "Second chapter."]


def test_lines_without_a_sound_are_left_out_of_prose_and_cues() -> None:
    assert texts(read_lines("a.txt", b"One.\n* * *\nTwo.\n...\n")) == ["One.", "Two."]
    cues = "1\n00:00:01,000 --> 00:00:02,000\n...\n\n2\n00:00:03,000 --> 00:00:04,000\nHi\n"
    assert texts(read_lines("a.srt", cues.encode())) == ["Hi"]


def test_text_behind_an_empty_row_of_a_cue_is_the_cues() -> None:
    cues = "1\n00:00:01,000 --> 00:00:02,000\n\nOne\n\ntwo\n\n2\n00:00:03,000 --> 00:00:04,000\n42"
    found = read_lines("a.srt", cues.encode())
    assert [(line.text, line.start) for line in found] == [("One two", 1.0), ("42", 3.0)]


def test_what_excel_adds_to_a_table() -> None:
    rows = 'sep=;\r\n"id";"text";;\r\n1;"Say ""hi""; now";;\r\n;;;\r\n2;Two\r\n'
    found = read_lines("a.csv", ("\ufeff" + rows).encode())
    assert [(x.id, x.text, x.where) for x in found] == [
        ("1", 'Say "hi"; now', "line 3"),
        ("2", "Two", "line 5"),
    ]
    with pytest.raises(KoujiError, match="line 3: this row does not fit"):
        read_lines("a.csv", b"sep=,\nid,text\n1,Two,three\n")


def test_markdown_of_links_entities_and_cells() -> None:
    prose = "A [page](http://a.b/c_(d)) of R&amp;D\\\ngoes on.\n\n"
    table = "| a | b |\n|---|---|\n| 1 \\| x | 2 |\n"
    found = texts(read_lines("a.md", (prose + table).encode()))
    assert found == ["A page of R&D goes on.", "a, b", "1 | x, 2"]


def test_a_chapter_of_nothing_but_openings_ends_soon() -> None:
    """What a careless parser takes quadratic time for."""
    for text in ("<" * 300_000, "<!--" * 100_000, "<![CDATA[" * 50_000, "&" * 300_000):
        assert sum(map(len, epub.spoken_blocks(text))) <= len(text)


@settings(deadline=None, max_examples=150)
@given(kind=st.sampled_from(sorted(READERS)), content=st.binary(max_size=400))
def test_any_bytes_are_lines_or_an_error_in_words(kind: str, content: bytes) -> None:
    try:
        lines = read_lines("x", content, kind)
    except KoujiError:
        return
    assert lines
    assert len({line.id for line in lines}) == len(lines)
    assert all(line.text.strip() for line in lines)


@settings(deadline=None, max_examples=150)
@given(
    kind=st.sampled_from(["text", "markdown", "srt", "vtt", "csv", "jsonl"]),
    text=st.text(st.sampled_from(list('ab c,;"\t\n\r<>&[]()*_`#|-:>0123{}\\/!。 ')), max_size=300),
)
def test_any_layout_is_lines_or_an_error_in_words(kind: str, text: str) -> None:
    prefix = {"vtt": "WEBVTT\n\n00:01.000 --> 00:02.000\n", "csv": "text\n"}.get(kind, "")
    try:
        lines = read_lines("x", (prefix + text).encode(), kind)
    except KoujiError:
        return
    assert all(line.text == line.text.strip() for line in lines)


@settings(deadline=None, max_examples=100)
@given(
    rows=st.lists(
        st.tuples(st.text(min_size=1, max_size=20), st.integers(0, reading.MAX_SEED)), min_size=1
    )
)
def test_what_json_holds_is_what_is_spoken(rows: list[tuple[str, int]]) -> None:
    kept = [(text.strip(), seed) for text, seed in rows if text.strip() and "\0" not in text]
    content = "\n".join(json.dumps({"text": text, "seed": seed}) for text, seed in kept)
    if not kept:
        return
    lines = read_lines("a.jsonl", content.encode())
    assert [(line.text, line.seed) for line in lines] == kept
