"""Every command and code block of the documents is run; what no test can run is checked another way, with a reason."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import pytest
import yaml

import yolofuse
from tests.support import document_commands as do
from tests.support.cluster_runs import program
from tests.support.convert_trees import llvip
from tests.support.documents import PAGES, Block, all_blocks, anchors, code_spans, commands, links, text_of
from tests.support.pairs import make_pairs
from tests.support.runs import REPO, without_plots
from tests.support.videos import coded, encode, times
from tests.support.weights import run_file, single_stream_file
from yolofuse.cli.main import main
from yolofuse.config import Config
from yolofuse.data import load_descriptor, load_pairs

_Way = TypeVar("_Way")
_Check = Callable[[list[str]], None]

_RUN: dict[str, _Check] = {
    "yolofuse ": do.run,
    "python train_dual.py ": do.run,
    "python val_dual.py ": do.run,
    "python export_dual.py ": do.run,
}
"""First words of the commands that are run, and how."""

_NOT_RUN: dict[str, tuple[str, _Check]] = {
    "torchrun ": ("starts several processes on GPUs; test_ranks.py trains in two", do.check_options),
    "yolofuse serve ": ("serves until it is stopped, as unit/serve tests", do.check_options),
    "make ": ("takes minutes, and the tests are one of its targets", do.check_target),
    ".ci/run ": ("runs the tests", do.check_file),
    "python3 -m venv ": ("downloads packages; test_wheel.py installs the project", do.check_extras),
    "pip install ": ("downloads packages", do.check_extras),
    "python -m scripts.": ("takes minutes to hours, or data that is fetched", do.check_options),
    "python scripts/config_docs.py ": ("writes into the checkout; see unit/scripts/test_config_docs.py", do.check_file),
    "sbatch ": ("needs Slurm, as test_slurm.py does", do.check_job),
    "export ": ("sets an option of torchrun", do.check_setting),
    "get ": ("fetches data; the function's syntax is checked", do.check_fetch),
}
"""First words of the commands that no test can run: why not, and what is checked instead."""

_PLACEHOLDERS = {
    "yolofuse status RUN ...",
    "yolofuse compare A B",
    "python -m yolofuse.cli.NAME",
    "torchrun --nproc-per-node 4 my_script.py",
}
"""Commands within the text of which words stand for others; only those of blocks are complete."""

_PREPARE = "yolofuse prepare llvip --src ~/LLVIP --out data/llvip"
_BEFORE = {
    "python train_dual.py --cfg configs/llvip/mid.yaml weights.pretrained=weights/yolo11n.pt": _PREPARE,
    "yolofuse submit --cfg configs/llvip/mid.yaml --nodes 2 --gpus 8 --time 12:00:00": _PREPARE,
    "yolofuse compare runs/custom-untrained/eval-val runs/custom/eval-val": "python val_dual.py --run runs/custom",
}
"""What the page says, beside a command, that was done before."""

_TESTED_PAGES = {"docs/extending.md", "docs/python.md", "docs/video.md"}  # test_extending.py, test_video_page.py
_FOLLOWED_PAGES = {"docs/first-detector.md"}  # from top to bottom, from a wheel: test_first_detector.py
_CLASSES = ("person", "car")
_BLOCKS = all_blocks()
_SPANS = sorted({span for page in PAGES if page != "CHANGELOG.md" for span in code_spans(page)} - _PLACEHOLDERS)


def _of(language: str) -> list[Block]:
    return [block for block in _BLOCKS if block.language == language]


def _way(line: str, ways: dict[str, _Way]) -> _Way | None:
    return next((way for start, way in ways.items() if f"{line} ".startswith(start)), None)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home folder with LLVIP, and in ``here`` what the documents assume: configs, own pairs, weights."""
    home = tmp_path_factory.mktemp("home")
    here = home / "here"
    assert main(["init", str(here)]) == 0
    (here / "my.yaml").write_text((here / "configs/custom.yaml").read_text())
    descriptor = (here / "configs/data/custom.yaml").read_text()
    (here / "my_data.yaml").write_text(descriptor.replace("../../data/custom", "data/custom"))
    make_pairs(here / "data/custom", num_train=6, num_val=3, names=_CLASSES)
    for name, images in (("rgb", "images"), ("ir", "imagesIR")):
        (here / "data/custom" / name).rename(here / "data/custom" / images)
        pixels = cv2.imread(str(here / "data/custom" / images / "val/val_000.png"))
        assert pixels is not None
        cv2.imwrite(str(here / f"{name}.jpg"), pixels)
        shutil.copytree(here / "data/custom" / images / "val", here / "photos" / name)
        encode(here / f"{name}.mp4", coded(times(5, 1)))
    (here / "weights").mkdir()
    for file, base in (("weights/yolo11n.pt", "yolo11n"), ("yolo11n.pt", "yolo11n"), ("yolov5n.pt", "yolov5n")):
        single_stream_file(here / file, base, _CLASSES)
    run_file(here / "best.pt", "model.base=yolo11n", names=_CLASSES)
    for stream in ("rgb", "ir"):
        (here / "runs" / stream / "weights").mkdir(parents=True)
        run_file(
            here / "runs" / stream / "weights/best.pt", "model.base=yolo11n", f"model.streams={stream}", names=_CLASSES
        )
    llvip(home / "LLVIP")
    program(home / "bin", "sbatch", "echo 41")
    return home


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Enter a copy of the folder that the documents assume; return it."""
    shutil.copytree(home / "here", tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{home / 'bin'}:{os.environ['PATH']}")
    with without_plots():
        yield tmp_path / "here"


def test_fences__are_of_kinds_that_are_tested() -> None:
    """``text`` and ``mermaid`` hold nothing that could run."""
    known = {"sh", "yaml", "python", "text", "mermaid"}
    assert [f"{block}: {block.language}" for block in _BLOCKS if block.language not in known] == []
    assert sum(text_of(page).count("```") for page in PAGES) == 2 * len(_BLOCKS)


@pytest.mark.parametrize("page", dict.fromkeys(b.page for b in _of("sh") if b.page not in _FOLLOWED_PAGES))
def test_shell__every_command_of_a_page_works(page: str, folder: Path) -> None:
    """Run the commands from top to bottom, in a folder laid out like a checkout."""
    for block in (block for block in _of("sh") if block.page == page):
        checked = subprocess.run(["bash", "-n"], input=block.code, text=True, capture_output=True, check=False)
        assert checked.stderr == "", block
        if re.match(r"\w+\(\) \{", block.code):  # a function; its calls are commands
            continue
        for words in commands(block.code):
            line = " ".join(words)
            if line in _BEFORE:
                do.run(shlex.split(_BEFORE[line]))
            weaker = _way(line, _NOT_RUN)
            if not weaker:
                do.train_what_it_reads(words)
            check = weaker[1] if weaker else _way(line, _RUN)
            if "--track" in words and find_spec("trackers") is None:  # which needs Python 3.11
                check = do.check_options
            assert check is not None, f"{block}: {line!r}: no test runs it; add its first words to _RUN or _NOT_RUN"
            check(words)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules after import")
@pytest.mark.parametrize("span", [span for span in _SPANS if _way(span, {**_RUN, **_NOT_RUN}) and " " in span])
def test_text__the_options_of_its_commands_exist(span: str) -> None:
    words = shlex.split(span)
    weaker = _way(span, _NOT_RUN)
    (weaker[1] if weaker else do.check_options)(words)


@pytest.mark.parametrize("block", _of("yaml"), ids=str)
def test_yaml__is_accepted_and_used(block: Block, folder: Path) -> None:
    first, *more = yaml.safe_load_all(block.code)
    if first.keys() <= Config.model_fields.keys():
        config = yolofuse.load_config("my.yaml", **first)
        yolofuse.build_detector(config, names=_CLASSES)  # a rule that matches nothing is an error
    elif "names" in first:
        file = folder / "data/custom/d.yaml"
        file.write_text(block.code)
        (folder / "data/custom/val.txt").write_text("".join(f"images/val/val_00{i}.png\n" for i in range(3)))
        descriptor = load_descriptor(file)
        assert {split: len(load_pairs(descriptor, split)) for split in descriptor.splits} == {"train": 6, "val": 3}
    else:
        assert first["kind"] == "Service", f"{block}: neither a config, nor data, nor a manifest of Kubernetes"
        pod = more[0]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        start = container["args"][0].replace("$JOB_COMPLETION_INDEX", "0").removeprefix("exec ")
        do.check_options(shlex.split(start))
        assert f"--master-addr={first['metadata']['name']}-0.{pod['subdomain']} " in start
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("block", [block for block in _of("python") if block.page not in _TESTED_PAGES], ids=str)
def test_python__runs(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "  # theirs" in block.code:
        _check_ultralytics(block.code)
        return
    train = yolofuse.train

    def small_train(config: str, **options: Any) -> Path:
        options["train"] = {**options.get("train", {}), **do.SMALL_TRAIN}
        return train(config, **{**options, "data": {"workers": 0}})

    monkeypatch.setattr(yolofuse, "train", small_train)
    space: dict[str, Any] = {}
    exec(compile(block.code, str(block), "exec"), space)
    found = space["found"]
    assert found.boxes_xyxy.shape == (len(found.scores), 4)
    assert np.isfinite(found.scores).all()
    assert space["run"] == Path("runs/custom")


def _check_ultralytics(code: str) -> None:
    """Check the arguments of ultralytics' trainer, which would fetch what it lacks."""
    from ultralytics.cfg import get_cfg

    compile(code, "theirs", "exec")
    options = dict(re.findall(r"(\w+)=([^,)]+)", code))
    assert get_cfg(overrides={key: yaml.safe_load(value) for key, value in options.items()}).epochs == 50


@pytest.mark.parametrize("page", [page for page in PAGES if links(page)])
def test_links__lead_to_files_and_headings(page: str) -> None:
    for file, anchor in links(page):
        target = (REPO / page).parent / file if file else REPO / page
        assert target.exists(), file
        assert not anchor or anchor in anchors(target.resolve().relative_to(REPO).as_posix()), f"{file}#{anchor}"


def test_text__the_files_that_it_names_exist() -> None:
    named = re.compile(r"(?:yolofuse|tests|scripts|docs|configs|results)/[\w/.-]*")
    spans = [span for span in _SPANS if named.fullmatch(span)]
    assert len(spans) > 30
    assert [span for span in spans if not (REPO / span).exists()] == []


def test_readme__is_short() -> None:
    assert len(re.findall(r"\S*\w\S*", text_of("README.md"))) <= 900
