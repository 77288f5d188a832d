"""Imports of large libraries, made shorter."""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from threading import RLock
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo.utils"
"""What torchvision asks torch's compiler for while it is imported."""


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
def without_compiler() -> Iterator[None]:
    """Keep `import torchvision` from importing torch's compiler, 2 s for one function that a map never calls.

    What is imported meanwhile gets functions that import the compiler when they are called. Afterwards, or where it
    was imported before, everything is as without this.
    """
    if COMPILER in sys.modules:
        yield
        return
    deferred = ModuleType(COMPILER)
    deferred.__getattr__ = partial(_function_later, deferred)  # type: ignore[method-assign]
    sys.modules[COMPILER] = deferred
    try:
        yield
    finally:
        _give_way(deferred)


def _function_later(deferred: ModuleType, name: str) -> Callable[..., Any]:
    if name.startswith("__"):
        raise AttributeError(name)

    def function(*args: Any, **kwargs: Any) -> Any:
        _give_way(deferred)
        return getattr(import_module(COMPILER), name)(*args, **kwargs)

    return function


def _give_way(deferred: ModuleType) -> None:
    if sys.modules.get(COMPILER) is deferred:
        del sys.modules[COMPILER]


def defer_package(name: str, *parts: str) -> None:
    """Import some modules of a package, and run its `__init__` only when it is asked for a name that they lack.

    `import torchgeo.datasets` takes a second to import a hundred data sets; a map needs two base classes. For who uses
    the package everything is there as ever. One that is imported already stays as it is.

    Args:
        name: of the package.
        parts: its modules, without the package's name, that are asked first.
    """
    if name in sys.modules:
        return
    spec = find_spec(name)
    assert spec is not None and spec.loader is not None, name
    package, loader, lock = module_from_spec(spec), spec.loader, RLock()
    whole = False

    def load() -> None:
        nonlocal whole
        with lock:  # other threads wait for it, while what the package itself imports finds it half there, as ever
            if whole:
                return
            whole = True
            try:
                loader.exec_module(package)
            except BaseException:
                whole = False
                raise

    def get(wanted: str) -> Any:
        special = wanted.startswith("__")  # Python looks for many of these in any module
        for part in () if special or whole else parts:
            if hasattr(module := import_module(f"{name}.{part}"), wanted):
                return getattr(module, wanted)
        if not special or wanted == "__all__":
            load()
        if wanted in package.__dict__:
            return package.__dict__[wanted]
        raise AttributeError(f"module {name!r} has no attribute {wanted!r}")

    package.__getattr__ = get  # type: ignore[method-assign]
    sys.modules[name] = package
    parent, _, child = name.rpartition(".")
    setattr(sys.modules[parent], child, package)
