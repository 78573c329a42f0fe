"""Lay the columns of a result onto the fields of a model, once per statement and model."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args, get_origin
from uuid import UUID

from aurora_sql.errors import ConfigurationError, RowValidationError
from aurora_sql.rows._annotations import (
    Fit,
    allows_none,
    describe_column,
    is_annotated,
    is_json,
    is_opaque,
    judge,
    members,
    show,
)
from aurora_sql.rows._nodes import Branch, Leaf, Mode
from aurora_sql.rows._shapes import Extra, Field, Kind, Shape, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aurora_sql.types import Column


@dataclass(frozen=True, slots=True)
class _Named:
    """A column under the name that it has at one level of nesting."""

    name: str
    number: int
    column: Column


class Planner:
    """Makes the plan, and collects everything that is wrong on the way.

    Args:
        columns: The columns of the statement.
        where: Names the statement in errors.
        nullability: What is known of a column by its name: True if it can be NULL.
    """

    def __init__(
        self, columns: Sequence[Column], where: str, nullability: Mapping[str, bool]
    ) -> None:
        self._columns = columns
        self._where = where
        self._nullability = nullability
        self._problems: list[str] = []

    def plan(self, model: Any) -> Leaf | Branch:
        """Make the plan for one model.

        Raises:
            RowValidationError: The columns do not fit the model; lists everything that is wrong.
            ConfigurationError: The model cannot be used at all.
        """
        try:
            root = self._root(model)
        except ConfigurationError as exc:
            raise ConfigurationError(f"{self._where}: {exc.message}") from exc
        self._raise(model)
        return root

    def _root(self, model: Any) -> Leaf | Branch:
        shape = describe(model)
        if shape is not None:
            self._check_duplicates(shape.name)
            named = [_Named(column.name, n, column) for n, column in enumerate(self._columns)]
            root = Branch(shape, shape.name, "", "", nullable=False, mode=Mode.RAW)
            self._bind(root, shape, named, maybe_null=False)
            _settle(root)
            return root
        origin = get_origin(model) or model
        if origin is tuple:
            return self._tuple(get_args(model) or (Any, ...))
        if origin is dict:
            return self._dict(get_args(model) or (str, Any))
        return self._scalar(model)

    def _raise(self, model: Any) -> None:
        if self._problems:
            lines = "".join(f"\n  - {problem}" for problem in self._problems)
            raise RowValidationError(
                f"{self._where}: the columns do not fit {_full_name(model)}:{lines}"
            )

    def _check_duplicates(self, name: str) -> None:
        counts = Counter(column.name for column in self._columns)
        self._problems.extend(
            f"{count} columns are called {column!r}, and {name} can take one: "
            "give them different names with AS"
            for column, count in counts.items()
            if count > 1
        )

    def _scalar(self, model: Any) -> Leaf | Branch:
        if len(self._columns) != 1:
            names = ", ".join(column.name for column in self._columns) or "none"
            self._problems.append(
                f"{show(model)} is one value, and the statement has {len(self._columns)} "
                f"columns ({names}); return one, or use a model with fields"
            )
            return Branch(None, show(model), "", "", nullable=False, mode=Mode.TUPLE)
        value = Field(name=show(model), annotation=model, required=True, key="")
        return self._leaf(value, "", _Named("", 0, self._columns[0]), show(model), converts=True)

    def _tuple(self, types: tuple[Any, ...]) -> Branch:
        root = Branch(None, "tuple", "", "", nullable=False, mode=Mode.TUPLE)
        if len(types) == 2 and types[1] is Ellipsis:  # noqa: PLR2004  # tuple[X, ...]
            types = (types[0],) * len(self._columns)
        if len(types) != len(self._columns):
            self._problems.append(
                f"the tuple has {len(types)} values, and the statement {len(self._columns)} columns"
            )
            return root
        for number, (annotation, column) in enumerate(zip(types, self._columns, strict=True)):
            label = f"value {number}"
            value = Field(name=label, annotation=annotation, required=True, key="")
            named = _Named(column.name, number, column)
            root.entries.append(self._leaf(value, "", named, label, converts=True))
        return root

    def _dict(self, types: tuple[Any, ...]) -> Branch:
        self._check_duplicates("dict")
        if types[0] not in (str, Any):
            self._problems.append(f"its keys are {show(types[0])}, and names of columns are str")
        root = Branch(None, "dict", "", "", nullable=False, mode=Mode.DICT)
        for number, column in enumerate(self._columns):
            name = column.name
            value = Field(name=name, annotation=types[1], required=True, key=name)
            named = _Named(name, number, column)
            root.entries.append(self._leaf(value, name, named, f"dict[{name!r}]", converts=True))
        return root

    def _bind(self, branch: Branch, shape: Shape, named: list[_Named], *, maybe_null: bool) -> None:
        """Fill a branch from columns.

        Args:
            branch: To be filled.
            shape: Its model.
            named: The columns, under the names that they have inside this branch.
            maybe_null: It becomes None when all its columns are NULL, so that a column that
                can be NULL says nothing against a field that cannot.
        """
        taken = _Names(shape)
        filled: dict[str, Leaf | Branch] = {}
        groups: dict[str, list[_Named]] = {}
        extras: list[_Named] = []
        satisfied: set[str] = set()
        for item in named:
            head, _, rest = item.name.partition(".")
            if item.name in taken.fields:
                target, key = taken.fields[item.name]
                label = f"{branch.label}.{target.name}"
                converts = shape.kind is not Kind.PYDANTIC
                opaque = shape.opaque
                leaf = self._leaf(
                    target,
                    key,
                    item,
                    label,
                    converts=converts,
                    opaque=opaque,
                    maybe_null=maybe_null,
                )
                self._fill(filled, target, leaf, branch)
            elif item.name in taken.paths:
                satisfied.update(taken.paths[item.name])
                branch.entries.append(_pass_on(branch, item))
            elif rest and head in taken.fields:
                groups.setdefault(head, []).append(_Named(rest, item.number, item.column))
            else:
                extras.append(item)
        for head, group in groups.items():
            target, key = taken.fields[head]
            nested = self._nested(branch, shape, target, key, group, maybe_null=maybe_null)
            if nested is not None:
                self._fill(filled, target, nested, branch)
            satisfied.add(target.name)
        self._take_extras(branch, shape, extras, filled)
        ordered = [filled[f.name] for f in shape.fields if f.name in filled]
        branch.entries[:0] = ordered
        branch.absent = [f for f in shape.fields if f.name not in filled]
        self._check_missing(branch, shape, satisfied, extras)

    def _fill(
        self,
        filled: dict[str, Leaf | Branch],
        target: Field,
        entry: Leaf | Branch,
        branch: Branch,
    ) -> None:
        before = filled.setdefault(target.name, entry)
        if before is not entry:
            names = [repr(leaf.column.name) for e in (before, entry) for leaf in _leaves(e)]
            if len(set(names)) > 1:  # equal names are reported already
                self._problems.append(
                    f"columns {', '.join(names)} all fill field {branch.label}.{target.name}"
                )

    def _leaf(
        self,
        target: Field,
        key: str,
        item: _Named,
        label: str,
        *,
        converts: bool,
        opaque: bool = False,
        maybe_null: bool = False,
    ) -> Leaf:
        column = item.column
        opaque = opaque or target.opaque or (converts and is_opaque(target.annotation))
        fit = judge(target.annotation, column)
        nullable = allows_none(target.annotation)
        what = f"{label} is {show(target.annotation)}"
        if fit is Fit.MISFIT and not opaque:
            self._problems.append(
                f"{what}, and {describe_column(column)} cannot fill it: "
                "cast the column, or change the field"
            )
        elif self._nullability.get(column.name) and not (nullable or opaque or maybe_null):
            self._problems.append(
                f"{what}, and {describe_column(column)} can be NULL: make the field "
                f"{show(target.annotation)} | None, or the column not null"
            )
        leaf = Leaf(
            number=item.number,
            column=column,
            label=label,
            name=target.name,
            key=key,
            annotation=target.annotation,
            nullable=nullable or opaque,
            exact=_is_exact(target, column),
            finite=target.finite,
            keyword=target.keyword,
        )
        if converts and (fit is not Fit.EXACT or is_annotated(target.annotation)):
            leaf.convert = _converter(target.annotation, label)
        return leaf

    def _nested(
        self,
        branch: Branch,
        shape: Shape,
        target: Field,
        key: str,
        group: list[_Named],
        *,
        maybe_null: bool,
    ) -> Branch | None:
        label = f"{branch.label}.{target.name}"
        candidates = members(target.annotation)
        inner = describe(candidates[0]) if len(candidates) == 1 else None
        if inner is None:
            names = ", ".join(repr(item.column.name) for item in group)
            self._problems.append(
                f"{label} is {show(target.annotation)}, and columns {names} need a field whose "
                "type is one model"
            )
            return None
        nullable = allows_none(target.annotation)
        nested = Branch(
            inner,
            label,
            target.name,
            key,
            nullable=nullable or target.opaque or shape.opaque,
            mode=Mode.RAW,
            keyword=target.keyword,
        )
        self._bind(nested, inner, group, maybe_null=maybe_null or nested.nullable)
        return nested

    def _take_extras(
        self,
        branch: Branch,
        shape: Shape,
        extras: list[_Named],
        filled: Mapping[str, object],
    ) -> None:
        if shape.extra is Extra.KEEP:
            branch.entries.extend(_pass_on(branch, item) for item in extras)
        if shape.extra is not Extra.ERROR:
            return
        free = [f.name for f in shape.fields if f.name not in filled]
        for item in extras:
            close = difflib.get_close_matches(item.name, free, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            advice = (
                "leave it out of the statement"
                if shape.kind is not Kind.PYDANTIC
                else "leave it out of the statement, or set extra='ignore' in the model's config"
            )
            self._problems.append(
                f"{describe_column(item.column)} fills no field of {branch.label}{hint}: {advice}"
            )

    def _check_missing(
        self, branch: Branch, shape: Shape, satisfied: set[str], extras: list[_Named]
    ) -> None:
        if shape.opaque:
            return
        for missing in branch.absent:
            if missing.required and missing.name not in satisfied:
                names = [missing.name] if missing.key is not None else []
                names += [*missing.aliases, *missing.paths]
                wanted = " or ".join(repr(name) for name in dict.fromkeys(names))
                near = difflib.get_close_matches(missing.name, [i.name for i in extras], n=1)
                hint = f" ({near[0]!r} is close)" if near else ""
                self._problems.append(
                    f"{branch.label}.{missing.name} ({show(missing.annotation)}) is required, "
                    f"and there is no column {wanted}{hint}"
                )


class _Names:
    """Which field a column's name leads to at one level."""

    __slots__ = ("fields", "paths")

    def __init__(self, shape: Shape) -> None:
        self.fields: dict[str, tuple[Field, str]] = {}
        self.paths: dict[str, set[str]] = {}
        for target in shape.fields:  # aliases first: they were chosen, a name just is
            for alias, key in target.aliases.items():
                self.fields.setdefault(alias, (target, key))
            for path in target.paths:
                self.paths.setdefault(path, set()).add(target.name)
        for target in shape.fields:
            if target.key is not None:
                self.fields.setdefault(target.name, (target, target.key))


