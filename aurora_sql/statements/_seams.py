"""Whether a statement still reads as SQL where conditional lines were left out.

A conditional line cuts no token and no bracket, so all that leaving it out can spoil is what
meets at the seams, and which clause an AND or a second ORDER BY then belongs to. Each segment of
a statement is boiled down once to the few words that matter; checking one variant walks those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from aurora_sql.statements._keywords import RESERVED
from aurora_sql.statements._tokens import OPERATOR, PUNCTUATION, WORD, Token

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_JOINING: Final = frozenset({"and", "or"})
_SETS: Final = frozenset({"union", "intersect", "except"})
_OPEN_ENDED: Final = (
    _JOINING
    | _SETS
    | frozenset(
        """
    as between by case else from having ilike in into is join like limit not offset on returning
    select set then using when where
    """.split()  # noqa: SIM905 - a list of words reads best as words
    )
)
_CLAUSES: Final = _SETS | frozenset(
    """
    end except fetch for from group having intersect limit offset order returning set union values
    where window
    """.split()  # noqa: SIM905 - a list of words reads best as words
)
_ONCE: Final = frozenset({"where", "group", "having", "order", "limit", "offset", "set"})
_CLOSING: Final = frozenset({")", "]", ","})
_WATCHED: Final = (
    _JOINING
    | _SETS
    | _ONCE
    | frozenset({"select", "from", "join", "using", "on", "update", "delete", "into", "values"})
    | frozenset({"returning", "matched", "conflict", "do", "(", "[", ")", "]"})
)
_END: Final = "the end"


class Event(NamedTuple):
    """A word or bracket that decides how what follows reads."""

    word: str
    offset: int


class Outline(NamedTuple):
    """What of a segment matters at its seams.

    Attributes:
        first: The first token of its code, lower case; empty when it has no code.
        first_offset: Where that stands.
        last: The last one.
        last_offset: Where that stands.
        events: What decides how later words read.
    """

    first: str
    first_offset: int
    last: str
    last_offset: int
    events: tuple[Event, ...]


class Problem(NamedTuple):
    """Why a variant is no SQL, and where that shows."""

    message: str
    offset: int


def outline(code: Sequence[Token], before: Token | None) -> Outline:
    """Boil a segment down.

    Args:
        code: Its tokens without comments.
        before: The last token of code before it.
    """
    events = []
    previous = before[1].lower() if before else ""
    last = len(code) - 1
    for index, (kind, text, offset) in enumerate(code):
        word = text.lower() if kind in (WORD, PUNCTUATION) else ""
        if word in _WATCHED and _counts(word, previous, code[index + 1] if index < last else None):
            events.append(Event(word, offset))
        previous = word
    if not code:
        return Outline("", 0, "", 0, ())
    kind, text, first_offset = code[0]
    first = text.lower() if kind in (WORD, PUNCTUATION) else ""
    return Outline(first or "x", first_offset, _last_word(code), code[-1][2], tuple(events))


def _counts(word: str, previous: str, following: Token | None) -> bool:
    """Whether the word is what it looks like."""
    if word in ("from", "on"):
        return previous != "distinct"  # IS DISTINCT FROM, DISTINCT ON
    if word in ("group", "order"):
        # WITHIN GROUP (…) is no clause. A line that ends in ORDER has BY on the next.
        return following is None or following[1].lower() == "by"
    if word == "update" and previous == "key":
        return False  # ON DUPLICATE KEY UPDATE: a list of assignments, not of tables
    return previous != "."


def _last_word(code: Sequence[Token]) -> str:
    """The last token of a segment, as far as it matters to what follows."""
    kind, text, _ = code[-1]
    before = code[-2] if len(code) > 1 else None
    if kind == OPERATOR:
        # A star also stands for all columns.
        return "x" if text == "*" else "operator"
    if kind == PUNCTUATION:
        called = before is not None and before[0] == WORD and before[1].lower() not in RESERVED
        return "call(" if text == "(" and called else text
    if kind != WORD:
        return "x"
    word = text.lower()
    if word in ("all", "distinct") and before is not None and before[1].lower() in _SETS:
        return before[1].lower()
    return word


def find_problem(segments: Iterable[Outline]) -> Problem | None:
    """What is wrong with the text made of these segments; None where nothing is found."""
    last, last_offset = "", 0
    kept = [segment for segment in segments if segment.first]
    for segment in kept:
        message = _seam(last, segment.first)
        if message:
            blame = last_offset if last in _OPEN_ENDED or last in (",", "operator") else None
            return Problem(message, segment.first_offset if blame is None else blame)
        last, last_offset = segment.last, segment.last_offset
    if not last:
        return Problem("nothing is left of the statement", 0)
    message = _seam(last, _END)
    if message:
        return Problem(message, last_offset)
    return _misplaced(event for segment in kept for event in segment.events)


def _seam(left: str, right: str) -> str:
    """Why two tokens cannot meet; empty where they can. An empty ``left`` is the beginning."""
    dangling = left in _OPEN_ENDED or left in (",", ".", "operator")
    if dangling and (right in _CLAUSES or right in _CLOSING or right in _JOINING or right == _END):
        shown = {"operator": "an operator"}.get(left, left.upper())
        follows = right if right == _END else right.upper()
        return f"{shown} is left dangling before {follows}"
    if left in ("", "(", "[", "call(") and (right in _JOINING or right == ","):
        return f"nothing stands before {right.upper()}"
    if left in ("(", "[") and right in (")", "]"):
        return "nothing is left inside the brackets"
    return ""


def _misplaced(events: Iterable[Event]) -> Problem | None:
    """An AND or OR among tables, or a clause that stands twice in one query."""
    stack: list[tuple[str, set[str]]] = []
    clause, seen = "", set[str]()
    for word, offset in events:
        if word in ("(", "["):
            stack.append((clause, seen))
            clause, seen = "", set()
        elif word in (")", "]"):
            clause, seen = stack.pop() if stack else ("", set())
        elif word in _JOINING:
            if clause in ("from", "into"):
                return Problem(f"{word.upper()} stands where no condition has begun", offset)
        else:
            if word in seen:
                name = f"{word} by" if word in ("group", "order") else word
                return Problem(f"{name.upper()} stands twice in one query", offset)
            if word in _ONCE:
                seen.add(word)
            elif word in ("select", "matched", "conflict", "do") or word in _SETS:
                seen = set()
            clause = _clause_after(clause, word)
    return None


def _clause_after(clause: str, word: str) -> str:
    if word == "from":
        # In brackets without SELECT it belongs to substring(), extract() or trim().
        return "from" if clause in ("select", "delete", "set", "update", "from") else clause
    if word in ("join", "using", "update"):
        return "from"
    if word == "returning":
        return "select"
    if word == "matched":
        return "on"
    if word in ("do", "conflict") or word in _SETS:
        return ""
    return word
