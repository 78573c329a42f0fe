"""Models of rows; statements name them by their path."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel


def not_seven(note):
    if note == "n7":
        raise ValueError("it is seven")
    return note


class Picky(BaseModel):
    id: int
    note: Annotated[str, AfterValidator(not_seven)]


@dataclass
class Plain:
    id: int
    note: str
