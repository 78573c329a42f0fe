"""Conditional lines: ``-- when :p`` and ``-- when :p = 'x'``.

The lines of a statement fall into segments, each kept always or under one condition. What a call
gives is mixed into one number, the place of its variant in a table; a variant's text is made when
it is first looked up, but every one is checked when the file is loaded.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aurora_sql.errors import ParameterError
from aurora_sql.statements._names import close_to, listed, one_edit
from aurora_sql.statements._seams import Outline, find_problem, outline
from aurora_sql.statements._statement import Piece, Statement, Variant, misfit_message
from aurora_sql.statements._tokens import BLOCK, COMMENT, PARAMETER, PUNCTUATION, Token

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aurora_sql.statements._source import Source

MAX_VARIANTS: Final = 64

_MARKER = re.compile(r"--[ \t]*when[ \t]+:(\w+)(?:[ \t]*=[ \t]*'((?:[^']|'')*)')?[ \t]*\Z")
_NEAR_MARKER = re.compile(r"--[ \t]*(\w+)[ \t]*(:?)[ \t]*(\w+)[ \t]*(=.*)?\Z", re.DOTALL)


class Condition(NamedTuple):
    """When a line is kept.

    Attributes:
        parameter: The parameter that decides.
        literal: The value it must have; None where any value but NULL will do.
    """

    parameter: str
    literal: str | None

    def __str__(self) -> str:
        if self.literal is None:
            return f":{self.parameter}"
        return ":{} = '{}'".format(self.parameter, self.literal.replace("'", "''"))


@dataclass(frozen=True, slots=True)
class Segment:
    """Lines that are kept or left out together.

    Attributes:
        condition: When they are kept; None for always.
        pieces: Their text.
        outline: What is checked of them.
    """

    condition: Condition | None
    pieces: tuple[Piece, ...]
    outline: Outline

    @property
    def parameters(self) -> Iterator[str]:
        """Names that its code binds."""
        return (piece.parameter for piece in self.pieces if piece.parameter)


class Variable(NamedTuple):
    """A parameter that decides about lines: one digit of a variant's number.

    Attributes:
        name: The parameter.
        literals: The values it may have, the default first; None where only presence counts.
        states: How many states it has.
        stride: What one step of its state adds to the variant's number.
        steps: What each literal adds; None where only presence counts.
    """

    name: str
    literals: tuple[str, ...] | None
    states: int
    stride: int
    steps: dict[str, int] | None

    def state(self, index: int) -> int:
        """Its state in the variant of this number."""
        return index // self.stride % self.states


def parse_marker(source: Source, comment: Token) -> Condition | None:
    """The condition that a comment states, None for any other comment.

    Raises:
        StatementFileError: The comment is a marker but for a slip.
    """
    _, text, offset = comment
    found = _MARKER.match(text)
    if found is not None:
        literal = found[2]
        return Condition(found[1], None if literal is None else literal.replace("''", "'"))
    near = _NEAR_MARKER.match(text)
    form = "write '-- when :name' or \"-- when :name = 'value'\" at the end of the line"
    if near is None:
        if re.match(r"--[ \t]*when[ \t]*:", text):
            raise source.error(f"this condition is not understood: {form}", offset)
        return None
    word, colon, _, rest = near.groups()
    lower = word.lower()
    if lower == "when" and (colon or rest is None or "'" in rest):
        raise source.error(f"this condition is not understood: {form}", offset)
    if colon and one_edit(lower, "when"):
        raise source.error(f"{word!r} is no condition, did you mean 'when'? {form}", offset)
    return None


def make_pieces(source: Source, code: Sequence[Token], start: int, end: int) -> list[Piece]:
    """Cut the text from ``start`` to ``end`` at the parameters."""
    text = source.text
    pieces = []
    for kind, name, offset in code:
        if kind == PARAMETER:
            if offset > start:
                pieces.append(Piece(start, text[start:offset], ""))
            pieces.append(Piece(offset, "", name))
            start = offset + 1 + len(name)
    if end > start:
        pieces.append(Piece(start, text[start:end], ""))
    return pieces


def cut_segments(
    source: Source, tokens: Sequence[Token], code: Sequence[Token], start: int, end: int
) -> list[Segment]:
    """Cut a statement's text into segments; none where no line is conditional.

    Args:
        source: Where it stands.
        tokens: Its tokens with comments, those after its last word included.
        code: Its tokens without comments and final semicolon.
        start: Where its text begins.
        end: Where its text ends.

    Raises:
        StatementFileError: A marker stands where it cannot, or is no marker but for a slip.
    """
    text = source.text
    lines: list[tuple[int, int, Condition, int]] = []
    for token in tokens:
        if token[0] != COMMENT:
            continue
        condition = parse_marker(source, token)
        if condition is not None:
            line_start = max(text.rfind("\n", 0, token[2]) + 1, start)
            lines.append((line_start, token[2], condition, _line_end(text, token[2])))
    if not lines:
        return []
    segments: list[Segment] = []
    cursor, at, before = start, 0, None
    for line_start, marker, condition, line_end in lines:
        first = at
        while at < len(code) and code[at][2] < line_start:
            at += 1
        if line_start > cursor:
            part = code[first:at]
            pieces = make_pieces(source, part, cursor, line_start)
            segments.append(Segment(None, tuple(pieces), outline(part, before)))
            before = part[-1] if part else before
        first = at
        while at < len(code) and code[at][2] < marker:
            at += 1
        part = code[first:at]
        _check_line(source, tokens, part, line_start, marker)
        kind, word, offset = part[-1]
        pieces = make_pieces(source, part, line_start, offset + len(word) + (kind == PARAMETER))
        pieces.append(Piece(line_end, "\n", ""))
        segments.append(Segment(condition, tuple(pieces), outline(part, before)))
        before = part[-1]
        cursor = min(line_end + 1, max(end, cursor))
    rest = code[at:]
    if rest:
        pieces = make_pieces(source, rest, cursor, end)
        segments.append(Segment(None, tuple(pieces), outline(rest, before)))
    return segments


def _line_end(text: str, offset: int) -> int:
    end = text.find("\n", offset)
    return len(text) if end < 0 else end


def _check_line(
    source: Source, tokens: Sequence[Token], part: Sequence[Token], start: int, marker: int
) -> None:
    """Refuse a marker whose line has no code, cuts a token in two or is open in its brackets."""
    above = bisect_left(tokens, start, key=itemgetter(2)) - 1
    if above >= 0:
        kind, text, offset = tokens[above]
        if offset + len(text) + (kind == PARAMETER) > start:
            what = "comment" if kind == BLOCK else "literal"
            raise source.error(f"this condition's line cuts a {what} in two", marker)
    if not part:
        raise source.error("this condition marks nothing: its line holds no SQL", marker)
    _check_line_brackets(source, part, marker)


def _check_line_brackets(source: Source, part: Sequence[Token], marker: int) -> None:
    depth: list[str] = []
    for kind, text, offset in part:
        if kind != PUNCTUATION:
            continue
        if text in "([":
            depth.append(text)
        elif text in ")]":
            if not depth or depth.pop() + text not in ("()", "[]"):
                raise source.error(
                    "this conditional line closes a bracket that it did not open", offset
                )
        elif text == ";":
            raise source.error("a conditional line cannot end the statement", offset)
    if depth:
        raise source.error("this conditional line leaves a bracket open", marker)


class Conditions:
    """The conditional lines of one statement, and the table of its variants.

    Raises:
        StatementFileError: There are too many combinations, or one of them is no SQL.
    """

    __slots__ = (
        "_bound_choices",
        "_deciding",
        "_defaults",
        "_rules",
        "_table",
        "_variables",
        "segments",
    )

    def __init__(self, source: Source, segments: Sequence[Segment], offset: int) -> None:
        self.segments = tuple(segments)
        literals: dict[str, list[str] | None] = {}
        for segment in segments:
            if segment.condition is not None:
                _collect(source, segment, segment.condition, literals)
        count = 1
        variables: dict[str, Variable] = {}
        for name, values in literals.items():
            states = 2 if values is None else len(values)
            steps = None if values is None else {v: i * count for i, v in enumerate(values)}
            chosen = None if values is None else tuple(values)
            variables[name] = Variable(name, chosen, states, count, steps)
            count *= states
        if count > MAX_VARIANTS:
            raise source.error(
                f"the conditional lines make {count} combinations, more than {MAX_VARIANTS}: "
                "split the statement",
                offset,
            )
        self._variables = tuple(variables.values())
        # For each segment the variable that decides about it and the state that keeps it.
        self._rules = tuple(_rule(segment.condition, variables) for segment in segments)
        self._table: list[Variant | None] = [None] * count
        self._defaults = {name: values[0] for name, values in literals.items() if values}
        bound = {name for segment in segments for name in segment.parameters}
        self._bound_choices = frozenset(self._defaults) & bound
        self._deciding = frozenset(literals)
        self._check(source, offset)

    def __repr__(self) -> str:
        return f"<Conditions on {', '.join(sorted(self._deciding))}: {len(self._table)} variants>"

    def required(self) -> list[str]:
        """Names that a call must give whatever else it gives."""
        names: dict[str, None] = {}
        for segment in self.segments:
            if segment.condition is None:
                names.update(dict.fromkeys(segment.parameters))
        return [name for name in names if name not in self._defaults]

    def all_variants(self, statement: Statement) -> tuple[Variant, ...]:
        """Every variant, made where it was not yet."""
        return tuple(
            variant or self._make(statement, index) for index, variant in enumerate(self._table)
        )

    def bind(
        self, statement: Statement, params: Mapping[str, Any]
    ) -> tuple[Variant, Sequence[Any]]:
        """As :meth:`Statement.bind`."""
        index = 0
        try:
            for name, _, _, stride, steps in self._variables:
                value = params.get(name)
                if value is not None:
                    index += stride if steps is None else steps[value]
        except (KeyError, TypeError):
            raise self._bad_choice(statement, params) from None
        except AttributeError:
            raise ParameterError(misfit_message(statement, params)) from None
        variant = self._table[index] or self._make(statement, index)
        if not self._bound_choices:
            try:
                if params.keys() <= variant._accepts:  # noqa: SLF001 - the two are one unit
                    return variant, variant._pick(params)  # noqa: SLF001 - the same
            except KeyError:
                pass
        return variant, self._pick_with_care(statement, variant, params)

    def _pick_with_care(
        self, statement: Statement, variant: Variant, params: Mapping[str, Any]
    ) -> Sequence[Any]:
        known = statement.parameters
        if any(name not in known for name in params) or any(
            name not in params for name in statement.required
        ):
            raise ParameterError(misfit_message(statement, params))
        idle = [
            name
            for name, value in params.items()
            if value is not None and name not in variant._accepts  # noqa: SLF001 - the two are one unit
        ]
        if idle:
            raise ParameterError(
                f"{statement.where}: {listed(idle)} given, but only lines that are left out here "
                f"use it: {self._lines_with(idle[0])}"
            )
        values = dict(params)
        for name in self._bound_choices:
            if values.get(name) is None:
                values[name] = self._defaults[name]
        missing = [name for name in variant.parameters if name not in values]
        if missing:
            raise ParameterError(
                f"{statement.where}: missing parameter {listed(missing)}, which a line that is "
                f"kept here uses: {self._lines_with(missing[0])}"
            )
        return tuple(values[name] for name in variant.parameters)

    def _lines_with(self, name: str) -> str:
        conditions = {
            f"'-- when {segment.condition}'": None
            for segment in self.segments
            if segment.condition is not None and name in segment.parameters
        }
        return ", ".join(conditions)

    def _bad_choice(self, statement: Statement, params: Mapping[str, Any]) -> ParameterError:
        for name, _, _, _, steps in self._variables:
            value = params.get(name)
            if steps is None or value is None:
                continue
            try:
                if value in steps:
                    continue
            except TypeError:
                pass
            hint = close_to(value, steps) if isinstance(value, str) else ""
            return ParameterError(
                f"{statement.where}: {name}={value!r} is no choice{hint}; "
                f"it is one of {listed(tuple(steps))}"
            )
        return ParameterError(misfit_message(statement, params))

    def _kept(self, index: int) -> list[Segment]:
        """The segments of the variant of this number."""
        return [
            segment
            for segment, rule in zip(self.segments, self._rules, strict=True)
            if rule is None or rule[0].state(index) == rule[1]
        ]

    def _check(self, source: Source, offset: int) -> None:
        for index in range(len(self._table)):
            problem = find_problem([segment.outline for segment in self._kept(index)])
            if problem is not None:
                raise source.error(
                    f"with {self._describe(index)}: {problem.message}; every combination of "
                    "conditional lines must be a statement (write WHERE true first, or put "
                    "commas before what they belong to)",
                    problem.offset or offset,
                )

    def _make(self, statement: Statement, index: int) -> Variant:
        pieces = tuple(piece for segment in self._kept(index) for piece in segment.pieces)
        variant = Variant(statement, pieces, self._label(index))
        variant._accepts |= self._deciding  # noqa: SLF001 - the two are one unit
        self._table[index] = variant
        return variant

    def _describe(self, index: int) -> str:
        """The combination in words, as in ``:status given, :since not given, :sort = 'x'``."""
        parts = []
        for variable in self._variables:
            state = variable.state(index)
            if variable.literals is None:
                parts.append(f":{variable.name} {'given' if state else 'not given'}")
            else:
                parts.append(str(Condition(variable.name, variable.literals[state])))
        return ", ".join(parts)

    def _label(self, index: int) -> str:
        parts = []
        for variable in self._variables:
            state = variable.state(index)
            if variable.literals is not None:
                parts.append(f"{variable.name}={variable.literals[state]!r}")
            elif state:
                parts.append(variable.name)
        return ", ".join(parts)


def _rule(
    condition: Condition | None, variables: Mapping[str, Variable]
) -> tuple[Variable, int] | None:
    """The variable that decides about a segment, and the state of it that keeps the segment."""
    if condition is None:
        return None
    variable = variables[condition.parameter]
    if variable.literals is None or condition.literal is None:
        return variable, 1
    return variable, variable.literals.index(condition.literal)


def _collect(
    source: Source,
    segment: Segment,
    condition: Condition,
    literals: dict[str, list[str] | None],
) -> None:
    name, literal = condition
    place = segment.pieces[0].offset
    if name not in literals:
        literals[name] = None if literal is None else [literal]
        return
    values = literals[name]
    if (values is None) != (literal is None):
        raise source.error(
            f":{name} decides by its value on one line and by its presence on another", place
        )
    if values is not None and literal is not None and literal not in values:
        values.append(literal)
