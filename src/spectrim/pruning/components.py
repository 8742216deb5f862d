"""Scores and reductions as parts of a stage: their names, options and declared properties."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from ..common.errors import SpectrimError, nearest

F = TypeVar("F", bound=Callable[..., Any])

# Arguments that a stage passes itself; the other parameters of a part are its options.
PASSED = {"score": 1, "reduction": 4}


def declared(part: Callable[..., Any], name: str, default: Any = None) -> Any:
    """A property that a score or a reduction declares, else `default`."""
    part = getattr(part, "func", part)  # a part with options is a functools.partial
    return getattr(part, name, default)


def registrar(known: dict[str, Any]) -> Callable[..., Callable[[F], F]]:
    """A decorator that puts a part into `known` under a name, with declared properties."""

    def register(name: str, **properties: Any) -> Callable[[F], F]:
        def decorate(part: F) -> F:
            for key, value in properties.items():
                setattr(part, key, value)
            known[name] = part
            return part

        return decorate

    return register


def part_name(part: str | Callable[..., Any] | None) -> str:
    """Name of a score or reduction in messages; "none" for a reduction without scores."""
    if part is None:
        return "none"
    if isinstance(part, str):
        return part
    return str(getattr(part, "__name__", type(part).__name__))


@contextlib.contextmanager
def naming_errors(role: str, part: str | Callable[..., Any]) -> Iterator[None]:
    """Turn any error of a user's score or reduction into a SpectrimError that names it."""
    try:
        yield
    except SpectrimError:
        raise
    except Exception as error:
        raise SpectrimError(
            f"the {role} {part_name(part)} failed: {type(error).__name__}: {error}."
        ) from error


def resolve(
    role: str, spec: Any, known: Mapping[str, Callable[..., Any]], options: Mapping[str, Any]
) -> Any:
    """Turn a name, "module:name" or callable into a callable with its options applied.

    Args:
        role: "score" or "reduction".
        known: the registered parts by name.

    Raises:
        SpectrimError: an unknown name or option; something that cannot be called.
    """
    function = spec
    if isinstance(spec, str):
        function = known.get(spec) or (_imported(role, spec) if ":" in spec else None)
        if function is None:
            raise SpectrimError(
                f"no {role} is called {spec!r}.{nearest(spec, known)} Name your own as "
                "'package.module:name'."
            )
    if not callable(function):
        raise SpectrimError(
            f"a {role} must be a name or a callable, not {type(function).__name__}."
        )
    _check_options(role, spec, function, options)
    if inspect.isclass(function):
        return function(**options)
    return functools.partial(function, **options) if options else function


def _check_options(
    role: str, spec: Any, function: Callable[..., Any], options: Mapping[str, Any]
) -> None:
    """Refuse options that a part does not have."""
    if not options:
        return
    parameters = list(inspect.signature(function).parameters.values())
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
        return
    passed = 0 if inspect.isclass(function) else PASSED[role]
    names = [parameter.name for parameter in parameters[passed:]]
    for option in options:
        if option not in names:
            hint = nearest(option, names) if names else " It has no options."
            raise SpectrimError(f"the {role} {part_name(spec)} has no option {option!r}.{hint}")


def _imported(role: str, spec: str) -> Any:
    module, _, name = spec.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # importing a module may raise anything
        reason = f"{type(error).__name__}: {error}".rstrip(".")
        raise SpectrimError(f"{role} {spec!r} cannot be imported: {reason}.") from error
