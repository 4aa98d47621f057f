r"""Patterns of names, matched in bounded time: they come with LoRA files and recipes of strangers.

Python's `re` tries ways one after the other and may never end. Here all ways are followed at once, so the
time grows with the pattern times the name. What is understood: letters and ``\.``, ``.``, ``\d \w \s``,
``[a-z]``, ``( )`` and ``(?: )``, ``|``, ``* + ?``, ``{m,n}`` and ``^ $``. Nothing else is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from veneer.errors import VeneerError

MAX_LENGTH = 1_000
MAX_STATES = 2_000
MAX_DEPTH = 20
MAX_NAME = 500
MAX_WORK = 2_000_000
"""Limits of one pattern: its characters, its states, brackets in brackets, a name's characters, and states
looked at in all names together: less than a second's work."""

Reads = Callable[[str], bool]
Wants = Reads | str | None
"""What a state waits for: a character, an edge of the name (``^`` or ``$``), or nothing."""

_KINDS = {"d": str.isdecimal, "w": lambda c: c.isalnum() or c == "_", "s": str.isspace}
_COUNT = re.compile(r"\{(\d{1,3})(,?)(\d{0,3})\}")
_PLAIN = re.compile(r"\^?((?:[\w\-/ ]|\\?\.|\\[\-/ _])*)\$?")


