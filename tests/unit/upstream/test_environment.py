"""Importing ultralytics leaves the process as it was."""

from __future__ import annotations

import subprocess
import sys

import cv2
import PIL.Image
import torch

from yolofuse import upstream

_PROBE = """
import os, socket, sys
import cv2, numpy, PIL.Image, torch

def refuse(*args):
    raise AssertionError("a connection was tried")
socket.socket.connect = refuse
socket.getaddrinfo = refuse

def state():
    functions = (PIL.Image.open, torch.save, torch.load, cv2.imread, cv2.imwrite, cv2.imshow)
    threads = torch.get_num_threads(), cv2.getNumThreads(), os.environ.get("OMP_NUM_THREADS")
    return functions, threads, numpy.get_printoptions()

os.environ.pop("OMP_NUM_THREADS", None)
before = state()
import yolofuse.upstream
assert state() == before, (before, state())
from ultralytics.utils import SETTINGS, is_online
assert not is_online()
assert not SETTINGS["sync"]
"""


def test_import__changes_nothing_and_stays_offline() -> None:
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_patches__are_undone() -> None:
    assert upstream.version.startswith("8.4.")
    for function in (PIL.Image.open, torch.save, cv2.imread):
        assert not str(getattr(function, "__module__", "")).startswith("ultralytics")
