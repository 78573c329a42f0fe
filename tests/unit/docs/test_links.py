"""Links lead somewhere, and commands that the pages name are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def slug(heading: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return kept.strip().replace(" ", "-")


def anchors(path: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return {slug(found[1]) for found in re.finditer(r"^#+ (.+)$", text, re.MULTILINE)}


def test_relative_links_resolve(page):
    broken = []
    for target in LINK.findall(page.prose):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        path = (page.path.parent / place).resolve() if place else page.path
        if not path.exists() or ROOT not in (path, *path.parents):
            broken.append(target)
        elif anchor and anchor not in anchors(path):
            broken.append(f"{target} (no such heading)")
    assert broken == []


def test_links_over_two_lines_are_seen():
    assert LINK.findall("see [load\nmany rows](docs/how-to/bulk.md), and") == [
        "docs/how-to/bulk.md"
    ]


def test_every_page_is_reachable_from_the_readme(pages):
    texts = {page.path: page.prose for page in pages}
    seen, new = set(), [ROOT / "README.md"]
    while new:
        path = new.pop()
        if path in seen or path not in texts:
            continue
        seen.add(path)
        for target in LINK.findall(texts[path]):
            place = target.partition("#")[0]
            if place and not re.match(r"[a-z]+:", target):
                new.append((path.parent / place).resolve())
    lost = {path for path in texts if path.is_relative_to(ROOT / "docs")} - seen
    assert lost == set()


def test_make_targets_that_pages_name_exist(page):
    makefile = (ROOT / "Makefile").read_text("utf-8")
    there = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"(?:^|`)(?:\$ )?make ([a-z]+)(?=[`\s])", page.text, re.MULTILINE))
    assert named <= there


def test_paths_of_the_repository_that_pages_name_exist(page):
    """A path in backticks that begins with a folder of the repository is a promise."""
    named = re.findall(
        r"`((?:aurora_sql|sql|migrations|examples|benchmarks|tests)/[\w./-]+)`", page.prose
    )
    if page.path.name == "first-service.md":
        named = [one for one in named if not one.startswith(("sql/", "migrations/"))]
    missing = [one for one in named if not (ROOT / one).exists()]
    assert missing == []
