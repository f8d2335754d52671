"""Structs are ready to be decoded before there can be a second thread."""

import subprocess
import sys

UNPREPARED = """
import gc, importlib, pkgutil
import msgspec, askonce

for module in pkgutil.walk_packages(askonce.__path__, "askonce."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ImportError:
            pass  # of the other framework, or of an extra

def subclasses(cls):
    for one in cls.__subclasses__():
        yield one
        yield from subclasses(one)

def is_stored(cls):
    config = cls.__struct_config__
    return config.array_like or config.tag or config.omit_defaults or config.forbid_unknown_fields

def is_prepared(cls):
    return any(type(one).__name__ == "StructInfo" for one in gc.get_referents(cls))

ours = {one for one in subclasses(msgspec.Struct) if one.__module__.startswith("askonce.")}
stored = {one for one in ours if is_stored(one)}
assert len(stored) > 20 and any(not is_prepared(one) for one in ours), "the check itself is of use"
print(*sorted(one.__qualname__ for one in stored if not is_prepared(one)))
"""


def test_what_is_stored_can_be_decoded_by_any_thread_once_it_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", UNPREPARED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


RACE = """
import sys, threading
import msgspec
from askonce.entries.decodable import decodable

sys.setswitchinterval(1e-6)
fields = [(f"field{number}", "dict[str, list[int]] | None", None) for number in range(30)]
data = msgspec.msgpack.encode({"inner": {name: {"a": [1]} for name, *_ in fields}})
for number in range(300):
    inner = msgspec.defstruct(f"Inner{number}", fields)
    kind = decodable(msgspec.defstruct(f"Kind{number}", [("inner", inner, None), *fields]))
    start = threading.Barrier(4)
    def decode():
        start.wait()
        msgspec.msgpack.decode(data, type=kind)
    threads = [threading.Thread(target=decode) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
"""


def test_a_decodable_struct_is_decoded_by_threads_that_start_together() -> None:
    done = subprocess.run([sys.executable, "-c", RACE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
