"""What code changes itself: a counter of its own is no setting, and a setting with a setter is no counter."""

from __future__ import annotations

import textwrap
import threading
import types
from collections.abc import Callable, Iterator

import openai
import pytest

from askonce.keys.own.bytecode import changed_in
from askonce.keys.own.code import code_of
from askonce.keys.own.state import Observations, collecting

SETTINGS = {
    "a setter": """
        class Held:
            def __init__(self, n): self.n = n
            def set_n(self, n): self.n = n
        held = Held(VALUE)
        class Model:
            def answer(self): return held.n
    """,
    "a setter that counts up, which no answer calls": """
        class Held:
            def __init__(self, n): self.n = n
            def warmer(self): self.n += 1
        held = Held(VALUE)
        class Model:
            def answer(self): return held.n
    """,
    "a property with a setter": """
        class Held:
            def __init__(self, n): self._n = n
            @property
            def n(self): return self._n
            @n.setter
            def n(self, n): self._n = n
        held = Held(VALUE)
        class Model:
            def answer(self): return held.n
    """,
    "a builder": """
        class Held:
            n = 0
            def with_n(self, n):
                self.n = n
                return self
        held = Held().with_n(VALUE)
        class Model:
            def answer(self): return held.n
    """,
    "a configured variable": """
        n = None
        def configure(value):
            global n
            n = value
        def get():
            if n is None: configure(1)
            return n
        configure(VALUE)
        class Model:
            def answer(self): return get()
    """,
    "a limited variable": """
        n = VALUE
        def limit():
            global n
            if n > 100: n = 100
            return n
        class Model:
            def answer(self): return limit()
    """,
    "an item": """
        held = {"n": VALUE}
        def change(n): held["n"] = n
        class Model:
            def answer(self, text):
                if text == "never": change(3)
                return held["n"]
    """,
    "what was learnt": """
        class Held:
            def fit(self, data):
                self.weights = [one * 2 for one in data]
                return self
        held = Held().fit([VALUE])
        class Model:
            def answer(self): return held.weights
    """,
    "examples": """
        class Held:
            def __init__(self): self.examples = []
            def add(self, one):
                self.examples.append(one)
                return self
        held = Held().add(VALUE)
        class Model:
            def answer(self): return held.examples
    """,
    "what a constructor adds": """
        class Held:
            def __init__(self, given):
                self.examples = []
                for one in given: self.examples.append(one)
        held = Held([VALUE])
        class Model:
            def answer(self): return held.examples
    """,
    "another class's counter of that name": """
        class Held:
            def __init__(self, n): self.n = n
        class Count:
            n = 0
            def up(self): self.n += 1
        held, count = Held(VALUE), Count()
        class Model:
            def answer(self):
                count.up()
                return held.n
    """,
    "another map's counter of that name": """
        held, stats = {"n": VALUE}, {"n": 0}
        class Model:
            def answer(self):
                stats["n"] += 1
                return held["n"]
    """,
    "another function's counter of that name": """
        def counting():
            n = 0
            def up():
                nonlocal n
                n += 1
            return up
        up, n = counting(), VALUE
        class Model:
            def answer(self):
                up()
                return n
    """,
    "a map's copy": """
        held = {"a": {"n": VALUE}}
        class Model:
            def answer(self):
                options = dict(held["a"])
                options["n"] = 3
                return held
    """,
    "what a block that no answer enters adds": """
        class Held:
            stack = [VALUE]
            def __enter__(self): Held.stack.append(1)
            def __exit__(self, *error): Held.stack.pop()
            @classmethod
            def get(cls): return cls.stack[-1]
        class Model:
            def answer(self): return Held.get()
    """,
    "what a function adds that such a block alone calls": """
        stack = [VALUE]
        def push(one): stack.append(one)
        class Held:
            def __enter__(self): push(1)
            def __exit__(self, *error): stack.pop()
            @staticmethod
            def get(): return stack[-1]
        class Model:
            def answer(self): return Held.get()
    """,
    "what one adds, though the answer enters another": """
        import threading
        lock = threading.Lock()
        class Held:
            def __init__(self, n): self.n = n
            def __enter__(self): self.n += 1
            def __exit__(self, *error): self.n -= 1
        held = Held(VALUE)
        class Model:
            def answer(self):
                with lock: return held.n
    """,
    "what a call that the answer does not make counts up": """
        class Held:
            def __init__(self, n): self.n = n
            def __call__(self, by): self.n += by
        held = Held(VALUE)
        class Model:
            def answer(self): return str(held.n)
    """,
    "what an operator adds that the answer does not use": """
        class Held:
            def __init__(self, n): self.examples = [n]
            def __lshift__(self, one): self.examples.append(one)
            def __iadd__(self, one): self.examples.append(one)
        held = Held(VALUE)
        class Model:
            def answer(self):
                total = 1
                total += 1 << 2
                return held.examples
    """,
    "what a method adds that is called like a set's": """
        seen = set()
        class Held:
            def __init__(self, n): self.examples = [n]
            def add(self, one): self.examples.append(one)
        held = Held(VALUE)
        class Model:
            def answer(self, text):
                seen.add(text)
                return held.examples
    """,
    "what a method adds that is called like another object's": """
        class Log:
            def __init__(self): self.lines = []
            def note(self, one): self.lines.append(one)
        class Held:
            def __init__(self, n): self.examples = [n]
            def note(self, one): self.examples.append(one)
        log, held = Log(), Held(VALUE)
        class Model:
            def answer(self, text):
                log.note(text)
                return held.examples
    """,
    "what a method adds that is called like one of what the code does not say": """
        class Held:
            def __init__(self, n): self.examples = [n]
            def append(self, one): self.examples.append(one)
        held = Held(VALUE)
        class Model:
            def answer(self, text):
                found = [[]]
                found[0].append(text)
                return held.examples
    """,
    "what a list of the application's own adds": """
        class Held(list):
            def __init__(self, n): self.examples = [n]
            def append(self, one): self.examples.append(one)
        held = Held(VALUE)
        class Model:
            def answer(self): return held.examples
    """,
}
COUNTERS = {
    "by a block": """
        class Held:
            def __init__(self, n): self.n = n
            def __enter__(self): self.n += 1
            def __exit__(self, *error): pass
        held = Held(VALUE)
        class Model:
            def answer(self):
                with held: pass
    """,
    "by the block of a new object": """
        class Held:
            n = VALUE
            def __enter__(self): Held.n += 1
            def __exit__(self, *error): pass
        class Model:
            def answer(self):
                with Held(): pass
    """,
    "by an operator between two": """
        class Held:
            def __init__(self, n): self.n = n
            def __lshift__(self, one): self.n += one
        held = Held(VALUE)
        class Model:
            def answer(self): held << 1
    """,
    "by an item that is assigned": """
        class Held:
            def __init__(self, n): self.n = n
            def __setitem__(self, key, value): self.n += 1
        class Model:
            held = Held(VALUE)
            def answer(self, text): self.held["a"] = text
    """,
    "of an object in an object": """
        class Inner:
            def __init__(self, n): self.n = n
            def add(self, by): self.n += by
        class Outer:
            def __init__(self, n): self.inner = Inner(n)
            def use(self): self.inner.add(1)
        outer = Outer(VALUE)
        class Model:
            def answer(self): outer.use()
    """,
    "of an object that the code does not name": """
        class Held:
            def __init__(self, n): self.n = n
            def up(self): self.n += 1
        held = [Held(VALUE)]
        class Model:
            def answer(self):
                for one in held: one.up()
    """,
    "of a base's": """
        class Base:
            n = VALUE
            def add(self, one): self.n += 1
        class Held(Base):
            def add(self, one): super().add(one)
        held = Held()
        class Model:
            def answer(self): held.add(1)
    """,
    "of a mixin's": """
        class Mixin:
            def up(self): self.pop(1)
        class Base:
            n = VALUE
            def pop(self, by): self.n += by
        class Held(Mixin, Base): pass
        held = Held()
        class Model:
            def answer(self): held.up()
    """,
    "of a list of the application's own": """
        class Held(list):
            def __init__(self, n): self.n = n
            def append(self, one): self.n += 1
        held = Held(VALUE)
        class Model:
            def answer(self): held.append("a")
    """,
    "an attribute": """
        class Held:
            def __init__(self, n): self.n = n
            def up(self): self.n += 1
        held = Held(VALUE)
        class Model:
            def answer(self): return held.up()
    """,
    "assigned from itself": """
        class Held:
            def __init__(self, n): self.n = n
            def up(self): self.n = self.n + 1
        held = Held(VALUE)
        class Model:
            def answer(self): return held.up()
    """,
    "of the class": """
        class Model:
            n = VALUE
            def answer(self): Model.n += 1
    """,
    "of a function": """
        def up(): up.n += 1
        up.n = VALUE
        class Model:
            def answer(self): return up()
    """,
    "of another's object": """
        class Held:
            def __init__(self, n): self.n = n
        class Model:
            held = Held(VALUE)
            def answer(self): self.held.n += 1
    """,
    "in a variable": """
        n = VALUE
        class Model:
            def answer(self):
                global n
                n += 1
    """,
    "of a module": """
        import types
        held = types.ModuleType("held")
        held.n = VALUE
        class Model:
            def answer(self): held.n += 1
    """,
    "around a function": """
        def counting(n):
            def up():
                nonlocal n
                n += 1
            return up
        up = counting(VALUE)
        class Model:
            def answer(self): up()
    """,
    "by a short name": """
        stats = {"calls": {"n": VALUE}}
        class Model:
            def answer(self, text):
                calls = stats["calls"]
                calls["n"] = calls.get("n", 0) + 1
    """,
    "of an argument": """
        stats = {"n": VALUE}
        def up(counts): counts["n"] += 1
        class Model:
            def answer(self): up(stats)
    """,
    "a log": """
        latencies = [VALUE]
        class Model:
            def answer(self): latencies.append(1)
    """,
    "a log in a map": """
        import collections
        latencies = collections.defaultdict(list, {"a": [VALUE]})
        class Model:
            def answer(self): latencies["a"].append(1)
    """,
    "by an operator": """
        class Held:
            def __init__(self, n): self.n = n
            def __call__(self): self.n += 1
        held = Held(VALUE)
        class Model:
            def answer(self): held()
    """,
    "by a package that calls it": """
        import logging
        class Counting(logging.Handler):
            def __init__(self, n):
                super().__init__()
                self.n = n
            def emit(self, record): self.n += 1
        handler = Counting(VALUE)
        class Model:
            def answer(self): handler.handle(logging.makeLogRecord({}))
    """,
    "by a property": """
        class Held:
            def __init__(self, n): self._n = n
            @property
            def last(self): return 0
            @last.setter
            def last(self, value): self._n += value
        held = Held(VALUE)
        class Model:
            def answer(self): held.last = 1
    """,
}


