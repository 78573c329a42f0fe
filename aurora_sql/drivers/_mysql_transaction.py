"""What is known of the transaction of a MySQL session. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aurora_sql.errors import TransactionAborted

if TYPE_CHECKING:
    from aurora_sql.drivers._mysql_answers import Answer

# Errors with which the server rolls back the whole transaction.
_ROLLED_BACK: Final = {1213, 1614, 3101}
_COMMITTED: Final = (
    "a statement ended it, as those that define tables do; what came before was committed"
)


class Transaction:
    """The books of a transaction, kept after each answer.

    Attributes:
        begun: It was begun, and neither committed nor rolled back since.
        ended: Why the one that was begun is no more, None while it is open.
        unsure: An error came, and the server has not been asked since whether it is open.
    """

    __slots__ = ("begun", "ended", "unsure")

    def __init__(self) -> None:
        self.begun = False
        self.ended: str | None = None
        self.unsure = False

    @property
    def was_committed(self) -> bool:
        """It ended, and what came before was committed."""
        return self.ended == _COMMITTED

    def note(self, answer: Answer, *, is_open: bool) -> None:
        """Keep the books after an answer, also after one that nobody waited for.

        Args:
            answer: The answer, perhaps not complete.
            is_open: A transaction is open, by the server's last status.
        """
        if not answer.done:
            return
        if answer.error is not None:
            if is_open:
                self.unsure = True
                if answer.error.code in _ROLLED_BACK and self.begun:
                    self.ended = f"the server undid it ({answer.error.message})"
        elif self.begun and not is_open and self.ended is None:
            self.ended = _COMMITTED

    def learned(self, *, is_open: bool) -> None:
        """Take what the server says when it is asked after an error."""
        self.unsure = False
        if self.begun and not is_open and self.ended is None:
            self.ended = "the server rolled it back with an error"

    def forget(self) -> None:
        """Close the books: it was committed or rolled back."""
        self.begun, self.ended = False, None

    def doomed(self) -> TransactionAborted:
        """The error of whatever is to run in a transaction that has ended."""
        return TransactionAborted(
            f"the transaction is no longer open: {self.ended}; call rollback before anything else",
            retry_safe=not self.was_committed,
        )
