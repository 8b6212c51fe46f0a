"""The rules of ARCHITECTURE.md, each a function from modules to offences (a sentence each)."""

import ast
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch

from tests.fitness.modules import Function, Module

FRONT_ENDS = ("driver.docker", "driver.admin", "driver.cli", "driver.doctor", "driver.broken")
SEAM_MODULES = (
    *("base", "errors", "inspection", "names", "options", "progress", "snapshots", "upkeep"),
)
SEAM = {f"backends.{name}" for name in SEAM_MODULES}
AMBIENT = {
    "time.time": "clock",
    "time.monotonic": "clock",
    "time.sleep": "clock",
    "datetime.datetime.now": "clock",
    "datetime.now": "clock",
    "os.environ": "environment",
    "os.getenv": "environment",
    "os.urandom": "randomness",
    "datetime.date.today": "clock",
    "time.monotonic_ns": "clock",
    "time.time_ns": "clock",
    "uuid.uuid4": "randomness",
    "uuid.uuid1": "randomness",
}
RANDOM_MODULES = ("random", "secrets")

FORBIDDEN_NAMES = re.compile(
    r"(?:^|_)(utils?|helpers?|managers?|misc|common)(?:_|$)|^handle_", re.I
)
WORDS = {
    r"\bdrivers? option": "option",
    r"\bmount ?point id\b": "mount ID",
    r"\bfencing tokens?\b": "epoch",
    r"\bgeneration number\b": "epoch",
    r"\bmutex\b": "lock",
    r"\bstorage class\b": "profile",
}
"""What others call it, and the one word of ARCHITECTURE.md for it."""

RUNNERS = ("backends.host", "backends.testing", "driver.init")
"""Where programs may be run; `init` only becomes the service, the contracts kill themselves."""

EFFECTS = (
    *("fcntl", "io", "mmap", "os", "pathlib", "select", "shutil", "signal", "socket", "subprocess"),
    *("tempfile", "time"),
)
"""Modules by which something is done; a pure one imports none of them."""

ROOMS = ("", "driver/", "backends/", "backends/disk/")
"""Where a path that ARCHITECTURE.md names may lie."""

MAX_ARCHITECTURE = 150
MAX_FILE, MEDIAN_FILE = 500, 200
MAX_BODY, P90_BODY = 50, 20


def directions(modules: Iterable[Module]) -> Iterator[str]:
    """Who may import whom."""
    for module in modules:
        for imported in module.imports():
            top = imported.split(".")[0]
            if module.name.startswith("backends") and top in ("driver", "tests", "bench"):
                yield f"{module.path} imports {imported}: backends know nothing of the driver"
            if module.name.startswith("driver") and top in ("tests", "bench"):
                yield f"{module.path} imports {imported}"
            if module.name.startswith("driver") and _is_behind_the_seam(module, imported):
                yield f"{module.path} imports {imported}: only driver/__main__.py knows both sides"


def _is_behind_the_seam(module: Module, imported: str) -> bool:
    """Front ends see the seam's own modules, the rest of the driver claims and leases too."""
    if not imported.startswith("backends") or module.name == "driver.__main__":
        return False
    claims = {f"backends.{name}" for name in ("claims", "leases")}
    allowed = SEAM if module.name in FRONT_ENDS else SEAM | claims
    return imported != "backends" and not any(
        imported == name or imported.startswith(name + ".") for name in allowed
    )


def backends_apart(modules: Iterable[Module], backends: Iterable[str]) -> Iterator[str]:
    """No backend imports another. `backends`: their modules, from the registry."""
    rooms = set(backends)
    for module in modules:
        mine = next((room for room in rooms if _within(module.name, room)), None)
        for imported in module.imports():
            other = next((room for room in rooms if _within(imported, room)), None)
            if mine and other and other != mine:
                yield f"{module.path} imports {imported}: backends never import each other"