def executed(source: str) -> types.ModuleType:
    module = types.ModuleType("an_application")
    exec(compile(textwrap.dedent(source), "an_application.py", "exec", dont_inherit=True), module.__dict__)
    return module


def digest(source: str, value: str) -> str | None:
    with collecting():
        return code_of(executed(source.replace("VALUE", value)).Model)


@pytest.mark.parametrize("source", SETTINGS.values(), ids=SETTINGS)
def test_a_setting_counts_though_code_can_change_it(source: str) -> None:
    assert digest(source, "1") != digest(source, "2")
    assert digest(source, "1") == digest(source, "1")


@pytest.mark.parametrize("source", COUNTERS.values(), ids=COUNTERS)
def test_a_counter_does_not(source: str) -> None:
    assert digest(source, "1") == digest(source, "2")


def test_what_code_changes_is_found_by_where_it_is() -> None:
    def found(body: str) -> set[tuple[str, str | None, bool]]:
        module = executed("import heapq\ndef part(self, text, given, **more):\n" + textwrap.indent(body, "    "))
        return {(".".join(one.path), one.key, one.grows) for one in changed_in(module.part.__code__)}

    assert found("self.n += 1\nself.last = text") == {("self.n", None, True), ("self.last", None, False)}
    assert found("self.n = (text\n  + self.n)") == {("self.n", None, True)}
    assert found("self.n = min(self.n, 3)") == {("self.n", None, False)}
    assert found("self.memo[text] = given") == {("self.memo", "*", False)}
    assert found("memo = self.memo\nmemo['a'] -= 1") == {("self.memo", "a", True)}
    assert found("self.logs.setdefault(text, []).append(given)") >= {("self.logs.[]", "*", True)}
    assert found("def inner():\n  self.n += 1\nreturn inner") == {("self.n", None, True)}
    assert found("heapq.heappush(self.heap, text)") == {("self.heap", "*", False)}
    assert found("given.n += 1") == {("argument given.n", None, True)}
    assert found("setattr(self, 'n', 1)") >= {("?.n", None, False)}
    assert found("more['tone'] = given\nmore.setdefault('a', 1)") == set()
    assert found("self.more = more\nmore['tone'] = given") > {("?", "tone", False)}
    for made in ("{}", "{'a': text, **given}", "[text]", "[*given]", "{text}"):
        assert found(f"made = {made}\nmade['tone'] = given\nmade.update(text)\nreturn made") == set()
        assert found(f"made = {made}\nself.made = made\nmade['tone'] = given") > {("?", "tone", False)}
        assert found(f"made = self.made = {made}\nmade['tone'] = given") >= {("self.made", None, False)}
        assert found(f"made = {made}\nif text: made = given.made\nmade['tone'] = given") != set()


