"""Imports of large libraries, made shorter."""

import gc
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from threading import RLock
from types import ModuleType
from typing import Any


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep Python from looking for garbage while modules are imported, which make many objects and no garbage.

    What was made is then left out of later searches. torch and torchgeo take a quarter less time so
    (`tests/benchmarks/bench_launch.py`).
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def in_part(packages: Mapping[str, Sequence[str]]) -> Iterator[None]:
    """Import single modules of packages, which run their `__init__` only when somebody asks for more.

    `import torchvision` brings models and, for one of its operators, torch's compiler; `import torchgeo.datasets` a
    hundred data sets. A map wants a few base classes of them, and saves 3 s. Who uses these packages later finds all
    of it, as `importlib.util.LazyLoader` would have it; that one imports no module of a package without all the rest.
    A package that is imported already stays as it is.

    Args:
        packages: by name, each after the one that it is part of, with those of its modules that hold what will be
            imported from it.
    """
    found = [_defer(name, parts) for name, parts in packages.items() if name not in sys.modules]
    try:
        yield
    finally:
        for package in found:
            if isinstance(package, _Deferred):  # it may have run meanwhile
                package.seal()


@dataclass(slots=True)
class _State:
    parts: Sequence[str]
    path: Any = None
    running: bool = False
    lock: RLock = field(default_factory=RLock)


class _Deferred(ModuleType):
    """A package whose `__init__` has not run; it becomes a common module when it has."""

    __deferred__: _State

    def seal(self) -> None:
        """From now on run `__init__` first, whatever is asked for; Python looks for modules along `__path__`."""
        self.__deferred__.path = vars(self).pop("__path__")

    def __getattr__(self, name: str) -> Any:
        state = self.__deferred__
        if name.startswith("__") and name not in ("__all__", "__path__"):  # Python asks any module for many of these
            raise AttributeError(name)
        if state.path is None and not state.running and (found := _of_a_module(self.__name__, name, state.parts)):
            return found[0]
        self._run(state)
        try:
            return vars(self)[name]
        except KeyError:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None

    def _run(self, state: _State) -> None:
        spec = self.__spec__
        assert spec is not None and spec.loader is not None
        with state.lock:  # other threads wait; what `__init__` itself imports finds the package half there, as ever
            if state.running or type(self) is not _Deferred:
                return
            state.running = True
            if state.path is not None:
                self.__path__ = state.path
            try:
                spec.loader.exec_module(self)
            finally:
                state.running = False
            self.__class__ = ModuleType  # type: ignore[assignment]
            del self.__deferred__


def _defer(name: str, parts: Sequence[str]) -> _Deferred:
    spec = find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    package = module_from_spec(spec)
    package.__class__ = _Deferred
    assert isinstance(package, _Deferred)
    package.__deferred__ = _State(parts)
    sys.modules[name] = package
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, package)
    return package


def _of_a_module(package: str, name: str, parts: Sequence[str]) -> list[Any]:
    """What some modules of a package hold by that name, or its module of that name; empty where there is neither."""
    for part in parts:
        if hasattr(module := import_module(f"{package}.{part}"), name):
            return [getattr(module, name)]
    whole = f"{package}.{name}"
    return [import_module(whole)] if find_spec(whole) else []
