"""Test that the package never evaluates text, unpickles, unpacks, downloads or starts programs, except as listed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import yolofuse

PACKAGE = Path(yolofuse.__file__).parent

_MODULES = {
    *("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"),
    *("tarfile", "zipimport", "runpy", "code", "codeop", "ctypes", "cffi"),
    *("urllib", "http", "requests", "httpx", "aiohttp", "ftplib", "smtplib", "telnetlib", "xmlrpc"),
    *("subprocess", "pty", "pip", "ensurepip"),
}
_BARE_CALLS = {"eval", "exec", "compile", "__import__", "breakpoint"}
_METHODS = {
    *("os.system", "os.popen", "os.execv", "os.execvp", "os.execve", "os.spawnv", "os.spawnvp", "os.posix_spawn"),
    *("shutil.unpack_archive", "importlib.import_module", "asyncio.create_subprocess_exec"),
    *("torch.hub.load", "torch.hub.load_state_dict_from_url", "torch.hub.download_url_to_file", "torch.jit.load"),
    *("torch.package.PackageImporter", "torch.ops.load_library", "ctypes.CDLL"),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all", "yaml.full_load_all"),
    *("multiprocessing.connection.Client", "socket.create_connection"),
}
_EXTRACTING = {"extract", "extractall"}
# Exceptions, each with the reason why it is safe.
_ALLOWED = {
    ("weights/safe_load.py", "pickle"): "for its UnpicklingError",
    ("eval/provenance.py", "subprocess"): "calls git with fixed arguments, for this checkout's commit",
    ("cluster/slurm.py", "subprocess"): "submits a job with sbatch, without a shell",
    ("data/dataloader.py", "ctypes"): "for mallopt",
    ("cli/main.py", "importlib.import_module"): "of a command of its own table",
    ("serve/server.py", "http"): "for names of status codes",
    ("serve/server.py", "http.server"): "answers this machine alone, see test_server.py",
    ("backends/torch_program.py", "torch.jit.load"): "only where the caller says that the file is trusted",
    ("data/dataloader.py", "ctypes.CDLL"): "of the C library that is already loaded; no file is named",
}


def _sources() -> Iterator[tuple[str, ast.Module]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        yield file.relative_to(PACKAGE).as_posix(), ast.parse(file.read_text(encoding="utf-8"))


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def _keyword(call: ast.Call, name: str) -> object:
    value = next((keyword.value for keyword in call.keywords if keyword.arg == name), None)
    return value.value if isinstance(value, ast.Constant) else None


def _find_uses(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield the forbidden uses in a file, each with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((name.name, node.lineno) for name in node.names if name.name.split(".")[0] in _MODULES)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            if module.split(".")[0] in _MODULES:
                yield module, node.lineno
            yield from ((f"{module}.{n.name}", node.lineno) for n in node.names if f"{module}.{n.name}" in _METHODS)
        elif isinstance(node, ast.Call):
            yield from ((use, node.lineno) for use in _called(node))


def _called(call: ast.Call) -> Iterator[str]:
    name = _dotted(call.func)
    last = name.rpartition(".")[2]
    if name in _BARE_CALLS or name in _METHODS or last in _EXTRACTING:
        yield name
    if name == "torch.load" and _keyword(call, "weights_only") is not True:
        yield "torch.load without weights_only"
    if name in ("np.load", "numpy.load") and _keyword(call, "allow_pickle") is not False:
        yield "np.load without allow_pickle=False"
    if name == "yaml.load" and not (len(call.args) == 2 and _dotted(call.args[1]) in ("_Loader", "SafeLoader")):
        yield "yaml.load with another loader"
    if _keyword(call, "shell") not in (None, False):
        yield "shell=True"


def test_package__has_no_forbidden_use() -> None:
    found = [
        (file, use, line) for file, tree in _sources() for use, line in _find_uses(tree) if (file, use) not in _ALLOWED
    ]
    assert found == []


def test_exceptions__are_all_needed() -> None:
    assert {(file, use) for file, tree in _sources() for use, _ in _find_uses(tree)} >= _ALLOWED.keys()


def test_yaml_loader__is_safe() -> None:
    import yaml

    from yolofuse import base_models
    from yolofuse.config import safe_yaml

    assert vars(base_models)["SafeLoader"] in (yaml.SafeLoader, yaml.CSafeLoader)
    assert issubclass(safe_yaml._Loader, yaml.SafeLoader)
    made = safe_yaml._Loader.yaml_constructors
    assert made == yaml.SafeLoader.yaml_constructors  # no additional tag, none that constructs an object
    assert not safe_yaml._Loader.yaml_multi_constructors


def test_package__imports_ultralytics_in_upstream_only() -> None:
    importers = {
        file
        for file, tree in _sources()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Import) and any(name.name.split(".")[0] == "ultralytics" for name in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ultralytics")
    }
    assert {name.split("/")[0] for name in importers} == {"upstream"}


@pytest.mark.parametrize(
    "line",
    ["eval('1')", "import pickle", "from urllib.request import urlopen", "import os\nos.system('x')",
     "torch.load(f)", "torch.load(f, weights_only=False)", "torch.load(f, weights_only=x)", "np.load(f)",
     "yaml.load(f, yaml.Loader)", "run(['x'], shell=True)", "archive.extractall()", "from shutil import unpack_archive",
     "yaml.unsafe_load(f)", "__import__('os')", "import tarfile", "torch.hub.load('a', 'b')"],
)  # fmt: skip
def test_search__finds_forbidden_use(line: str) -> None:
    assert list(_find_uses(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    ["model.eval()", "re.compile('x')", "torch.load(f, weights_only=True)", "np.load(f, allow_pickle=False)",
     "yaml.safe_load(f)", "json.loads(f)", "torch.compile(model)", "run(['x'], shell=False)"],
)  # fmt: skip
def test_search__accepts_harmless_code(line: str) -> None:
    assert not list(_find_uses(ast.parse(line)))
