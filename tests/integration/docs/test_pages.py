"""The examples of README and documentation run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aurora_sql import StatementFileError, StatementRegistry

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
WITH_BLOCKS = [path for path in PAGES if "```" in path.read_text("utf-8")]


@pytest.mark.parametrize("path", WITH_BLOCKS, ids=lambda path: str(path.relative_to(ROOT)))
async def test_examples_run(path, page_run):
    await page_run(path).run()


async def test_a_block_that_fails_fails_the_page(tmp_path, page_run):
    page = tmp_path / "page.md"
    page.write_text("```python\nawait db.sql.users.count()\n```\n\n<!-- check: False -->\n")
    with pytest.raises(AssertionError, match="False"):
        await page_run(page).run()


async def test_output_that_differs_fails_the_page(tmp_path, page_run):
    page = tmp_path / "page.md"
    page.write_text("<!-- run -->\n```console\n$ echo one\ntwo\n```\n")
    with pytest.raises(AssertionError, match="no 'two'"):
        await page_run(page).run()


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_sql_blocks_are_files_that_load(path, tmp_path):
    """Or, where the page shows a mistake, files that are refused with the words it quotes."""
    text = path.read_text("utf-8")
    fences = re.finditer(
        r"^(?:<!-- (?P<marker>[^\n]*) -->\n\n?)?```sql\n(?P<sql>.*?)^```$",
        text,
        re.DOTALL | re.MULTILINE,
    )
    for number, found in enumerate(fences):
        if "-- name:" not in found["sql"]:
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        marker = found["marker"] or ""
        # Names that are written out begin with that of the file.
        file = marker.removeprefix("file: ") if marker.startswith("file: ") else "block.sql"
        (folder / Path(file).name).write_text(found["sql"], "utf-8")
        if marker.startswith("fails: "):
            with pytest.raises(StatementFileError) as caught:
                StatementRegistry.load(folder)
            assert marker.removeprefix("fails: ") in caught.value.message
        else:
            assert len(StatementRegistry.load(folder)) > 0


async def test_every_check_behind_a_block_counts(tmp_path, page_run):
    page = tmp_path / "page.md"
    checks = "<!-- check: x == 1 -->\n<!-- check: x > 0 -->\n"
    page.write_text(f"```python\nx = 1\n```\n\n{checks}")
    run = page_run(page)
    await run.run()
    assert (run.ran, run.checked) == (1, 2)


async def test_a_check_that_no_block_stands_before_is_noticed(tmp_path, page_run):
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n\nText.\n\n<!-- check: x == 1 -->\n")
    with pytest.raises(AssertionError, match="behind no block"):
        await page_run(page).run()
