"""How each dialect writes a parameter into the text that is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aurora_sql.statements._statement import Piece

    Sizes: TypeAlias = Mapping[str, int]
    Rendered: TypeAlias = tuple[list[str], tuple[str, ...]]
    Render: TypeAlias = Callable[[Iterable[Piece], Mapping[str, str], Sizes], Rendered]

# What stands in the brackets of IN where a list is empty. NULL IN (empty) is then false and
# NULL NOT IN (empty) true, as a list of no values has it on PostgreSQL; IN (NULL) would be NULL.
_EMPTY_LIST: Final = "SELECT NULL FROM DUAL WHERE FALSE"


def render_postgresql(pieces: Iterable[Piece], types: Mapping[str, str], _sizes: Sizes) -> Rendered:
    """Numbers: a name used twice has one, and one value is sent for it."""
    numbers: dict[str, int] = {}
    texts = []
    for _, text, parameter in pieces:
        if parameter:
            number = numbers.setdefault(parameter, len(numbers) + 1)
            type_name = types.get(parameter)
            # The extended protocol knows a parameter's type by a cast alone (the drivers pass no
            # OIDs); brackets keep it one operand whatever follows.
            texts.append(f"${number}" if type_name is None else f"(${number}::{type_name})")
        else:
            texts.append(text)
    return texts, tuple(numbers)


def render_mysql(pieces: Iterable[Piece], types: Mapping[str, str], sizes: Sizes) -> Rendered:
    """Question marks: one, and one value sent, for each use of a name.

    The values of a list are side by side in the brackets that stand around its name.
    """
    names: list[str] = []
    texts = []
    for _, text, parameter in pieces:
        if not parameter:
            texts.append(text)
            continue
        size = sizes.get(parameter, 1)
        names += [parameter] * size
        type_name = types.get(parameter)
        if type_name is not None:
            texts.append(f"CAST(? AS {type_name})")
        else:
            texts.append(", ".join("?" * size) or _EMPTY_LIST)
    return texts, tuple(names)


RENDER: Final[dict[str, Render]] = {"postgresql": render_postgresql, "mysql": render_mysql}
