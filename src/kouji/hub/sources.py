"""How Hugging Face and ModelScope name files, and what they say about them.

Both serve `resolve/{revision}/{path}` under the repository. Hugging Face answers HEAD with the
commit, the size and, for large files, their SHA-256; ModelScope lists them by its own interface.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import httpx

from kouji.errors import ModelError, UsageError
from kouji.hub.catalogue import HUBS, Place

ENDPOINTS = {"huggingface": "https://huggingface.co", "modelscope": "https://www.modelscope.cn"}
MAX_LISTING_BYTES = 8 << 20
_MAX_HOPS = 5
_SHA256_DIGITS = 64


@dataclass(frozen=True)
class FileFacts:
    """What a hub says about a file; None is what it does not say.

    commit: the revision that is meant, as a commit
    """

    size: int | None = None
    sha256: str | None = None
    commit: str | None = None


@dataclass(frozen=True)
class Source:
    """A repository on a hub at a revision."""

    hub: str
    endpoint: str
    place: Place

    def url(self, path: str) -> str:
        """Where a file's content is served."""
        return f"{self._base()}/resolve/{quote(self.place.revision, safe='')}/{quote(path)}"

    def facts(self, client: httpx.Client, path: str) -> FileFacts:
        """Ask the hub about a file; raises as `client` does, and ModelError for a refusal."""
        if self.hub == "modelscope":
            return self._listed(client, path)
        return self._asked(client, path)

    def _base(self) -> str:
        middle = "models/" if self.hub == "modelscope" else ""
        return f"{self.endpoint}/{middle}{quote(self.place.repo)}"

    def _asked(self, client: httpx.Client, path: str) -> FileFacts:
        """Hugging Face: the headers of the first answer that speaks of the file itself."""
        url, headers, commit = self.url(path), {"Accept-Encoding": "identity"}, None
        for _ in range(_MAX_HOPS):
            answer = client.head(url, headers=headers, follow_redirects=False)
            raise_for_refusal(answer, self, path)
            commit = commit or answer.headers.get("X-Repo-Commit")
            target = urljoin(url, answer.headers.get("Location", ""))
            is_renamed = answer.is_redirect and urlsplit(target).netloc == urlsplit(url).netloc
            if not is_renamed or "X-Linked-Etag" in answer.headers:
                return _facts_of(answer, commit)
            url = target
        raise ModelError("the hub redirects without end", seen=url, cure="try again later")

    def _listed(self, client: httpx.Client, path: str) -> FileFacts:
        """ModelScope: the list of files."""
        url = f"{self.endpoint}/api/v1/models/{quote(self.place.repo)}/repo/files"
        question = {"Revision": self.place.revision, "Recursive": "true"}
        answer = client.get(url, params=question)
        raise_for_refusal(answer, self, path)
        try:
            assert len(answer.content) < MAX_LISTING_BYTES
            listed = json.loads(answer.content)["Data"]["Files"]
            entry = next((item for item in listed if item["Path"] == path), None)
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise ModelError("ModelScope answered in an unknown form", seen=url) from error
        if entry is None:
            raise missing(self, path)
        return FileFacts(_count(entry.get("Size")), _digest(entry.get("Sha256")), None)


def choose_source(hub: str, endpoint: str, places: Mapping[str, Place], name: str) -> Source:
    """The source of a model.

    hub:      one of `HUBS`
    endpoint: of a mirror; empty for the hub itself
    raises:   UsageError for an unknown hub or an endpoint that is no address
    """
    if hub not in HUBS:
        raise UsageError("unknown hub", seen=hub, allowed=", ".join(HUBS))
    if hub not in places:
        allowed = ", ".join(places)
        raise UsageError(f"{name} is not on this hub", seen=hub, allowed=allowed)
    endpoint = (endpoint or ENDPOINTS[hub]).rstrip("/")
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query:
        raise UsageError(
            "the hub's endpoint is no address",
            seen=endpoint,
            allowed="such as https://hf-mirror.com",
            cure="correct hub_endpoint, KOUJI_HUB_ENDPOINT or HF_ENDPOINT",
        )
    return Source(hub, endpoint, places[hub])


def raise_for_refusal(answer: httpx.Response, source: Source, path: str) -> None:
    """Raise ModelError for an answer that asking again will not change; faults pass (5xx, 429)."""
    code = answer.status_code
    if code in (401, 403):
        raise ModelError(
            "the hub refuses this file without a login",
            seen=f"{code} for {source.place.repo}/{path} at {source.endpoint}",
            allowed="public repositories",
            cure="accept its terms in a browser, fetch it there, and copy it into the folder",
        )
    if code in (404, 410):
        raise missing(source, path)
    if 400 <= code < 500 and code not in (408, 416, 425, 429):
        raise ModelError(
            "the hub refuses this file",
            seen=f"{code} for {source.place.repo}/{path} at {source.endpoint}",
            cure="try another hub: kouji pull --hub",
        )


def missing(source: Source, path: str) -> ModelError:
    """The error for a file the hub does not have."""
    return ModelError(
        "the hub does not have this file",
        seen=f"{source.place.repo}/{path} of {source.place.revision} at {source.endpoint}",
        cure="try another hub: kouji pull --hub",
    )


def _facts_of(answer: httpx.Response, commit: str | None) -> FileFacts:
    headers = answer.headers
    linked = headers.get("X-Linked-Etag", headers.get("ETag", ""))
    size = headers.get("X-Linked-Size")
    if size is None and answer.is_success:
        size = headers.get("Content-Length")
    return FileFacts(_count(size), _digest(linked.strip('W/"')), commit)


def _count(value: Any) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _digest(value: Any) -> str | None:
    """A SHA-256 in hexadecimal digits; small files on Hugging Face have another kind of tag."""
    text = str(value).lower()
    is_hash = len(text) == _SHA256_DIGITS and all(char in "0123456789abcdef" for char in text)
    return text if is_hash else None
