"""The shape of the project, held by tests: who may import what, how long files get, and what no file may hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from project import PACKAGE, ROOT, project_files, working_commands

LONGEST_FILE = 400  # aim for 350
LONGEST_FUNCTION = 80  # aim for 25, look twice at 40

BASE = {
    "errors",
    "memory",
    "mapped",
    "seeds",
    "store",
    "progress",
    "image_set",
    "image_writer",
    "object_storage",
    "records",
    "release_records",
    "study_records",
    "settings",
    "fingerprints",
    "workers",
}
SCIENCE = {"phantom", "scans", "generators", "segmentation", "features", "metrics", "privacy", "report"}
MAY_IMPORT = {  # part of the package: the other parts that it may import
    "errors": set(),
    "seeds": set(),
    "progress": set(),
    "fingerprints": set(),
    "records": set(),
    "release_records": {"records"},
    "study_records": {"records", "release_records"},
    "settings": {"errors"},
    "object_storage": {"errors"},
    "memory": {"errors"},
    "mapped": set(),
    "store": {"errors", "object_storage"},
    "image_set": {"errors", "store", "elsewhere", "object_storage"},
    "image_writer": {"errors", "store", "image_set"},
    "elsewhere": {"errors"},
    "workers": {"errors"},
    "policy": {"errors", "records"},
    **dict.fromkeys(SCIENCE, BASE),
    "training": BASE,
    "generators": BASE | {"training"},
    "segmentation": BASE | {"metrics", "training"},
    "privacy": BASE | {"metrics", "features"},
    "decision": BASE | {"policy"},
    "report": BASE | {"decision"},
    "review": BASE | {"decision", "report"},
    "release": BASE | {"decision", "report"},
    "opening": BASE | {"scans", "features"},
    "measuring": BASE | {"opening", "features", "metrics", "report", "measuring_pixels"},
    "measuring_pixels": BASE | {"metrics"},
    "measuring_heads": BASE | {"opening", "features", "metrics"},
    "segmenting": BASE | {"segmentation", "training"},
    "watching": BASE | {"opening", "features", "metrics", "privacy", "generators"},
    "auditing": BASE | {"policy", "opening", "decision", "privacy", "report"},
    "study": BASE
    | SCIENCE
    | {"policy", "opening", "auditing", "watching", "segmenting", "measuring", "measuring_heads", "training"}
    | {"decision", "review", "release"},
    "grid": BASE | {"study", "segmenting", "opening", "policy", "metrics", "generators", "segmentation", "report"},
    "cli": BASE | {"study", "grid", "policy"},
    "__main__": {"cli"},
    "": {"study"},  # synthrelease/__init__.py: `from synthrelease import audit`
}
AT_HOME_IN = {  # library: the only places that may import it
    "torch": (
        "generators/",
        "segmentation/",
        "training/",
        "features/",
        *(f"privacy/{m}.py" for m in ("confirmation", "alignment", "parts", "searching")),
    ),
    "monai": ("generators/", "segmentation/"),
    "diffusers": ("generators/",),
    "faiss": ("privacy/searching.py",),
    "distributed": ("workers.py",),
    "nibabel": ("scans/", "phantom/", "release/export"),
    "pydicom": ("scans/", "release/export"),
    "flask": ("review/",),
    "waitress": ("review/",),
    "cryptography": ("release/signing.py",),
    "securesystemslib": ("release/signing.py",),
    "license_expression": ("release/",),
    "tifffile": ("scans/",),
    "zarr": ("image_set.py", "image_writer.py", "scans/"),
    "h5py": ("features/",),
    "safetensors": ("features/", "generators/", "training/"),
    "sklearn": ("metrics/", "privacy/"),
    "jinja2": ("report/",),
    "markupsafe": ("report/",),
    "matplotlib": ("report/",),
    "click": ("cli/",),
    "rich": ("cli/console.py",),
    "torchvision": (),
    # Nothing talks to a network: the tool runs offline, without telemetry.
    **dict.fromkeys(("socket", "urllib", "http", "ftplib", "requests", "httpx", "aiohttp", "huggingface_hub"), ()),
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _part(module: str) -> str:
    """Return the part of the package that a dotted name or a relative path belongs to."""
    pieces = re.split(r"[./]", module.removeprefix("synthrelease").lstrip("./"))
    return "" if pieces[0] == "__init__" else pieces[0]


def _imports(path: Path) -> Iterator[str]:
    """Yield every imported module as a dotted name, also those inside functions and under TYPE_CHECKING."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            # `from synthrelease import store` imports the part `store`.
            yield from (f"{module}.{name.name}" for name in node.names) if module == "synthrelease" else [module]


