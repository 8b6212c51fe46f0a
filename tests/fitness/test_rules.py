"""The tree keeps the rules, and each rule would catch an offender."""

from collections.abc import Callable, Iterable
from functools import partial

import pytest

import backends
from tests.fitness import rules
from tests.fitness.modules import OURS, ROOT, Module, modules

SHIPPED = modules("driver", "backends")
EVERYTHING = modules(*OURS)
BACKENDS = sorted(place.partition(":")[0] for place, _ in backends.REGISTRY.values())

MAY_TOUCH = {
    "driver/__main__.py": {"clock", "environment", "randomness"},
    "driver/init.py": {"clock", "environment"},
    "backends/ambient.py": {"clock", "randomness"},
    "backends/disk/remote.py": {"clock", "randomness"},
    "backends/records/store.py": {"randomness"},
    "backends/disk/fuse/testing.py": {"clock"},
    "backends/disk/serve.py": {"clock"},
    "backends/host/daemons.py": {"clock", "environment"},
    "backends/host/holder.py": {"clock", "environment"},
    "backends/host/waiting.py": {"clock"},
    "backends/records/directory.py": {"clock", "randomness"},
    "backends/stores/bucket.py": {"clock", "randomness"},
    "backends/stores/faulty.py": {"randomness"},
    "backends/testing/backend/world.py": {"randomness"},
}
"""Who may touch the ambient clock, environment and randomness; `*` in a name is a pattern."""


CORES = {
    "backends.disk.core": ("backends.errors", "backends.typed", "backends.records"),
}
"""Packages that are pure, and what of ours they may import."""


Rule = Callable[[list[Module]], Iterable[str]]
RULES: dict[str, tuple[Rule, list[Module]]] = {
    "imports": (rules.directions, SHIPPED),
    "backends apart": (partial(rules.backends_apart, backends=BACKENDS), SHIPPED),
    "circles": (rules.circles, SHIPPED),
    "programs": (rules.programs, SHIPPED),
    "pure": (partial(rules.pure, cores=CORES), SHIPPED),
    "waits": (rules.waits, EVERYTHING),
    "ambient": (partial(rules.ambient, allowed=MAY_TOUCH), SHIPPED),
    "permissions": (partial(rules.unused_permissions, allowed=MAY_TOUCH), SHIPPED),
    "files": (rules.file_lengths, EVERYTHING),
    "functions": (rules.body_lengths, EVERYTHING),
    "docstrings": (rules.docstrings, SHIPPED),
    "annotations": (rules.annotations, EVERYTHING),
    "names": (rules.names, EVERYTHING),
}


@pytest.mark.parametrize(("rule", "tree"), RULES.values(), ids=RULES.keys())
def test_the_tree_keeps_the_rule(rule: Rule, tree: list[Module]) -> None:
    assert len(tree) > 30
    assert list(rule(tree)) == []


def documents() -> dict[str, str]:
    texts = {m.path: m.text for m in EVERYTHING if not m.path.startswith("tests/fitness/")}
    return texts | {str(p.relative_to(ROOT)): p.read_text() for p in ROOT.rglob("*.md")}


def test_one_word_per_concept() -> None:
    assert list(rules.words(documents())) == []


def test_the_picture_is_true() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert list(rules.picture(text, lambda path: (ROOT / path).exists())) == []


def long_function(lines: int) -> str:
    return "def f() -> None:\n" + "    pass\n" * lines