@dataclass
class Pattern:
    """A pattern, read once.

    Attributes:
        text: As it was written.
    """

    text: str
    _wants: list[Wants] = field(default_factory=list)
    _next: list[list[int]] = field(default_factory=list)
    _known: dict[tuple[frozenset[int], str], frozenset[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.text) > MAX_LENGTH:
            raise _refusal(self.text, "it is too long")
        self._at = self._depth = self._work = 0
        self._end = self._state(None)
        self._start = self._choices(self._end)
        if self._at < len(self.text):
            raise _refusal(self.text, "a bracket too many")

    def searches(self, name: str) -> bool:
        """Whether the pattern fits somewhere in a name, as `re.search`."""
        return self._run(name, range(len(name) + 1), to_end=False)

    def begins(self, name: str) -> bool:
        """Whether the pattern fits at a name's beginning, as `re.match`."""
        return self._run(name, (0,), to_end=False)

    def ends(self, name: str) -> bool:
        """Whether the pattern fits the whole name, or all of it after a dot."""
        starts = (0, *(at + 1 for at, letter in enumerate(name) if letter == "."))
        return self._run(name, starts, to_end=True)

    def _run(self, name: str, starts: Iterable[int], *, to_end: bool) -> bool:
        if len(name) > MAX_NAME:
            raise _refusal(self.text, f"it is asked of a name of {len(name)} characters")
        begin, now = set(starts), frozenset[int]()
        for at in range(len(name) + 1):
            fresh = {self._start} if at in begin else set()
            edges = ("^" if at == 0 else "") + ("$" if at == len(name) else "")
            now = self._reached(now | fresh, edges)
            if self._end in now and (not to_end or at == len(name)):
                return True
            if at < len(name):
                now = self._moved(now, name[at])
        return False

    def _reached(self, states: frozenset[int], edges: str) -> frozenset[int]:
        """The states that follow from some without reading a character."""
        return self._looked_up((states, edges), lambda: self._spread(states, edges))

    def _spread(self, states: frozenset[int], edges: str) -> frozenset[int]:
        found, waiting = set(states), list(states)
        while waiting:
            state = waiting.pop()
            wants = self._wants[state]
            if wants is None or (isinstance(wants, str) and wants in edges):
                new = [one for one in self._next[state] if one not in found]
                found.update(new)
                waiting += new
        return frozenset(found)

    def _moved(self, states: frozenset[int], letter: str) -> frozenset[int]:
        return self._looked_up(
            (states, f"={letter}"),
            lambda: frozenset(
                one
                for state in states
                if callable(wants := self._wants[state]) and wants(letter)
                for one in self._next[state]
            ),
        )

    def _looked_up(
        self, key: tuple[frozenset[int], str], find: Callable[[], frozenset[int]]
    ) -> frozenset[int]:
        if key not in self._known:
            self._work += 1 + len(key[0])
            if self._work > MAX_WORK:
                raise _refusal(self.text, "it takes too long")
            self._known[key] = find()
        return self._known[key]

    def _state(self, wants: Wants, *then: int) -> int:
        if len(self._wants) >= MAX_STATES:
            raise _refusal(self.text, "it is too large")
        self._wants.append(wants)
        self._next.append(list(then))
        return len(self._wants) - 1

    # The pattern is read from left to right; each piece is given the state that follows it. As that is not
    # there yet, a piece ends in a state that waits for nothing and is led on afterwards.

    def _choices(self, end: int) -> int:
        start = self._state(None)
        while True:
            self._next[start].append(self._row(end))
            if self._peek() != "|":
                return start
            self._at += 1

    def _row(self, end: int) -> int:
        start = last = self._state(None)
        while self._peek() not in {"", "|", ")"}:
            last = self._piece(last)
        self._next[last].append(end)
        return start

    def _piece(self, before: int) -> int:
        """Put a piece with its count behind a state, and give the state behind it."""
        begin = self._at
        after = self._atom(before)
        atom = (begin, self._at)
        low, high = self._count()
        if (low, high) == (1, 1):
            return after
        self._next[before] = []
        return self._repeated(before, atom, low, high)

    def _repeated(self, before: int, atom: tuple[int, int], low: int, high: int | None) -> int:
        done = self._at
        for _ in range(low):
            before = self._again(before, atom[0])
        behind = self._state(None)
        if high is None:
            loop = self._state(None, behind)
            self._next[before].append(loop)
            self._next[self._again(loop, atom[0])].append(loop)
        else:
            for _ in range(high - low):
                self._next[before].append(behind)
                before = self._again(before, atom[0])
            self._next[before].append(behind)
        self._at = done
        return behind

    def _again(self, before: int, begin: int) -> int:
        self._at = begin
        start = self._state(None)
        self._next[before].append(start)
        return self._atom(start)

    def _count(self) -> tuple[int, int | None]:
        found = _COUNT.match(self.text, self._at)
        sign = self._peek()
        if found:
            self._at = found.end()
            low = int(found[1])
            high = low if not found[2] else int(found[3]) if found[3] else None
        elif sign and sign in "*+?":
            self._at += 1
            low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
        else:
            return 1, 1
        if self._peek() == "?":  # asks for the shortest; whether one fits is the same
            self._at += 1
        if (self._peek() and self._peek() in "*+{") or (high is not None and high < low):
            raise _refusal(self.text, "a count that is none")
        return low, high

    def _atom(self, before: int) -> int:
        sign = self._take()
        after = self._state(None)
        match sign:
            case "(":
                self._next[before].append(self._group(after))
                return after
            case "*" | "+" | "?" | "{" | "}" | "]":
                raise _refusal(self.text, f"{sign} without anything before it")
            case "^" | "$":
                wants: Wants = sign
            case ".":
                wants = _anything
            case "[":
                wants = self._class()
            case "\\":
                wants = self._escaped()
            case _:
                wants = sign.__eq__
        self._next[before].append(self._state(wants, after))
        return after

    def _group(self, after: int) -> int:
        if self._peek() == "?" and not self.text.startswith("?:", self._at):
            raise _refusal(self.text, "(? is not understood")
        self._at += 2 if self._peek() == "?" else 0
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _refusal(self.text, "too many brackets in brackets")
        start = self._choices(after)
        if self._take() != ")":
            raise _refusal(self.text, "a bracket too few")
        self._depth -= 1
        return start

    def _class(self) -> Reads:
        is_not = self._peek() == "^"
        self._at += is_not
        tests: list[Reads] = []
        while not (self._peek() == "]" and tests):
            letter = self._take()
            if letter == "\\":
                tests.append(self._escaped())
            elif self._peek() == "-" and self.text[self._at + 1 : self._at + 2] not in {"", "]"}:
                self._at += 1
                tests.append(_between(letter, self._take()))
            else:
                tests.append(letter.__eq__)
        self._at += 1
        return lambda letter: any(test(letter) for test in tests) is not is_not

    def _escaped(self) -> Reads:
        letter = self._take()
        if letter.lower() in _KINDS:
            kind = _KINDS[letter.lower()]
            return kind if letter.islower() else lambda one: not kind(one)
        if letter.isalnum():
            raise _refusal(self.text, f"\\{letter} is not understood")
        return letter.__eq__

    def _peek(self) -> str:
        return self.text[self._at : self._at + 1]

    def _take(self) -> str:
        letter = self._peek()
        if not letter:
            raise _refusal(self.text, "it ends early")
        self._at += 1
        return letter


@lru_cache(maxsize=4096)
def pattern(text: str) -> Pattern:
    """Read a pattern.

    Args:
        text: As a recipe or a file has it.

    Raises:
        VeneerError: If it is not understood, or too large.
    """
    return Pattern(text)


def plain_name(text: str) -> str | None:
    """The name that a pattern stands for, where it stands for one, as most do.

    Returns:
        The name; None where it stands for several.
    """
    found = _PLAIN.fullmatch(text)
    return found[1].replace("\\", "") if found and len(text) <= MAX_LENGTH else None


def _anything(letter: str) -> bool:
    return letter != "\n"


def _between(low: str, high: str) -> Reads:
    return lambda letter: low <= letter <= high


def _refusal(text: str, why: str) -> VeneerError:
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    return VeneerError(
        f"the pattern {shown!r} is not taken: {why}",
        todo="Use names, . * + ? [ ] ( ) and |, or write the names out",
    )
