"""How a command becomes part of `spectrim`: bundles of options, and old names of options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from typer.core import TyperCommand

from ..common.paths import user_path
from .output import notify

# Command, old option, new option. The old names are read for one release.
RENAMED = {
    "ablate": {"--by-lot": "--random-control"},
    "analyze": {"--own-plan": "--saved-plan"},
    "bench": {"--product": "--matmul-size"},
    "check": {"--score": "--scores"},
    "tag": {"--one-row": "--aggregate"},
}


class Command(TyperCommand):
    """A command that also accepts the old names of its options, with a note."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Replace old names, then parse."""
        renamed = RENAMED.get(self.name or "", {})
        return super().parse_args(ctx, [_current(arg, renamed) for arg in args])


def _current(argument: str, renamed: dict[str, str]) -> str:
    """The argument with its current name, for both "--old value" and "--old=value"."""
    name, equals, value = argument.partition("=")
    if name not in renamed:
        return argument
    notify("note", f"{name} is deprecated: use {renamed[name]}.")
    return renamed[name] + equals + value


def with_bundles(command: Callable[..., None]) -> Callable[..., None]:
    """Make one option of each field of a command's bundles, and expand "~" in its paths.

    A bundle is a dataclass whose fields are annotated options, such as `Loading`. A command asks
    for `loading: Loading`; typer sees `--frames`, `--load`, `--device` and so on instead.
    """
    hints = get_type_hints(command, include_extras=True)
    bundles: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    single = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[parameter.name])
        for parameter in inspect.signature(command).parameters.values()
        if parameter.name not in bundles
    ]
    # The command's own options first: --model opens the panel of the options that load it.
    parameters = single + [option for bundle in bundles.values() for option in _options(bundle)]

    def flat(**values: Any) -> None:
        values = {name: _expanded(value) for name, value in values.items()}
        for name, bundle in bundles.items():
            values[name] = bundle(
                **{field.name: values.pop(field.name) for field in fields(bundle)}
            )
        command(**values)

    functools.update_wrapper(flat, command, assigned=("__doc__", "__module__", "__name__"))
    del flat.__dict__["__wrapped__"]  # typer would read the bundles from it
    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flat


def _expanded(value: Any) -> Any:
    """A path, or a list with paths, with home folders for "~". Shells leave `--out=~/x`."""
    if isinstance(value, list):
        return [_expanded(item) for item in value]
    return user_path(value) if isinstance(value, Path) else value


def _options(bundle: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(bundle, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(bundle)
    ]
