"""Options by which every command finds its database."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from aurora_sql.errors import ConfigurationError
from aurora_sql.settings import AuroraSettings

URL_VARIABLE: Final = "AURORA_URL"

SettingsOption = Annotated[
    Path | None,
    typer.Option(
        "--settings", help="JSON file of settings, such as appsettings.json.", show_default=False
    ),
]
SectionOption = Annotated[str, typer.Option("--section", help="Section of the JSON file.")]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        help=f"postgresql://user@host:port/database?sslmode=…; the password comes from "
        f"AURORA_PASSWORD. {URL_VARIABLE} may hold a URL with its password.",
        show_default=False,
    ),
]
SECTION: Final = "AuroraDB"


def read_settings(file: Path | None, section: str, url: str | None) -> AuroraSettings:
    """Read the settings: from a file, a URL, or ``AURORA_*`` variables alone.

    Raises:
        ConfigurationError: They are wrong, both were given, or the URL on the command line has a
            password, which every user of the machine could read there.
    """
    if file is not None and url is not None:
        raise ConfigurationError("Give --settings or --url, not both")
    if file is not None:
        return AuroraSettings.from_json(file, section)
    if url is not None:
        if _has_password(url):
            raise ConfigurationError(
                "The URL has a password, which the list of processes shows to everybody: leave it "
                f"out and set AURORA_PASSWORD, or set {URL_VARIABLE} to the whole URL"
            )
        return AuroraSettings.from_url(url)
    whole = os.environ.get(URL_VARIABLE)
    return AuroraSettings.from_url(whole) if whole else AuroraSettings()


def _has_password(url: str) -> bool:
    try:
        return bool(urlsplit(url).password)
    except ValueError:
        return False  # from_url says what is wrong with it
