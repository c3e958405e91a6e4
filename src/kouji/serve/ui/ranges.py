"""Parts of a file in memory, as players ask for them when they seek (RFC 9110, one range)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.responses import Response

_ONE_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


def ranged(
    data: bytes, media_type: str, wanted: str | None, headers: Mapping[str, str]
) -> Response:
    """The whole, or the part a Range header asks for; what is no range is ignored."""
    shared = {**headers, "Accept-Ranges": "bytes"}
    match = _ONE_RANGE.match(wanted or "")
    if match is None or match.group(1) == match.group(2) == "":
        return Response(data, media_type=media_type, headers=shared)
    first, last = _bounds(match.group(1), match.group(2), len(data))
    if first >= len(data) or last < first:
        shared["Content-Range"] = f"bytes */{len(data)}"
        return Response(status_code=416, headers=shared)
    shared["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return Response(data[first : last + 1], 206, shared, media_type)


def _bounds(first: str, last: str, num_bytes: int) -> tuple[int, int]:
    """First and last byte, both included; without a first one the last so many bytes."""
    if not first:
        return max(0, num_bytes - int(last[:15])), num_bytes - 1
    return int(first[:15]), min(int(last[:15] or num_bytes), num_bytes - 1)