WHILE_IT_ANSWERS = """
    import functools, types

    memo, given, lines = {}, {"tone": "formal"}, ["a"]
    setting = types.SimpleNamespace(tone="formal")

    class Held:
        def __init__(self): self.tone, self.last, self.log = "formal", "", []

        def say(self, text):
            self.last = text
            self.log.append(text)
            memo[text] = text
            return self.tone

        def set_tone(self, tone): self.tone = tone

        @functools.cached_property
        def once(self): return object()

    held = Held()

    class Model:
        def answer(self):
            return held.say("text"), held.once, given["tone"], setting.tone, lines
"""


def others(change: Callable[[types.ModuleType], object]) -> bool:
    """Whether what others change during an answer is seen after it, as what the code changes is not."""
    module = executed(WHILE_IT_ANSWERS)

    def read() -> tuple[str | None, Observations]:
        with collecting() as observed:
            return code_of(module.Model), observed

    before, observed = read()
    module.Model().answer()
    change(module)
    observed.record()
    return not observed.is_current() and read()[0] != before


def test_what_others_change_during_an_answer_is_a_setting() -> None:
    assert not others(lambda module: None)
    assert others(lambda module: module.given.update(tone="rude"))
    assert others(lambda module: setattr(module.held, "tone", "rude"))
    assert others(lambda module: module.held.set_tone("rude"))
    assert others(lambda module: setattr(module.setting, "tone", "rude"))
    assert others(lambda module: module.lines.append("b"))
    assert others(lambda module: setattr(module, "given", {"tone": "rude"}))


