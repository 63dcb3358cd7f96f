"""Kill a conversion at any moment; the next run must give the same folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.convert_trees import image, tree, voc
from yolofuse.convert import prepare

# Convert, killed before the Nth change of the disk, then convert again, for every N or every ``step``-th, in forks of
# one process, which start fast. Prints the number of kills and the hashes of all resulting trees.
_KILLER = """
import json, os, shutil, signal, sys
from pathlib import Path
sys.path.insert(0, {repo!r})
from tests.support.convert_trees import tree
from yolofuse.convert import prepare

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {{"os.mkdir", "os.symlink", "os.rename", "os.remove", "os.rmdir"}}

def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]

def killed_at(limit, work):
    count = 0
    def hook(event, args):
        nonlocal count
        if event in CHANGES or (event == "open" and isinstance(args[2], int) and args[2] & WRITES):
            count += 1
            if count == limit:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    work()

name, src, out, replaces, step = json.loads(sys.argv[1])
def run(images="link"):
    return lambda: prepare(name, Path(src), Path(out), images=images)

def reset():
    if replaces:
        assert child(run("copy")) == 0  # a previous folder that the killed run must replace
    else:
        shutil.rmtree(out, ignore_errors=True)

kills, results = 0, set()
for limit in range(1, 1000, step):
    reset()
    status = child(lambda: killed_at(limit, run()))
    again = child(run())
    assert again == 0, again
    assert not [path for path in Path(out).parent.iterdir() if path.name.startswith(".")], "left behind"
    results.add(json.dumps(tree(Path(out)), sort_keys=True))
    if not os.WIFSIGNALED(status):
        break
    kills += 1
print(json.dumps([kills, sorted(results)]))
"""


@pytest.mark.parametrize(
    ("name", "replaces", "step"),
    [
        pytest.param("llvip", True, 3, id="replaces"),
        pytest.param("m3fd", False, 7, id="first"),
        pytest.param("llvip", True, 1, id="replaces-all", marks=pytest.mark.soak),
        pytest.param("m3fd", False, 1, id="first-all", marks=pytest.mark.soak),
    ],
)
def test_sigkill__at_any_moment_the_next_run_gives_the_same_folder(
    tmp_path: Path, name: str, replaces: bool, step: int
) -> None:
    src, out = tmp_path / "src", tmp_path / "killed" / "out"
    if name == "llvip":
        for folder in ("visible", "infrared"):
            image(src / folder / "train" / "010001.jpg")
        voc(src / "Annotations" / "010001.xml", [("person", 1, 1, 9, 9)])
    else:
        for key in ("00000", "00001"):
            image(src / "Vis" / f"{key}.png")
            image(src / "Ir" / f"{key}.png", gray=True)
            voc(src / "Annotation" / f"{key}.xml", [("Car", 1, 1, 9, 9)])
    prepare(name, src, tmp_path / "expected" / "out")
    script = _KILLER.format(repo=str(Path(__file__).resolve().parents[2]))
    argument = json.dumps([name, str(src), str(out), replaces, step])
    done = subprocess.run([sys.executable, "-c", script, argument], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kills, results = json.loads(done.stdout.splitlines()[-1])
    assert kills >= (30 if replaces else 24) // step  # while building, renaming twice, and deleting
    assert [json.loads(result) for result in results] == [tree(tmp_path / "expected" / "out")]
