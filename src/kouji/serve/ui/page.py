"""Gradio's page in our dress: its language, our script and style, no word of other hosts.

Gradio draws the page from a template of its own; what is changed is changed in its answer.
"""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope

from kouji.serve.ui.words import script_words

_HTML_LANGUAGE = {"en": "en", "zh": "zh-CN"}
# Cards for social networks name Gradio's own site; nothing here should.
_FOREIGN_TAGS = re.compile(r'\s*<meta\s+(?:property|name)="(?:og|twitter):[^>]*?/>', re.DOTALL)
# So do its examples of calls, which the page never shows.
_FOREIGN_FILES = re.compile(r'https://github\.com/gradio-app/[^"\\]*')
_SAFE_IN_SCRIPT = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


async def dressed(
    studio: ASGIApp, language: str, scope: Scope, receive: Receive, *, has_key: bool
) -> Response:
    """Gradio's answer for the page, dressed; with a key there is a way to sign out."""
    start: dict[str, Any] = {"status": 500}
    body = bytearray()

    async def collect(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        elif message["type"] == "http.response.body":
            body.extend(message.get("body", b""))

    await studio(uncompressed({**scope, "method": "GET"}), receive, collect)
    page = body.decode("utf-8", "replace")
    response = Response(
        dress(page, language, has_key=has_key) if start["status"] == 200 else page,
        start["status"],
        media_type="text/html",
    )
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def dress(page: str, language: str, *, has_key: bool) -> str:
    """The page with our head, in one language."""
    tag = _HTML_LANGUAGE[language]
    page = _FOREIGN_FILES.sub("", _FOREIGN_TAGS.sub("", page))
    page = re.sub(
        r'lang="en"', f'lang="{tag}" class="{"kj-has-key" if has_key else ""}"', page, count=1
    )
    words = json.dumps(script_words(language), ensure_ascii=False)
    for sign, code in _SAFE_IN_SCRIPT.items():
        words = words.replace(sign, code)
    # Gradio's own words follow the browser's language; ours may be switched, theirs go along.
    head = f"""<script>
window.koujiWords = {words};
Object.defineProperty(navigator, "language", {{ get: () => "{tag}" }});
</script>
<link rel="stylesheet" href="./studio/static/studio.css">
<script src="./studio/static/studio.js" defer></script>
<script src="./studio/static/boards.js" defer></script>
<script src="./studio/static/sounds.js" defer></script>
</head>"""
    return page.replace("</head>", head, 1)


def uncompressed(scope: Scope) -> Scope:
    """The same request from somebody who reads no compression."""
    kept = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
    return {**scope, "headers": kept}
