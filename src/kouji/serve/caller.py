"""Who is asking: the identity and the rights that travel with every request.

Made from a key by `access`, or `LOCAL` where the server asks for none. Knows no HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass

from kouji.errors import NotAllowed

# speak: in voices that are kept; clone: in a recording sent along, without a verified consent;
# voices: keep and remove voices; jobs: long work; classify: hear what sounds are; admin:
# everything, of everybody.
SCOPES = ("speak", "clone", "voices", "jobs", "classify", "admin")
# A scope that others bring along: keys made before there were classifiers can hear, too.
_BROUGHT_BY = {"classify": "speak"}


@dataclass(frozen=True)
class Quotas:
    """What a key may use up; None is no limit."""

    requests_per_minute: int | None = None
    characters_per_day: int | None = None
    voices: int | None = None


@dataclass(frozen=True)
class Caller:
    """A caller.

    id:   of the key, never the key itself; empty where none is asked for
    name: what the operator called the key
    """

    id: str
    name: str
    scopes: frozenset[str]
    quotas: Quotas = Quotas()

    def may(self, scope: str) -> bool:
        """The caller has this scope, one that brings it along, or all of them."""
        return not self.scopes.isdisjoint({scope, _BROUGHT_BY.get(scope, scope), "admin"})

    def require(self, scope: str) -> None:
        """NotAllowed without the scope."""
        if not self.may(scope):
            raise NotAllowed(
                "this key may not do that",
                seen="scopes " + ", ".join(sorted(self.scopes)),
                allowed=f"a key with the scope {scope}",
                cure="ask the operator for one",
            )

    def may_see(self, owner: str) -> bool:
        """What belongs to everybody, to this caller, or to anyone for an admin."""
        return owner in ("", self.id) or "admin" in self.scopes


LOCAL = Caller("", "this machine", frozenset(SCOPES))
