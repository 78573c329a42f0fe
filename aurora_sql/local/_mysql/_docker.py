"""A MySQL server out of a Docker image, unpacked to run like any other program.

A cluster freezes, kills and moves its servers as processes of this machine, which a container
hides. So Docker gives the program, once, and nothing runs in a container: what it takes to run is
copied out of the image into the private folder, with a wrapper that uses the image's own C library.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurora_sql.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

IMAGE = "mysql:8.4"
"""The long-term release; its folders lie as Oracle Linux has them."""
_TAKEN = ("/usr/sbin/mysqld", "/usr/lib64", "/usr/share")
_WRAPPER = """#!/bin/sh
# Runs the unpacked server with its own C library.
here=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)/root/usr
share=$(ls -d "$here"/share/mysql* | head -n 1)
lib=$here/lib64
first=
case "${1:-}" in --no-defaults | --defaults-file=*) first=$1; shift ;; esac
exec "$lib"/ld-linux-*.so.* --library-path "$lib:$lib/mysql/private" "$here/sbin/mysqld" $first \\
    --lc-messages-dir="$share" --character-sets-dir="$share/charsets" \\
    --plugin-dir="$lib/mysql/plugin" "$@"
"""


def unpack(folder: Path, say: Callable[[str], None]) -> bool:
    """Put a server into ``folder``, if Docker can be used; False where it is not installed for us.

    Args:
        folder: Where to, with the program at ``bin/mysqld``; made or replaced as a whole.
        say: Told before the image is fetched, which takes a minute the first time.

    Raises:
        ConfigurationError: ``testcontainers`` is installed and Docker does not do what is asked.
    """
    # A program for Linux runs on Linux alone, whatever Docker does elsewhere.
    if sys.platform != "linux" or importlib.util.find_spec("testcontainers") is None:
        return False
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - an extra

    say(f"taking the server out of the Docker image {IMAGE}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        # Not the image's entry point, which would set up a database.
        container = DockerContainer(IMAGE).with_kwargs(entrypoint=["sleep"]).with_command(["600"])
        with container as running:
            _copy(running.get_wrapped_container(), new)
        new.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        # Renamed when complete: who finds the program finds all of it.
        new.rename(folder)
    except Exception as error:  # whatever Docker, its client or its proxy raise
        raise ConfigurationError(
            f"the server could not be taken out of the Docker image {IMAGE} (is Docker running, "
            f"and may {os.environ.get('USER', 'this user')} use it?): {error}"
        ) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return True


def _copy(container: Any, new: Path) -> None:
    """Copy the programs out of a container, and add the wrapper."""
    for taken in _TAKEN:
        stream, _ = container.get_archive(taken)
        place = new / "root" / Path(taken).parent.relative_to("/")
        place.mkdir(parents=True, exist_ok=True)
        extract(stream, place)
    wrapper = new / "bin" / "mysqld"
    wrapper.parent.mkdir()
    wrapper.write_text(_WRAPPER, encoding="utf-8")
    wrapper.chmod(0o755)


def extract(stream: Iterable[bytes], place: Path) -> None:
    """Unpack an archive as Docker streams it. Nothing in it leads out of ``place``."""
    with tempfile.TemporaryFile() as file:
        for chunk in stream:
            file.write(chunk)
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            for member in archive:
                # Links that point elsewhere are of no use here: certificates, alternatives.
                try:
                    archive.extract(member, place, filter="data")
                except tarfile.FilterError:
                    continue
