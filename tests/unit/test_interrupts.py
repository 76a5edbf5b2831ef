"""Exceptions that another thread raises in a block."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from qcore_loop.interrupts import Interruptible

PROFILED = """
import sys, threading
from qcore_loop.interrupts import Interruptible

block = Interruptible()

def ask():
    assert block.interrupt(KeyError)

def call():
    return 1

with block:
    pass
try:
    with block:
        ask()
        while True:
            pass
except KeyError:
    pass
try:
    with block:
        # in the last line: it may be raised or not
        ask()
except KeyError:
    pass
seen = []
sys.setprofile(lambda frame, event, what: seen.append(event))
call()
sys.setprofile(None)
assert "call" in seen
"""


class Interrupted(Exception):
    """What is raised."""


def wait_in(block: Interruptible) -> None:
    """Enter the block, have another thread interrupt it, and wait for that."""
    waits = threading.Event()

    def ask() -> None:
        # what starts a thread is not to be interrupted: it would leave the thread half known
        waits.wait()
        block.interrupt(Interrupted)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        with block:
            waits.set()
            while True:
                pass
    finally:
        thread.join()


def test_calls_can_be_profiled_after_a_block() -> None:
    """Nothing in the interpreter waits for an exception any more: with Python 3.11 a call would hang."""
    subprocess.run([sys.executable, "-c", PROFILED], check=True, timeout=100)


def test_a_block_is_interrupted_and_nothing_after_it() -> None:
    """What was asked for and not raised within the block is never raised."""
    block = Interruptible()

    with pytest.raises(Interrupted):
        wait_in(block)
    assert not block.interrupt(Interrupted), "nobody is in the block"

    for _ in range(100):
        passed = False
        try:
            with block:
                block.interrupt(Interrupted)
        except Interrupted:
            pass
        for _ in range(100):
            passed = True
        assert passed
