"""What the tests of statements share: folders of SQL files made on the spot."""

from pathlib import Path

import pytest

from aurora_sql.statements import Statement, StatementRegistry


@pytest.fixture
def write(tmp_path):
    """Write files into a folder and return it; text is encoded, bytes are taken as they are."""

    def make(files: dict[str, str | bytes], folder: Path | None = None) -> Path:
        folder = folder or tmp_path / "sql"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return folder

    return make


@pytest.fixture
def load(write):
    """Load a registry of these files."""

    def make(files: dict[str, str | bytes], **options) -> StatementRegistry:
        return StatementRegistry.load(write(files), **options)

    return make


@pytest.fixture
def one(load):
    """The only statement ``s`` of a file with this text."""

    def make(sql: str, header: str = "-- name: s :many") -> Statement:
        return load({"q.sql": f"{header}\n{sql}\n"})["q.s"]

    return make


@pytest.fixture
def refused(load):
    """The error of a file with this text; checks that it names the file."""
    from aurora_sql.errors import StatementFileError

    def make(sql: str, header: str = "-- name: s :many") -> StatementFileError:
        text = f"{header}\n{sql}\n" if header else sql
        with pytest.raises(StatementFileError) as caught:
            load({"q.sql": text})
        assert caught.value.path is not None
        assert caught.value.path.name == "q.sql"
        assert "q.sql" in str(caught.value)
        return caught.value

    return make