def _leaves(entry: Leaf | Branch) -> list[Leaf]:
    return [entry] if isinstance(entry, Leaf) else entry.leaves()


def _pass_on(branch: Branch, item: _Named) -> Leaf:
    """A column that only the model's validator can place."""
    label = f"{branch.label}.{item.name}"
    return Leaf(item.number, item.column, label, item.name, item.name, Any, nullable=True)


def _is_exact(target: Field, column: Column) -> bool:
    if target.exact is object:
        return True
    if target.exact is None or is_json(column):
        return False
    # asyncpg's UUID is a subclass, and pydantic hands it through.
    return column.python_type is target.exact or (
        target.exact is UUID and issubclass(column.python_type, UUID)
    )


def _converter(annotation: Any, label: str) -> Callable[[Any], Any]:
    from pydantic import TypeAdapter  # noqa: PLC0415  # 100 ms, and not every model needs it
    from pydantic.errors import PydanticUserError  # noqa: PLC0415  # the same

    try:
        return TypeAdapter(annotation).validate_python
    except PydanticUserError as exc:
        raise ConfigurationError(
            f"nothing is known of how to make {label} from a column: its type is "
            f"{show(annotation)}; use a pydantic model, a dataclass, a typed dict, a named "
            "tuple, dict, tuple, or a type of the standard library"
        ) from exc


