"""Ceph's own Python bindings, from the distribution: they must match its librados, so they are in
no package registry, and a virtual environment does not see them.

They are looked for where they would be imported from anyway, and then in the distribution's
folder; from there these modules alone are loaded and `sys.path` is left as it is, so that no
other package of the distribution ever shadows one of ours.
"""

import importlib.util
import sys
import threading
from collections.abc import Sequence
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

DISTRIBUTION = ("/usr/lib/python3/dist-packages", "/usr/lib64/python3/site-packages")
_LOADING = threading.Lock()
INSTALL = "install python3-rados and python3-rbd, built for the Python that runs kedge"


def load(name: str, places: Sequence[str] = DISTRIBUTION) -> Any:
    """The module `rados` or `rbd`. Raises ImportError, saying what to install."""
    with _LOADING:  # such a module can be initialised only once
        return sys.modules[name] if name in sys.modules else _loaded(name, places)


def _loaded(name: str, places: Sequence[str]) -> ModuleType:
    spec = PathFinder.find_spec(name) or PathFinder.find_spec(name, list(places))
    if spec is None or spec.loader is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise ImportError(
            f"no module {name!r} for Python {version} in sys.path or {', '.join(places)}"
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def rados() -> ModuleType:
    """librados."""
    module: ModuleType = load("rados")
    return module


def rbd() -> ModuleType:
    """librbd. It takes objects of `rados`, so that comes first."""
    rados()
    module: ModuleType = load("rbd")
    return module