def test_what_a_constructor_sets_in_place_of_a_setting_is_a_setting() -> None:
    for setting in ("Held.tone = tone", "global kind; kind = tone", "self.__dict__ = shared; self.tone = tone"):
        module = executed(f"""
            kind, shared = "formal", {{"tone": "formal"}}
            class Held:
                tone = "formal"
                def __init__(self, tone): {setting}
            class Model:
                def answer(self): return Held, Held.tone, kind, shared
        """)
        with collecting() as observed:
            code_of(module.Model)
        module.Model().answer()
        module.Held("rude")
        observed.record()
        assert not observed.is_current(), setting


def test_a_header_that_the_code_sets_for_each_request_is_none_of_the_settings() -> None:
    module = executed("""
        import httpx

        class Model:
            client = httpx.Client(headers={"x-tone": "formal"})

            def answer(self, text):
                self.client.headers["x-request"] = text
    """)

    def read() -> tuple[str | None, Observations]:
        with collecting() as observed:
            return code_of(module.Model), observed

    before, observed = read()
    module.Model().answer("text")
    observed.record()
    assert observed.is_current()
    assert read()[0] == before


FILLED_IN = {
    "a variable": (
        """
        tone = None
        def get():
            global tone
            if tone is None: tone = "formal"
            return tone
        """,
        "tone = 'rude'",
    ),
    "an item": (
        """
        held = {}
        def get():
            if "tone" not in held: held["tone"] = "formal"
            return held["tone"]
        """,
        "held['tone'] = 'rude'",
    ),
    "an item by default": (
        "held = {}\ndef get(): return held.setdefault('tone', 'formal')",
        "held['tone'] = 'rude'",
    ),
    "an attribute": (
        """
        class Held:
            tone = None
            def get(self):
                if self.tone is None: self.tone = "formal"
                return self.tone
        held = Held()
        def get(): return held.get()
        """,
        "held.tone = 'rude'",
    ),
    "an attribute of a class": (
        """
        class Held:
            tone = None
            @classmethod
            def get(cls):
                if cls.tone is None: cls.tone = "formal"
                return cls.tone
        def get(): return Held.get()
        """,
        "Held.tone = 'rude'",
    ),
    "what an object holds": (
        """
        import types
        held = None
        def get():
            global held
            if held is None: held = types.SimpleNamespace(tone="formal")
            return held.tone
        """,
        "held.tone = 'rude'",
    ),
    "a client": (
        """
        import httpx
        held = {}
        def get():
            if "client" not in held: held["client"] = httpx.Client(base_url="http://a")
            return held["client"].base_url
        """,
        "held['client'].base_url = 'http://b'",
    ),
    "a client for each name": (
        """
        import httpx
        held = {}
        def client(name):
            if name not in held: held[name] = httpx.Client(base_url="http://a")
            return held[name]
        def get(): return client("a").base_url
        """,
        "held['a'] = httpx.Client(base_url='http://b')",
    ),
    "a list": (
        """
        held = []
        def get():
            if not held: held.extend(["formal"])
            return held
        """,
        "held[0] = 'rude'",
    ),
    "what a cached function makes": (
        """
        import functools, types
        @functools.lru_cache
        def settings(): return types.SimpleNamespace(tone="formal")
        def get(): return settings().tone
        """,
        "settings().tone = 'rude'",
    ),
    "a setting beside counters": (
        """
        held = {"tone": "formal", "calls": 0}
        def count(what): held[what] += 1
        def get():
            count("calls")
            return held["tone"]
        """,
        "held['tone'] = 'rude'",
    ),
    "a setting beside what is updated": (
        """
        held = {"tone": "formal", "calls": 0}
        def get():
            held.update(calls=held["calls"] + 1)
            return held["tone"]
        """,
        "held['tone'] = 'rude'",
    ),
    "a singleton that `__new__` makes": (
        """
        class Held:
            _made = None
            def __new__(cls):
                if cls._made is None:
                    cls._made = super().__new__(cls)
                    cls._made.given = {"tone": "formal"}
                return cls._made
        def get(): return Held().given["tone"]
        """,
        "Held().given.update(tone='rude')",
    ),
    "one that is set up at each call": (
        """
        class Held:
            _made = None
            def __new__(cls):
                if not cls._made: cls._made = super(Held, cls).__new__(cls)
                return cls._made
            def __init__(self):
                if not hasattr(self, "tone"): self.tone = "formal"
        def get(): return Held().tone
        """,
        "Held().tone = 'rude'",
    ),
    "one that its class's name keeps": (
        """
        class Held:
            def __new__(cls):
                if not hasattr(Held, "made"):
                    Held.made = super().__new__(cls)
                    Held.made.tone = "formal"
                return Held.made
        def get(): return Held().tone
        """,
        "Held.made.tone = 'rude'",
    ),
    "one that keeps itself": (
        """
        class Held:
            made = None
            def __init__(self): self.__class__.made, self.tone = self, "formal"
        def get():
            if Held.made is None: Held()
            return Held.made.tone
        """,
        "Held.made.tone = 'rude'",
    ),
    "one that keeps itself in a variable": (
        """
        made = None
        class Held:
            def __init__(self):
                global made
                made, self.tone = self, "formal"
        def get():
            if made is None: Held()
            return made.tone
        """,
        "made.tone = 'rude'",
    ),
    "one for each name": (
        """
        class Held:
            _made = {}
            def __new__(cls, name):
                if name not in cls._made:
                    cls._made[name] = super().__new__(cls)
                    cls._made[name].tone = "formal"
                return cls._made[name]
        def get(): return Held("a").tone
        """,
        "Held('a').tone = 'rude'",
    ),
    "objects that share their attributes": (
        """
        class Held:
            _shared = {}
            def __init__(self):
                self.__dict__ = self._shared
                if not self._shared: self.tone = "formal"
        def get(): return Held().tone
        """,
        "Held().tone = 'rude'",
    ),
    "what a class sets up once": (
        """
        class Held:
            _is_ready, given = False, None
            def __new__(cls):
                if not cls._is_ready:
                    cls.given, cls._is_ready = {"tone": "formal"}, True
                return super().__new__(cls)
        def get(): return Held().given["tone"]
        """,
        "Held.given = {'tone': 'rude'}",
    ),
    "a package's variable": (
        "import openai\ndef get(): return openai.chat",
        "openai.base_url = 'http://b'",
    ),
    "a package's variable that is imported by the function": (
        "def get():\n    import openai\n    return openai",
        "import openai; openai.base_url = 'http://b'",
    ),
    "a document's metadata": (
        "from llama_index.core.schema import TextNode\nheld = [TextNode(text='a', metadata={})]\n"
        "def get(): return held",
        "held[0].metadata['tone'] = 'rude'",
    ),
    "what is set on a member of an enumeration": (
        "import enum\nclass Tone(enum.Enum):\n    SHORT = 1\ndef get(): return Tone.SHORT",
        "Tone.SHORT.prompt = 'rude'",
    ),
    "a path's class": (
        "import pathlib\nheld = pathlib.Path('a')\ndef get(): return held",
        "held = pathlib.PurePath('a')",
    ),
    "an ellipsis": ("held = {'a': None}\ndef get(): return held", "held['a'] = ..."),
    "another singleton": ("held = {'a': ...}\ndef get(): return held", "held['a'] = NotImplemented"),
}


