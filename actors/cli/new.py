"""`kaon new framework NAME`: a framework that runs and is tested, to start from."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from string import Template
from typing import Final

import click

from runtime.errors import KaonError

_NAME: Final = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")

FILES: Final = {
    "framework.py.template": "{module}.py",
    "test_framework.py.template": "test_{module}.py",
    "README.md.template": "README.md",
}
"""Template, and the file that it becomes."""


def write_skeleton(name: str, directory: Path) -> list[Path]:
    """Write the skeleton of the framework `name` into `directory`, which is made; returns the files.

    Raises :class:`KaonError` for a name that cannot be one, and for a directory that has something in it already.
    """
    if not _NAME.fullmatch(name):
        rule = "a small letter, then small letters, digits, '-' and '_', such as word-count"
        raise KaonError(f"{name!r} is no name for a framework: {rule}")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise KaonError(f"{directory} is there already, and not empty: choose another directory")
    module = name.replace("-", "_")
    words = {"name": name, "module": module, "class_name": "".join(map(str.capitalize, module.split("_")))}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return [_write(template, directory / file.format(module=module), words) for template, file in FILES.items()]
    except OSError as error:
        raise KaonError(f"cannot write to {directory}: {error.strerror}") from None


def _write(template: str, path: Path, words: dict[str, str]) -> Path:
    text = resources.files("actors.cli").joinpath("templates", template).read_text("utf-8")
    path.write_text(Template(text).substitute(words), "utf-8")
    return path


@click.group()
def new() -> None:
    """Write the beginnings of something."""


@new.command("framework")
@click.argument("name")
@click.option("--directory", type=click.Path(path_type=Path), metavar="DIR", help="Where to; ./NAME unless given.")
def framework(name: str, directory: Path | None) -> None:
    """Write a framework called NAME, with its test, that runs as it is."""
    files = write_skeleton(name, directory or Path(name))
    for file in files:
        click.echo(file)
    click.echo(f"try: cd {files[0].parent} && python -m pytest && kaon up --detach && python {files[0].name}")