LONG = "\n" * 501
OFFENDERS = [
    ("imports", "backends/local.py", "from driver.volumes import Volumes"),
    ("imports", "backends/local.py", "def f() -> None:\n    import driver"),
    ("imports", "backends/local.py", "from tests import simulated"),
    ("imports", "driver/volumes.py", "from tests import simulated"),
    ("imports", "driver/docker.py", "from backends.local import LocalBackend"),
    ("imports", "driver/docker.py", "from backends import local"),
    ("imports", "driver/cli.py", "import backends.host.loop"),
    ("imports", "driver/doctor.py", "from backends.records import Records"),
    ("imports", "driver/keeper.py", "from backends import host"),
    ("imports", "driver/keeper.py", "from backends.records import Records"),
    ("backends apart", "backends/local/store.py", "from backends.memory import world"),
    ("backends apart", "backends/memory/world.py", "from ..local import LocalBackend"),
    ("programs", "backends/local/store.py", "import subprocess"),
    ("programs", "driver/doctor.py", "from subprocess import run"),
    ("programs", "driver/doctor.py", "import os\nos.system('x')"),
    ("programs", "driver/doctor.py", "from os import fork\nfork()"),
    ("pure", "backends/disk/core/blockmap.py", "import os"),
    ("pure", "backends/disk/core/blockmap.py", "from pathlib import Path"),
    ("pure", "backends/disk/core/blockmap.py", "from backends.disk.engine import Disk"),
    ("pure", "backends/disk/core/blockmap.py", "open('x')"),
    ("waits", "driver/log.py", "import select\nselect.select([], [2], [], 0)"),
    ("waits", "tests/lab/node.py", "from select import select\nselect([1], [], [])"),
    ("ambient", "driver/volumes.py", "import time\ntime.monotonic()"),
    ("ambient", "driver/volumes.py", "from time import sleep\nsleep(1)"),
    ("ambient", "driver/volumes.py", "from datetime import datetime\ndatetime.now()"),
    ("ambient", "driver/volumes.py", "import os\nos.environ['X']"),
    ("ambient", "driver/volumes.py", "import uuid\nf(new=uuid.uuid4)"),
    ("ambient", "driver/volumes.py", "import random"),
    ("ambient", "driver/volumes.py", "from secrets import token_hex"),
    ("ambient", "backends/host/waiting.py", "import os\nos.environ"),
    ("permissions", "backends/host/waiting.py", "X = 1"),
    ("files", "driver/volumes.py", LONG),
    ("functions", "driver/volumes.py", long_function(51)),
    ("docstrings", "driver/volumes.py", "X = 1"),
    ("docstrings", "driver/volumes.py", '"""Doc."""\ndef f() -> None:\n    pass'),
    ("docstrings", "driver/volumes.py", '"""Doc."""\nclass C:\n    pass'),
    ("docstrings", "driver/x.py", '"""D."""\nclass C:\n    """D."""\n    def f(self): ...'),
    ("annotations", "driver/volumes.py", "def f(x) -> None: ..."),
    ("annotations", "driver/volumes.py", "def f(*, x) -> None: ..."),
    ("annotations", "driver/volumes.py", "def f(*x, **y) -> None: ..."),
    ("annotations", "driver/volumes.py", "def f(x: int): ..."),
    ("names", "driver/utils.py", ""),
    ("names", "driver/mount_helpers.py", ""),
    ("names", "driver/volumes.py", "class VolumeManager: ..."),
    ("names", "driver/volumes.py", "def handle_mount() -> None: ..."),
]


@pytest.mark.parametrize(("rule", "path", "text"), OFFENDERS, ids=range(len(OFFENDERS)))
def test_an_offender_is_caught(rule: str, path: str, text: str) -> None:
    found = list(RULES[rule][0]([Module(path, text)]))
    assert any(path in offence or path.split("/")[-1] in offence for offence in found), found


def test_a_circle_is_caught() -> None:
    texts = {"a": "import driver.b", "b": "from driver import c", "c": "from driver.a import x"}
    tree = [Module(f"driver/{name}.py", text) for name, text in texts.items()]
    tree += [Module("driver/d.py", "import driver.a"), Module("driver/__init__.py", "")]
    assert list(rules.circles(tree)) == [
        "driver.a imports driver.b, which import it",
        "driver.b imports driver.c, which import it",
        "driver.c imports driver.a, which import it",
    ]


def test_too_many_long_files_are_caught() -> None:
    tree = [Module(f"driver/{n}.py", "\n" * length) for n, length in enumerate([10, 250, 300])]
    assert list(rules.file_lengths(tree)) == [
        "half of the files have more than 250 lines; fewer than 200!"
    ]


def test_too_many_long_functions_are_caught() -> None:
    tree = [Module(f"driver/{n}.py", long_function(30 if n < 3 else 2)) for n in range(20)]
    (offence,) = rules.body_lengths(tree)
    assert "a tenth of the functions" in offence


def test_a_docstring_is_not_counted() -> None:
    text = 'def f() -> None:\n    """' + "Long.\n" * 60 + '"""\n    pass\n'
    assert list(rules.body_lengths([Module("driver/x.py", text)])) == []


def test_another_word_is_caught() -> None:
    assert list(rules.words({"docs/x.md": "one\nTake the mutex."})) == [
        "docs/x.md:2: the word is `lock`"
    ]


def test_a_false_picture_is_caught() -> None:
    text = "`driver/volumes.py` and `gone.py` in driver/nowhere/\n" + "\n" * 150
    assert list(rules.picture(text, lambda path: path == "driver/volumes.py")) == [
        "ARCHITECTURE.md has 151 lines, more than 150",
        "ARCHITECTURE.md names driver/nowhere/, which is not there",
        "ARCHITECTURE.md names gone.py, which is not there",
    ]


def test_what_is_allowed_is_not_caught() -> None:
    fine = [
        Module(
            "backends/local/a.py", '"""D."""\nfrom backends.local import b\nimport backends.host'
        ),
        Module("driver/docker.py", '"""D."""\nfrom backends.errors import Invalid'),
        Module("driver/__main__.py", '"""D."""\nimport backends\nfrom backends.local import x'),
        Module("backends/host/run.py", '"""D."""\nimport subprocess\nsubprocess.run([])'),
        Module("driver/x.py", '"""D."""\nclass _P:\n    def f(self) -> None: ...'),
    ]
    for name, (rule, _) in RULES.items():
        if name != "permissions":
            assert list(rule(fine)) == [], name