@pytest.fixture
def _module_settings() -> Iterator[None]:
    yield
    openai.base_url = openai.default_headers = None


@pytest.mark.usefixtures("_module_settings")
@pytest.mark.parametrize(("source", "change"), FILLED_IN.values(), ids=FILLED_IN)
def test_what_the_application_sets_after_a_call_counts(source: str, change: str) -> None:
    module = executed(
        textwrap.dedent(source) + "\nclass Model:\n    def answer(self, more=''):\n        return get()\n"
    )

    def read() -> tuple[str | None, Observations]:
        with collecting() as observed:
            return code_of(module.Model), observed

    before, observed = read()
    for _ in range(3):
        module.Model().answer()
        observed.record()
        assert observed.is_current()
        assert read()[0] == before
    exec(change, module.__dict__)
    assert not observed.is_current()
    assert read()[0] != before


CHANGED_MEANWHILE = {
    **{
        name: FILLED_IN[name]
        for name in (
            "what an object holds",
            "a client",
            "what a cached function makes",
            "a singleton that `__new__` makes",
            "one that keeps itself in a variable",
            "one for each name",
            "objects that share their attributes",
            "a document's metadata",
        )
    },
    "a list in a map that the code fills": (
        """
        held, log = {}, []
        def get():
            if "tones" not in held: held["tones"] = ["formal"]
            log.append(1)
            return held["tones"]
        """,
        "held['tones'].append('rude')",
    ),
    "a map that the code fills, replaced": (
        """
        held = {"tone": "formal"}
        def get():
            held["last"] = "text"
            return held["tone"]
        """,
        "held = {'tone': 'rude'}",
    ),
    "a map in a stack": (
        """
        stack = [{"tone": "formal"}]
        def get():
            stack.append({**stack[-1], "stage": "answer"})
            try: return stack[-1]["tone"]
            finally: stack.pop()
        """,
        "stack[0]['tone'] = 'rude'",
    ),
    "an attribute of a function": (
        """
        def get():
            if not hasattr(get, "held"): get.held = {"tone": "formal"}
            return get.held["tone"]
        """,
        "get.held['tone'] = 'rude'",
    ),
    "what a class computes once": (
        """
        import functools
        class Held:
            @functools.cached_property
            def given(self): return {"tone": "formal"}
        held = Held()
        def get(): return held.given["tone"]
        """,
        "held.given['tone'] = 'rude'",
    ),
    "what a thread holds": (
        """
        import threading
        held = threading.local()
        def get():
            if not hasattr(held, "given"): held.given = {"tone": "formal"}
            return held.given["tone"]
        """,
        "held.given['tone'] = 'rude'",
    ),
    "a prompt of LlamaIndex's": (
        "from llama_index.core import PromptTemplate\nheld = PromptTemplate('formal')\n"
        "def get(): return held.format()",
        "held.template = 'rude'",
    ),
    "a node's text": (
        "from llama_index.core.schema import TextNode\nheld = TextNode(text='formal')\ndef get(): return held.text",
        "held.text = 'rude'",
    ),
    "a template's globals": (
        "import jinja2\nheld = jinja2.Environment()\nheld.globals['tone'] = 'formal'\n"
        "text = held.from_string('{{tone}}')\ndef get(): return text.render()",
        "held.globals['tone'] = 'rude'",
    ),
    "parsed arguments": (
        "import argparse\nheld = argparse.Namespace(tone='formal')\ndef get(): return held.tone",
        "held.tone = 'rude'",
    ),
    "a package's variable that had its default": (
        "import openai\ndef get(): return openai.chat",
        "openai.default_headers = {'x-tone': 'rude'}",
    ),
}


