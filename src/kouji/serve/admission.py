"""Whether a key is needed here, whose it is, and whether it has anything left.

Joins the keys of the home (`keys`) with what was used up (`quotas`). Knows no HTTP; where a key
stands in a request is `access`' business.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kouji.config import Settings
from kouji.errors import NotAuthenticated
from kouji.serve.caller import LOCAL, Caller
from kouji.serve.keys import KeyRing
from kouji.serve.origins import is_loopback
from kouji.serve.quotas import QuotaBook


class Admission:
    """The keys and quotas of one server."""

    def __init__(self, settings: Settings, *, is_insecure: bool = False) -> None:
        """Look at the keys there are.

        is_insecure: nobody needs a key until the first is made, however wide the server is bound
        """
        self.keys, self.quotas = KeyRing(settings.home), QuotaBook(settings.home)
        is_local = is_loopback(settings.host)
        self._may_be_keyless, self._is_wide = is_insecure or is_local, not is_local

    @property
    def needs_key(self) -> bool:
        """Every caller needs a key: the first one was made, or others can reach this server."""
        return not (self._may_be_keyless and self.keys.is_empty)

    @property
    def is_open(self) -> bool:
        """Anybody who reaches this server may come in, from other machines too."""
        return self._is_wide and not self.needs_key

    def identify(self, key: str | None) -> Caller:
        """Who sends this key.

        raises: NotAuthenticated in the same words for a key that is missing, unknown, revoked
                or expired
        """
        if not self.needs_key:
            return LOCAL
        record = self.keys.find(key or "")
        if record is None:
            raise NotAuthenticated(
                "no valid key was given", cure='send "Authorization: Bearer" and a key'
            )
        return record.caller()

    @contextmanager
    def charged(self, caller: Caller, num_characters: int) -> Iterator[None]:
        """Charge a text to the caller's day; whatever the block raises gives it back.

        raises: QuotaExceeded
        """
        charge = self.quotas.charge(caller, num_characters)
        try:
            yield
        except BaseException:
            charge.give_back()
            raise
