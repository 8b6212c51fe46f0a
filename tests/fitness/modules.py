"""The source files as the rules see them: path, text, syntax tree, imports."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
OURS = ("driver", "backends", "bench", "docs", "tests")


@dataclass(frozen=True)
class Module:
    """One source file. `path` is relative to the root of the tree."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text)

    @property
    def name(self) -> str:
        """As it is imported."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def lines(self) -> int:
        """Its length."""
        return self.text.count("\n")

    def imports(self) -> Iterator[str]:
        """Every module it imports anywhere, also inside functions; `from a import b` yields
        `a` and `a.b`, because either may be the module."""
        return iter(self._imports)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of its syntax tree."""
        return list(ast.walk(self.tree))

    @cached_property
    def _imports(self) -> list[str]:
        return list(self._find_imports())

    @cached_property
    def _uses(self) -> list[str]:
        return list(self._find_uses())

    @cached_property
    def _functions(self) -> "list[tuple[str, Function]]":
        return list(_functions(self.tree, ""))

    def _find_imports(self) -> Iterator[str]:
        package = self.name if self.path.endswith("/__init__.py") else self.name.rpartition(".")[0]
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    up = package.split(".")[: len(package.split(".")) - node.level + 1]
                    base = ".".join([*up, *([base] if base else [])])
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)

    def uses(self) -> Iterator[str]:
        """Dotted names as they are used: `os.environ`, `time.monotonic`, and what was imported
        from a module by name."""
        return iter(self._uses)

    def _find_uses(self) -> Iterator[str]:
        origin: dict[str, str] = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                origin |= {(a.asname or a.name).split(".")[0]: a.name for a in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                origin |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        for node in self.nodes:
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.value.id in origin:
                    yield f"{origin[node.value.id]}.{node.attr}"
            elif isinstance(node, ast.Name) and node.id in origin:
                yield origin[node.id]

    def functions(self) -> "Iterator[tuple[str, Function]]":
        """Every function with its dotted name within the module."""
        return iter(self._functions)


Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions(parent: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, Function):
            yield f"{prefix}{node.name}", node
            yield from _functions(node, f"{prefix}{node.name}.<locals>.")
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")
        else:
            yield from _functions(node, prefix)


def modules(*tops: str) -> list[Module]:
    """The files below these directories."""
    return [
        Module(str(path.relative_to(ROOT)), path.read_text())
        for top in tops
        for path in sorted((ROOT / top).rglob("*.py"))
    ]