@pytest.mark.usefixtures("_module_settings")
@pytest.mark.parametrize(("source", "change"), CHANGED_MEANWHILE.values(), ids=CHANGED_MEANWHILE)
def test_what_the_application_changes_while_a_later_call_is_under_way_counts(source: str, change: str) -> None:
    module = executed(textwrap.dedent(source) + "\nclass Model:\n    def answer(self):\n        return get()\n")

    def read() -> tuple[str | None, Observations]:
        with collecting() as observed:
            return code_of(module.Model), observed

    before, observed = read()
    module.Model().answer()
    observed.record()
    assert observed.is_current()
    for _ in range(2):  # as in two calls
        module.Model().answer()
        exec(change, module.__dict__)
        observed.record()
    assert not observed.is_current()
    assert read()[0] != before


USED = {
    "a memory": (
        "from llama_index.core.memory import ChatMemoryBuffer\nfrom llama_index.core.llms import ChatMessage\n"
        "held = ChatMemoryBuffer.from_defaults(token_limit=99)",
        "held.put(ChatMessage('a'))",
    ),
    "a model that makes its client": (
        "from llama_index.llms.openai import OpenAI\nheld = OpenAI(api_key='k')",
        "held._get_client()",
    ),
    "templates that are compiled once": (
        "import jinja2\nheld = jinja2.Environment(loader=jinja2.DictLoader({'a': 'b'}))",
        "held.get_template('a').render()",
    ),
}


