"""Many calls of one caller: a statement for each of several sets of parameters."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aurora_sql.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence

    from aurora_sql.statements import Statement, Variant


class Answers:
    """What the calls of one caller bring, in the order of the calls.

    Args:
        future: Done when all of them are, or with the first error.
        count: How many there are.
    """

    __slots__ = ("future", "left", "results")

    def __init__(self, future: asyncio.Future[list[Any]], count: int) -> None:
        self.future = future
        self.left = count
        self.results: list[Any] = [None] * count


class Part:
    """One of the calls; in a batch it stands where the future of a lone call would."""

    __slots__ = ("_answers", "_ended", "_number")

    def __init__(self, answers: Answers, number: int) -> None:
        self._answers = answers
        self._number = number
        self._ended = False

    def done(self) -> bool:
        """Whether nobody waits for it any more: with one error all calls have ended."""
        return self._ended or self._answers.future.done()

    def set_result(self, result: Any) -> None:
        """It was answered."""
        answers = self._answers
        self._ended = True
        answers.results[self._number] = result
        answers.left -= 1
        if not answers.left:
            answers.future.set_result(answers.results)

    def set_exception(self, error: BaseException) -> None:
        """It failed, and the others with it."""
        self._ended = True
        note_number(error, self._number)
        self._answers.future.set_exception(error)

    def cancel(self) -> None:
        """Whoever serves it is cancelled."""
        self._answers.future.cancel()


def note_number(error: BaseException, number: int) -> None:
    """Say which of the sets an error is about."""
    error.add_note(f"in set {number} of each(), counted from 0")


def bind_each(
    statement: Statement, sets: Iterable[Mapping[str, Any]]
) -> list[tuple[Variant, Sequence[Any]]]:
    """Bind all sets before anything is sent.

    Raises:
        ParameterError: One of them does not fit; a note says which.
    """
    bound = []
    for number, params in enumerate(sets):
        if type(params) is not dict and not isinstance(params, Mapping):
            kind = type(params).__name__
            error = ParameterError(
                f"{statement.where}: a set of parameters is a mapping, not {kind}"
            )
            note_number(error, number)
            raise error
        try:
            bound.append(statement.bind(params))
        except ParameterError as error:
            note_number(error, number)
            raise
    return bound


async def gather_each(calls: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Run calls at the same time; with the first error the others are cancelled."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        raise
