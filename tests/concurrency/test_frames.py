"""The calls of other threads are read while these run."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading

from askonce.concurrency.frames import current_frame

# Each allocation collects garbage whose finalizer gives way to the threads that start and end all the time.
READ_ALL_THE_TIME = """
import gc, threading, time
from askonce.concurrency.frames import current_frame

class Garbage:
    def __init__(self):
        self.itself = self
    def __del__(self):
        time.sleep(0.0002)

def start_and_end():
    while not over.is_set():
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()

over = threading.Event()
threads = [threading.Thread(target=start_and_end, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
gc.set_threshold(1)
for _ in range(3000):
    Garbage()
    assert current_frame(threading.get_ident())
over.set()
for thread in threads:
    thread.join()
"""


def test_the_calls_of_threads_are_read_while_garbage_is_collected() -> None:
    subprocess.run([sys.executable, "-c", READ_ALL_THE_TIME], check=True, timeout=120)


def test_the_collector_is_as_it_was() -> None:
    frame = current_frame(threading.get_ident())
    assert frame is not None and frame.f_code is current_frame.__code__ and gc.isenabled()
    gc.disable()
    try:
        assert current_frame(threading.get_ident()) and not gc.isenabled()
    finally:
        gc.enable()
    assert current_frame(0) is None