@pytest.mark.parametrize(("source", "use"), USED.values(), ids=USED)
def test_what_objects_of_packages_change_when_the_code_uses_them_is_no_setting(source: str, use: str) -> None:
    module = executed(f"{source}\nclass Model:\n    def answer(self, text):\n        {use}\n        return held\n")

    def read() -> tuple[str | None, Observations]:
        with collecting() as observed:
            return code_of(module.Model), observed

    before, observed = read()
    for text in ("a", "b", "c"):
        module.Model().answer(text)
        observed.record()
        assert observed.is_current()
        assert read()[0] == before


def test_objects_that_code_counts_as_it_makes_them_are_no_setting() -> None:
    module = executed("""
        class Held:
            made = 0
            def __new__(cls):
                cls.made += 1
                return super().__new__(cls)
        class Model:
            def answer(self): return Held()
    """)
    with collecting() as observed:
        code_of(module.Model)
    module.Model().answer()
    observed.record()
    assert observed.is_current()


def test_what_is_another_after_each_call_is_no_setting() -> None:
    module = executed("""
        import uuid
        last, by_name = "", {}
        class Model:
            def answer(self, name):
                global last
                last = by_name[name] = uuid.uuid4().hex
    """)
    with collecting() as observed:
        code_of(module.Model)
    for _ in range(3):
        module.Model().answer("a")
        observed.record()
    module.Model().answer("a")  # one that is not done yet
    assert observed.is_current()


