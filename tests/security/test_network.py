"""No connection leaves the machine and no program is fetched or started: training, validation, check and torchrun."""

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

_FALSE = ("pip", "pip3", "uv", "conda", "curl", "wget", "apt", "apt-get", "yum", "brew", "ssh", "nc", "bash", "git")
_ADDRESS = re.compile(r'inet_addr\("(?P<v4>[^"]+)"\)|inet_pton\(AF_INET6, "(?P<v6>[^"]+)"')
_LOCAL = re.compile(r"^(127\.|0\.0\.0\.0$|::1$|::$|::ffff:127\.)")
_CALL = re.compile(r"^(?P<pid>\d+) .*?\b(?P<call>connect|sendto|sendmsg|sendmmsg|execve|execveat)\((?P<words>.*)")
_NAME_SERVER = "sin_port=htons(53)"
_OWN_NAME = re.compile(r"127\\7in-addr\\4arpa|" + re.escape(socket.gethostname()))
# What Python's ctypes asks for the place of a library, and matplotlib for fonts: programs of the system's, fixed words.
_KNOWN = ('"/sbin/ldconfig", ["/sbin/ldconfig", "-p"]', '"/usr/bin/fc-list", ["fc-list", "--')
_STRACE = ("--seccomp-bpf", "-f", "-qq", "-s", "400", "-e", "trace=connect,sendto,sendmsg,sendmmsg,execve,execveat")


@dataclass
class Seen:
    """What a command did: the addresses it spoke to, what it asked name servers, and the programs it started."""

    addresses: set[str] = field(default_factory=set)
    lookups: list[str] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def strace() -> str:
    found = shutil.which("strace")
    if found is None or subprocess.run([found, *_STRACE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("NOT TESTED: strace is missing or not permitted here, so nobody saw what is connected to")
    return found


@pytest.fixture
def false_programs(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of false programs for PATH, and the file they write to when they are called."""
    folder, marker = tmp_path / "bin", tmp_path / "called"
    folder.mkdir()
    for name in _FALSE:
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >> "{marker}"\nexit 1\n')
        (folder / name).chmod(0o755)
    return folder, marker


def _watched(strace: str, folder: Path, path: Path, *words: str) -> Seen:
    log = folder / "strace.log"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("YOLO_", "ULTRALYTICS_"))}
    env |= {"PATH": f"{path}{os.pathsep}{env['PATH']}", "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    env |= {"HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "home" / "cache")}  # a first run of all
    command = [strace, *_STRACE, "-o", str(log), sys.executable, *words]
    done = subprocess.run(command, cwd=REPO, env=env, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return _read(log.read_text(errors="replace"))


def _read(log: str) -> Seen:
    seen = Seen()
    resolving: set[tuple[str, str]] = set()  # process and descriptor
    for line in log.splitlines():
        match = _CALL.search(line)
        if match is None:
            continue
        if match["call"].startswith("execve"):
            if line.rstrip().endswith("= 0"):  # else it was looked for along PATH, and not found
                seen.programs.append(match["words"])
            continue
        socket_of = (match["pid"], match["words"].partition(",")[0])
        if match["call"] == "connect":
            resolving.discard(socket_of)
            if _NAME_SERVER in match["words"]:
                resolving.add(socket_of)
                continue
        elif socket_of in resolving and "AF_NETLINK" not in match["words"]:  # the kernel, by a number used again
            seen.lookups.append(match["words"])
        for address in _ADDRESS.finditer(match["words"]):
            seen.addresses.add(address["v4"] or address["v6"])
    return seen


def _away(seen: Seen) -> set[str]:
    return {address for address in seen.addresses if not _LOCAL.match(address)}


def _strangers(seen: Seen) -> list[str]:
    """Programs other than Python itself, and than git, which is asked for the commit of this checkout."""
    own = (f'"{sys.executable}"', f'"{os.path.realpath(sys.executable)}"', *_KNOWN)
    return [words for words in seen.programs if not words.startswith(own) and '/git", ["' not in words]


def _judge(seen: Seen, marker: Path) -> None:
    assert _away(seen) == set()
    # Torch's store asks for the name of whoever connects to it: of a loopback address, with several ranks only.
    assert [words for words in seen.lookups if not _OWN_NAME.search(words)] == []
    assert _strangers(seen) == []
    called = marker.read_text().splitlines() if marker.exists() else []
    asked = re.compile(r"git -C \S+/yolofuse (rev-parse (HEAD|--show-toplevel)|status --porcelain -- \.)")
    assert [line for line in called if not asked.fullmatch(line)] == []


def test_watch__sees_a_connection_and_a_program(strace: str, tmp_path: Path, false_programs: tuple[Path, Path]) -> None:
    """The control: an address that is reserved for examples, and a program of a false name."""
    code = "import socket, subprocess\ns = socket.socket(type=socket.SOCK_DGRAM); s.connect(('192.0.2.1', 9))\n"
    code += "subprocess.run(['pip', 'install', 'x'])"
    seen = _watched(strace, tmp_path, false_programs[0], "-c", code)
    assert _away(seen) == {"192.0.2.1"}
    assert any('/pip"' in words for words in _strangers(seen))
    assert false_programs[1].read_text() == "pip install x\n"


def test_watch__sees_what_a_name_server_is_asked() -> None:
    log = '7 connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.1")}, 16) = 0\n'
    log += '7 sendto(3, "x\\1\\7example\\3com", 40, MSG_NOSIGNAL, NULL, 0) = 40\n'
    log += "8 sendmmsg(3, [{msg_hdr={}}], 2, MSG_NOSIGNAL) = 2\n"
    seen = _read(log)
    assert len(seen.lookups) == 1
    assert not _OWN_NAME.search(seen.lookups[0])


def test_train_and_val__connect_to_nobody(strace: str, tmp_path: Path, false_programs: tuple[Path, Path]) -> None:
    path, marker = false_programs
    config = write_config(tmp_path, data={"workers": 1}, train={"epochs": 1})
    seen = _watched(strace, tmp_path, path, "train_dual.py", "--cfg", str(config))
    _judge(seen, marker)
    assert (seen.addresses, seen.lookups) == (set(), [])  # not even to itself
    _judge(_watched(strace, tmp_path, path, "val_dual.py", "--run", str(tmp_path / "run")), marker)
    check = ("-m", "yolofuse.cli.data", "check", "--data", str(tmp_path / "data" / "data.yaml"))
    _judge(_watched(strace, tmp_path, path, *check, "--out", str(tmp_path / "report")), marker)


def test_two_ranks__connect_to_each_other_only(strace: str, tmp_path: Path, false_programs: tuple[Path, Path]) -> None:
    path, marker = false_programs
    config = write_config(tmp_path, train={"epochs": 1})
    ranks = ("-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2")
    seen = _watched(strace, tmp_path, path, *ranks, "train_dual.py", "--cfg", str(config))
    _judge(seen, marker)
    assert seen.addresses  # they did speak, so this is no blind eye


def test_namespace__without_a_network_training_goes_on(tmp_path: Path) -> None:
    """Where there is no network at all, not even a name server, nothing waits for one."""
    unshare = shutil.which("unshare")
    words = [str(unshare), "--net", "--map-root-user", "--user"]
    if unshare is None or subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("NOT TESTED: no network namespace can be made here")
    config = write_config(tmp_path, train={"epochs": 1})
    command = [*words, sys.executable, "train_dual.py", "--cfg", str(config)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "run" / "weights" / "last.pt").exists()
