"""The pages of the documentation, and their tables, for the tests that compare them with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))


class Page:
    """One page of Markdown."""

    def __init__(self, path):
        self.path = path
        self.text = path.read_text("utf-8")

    @property
    def prose(self):
        """The text without fenced blocks."""
        return re.sub(r"^```.*?^```$", "", self.text, flags=re.DOTALL | re.MULTILINE)

    def section(self, title):
        """The text under a heading, up to the next of the same level or above."""
        found = re.search(rf"^(#+) {re.escape(title)}$", self.text, re.MULTILINE)
        assert found, f"{self.path} has no heading {title!r}"
        rest = self.text[found.end() :]
        end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
        return rest[: end.start()] if end else rest

    def table(self, title):
        """The rows of the first table under a heading, as lists of cells without backticks."""
        rows = []
        for line in self.section(title).splitlines():
            if line.startswith("|"):
                cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
                rows.append([cell.strip().replace("\\|", "|") for cell in cells])
            elif rows:
                break
        assert len(rows) > 2, f"{self.path}: no table under {title!r}"
        return [[cell.replace("`", "") for cell in row] for row in rows[2:]]


@pytest.fixture(params=PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def page(request):
    return Page(request.param)


@pytest.fixture
def pages():
    return [Page(path) for path in PAGES]


@pytest.fixture
def reference():
    """Open a page of the reference by its name."""
    return lambda name: Page(ROOT / "docs" / "reference" / f"{name}.md")


@pytest.fixture
def explanation():
    return lambda name: Page(ROOT / "docs" / "explanation" / f"{name}.md")
