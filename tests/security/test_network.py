"""Test that training, validation, check and torchrun connect to no other machine and start no unlisted program."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.runs import REPO, write_config

_FAKES = ("pip", "pip3", "uv", "conda", "curl", "wget", "apt", "apt-get", "yum", "brew", "ssh", "nc", "bash", "git")
_ADDRESS = re.compile(r'inet_addr\("(?P<v4>[^"]+)"\)|inet_pton\(AF_INET6, "(?P<v6>[^"]+)"')
_LOCAL = re.compile(r"^(127\.|0\.0\.0\.0$|::1$|::$|::ffff:127\.)")
_CALL = re.compile(r"^(?P<pid>\d+) .*?\b(?P<call>connect|sendto|sendmsg|sendmmsg|execve|execveat)\((?P<arguments>.*)")
_NAME_SERVER = "sin_port=htons(53)"
_OWN_NAME = re.compile(r"127\\7in-addr\\4arpa|" + re.escape(socket.gethostname()))
# Python's ctypes finds libraries, and matplotlib fonts, by these system programs with fixed arguments.
_KNOWN = ('"/sbin/ldconfig", ["/sbin/ldconfig", "-p"]', '"/usr/bin/fc-list", ["fc-list", "--')
_STRACE = ("--seccomp-bpf", "-f", "-qq", "-s", "400", "-e", "trace=connect,sendto,sendmsg,sendmmsg,execve,execveat")


@dataclass
class Activity:
    """A command's activity by strace: addresses it contacted, name server queries, programs it started."""

    addresses: set[str] = field(default_factory=set)
    lookups: list[str] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def strace() -> str:
    found = shutil.which("strace")
    if found is None or subprocess.run([found, *_STRACE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("NOT TESTED: strace is missing or not permitted here")
    return found


@pytest.fixture
def fake_programs(tmp_path: Path) -> tuple[Path, Path]:
    """Return a folder of fake programs for PATH, and the file they log their calls to."""
    folder, marker = tmp_path / "bin", tmp_path / "called"
    folder.mkdir()
    for name in _FAKES:
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >> "{marker}"\nexit 1\n')
        (folder / name).chmod(0o755)
    return folder, marker


def _trace(strace: str, folder: Path, path: Path, *arguments: str) -> Activity:
    log = folder / "strace.log"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("YOLO_", "ULTRALYTICS_"))}
    env |= {"PATH": f"{path}{os.pathsep}{env['PATH']}", "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    env |= {"HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "home" / "cache")}  # as on a first run
    command = [strace, *_STRACE, "-o", str(log), sys.executable, *arguments]
    done = subprocess.run(command, cwd=REPO, env=env, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return _parse(log.read_text(errors="replace"))


def _parse(log: str) -> Activity:
    activity = Activity()
    resolving: set[tuple[str, str]] = set()  # process and descriptor
    for line in log.splitlines():
        match = _CALL.search(line)
        if match is None:
            continue
        if match["call"].startswith("execve"):
            if line.rstrip().endswith("= 0"):  # else PATH was searched, without a match
                activity.programs.append(match["arguments"])
            continue
        socket_of = (match["pid"], match["arguments"].partition(",")[0])
        if match["call"] == "connect":
            resolving.discard(socket_of)
            if _NAME_SERVER in match["arguments"]:
                resolving.add(socket_of)
                continue
        elif socket_of in resolving and "AF_NETLINK" not in match["arguments"]:  # the kernel, by a reused descriptor
            activity.lookups.append(match["arguments"])
        for address in _ADDRESS.finditer(match["arguments"]):
            activity.addresses.add(address["v4"] or address["v6"])
    return activity


def _remote_addresses(activity: Activity) -> set[str]:
    return {address for address in activity.addresses if not _LOCAL.match(address)}


def _unexpected_programs(activity: Activity) -> list[str]:
    """Return programs other than Python itself, the known ones, and git, which gets the commit of this checkout."""
    own = (f'"{sys.executable}"', f'"{os.path.realpath(sys.executable)}"', *_KNOWN)
    return [call for call in activity.programs if not call.startswith(own) and '/git", ["' not in call]


def _assert_only_local(activity: Activity, marker: Path) -> None:
    assert _remote_addresses(activity) == set()
    # Torch's store looks up the name of each peer: a loopback address, with several ranks only.
    assert [query for query in activity.lookups if not _OWN_NAME.search(query)] == []
    assert _unexpected_programs(activity) == []
    called = marker.read_text().splitlines() if marker.exists() else []
    allowed = re.compile(r"git -C \S+/yolofuse (rev-parse (HEAD|--show-toplevel)|status --porcelain -- \.)")
    assert [line for line in called if not allowed.fullmatch(line)] == []


def test_trace__records_connection_and_program(strace: str, tmp_path: Path, fake_programs: tuple[Path, Path]) -> None:
    """Check the method itself: an address reserved for examples, and a fake program."""
    code = "import socket, subprocess\ns = socket.socket(type=socket.SOCK_DGRAM); s.connect(('192.0.2.1', 9))\n"
    code += "subprocess.run(['pip', 'install', 'x'])"
    activity = _trace(strace, tmp_path, fake_programs[0], "-c", code)
    assert _remote_addresses(activity) == {"192.0.2.1"}
    assert any('/pip"' in call for call in _unexpected_programs(activity))
    assert fake_programs[1].read_text() == "pip install x\n"


def test_trace__records_name_server_queries() -> None:
    log = '7 connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.1")}, 16) = 0\n'
    log += '7 sendto(3, "x\\1\\7example\\3com", 40, MSG_NOSIGNAL, NULL, 0) = 40\n'
    log += "8 sendmmsg(3, [{msg_hdr={}}], 2, MSG_NOSIGNAL) = 2\n"
    activity = _parse(log)
    assert len(activity.lookups) == 1
    assert not _OWN_NAME.search(activity.lookups[0])


def test_train_and_val__open_no_connection(strace: str, tmp_path: Path, fake_programs: tuple[Path, Path]) -> None:
    path, marker = fake_programs
    config = write_config(tmp_path, data={"workers": 1}, train={"epochs": 1})
    activity = _trace(strace, tmp_path, path, "train_dual.py", "--cfg", str(config))
    _assert_only_local(activity, marker)
    assert (activity.addresses, activity.lookups) == (set(), [])  # not even on the loopback
    _assert_only_local(_trace(strace, tmp_path, path, "val_dual.py", "--run", str(tmp_path / "run")), marker)
    check = ("-m", "yolofuse.cli.data", "check", "--data", str(tmp_path / "data" / "data.yaml"))
    _assert_only_local(_trace(strace, tmp_path, path, *check, "--out", str(tmp_path / "report")), marker)


def test_two_ranks__connect_only_to_each_other(strace: str, tmp_path: Path, fake_programs: tuple[Path, Path]) -> None:
    path, marker = fake_programs
    config = write_config(tmp_path, train={"epochs": 1})
    ranks = ("-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2")
    activity = _trace(strace, tmp_path, path, *ranks, "train_dual.py", "--cfg", str(config))
    _assert_only_local(activity, marker)
    assert activity.addresses  # they do connect, so the trace works


def test_namespace__without_a_network_training_works(tmp_path: Path) -> None:
    """Without any network, also without a name server, nothing waits for one."""
    unshare = shutil.which("unshare")
    launcher = [str(unshare), "--net", "--map-root-user", "--user"]
    if unshare is None or subprocess.run([*launcher, "true"], capture_output=True, check=False).returncode:
        pytest.skip("NOT TESTED: no network namespace can be made here")
    config = write_config(tmp_path, train={"epochs": 1})
    command = [*launcher, sys.executable, "train_dual.py", "--cfg", str(config)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=REPO, env=env, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "run" / "weights" / "last.pt").exists()