@pytest.mark.parametrize("path", MODULES, ids=_id)
def test_imports_point_down(path: Path) -> None:
    part = _part(str(path.relative_to(PACKAGE)).removesuffix(".py"))
    assert part in MAY_IMPORT, f"{part} is a new part of the package: say in MAY_IMPORT what it may import"
    inside = {_part(name) for name in _imports(path) if name.split(".")[0] == "synthrelease"}
    known = {name for name in inside if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()}
    forbidden = (known - {""}) - MAY_IMPORT[part] - {part}
    assert not forbidden, f"{_id(path)} must not import {sorted(forbidden)}"


@pytest.mark.parametrize("path", MODULES, ids=_id)
def test_each_library_stays_where_it_belongs(path: Path) -> None:
    where = path.relative_to(PACKAGE).as_posix()
    libraries = {name.split(".")[0] for name in _imports(path)}
    strays = {name for name in libraries & set(AT_HOME_IN) if not where.startswith(tuple(AT_HOME_IN[name]) or ("\0",))}
    assert not strays, f"{_id(path)} must not import {sorted(strays)}"


def test_loading_the_command_line_loads_no_science() -> None:
    heavy = ("torch", "monai", "faiss", "sklearn", "matplotlib", "nibabel")
    code = f"import sys, synthrelease, synthrelease.cli; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_of_every_command_loads_no_torch() -> None:
    code = (
        "import sys, click, synthrelease.cli as c\n"
        "context = click.Context(c.group)\n"
        "for name in c.group.list_commands(context): c.group.get_command(context, name)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("path", project_files("*.py"), ids=_id)
def test_no_file_gets_away(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_FILE, f"{_id(path)} has {lines} lines: split it by idea"


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", project_files("*.py"), ids=_id)
def test_no_function_gets_away(path: Path) -> None:
    long = [f"{f.name}: {_length(f)} lines" for f in _functions(path) if _length(f) > LONGEST_FUNCTION]
    assert not long, f"{_id(path)}: {', '.join(long)}"


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function, not counting its docstring."""
    text = ast.get_docstring(function, clean=False)
    return (function.end_lineno or 0) - function.lineno + 1 - (len(text.splitlines()) if text else 0)


@pytest.mark.parametrize("path", MODULES, ids=_id)
def test_everything_public_says_what_comes_out(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    public = [
        node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    silent = [node.name for node in public if not ast.get_docstring(node)]
    assert ast.get_docstring(tree), f"{_id(path)} does not say what it is for"
    assert not silent, f"{_id(path)}: no docstring on {', '.join(silent)}"


@pytest.mark.parametrize("path", project_files("*.py"), ids=_id)
def test_nothing_that_could_run_code_is_loaded(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [f"line {line}: {what}" for line, what in _unsafe(tree)]
    assert not found, f"{_id(path)}: {', '.join(found)}"


def _unsafe(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield uses of pickle, and loaders that could unpickle or build objects, with their line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in {"pickle", "dill", "joblib", "shelve"}:
            yield node.lineno, f"import from {node.module}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if node.value.id in {"pickle", "dill", "joblib", "shelve"} and name != "pickle.UnpicklingError":
                yield node.lineno, name
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
        ):
            wanted = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False), "yaml.load": ("", None)}
            name = f"{node.func.value.id}.{node.func.attr}"
            if name in wanted and wanted[name] not in {(k.arg, getattr(k.value, "value", None)) for k in node.keywords}:
                yield node.lineno, f"{name} without {wanted[name][0]}={wanted[name][1]}"


def test_the_rule_against_unsafe_loading_sees_what_it_should() -> None:
    bad = "import pickle\npickle.loads(b'')\ntorch.load(f)\nnp.load(f)\nnp.load(f, allow_pickle=True)\nyaml.load(f)"
    good = "import pickle\ntry: ...\nexcept pickle.UnpicklingError: ...\ntorch.load(f, weights_only=True)"
    assert sorted(line for line, _ in _unsafe(ast.parse(bad))) == [2, 3, 4, 5, 6]
    assert not list(_unsafe(ast.parse(good)))


# Joined, so that this file does not hold what it forbids.
PLACES = re.compile(r"(?<![\w./~-])/(?:" + "|".join(["work", "root", "tmp", "home", "opt", "Users", "mnt"]) + r")/\w")
HOSTS = re.compile("|".join(["pypi" + r"\.org", "python" + "hosted", r"--(extra-)?index" + "-url", "find" + "-links"]))


@pytest.mark.parametrize("path", [p for p in project_files() if p.suffix not in {".safetensors", ".png"}], ids=_id)
def test_no_file_names_a_machine_or_a_registry(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = [match.group() for rule in (PLACES, HOSTS) for match in rule.finditer(text)]
    assert not found, f"{_id(path)} holds {found[:5]}"


def test_the_tree_in_the_readme_is_the_real_one() -> None:
    blocks = re.findall(r"```\n(synthrelease/\n.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 1, "README.md shows the tree once, in a fenced block that starts with 'synthrelease/'"
    shown = _paths_in_tree(blocks[0])
    real = {path.relative_to(ROOT) for path in project_files() if path.parts}
    top = {Path(path.parts[0]) for path in real}
    inside = {Path(*path.parts[:2]) for path in real if path.parts[0] == "synthrelease"}
    inside = {p for p in inside if p.name not in {"__init__.py", "py.typed"}}
    expected = top | inside
    assert not shown - expected, f"in README's tree but not there: {sorted(map(str, shown - expected))}"
    assert not expected - shown, f"there but not in README's tree: {sorted(map(str, expected - shown))}"


def _paths_in_tree(block: str) -> set[Path]:
    """Return the paths of a tree: two spaces a level, the first line is the root, the rest of a line is prose."""
    shown: set[Path] = set()
    parents: dict[int, Path] = {}
    for line in block.splitlines()[1:]:
        name, level = line.split()[0], (len(line) - len(line.lstrip())) // 2
        path = parents.get(level - 1, Path()) / name.rstrip("/")
        parents[level] = path
        shown.add(path)
    return shown


@pytest.mark.parametrize(
    ("name", "command"), working_commands(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_shows_an_example_in_its_help(name: str, command: click.Command) -> None:
    shown = re.search(rf"(?m)^\s*{name}( |$)", command.help or "")
    assert shown, f"`{name} --help` has no line that starts with `{name}`"


def test_extras_are_imported_where_they_are_used() -> None:
    """Who did not install an extra must still be able to start every command."""
    tree = ast.parse((PACKAGE / "workers.py").read_text(encoding="utf-8"))
    at_the_top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert "distributed" not in {name for node in at_the_top for name in ast.unparse(node).replace(",", " ").split()}


def test_dependencies_are_what_the_package_imports() -> None:
    import tomllib

    about = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for name, lines in about["optional-dependencies"].items() if name != "dev" for line in lines]
    wanted = {re.split(r"[<>=!~\[; ]", line)[0].lower() for line in [*about["dependencies"], *extras]}
    other_name = {
        "faiss": "faiss-cpu",
        "sklearn": "scikit-learn",
        "PIL": "pillow",
        "markupsafe": "jinja2",
        "license_expression": "license-expression",
    }
    imported = {name.split(".")[0] for path in MODULES for name in _imports(path)}
    outside = {n for n in imported if n not in sys.stdlib_module_names and n not in {"synthrelease", "torchvision"}}
    missing = {other_name.get(name, name) for name in outside} - wanted
    assert not missing, f"imported but not in pyproject.toml: {sorted(missing)}"