@pytest.mark.parametrize(
    "expression", ["random.Random()", "np.random.default_rng()", "np.random.RandomState()", "TextNode(text='a')"]
)
def test_what_is_random_at_each_start_does_not_count(expression: str) -> None:
    source = f"""
        import random
        import numpy as np
        from llama_index.core.schema import TextNode
        held = {expression}
        class Model:
            def answer(self): return held
    """
    assert digest(source, "") == digest(source, "")


def test_what_a_thread_got_at_an_earlier_call_does_not_count_for_a_new_model() -> None:
    module = executed("""
        import threading
        held = threading.local()
        class Model:
            def answer(self):
                if not hasattr(held, "client"): held.client = {"url": "a"}
                return held.client
    """)

    def read() -> tuple[str | None, Observations]:
        with collecting() as observed:
            return code_of(module.Model), observed

    def answer() -> None:
        assert read()[0] == before
        module.Model().answer()
        observed.record()
        assert read()[0] == before

    before, observed = read()
    answer()
    thread = threading.Thread(target=answer)
    thread.start()
    thread.join()
    answer()
    module.held.client["url"] = "b"
    assert read()[0] != before


def test_a_variable_that_is_called_like_an_attribute_does_not_count() -> None:
    source = """
        import types
        content, here = "VALUE", types.SimpleNamespace(content="a")
        class Model:
            def answer(self):
                class Answer:
                    text = here.content
                return Answer.text
    """
    assert digest(source, "a") == digest(source, "b")
    for reading in ("class Answer:\n                    text = content", "global content; content += 'b'"):
        used = source.replace("class Answer:\n                    text = here.content", reading)
        assert digest(used, "a") != digest(used, "b"), reading


@pytest.mark.parametrize("reading", ["time.monotonic()", "now", "now + 0.5"])
def test_when_a_limiter_was_last_used_is_no_setting(reading: str) -> None:
    source = """
        import time
        class Limiter:
            def __init__(self, last, rate): self.last, self.rate = last, rate
            def acquire(self):
                now = time.monotonic()
                self.last = READING
        LIMITER = Limiter(VALUE)
        class Model:
            def answer(self): LIMITER.acquire()
    """
    limiter, other = source.replace("READING", reading), source.replace("READING", "self.rate")
    assert digest(limiter, "1.5, 5.0") == digest(limiter, "2.5, 5.0")
    assert digest(limiter, "1.5, 5.0") != digest(limiter, "1.5, 6.0")
    assert digest(other, "1.5, 5.0") != digest(other, "2.5, 5.0")


def test_who_holds_a_logs_method_adds_to_a_log() -> None:
    source = """
        events = [VALUE]
        observers = [events.append]
        class Model:
            def answer(self):
                for one in observers: one("answered")
    """
    assert digest(source, "") == digest(source, "'answered'")


def test_an_id_that_is_given_counts() -> None:
    source = """
        from llama_index.core.schema import TextNode
        held = TextNode(text="a", id_="VALUE")
        class Model:
            def answer(self): return held
    """
    assert digest(source, "a") != digest(source, "b")
