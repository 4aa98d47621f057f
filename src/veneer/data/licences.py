"""Licences of pictures: what a catalogue calls one, and whether a work made from it may be shared."""

from __future__ import annotations

import re
from dataclasses import dataclass

PUBLIC = "public"
COMMERCIAL = "modify-commercially"
DERIVATIVES = "modify"
WANTED = (DERIVATIVES, COMMERCIAL, PUBLIC)
"""What may be asked for, the widest first."""

_PARTS = frozenset({"by", "nc", "nd", "sa"})


@dataclass(frozen=True)
class Licence:
    """A licence as a catalogue names it.

    Attributes:
        name: For people, such as "CC BY-SA 4.0".
        url: Its text; empty where unknown.
        parts: Terms of a Creative Commons licence, such as ``{"by", "sa"}``; empty for the public domain, and
            for one that is not known.
        is_known: Whether its terms are known here.
    """

    name: str
    url: str = ""
    parts: frozenset[str] = frozenset()
    is_known: bool = False

    def fault(self, wanted: str) -> str:
        """Why a picture under it is left out; empty where it is taken.

        Args:
            wanted: One of `WANTED`.
        """
        if not self.is_known:
            return f"its licence is not known to allow changes: {self.name or 'none is told'}"
        if "nd" in self.parts:
            return f"its licence forbids derivatives: {self.name}"
        if wanted == PUBLIC and self.parts:
            return f"not in the public domain: {self.name}"
        if wanted == COMMERCIAL and "nc" in self.parts:
            return f"its licence forbids commercial use: {self.name}"
        return ""


def read_licence(code: str, name: str = "", version: str = "", url: str = "") -> Licence:
    """Read a licence's code.

    Args:
        code: Such as "by-sa", "cc-by-nc-4.0", "cc0", "pdm", "pd-old-100".
        name: What the catalogue calls it for people; made of the code where it is empty.
        version: Such as "4.0", where the code does not say it.
    """
    words = code.strip().lower().removeprefix("cc-").split("-")
    if words[0] in {"cc0", "pdm", "pd", "zero"} or code.strip().lower() == "public domain":
        return Licence(name or _PUBLIC_NAMES.get(words[0], "public domain"), url, is_known=True)
    parts = [word for word in words if word in _PARTS]
    others = [word for word in words if word not in _PARTS]
    if words[0] != "by" or any(not re.fullmatch(r"\d\.\d|[a-z]{2,3}", word) for word in others):
        return Licence(name or code, url)
    number = version or next((word for word in others if word[0].isdigit()), "")
    return Licence(name or f"CC {'-'.join(parts).upper()} {number}".strip(), url, frozenset(parts), True)


_PUBLIC_NAMES = {"cc0": "CC0", "pdm": "Public Domain Mark", "zero": "CC0"}