def _settle(branch: Branch, *, raw: bool = False) -> None:
    """Choose how a branch and those inside it are made."""
    shape = branch.shape
    if shape is None:
        return
    if raw:
        branch.mode = Mode.RAW
    elif shape.kind is Kind.PYDANTIC:
        branch.mode = Mode.FIELDS if _by_fields(branch) else Mode.VALIDATE
        raw = branch.mode is Mode.VALIDATE
    else:
        branch.mode = Mode.CALL if shape.kind is Kind.CALL else Mode.DICT
    for entry in branch.entries:
        if isinstance(entry, Branch):
            _settle(entry, raw=raw)
        elif branch.mode is Mode.RAW or branch.mode is Mode.VALIDATE:
            entry.nullable, entry.convert, entry.finite = True, None, False


def _by_fields(branch: Branch) -> bool:
    shape = branch.shape
    if shape is None or shape.setters is None or any(f.default is None for f in branch.absent):
        return False
    return all(
        entry.exact
        if isinstance(entry, Leaf)
        else entry.shape is not None
        and shape.nested.get(entry.name) is entry.shape.model
        and _by_fields(entry)
        for entry in branch.entries
    )


def _full_name(model: Any) -> str:
    if isinstance(model, type) and get_origin(model) is None:
        module = model.__module__
        return model.__qualname__ if module == "builtins" else f"{module}.{model.__qualname__}"
    return show(model)