def _within(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


def circles(modules: Iterable[Module]) -> Iterator[str]:
    """No module imports itself by way of others, not even for the names of types: what needs each
    other cannot be understood, or tested, apart. (A package is imported by what lies in it.)"""
    imports = {module.name: set(module.imports()) for module in modules}
    left = {
        name: {one for one in found & imports.keys() if not _within(name, one)}
        for name, found in imports.items()
    }
    while ends := left.keys() - _in_the_middle(left):
        left = {name: found - ends for name, found in left.items() if name not in ends}
    for name, found in sorted(left.items()):
        yield f"{name} imports {', '.join(sorted(found))}, which import it"


def _in_the_middle(imports: Mapping[str, set[str]]) -> set[str]:
    """The modules that import others and are imported."""
    return {name for name, found in imports.items() if found} & set().union(*imports.values())


def programs(modules: Iterable[Module]) -> Iterator[str]:
    """Programs are run in one place."""
    for module in modules:
        if any(_within(module.name, room) for room in RUNNERS):
            continue
        for used in {*module.imports(), *module.uses()}:
            if used == "subprocess" or re.fullmatch(
                r"os\.(exec|spawn|posix_spawn|popen|system|fork).*", used
            ):
                yield f"{module.path} uses {used}: programs are run in backends/host only"


def pure(modules: Iterable[Module], cores: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """A package of values and rules does nothing itself. `cores`: what of ours each may import
    besides itself."""
    for module in modules:
        core = next((name for name in cores if _within(module.name, name)), None)
        if core is None:
            continue
        for imported in module.imports():
            ours = imported.split(".")[0] in ("driver", "backends")
            permitted = any(_within(imported, name) for name in (core, *cores[core]))
            if imported.split(".")[0] in EFFECTS or (ours and not permitted):
                yield f"{module.path} imports {imported}: {core} is pure"
        calls = (node.func for node in module.nodes if isinstance(node, ast.Call))
        if any(isinstance(called, ast.Name) and called.id == "open" for called in calls):
            yield f"{module.path} opens a file: {core} is pure"


def waits(modules: Iterable[Module]) -> Iterator[str]:
    """`select` raises for descriptors beyond 1023, which a busy service reaches."""
    for module in modules:
        if "select.select" in module.uses():
            yield f"{module.path} uses select.select: poll knows no highest descriptor"


def ambient(modules: Iterable[Module], allowed: dict[str, set[str]]) -> Iterator[str]:
    """Clock, randomness and environment arrive as arguments, except in the files of `allowed`."""
    for module in modules:
        touched = {AMBIENT[used] for used in module.uses() if used in AMBIENT}
        if {imported.split(".")[0] for imported in module.imports()} & set(RANDOM_MODULES):
            touched.add("randomness")
        permitted = {
            what for glob, whats in allowed.items() if fnmatch(module.path, glob) for what in whats
        }
        for what in sorted(touched - permitted):
            yield f"{module.path} touches the ambient {what}"


def unused_permissions(modules: Sequence[Module], allowed: dict[str, set[str]]) -> Iterator[str]:
    """A permission that nobody needs is a hole."""
    for glob, whats in allowed.items():
        for what in whats:
            if not any(
                f"{module.path} touches the ambient {what}" in set(ambient([module], {}))
                for module in modules
                if fnmatch(module.path, glob)
            ):
                yield f"{glob} need not touch the ambient {what}"


def file_lengths(modules: Sequence[Module]) -> Iterator[str]:
    """Short files, most of them very short."""
    for module in modules:
        if module.lines > MAX_FILE:
            yield f"{module.path} has {module.lines} lines, more than {MAX_FILE}"
    if modules and (median := statistics.median(m.lines for m in modules)) >= MEDIAN_FILE:
        yield f"half of the files have more than {median:.0f} lines; fewer than {MEDIAN_FILE}!"


def body_lengths(modules: Iterable[Module]) -> Iterator[str]:
    """Short functions. A body is counted without its docstring."""
    lengths = []
    for module in modules:
        for name, function in module.functions():
            length = body_length(function)
            lengths.append(length)
            if length > MAX_BODY:
                yield f"{module.path}: {name} has {length} lines, more than {MAX_BODY}"
    if len(lengths) > 1 and (p90 := statistics.quantiles(lengths, n=10)[-1]) > P90_BODY:
        yield f"a tenth of the functions has more than {p90:.0f} lines; at most {P90_BODY}!"


def body_length(function: Function) -> int:
    """Lines from the first statement after the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def public(modules: Iterable[Module]) -> Iterator[tuple[Module, str, Function]]:
    """Functions that others may call: neither they nor what they are in begins with `_`."""
    for module in modules:
        for name, function in module.functions():
            if "<locals>" not in name and not any(part.startswith("_") for part in name.split(".")):
                yield module, name, function


def docstrings(modules: Iterable[Module]) -> Iterator[str]:
    """Public functions, classes and modules say what they promise. A method that overrides a
    documented one of a base class inherits its contract."""
    modules = list(modules)
    documented = {
        function.name
        for _, name, function in public(modules)
        if "." in name and ast.get_docstring(function)
    }
    for module in modules:
        if module.text.strip() and ast.get_docstring(module.tree) is None:
            yield f"{module.path} has no docstring"
        for node in module.nodes:
            if (
                isinstance(node, ast.ClassDef)
                and not node.name.startswith("_")
                and not ast.get_docstring(node)
            ):
                yield f"{module.path}: class {node.name} has no docstring"
    for module, name, function in public(modules):
        inherits = "." in name and function.name in documented
        is_test = function.name.startswith("test_")  # its name says it
        if not inherits and not is_test and ast.get_docstring(function) is None:
            yield f"{module.path}: {name} has no docstring"


def annotations(modules: Iterable[Module]) -> Iterator[str]:
    """Every parameter and every result has a type."""
    for module in modules:
        for name, function in module.functions():
            arguments = function.args
            all_arguments = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            all_arguments += [a for a in (arguments.vararg, arguments.kwarg) if a]
            bare = [
                a.arg
                for a in all_arguments
                if a.annotation is None and a.arg not in ("self", "cls")
            ]
            if bare or function.returns is None:
                missing = ", ".join(bare) or "its result"
                yield f"{module.path}: {name} is not fully annotated ({missing})"


def names(modules: Iterable[Module]) -> Iterator[str]:
    """Names that say nothing."""
    for module in modules:
        found = [part for part in module.name.split(".") if FORBIDDEN_NAMES.search(part)]
        for node in module.nodes:
            if isinstance(node, ast.ClassDef | Function):
                words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", node.name)
                if FORBIDDEN_NAMES.search(words):
                    found.append(node.name)
        for name in found:
            yield f"{module.path}: {name} is a name that says nothing"


def words(texts: Mapping[str, str]) -> Iterator[str]:
    """One word per concept: ARCHITECTURE.md, Words. `texts`: by path."""
    for path, text in texts.items():
        for number, line in enumerate(text.splitlines(), 1):
            for other, ours in WORDS.items():
                if re.search(other, line, re.I):
                    yield f"{path}:{number}: the word is `{ours}`"


_PATH = r"\b(?:[a-z_]+/)*[a-z_]+\.py\b|\b(?:[a-z_]+/)+(?![a-zA-Z*])"


def picture(architecture: str, present: Callable[[str], bool]) -> Iterator[str]:
    """ARCHITECTURE.md is short and names only what is there. `present`: is there such a path?"""
    lines = architecture.count("\n")
    if lines > MAX_ARCHITECTURE:
        yield f"ARCHITECTURE.md has {lines} lines, more than {MAX_ARCHITECTURE}"
    for path in sorted(set(re.findall(_PATH, architecture))):
        if not any(present(f"{room}{path}") for room in ROOMS):
            yield f"ARCHITECTURE.md names {path}, which is not there"
