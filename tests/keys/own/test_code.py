"""The code of an application's own class: what can change its answers changes the digest, and nothing else does."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import types
import weakref
from pathlib import Path
from typing import ClassVar

import pytest

from askonce.keys.normal_form import Uncacheable
from askonce.keys.own.code import code_of, written_code
from askonce.keys.own.modules import is_installed
from askonce.keys.own.state import collecting
from tests.support.application import collect

BASE = """
    import enum
    import functools
    PROMPT = "Be brief."
    RULES = {"length": 3, "tones": ["polite"]}
    log = {"greeting": "Good day"}
    LIMIT = 100
    WORDS = ("yes", "no")
    calls = 0
    ratio = 0.5
    strict = True
    weights = [0.1, 0.9]
    config = {"temperature": 0.2, "calls": 0}
    stats = {"hits": 0}
    latencies = [0.5]

    def helper(text):
        return PROMPT + text

    def measure(text):
        global calls
        calls += 1
        stats["hits"] += 1
        config["calls"] += 1
        latencies.append(ratio)
        return strict, weights, config["temperature"]

    def ending(text, sign="."):
        return text + sign

    @functools.lru_cache
    def opening():
        return "Well, "

    closing = functools.partial(ending, sign=";")

    class Part:
        sign = "!"

    class Mood(enum.Enum):
        GOOD = "cheerful"

    class Speaker:
        def speak(self):
            return "loud"

    speaker = Speaker()

    class Model:
        persona = "a pirate"
        SHARE = 0.5
        beams = 4
        count = 0

        def answer(self, text):
            return [helper(one) + Part.sign for one in text if len(one) < LIMIT and one not in WORDS and calls > -1]

        def more(self, text):
            Model.count += 1
            measure(text)
            return RULES, log["greeting"], ending(text), opening(), closing(text), Mood.GOOD, speaker.speak()

        @property
        def name(self):
            return "model"

        @functools.cached_property
        def once(self):
            return "computed"

        @staticmethod
        def twice(text):
            return text * 2
"""


def digest(*replaced: tuple[str, str]) -> str:
    """Of the model's class, in a module with some of its text replaced."""
    source = textwrap.dedent(BASE)
    for old, new in replaced:
        assert old in source
        source = source.replace(old, new)
    module = types.ModuleType("an_application")
    exec(source, module.__dict__)
    found = code_of(module.Model)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"Be brief."', '"Be long."'),  # a text around a function that the class's code calls
        ("LIMIT = 100", "LIMIT = 99"),
        ('("yes", "no")', '("yes",)'),
        ("PROMPT + text", "text + PROMPT"),
        ('sign = "!"', 'sign = "?"'),
        ('"a pirate"', '"a judge"'),
        ("SHARE = 0.5", "SHARE = 0.4"),
        ("beams = 4", "beams = 5"),  # a number of a class that its code does not count up
        ("< LIMIT", "> LIMIT"),
        ('return "model"', 'return "other"'),
        ("text * 2", "text * 3"),
        ('"computed"', '"other"'),
        ('"length": 3', '"length": 4'),  # what is named like a constant
        ('"polite"', '"rude"'),
        ('"Good day"', '"Hi"'),  # a text in a map
        ('sign="."', 'sign="!"'),  # a default
        ('"Well, "', '"So, "'),  # behind a decorator
        ('sign=";"', 'sign=":"'),  # of a partial
        ('"cheerful"', '"gloomy"'),
        ('"loud"', '"soft"'),  # the class of an object
        ("ratio = 0.5", "ratio = 0.6"),  # numbers that the code does not change
        ("strict = True", "strict = False"),
        ("[0.1, 0.9]", "[0.9, 0.1]"),
        ('"temperature": 0.2', '"temperature": 0.9'),
    ],
)
def test_what_can_change_an_answer_changes_the_digest(old: str, new: str) -> None:
    assert digest() != digest((old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("calls = 0", "calls = 7"),
        ("count = 0", "count = 3"),
        ("import enum", "import enum, abc"),
        ('"hits": 0', '"hits": 5'),
        ('"calls": 0', '"calls": 5'),
        ("latencies = [0.5]", "latencies = [0.5, 0.7]"),
        ("return PROMPT + text", "return (\n            PROMPT  # a comment\n            + text\n        )"),
    ],
)
def test_counters_and_other_parts_of_the_module_do_not(old: str, new: str) -> None:
    assert digest() == digest((old, new))


def test_what_the_program_changes_counts_as_it_was_at_first() -> None:
    module = types.ModuleType("an_application")
    exec(textwrap.dedent(BASE), module.__dict__)
    first = code_of(module.Model)
    module.log["an answer"] = "of the model"
    assert code_of(module.Model) == first


@pytest.mark.parametrize("part", ["TONE = 'polite'", "def tone():\n    return 'polite'"])
def test_what_is_used_of_another_module_counts(part: str) -> None:
    def with_part(source: str) -> str | None:
        other, module = types.ModuleType("another_part"), types.ModuleType("an_application")
        exec(source, other.__dict__)
        module.__dict__["other"] = other
        exec("class Model:\n    def answer(self):\n        return other.tone() + other.TONE", module.__dict__)
        return code_of(module.Model)

    assert with_part(part) != with_part(part.replace("polite", "rude"))
    assert with_part(part) == with_part(f"{part}\nUNUSED = 1")


def test_objects_that_raise_when_they_are_looked_at_say_nothing() -> None:
    class Proxy:
        def __getattribute__(self, name: str) -> object:
            raise RuntimeError("outside of a request")

    module = types.ModuleType("an_application")
    module.__dict__["request"] = Proxy()
    exec("class Model:\n    def answer(self):\n        return request", module.__dict__)
    assert code_of(module.Model) is not None


def test_code_that_uses_itself_has_an_end() -> None:
    digest(("return PROMPT + text", "return helper(text[1:]) + Model().answer(text)"))


def test_classes_of_installed_packages_have_none() -> None:
    assert code_of(pytest.Config) is None
    assert code_of(dict) is None


@pytest.mark.usefixtures("quick_collector")
def test_objects_that_code_uses_can_be_collected() -> None:
    class Handle:
        """Something large."""

    def model(handle: Handle) -> type:
        class Model:
            def answer(self) -> Handle:
                return handle

        return Model

    handle = Handle()
    seen = weakref.ref(handle)
    assert code_of(model(handle)) is not None
    del handle
    collect(seen)
    assert seen() is None


HELD = """
    import argparse, array, collections, configparser, contextvars, dataclasses, datetime, decimal, enum, functools
    import io, itertools, logging, operator, pathlib, re, string, threading, types, typing, uuid, weakref

    def say(text="X"):
        return text

    def plain():
        return "X"

    def other():
        return "not"

    def echo(text):
        return text

    class Tone:
        sign = "X"

    class Persona:
        def __init__(self, tone):
            self.tone = tone

        def __call__(self):
            return self.tone

    class Slots:
        __slots__ = ("tone",)

        def __init__(self, tone):
            self.tone = tone

    class Registry(dict):
        pass

    class Text(str):
        pass

    class Day(datetime.date):
        pass

    def with_attribute(held, text):
        held.tone = text
        return held

    def configuration(text):
        found = configparser.ConfigParser()
        found.read_string(f"[prompt]\\nsystem = {text}")
        return found

    def nested(held, times):
        return [nested(held, times - 1)] if times else held

    def closed(number):
        return lambda: number

    @dataclasses.dataclass(frozen=True)
    class Limits:
        beams: float = 1
        model_id: str = ""

    @dataclasses.dataclass
    class Account:
        token: str
        prompt_id: str = ""

    class Pair(typing.NamedTuple):
        beams: int

    class Node:
        def __init__(self, tone):
            self.tone, self.again = tone, [self]

    class Signing(__import__("httpx").Auth):
        def __init__(self, tone):
            self.tone = tone

        def __call__(self, request):
            request.headers["x-tone"] = self.tone
            return request

    def session(**settings):
        made = __import__("requests").Session()
        vars(made).update(settings)
        return made

    held = HELD

    class Model:
        def answer(self):
            return held
"""


def execute(source: str, names: dict[str, object]) -> None:
    exec(compile(source, "an_application.py", "exec", dont_inherit=True), names)


def held(expression: str, text: str = "first") -> str:
    """The digest of a model that uses a variable."""
    module = types.ModuleType("an_application")
    execute(textwrap.dedent(HELD).replace("HELD", expression).replace('"X"', repr(text)), module.__dict__)
    found = code_of(module.Model)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "expression",
    [
        "[say]",
        "{1: plain}",
        '{1: lambda: "X"}',
        "(Tone,)",
        "{say, plain, other, Tone}",
        '[functools.partial(echo, "X")]',
        'collections.deque(["X"])',
        'collections.defaultdict(lambda: "X")',
        'collections.ChainMap({"a": "X"})',
        'collections.UserDict({"a": "X"})',
        'types.MappingProxyType({"a": "X"})',
        'types.SimpleNamespace(tone="X")',
        'string.Template("X")',
        're.compile("X")',
        'pathlib.PurePath("X")',
        '{"a": "X".format}',
        'Persona("X")',
        'Persona("X").__call__',
        '[Persona("X")]',
        'Persona(Persona([Slots("X")]))',
        'Slots("X")',
        'Registry(a="X")',
        'Registry(a=Persona("X"))',
        'Node("X")',
        'types.SimpleNamespace(tags=Persona("X"))',
        'contextvars.ContextVar("v", default="X")',
        '[contextvars.ContextVar("v", default=Persona("X"))]',
        'argparse.Namespace(persona="X")',
        'argparse.Namespace(model_id="X")',
        'configuration("X")',
        'configuration("X")["prompt"]',
        'functools.partialmethod(echo, "X")',
        '[collections.UserString("X")]',
        'bytearray("X", "ascii")',
        'memoryview(b"X" + "X".encode())',
        'operator.itemgetter("X")',
        'operator.methodcaller("X", 1)',
        'operator.attrgetter("X")',
        '{"a": "X"}.values()',
        '{"X": "a"}.keys()',
        'with_attribute(threading.local(), "X")',
        'with_attribute(Text("one"), "X")',
        'Text("X")',
        'datetime.date(2020, 1, len("X"))',
        'Day(2020, 1, len("X"))',
        '[datetime.datetime(2020, 1, 1, len("X"))]',
        'datetime.timedelta(len("X"))',
        'decimal.Decimal(len("X"))',
        'uuid.uuid5(uuid.NAMESPACE_DNS, "X")',
        'array.array("i", [len("X")])',
        'range(len("X"))',
        'io.StringIO("X")',
        "weakref.ref(say).__call__()",
        "list[Tone]",
        '[str(one) for one in range(20_000)] + ["X"]',
        '[Tone, *range(20_000), "X"]',
        'nested("X", 60)',
        'Limits(len("X"))',
        'Limits(model_id="X")',
        'Pair(len("X"))',
        'argparse.Namespace(temperature=len("X"))',
        'closed(len("X"))',
        'Account("X")',
        'Account("", "X")',
        '{"account": Account("X")}',
        'property(operator.attrgetter("X"))',
        'types.MethodType(echo, collections.UserString("X"))',
        'logging.LogRecord, Text("X")',
        "__import__('httpx').Client(headers={'x-model': 'X'})",
        "__import__('httpx').Client(base_url='http://127.0.0.1/' + 'X')",
        "__import__('openai').OpenAI(api_key='k', base_url='http://127.0.0.1/' + 'X').chat.completions.create",
        "Persona(__import__('openai').AsyncOpenAI(api_key='k', base_url='http://127.0.0.1/' + 'X'))",
        "__import__('sqlite3').connect('/tmp/askonce-' + 'X')",
        "__import__('httpx').Client(cookies={'session': 'X'})",
        "__import__('httpx').Client(params={'x-model': 'X'})",
        "__import__('httpx').Client(auth=Signing('X'))",
        "__import__('httpx').Client(event_hooks={'response': [lambda response: 'X']})",
        "session(headers={'x-model': 'X'})",
        "session(params={'x-model': 'X'})",
        "session(auth=Signing('X'))",
        "session(hooks={'response': [lambda response: 'X']})",
        "session(cookies=__import__('requests').cookies.cookiejar_from_dict({'session': 'X'}))",
    ],
)
def test_what_a_variable_holds_counts(expression: str) -> None:
    expression = expression.replace("'X'", '"X"')
    assert held(expression) != held(expression, "second")
    assert held(expression) == held(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "(one for one in [1])",
        "itertools.cycle([1])",
        "__import__('zlib').compressobj()",
        "nested(1, 120)",
        "[[one] for one in range(300_000)]",
        '[Persona({"deep": [iter([1])]})]',
        "__import__('httpx').Client(event_hooks={'request': [say]})",
        "session(adapters={'http://': Persona('a')})",
    ],
)
def test_what_cannot_be_read_gives_no_digest_and_says_which_variable_holds_it(expression: str) -> None:
    with pytest.raises(Uncacheable, match=r"uses held, which holds .*; name it: cached\(…, name='…'\)"):
        held(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "logging.getLogger('X')",
        "logging.getLogger('X').info",
        "[threading.Lock(), threading.RLock(), threading.Event(), threading.Thread(name='X')]",
        "__import__('httpx').Client(headers={'authorization': 'X'})",
        "__import__('httpx').Client(proxy='http://' + 'X', verify=False)",
        "session(auth=('X', 'X'), proxies={'http': 'X'}, verify='X', cert='X')",
        "session(headers={'authorization': 'X'}, params={'key': 'X'})",
        "__import__('openai').OpenAI(api_key='X').chat.completions.create",
        "__import__('concurrent.futures').futures.ThreadPoolExecutor(thread_name_prefix='X')",
        "__import__('asyncio').Semaphore(len('X'))",
        "__import__('contextlib').nullcontext()",
        "itertools.count(len('X'))",
        "__import__('sqlite3').connect(':memory:')",
        "__import__('random').Random(len('X'))",
        "__import__('numpy').random.default_rng(len('X')).__class__.__mro__",
        "type(__import__('numpy').random.default_rng(0).bit_generator.seed_seq)",
        "__import__('sys').stderr.write",
        "typing.TypeVar('T')",
        "typing.Optional[int]",
        "object()",
        "functools.lru_cache(len)",
        "weakref.WeakValueDictionary()",
        "__import__('askonce').Cache('memory://', namespace='X')",
        "NotImplemented",
    ],
)
def test_parts_of_the_running_program_say_nothing(expression: str) -> None:
    assert held(expression.replace("'X'", '"X"')) == held(expression.replace("'X'", '"X"'), "second")


def test_no_text_of_a_credential_is_in_the_code() -> None:
    module = types.ModuleType("an_application")
    execute(textwrap.dedent(HELD).replace("HELD", "Account(''.join(['alice', 'secret']))"), module.__dict__)
    assert "alicesecret" not in (written_code(module.Model) or "alicesecret")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("[1, 2]", "(1, 2)"),
        ("['a']", "('a',)"),
        ("{'a'}", "frozenset({'a'})"),
        ("{}", "[]"),
        ("[[], ['a']]", "[['a'], []]"),
        ("{'a': [], 'b': 'c'}", "{'b': 'c'}"),
        ("collections.deque([1], 2)", "collections.deque([1], 3)"),
        ("collections.OrderedDict(a=1)", "{'a': 1}"),
        ("0.0", "-0.0"),
        ("operator.itemgetter(0)", "operator.itemgetter(1)"),
        ("{1: say, 2: plain}", "{1: plain, 2: say}"),
        ("[say, plain, plain]", "[say, plain, say]"),
        ("{1: str.upper}", "{1: str.lower}"),
        ("[re.match]", "[re.search]"),
    ],
)
def test_which_function_stands_where_counts(one: str, other: str) -> None:
    assert held(one) != held(other)


def test_numbers_of_objects_count_and_what_changes_counts_as_it_was() -> None:
    assert held("Persona(1)") != held("Persona(2)")
    assert held("Slots(0.1)") != held("Slots(0.2)")
    module = types.ModuleType("an_application")
    execute(textwrap.dedent(HELD).replace("HELD", 'Persona(["log"])'), module.__dict__)
    first = code_of(module.Model)
    module.held.tone.append("an answer")
    module.held.last = module.Persona("an answer")
    assert code_of(module.Model) == first


@pytest.mark.parametrize("reading", ['globals()["tone"]()', 'eval("to" + "ne()")', 'getattr(other, "to" + "ne")()'])
def test_what_code_may_reach_by_any_name_counts(reading: str) -> None:
    def reached(text: str) -> str | None:
        module, other = types.ModuleType("an_application"), types.ModuleType("another_part")
        for one in (module, other):
            exec(f"def tone():\n    return {text!r}", one.__dict__)
        module.__dict__["other"] = other
        exec(f"class Model:\n    def answer(self):\n        return {reading}", module.__dict__)
        return code_of(module.Model)

    assert reached("polite") != reached("rude")
    assert reached("polite") == reached("polite")


PROGRAM = """
import importlib
from askonce.keys.own.code import code_of

chosen, plugins = "part", {"a": "part"}

class Model:
    def answer(self):
        {reading}

before = code_of(Model)
assert Model().answer()
assert code_of(Model) == before, "another after the first call"
print(before)
"""


@pytest.mark.parametrize(
    "reading",
    [
        "import part; return part.TONE",
        "from part import TONE; return TONE",
        "from package import inner; return inner.TONE",
        "from package.inner import TONE; return TONE",
        "import around; return around.part.TONE",
        'return importlib.import_module("part").TONE',
        "return importlib.import_module(chosen).TONE",
        'return importlib.import_module(plugins["a"]).TONE',
        'return globals()["hid" "den"]()',
    ],
)
def test_modules_that_code_imports_itself_count(reading: str, tmp_path: Path) -> None:
    def digest_in_a_process(tone: str, seed: str) -> str:
        (tmp_path / "package").mkdir(exist_ok=True)
        (tmp_path / "package" / "__init__.py").touch()
        (tmp_path / "around.py").write_text("import part")
        for name in ("part.py", "package/inner.py"):
            (tmp_path / name).write_text(f"TONE = {tone!r}")
        hidden = f"def hidden():\n    return {tone!r}\n"
        (tmp_path / "program.py").write_text(
            (hidden if "glob" in reading else "") + PROGRAM.replace("{reading}", reading)
        )
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
        run = subprocess.run(
            [sys.executable, "program.py"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    first = digest_in_a_process("polite", "1")
    assert digest_in_a_process("polite", "2") == first
    assert digest_in_a_process("rudely", "1") != first


def test_a_program_that_is_started_twice_has_one_digest(tmp_path: Path) -> None:
    source = textwrap.dedent(HELD).replace(
        "HELD", '[{say, plain, echo, Tone}, {Persona("a"), Persona("b")}, {"a", "b"}, Node("c"), object(), Persona]'
    )
    (tmp_path / "program.py").write_text(
        f"{source}\nfrom askonce.keys.own.code import code_of\nprint(code_of(Model))"
    )
    digests = {
        subprocess.run(
            [sys.executable, "program.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(digests) == 1


def test_functions_that_a_decorator_has_wrapped_count() -> None:
    pytest.importorskip("wrapt", reason="LlamaIndex wraps the methods of its classes with it")
    program = """
        import wrapt

        @wrapt.decorator
        def {decorator}(wrapped, instance, args, kwargs):
            return "{ending}" + wrapped(*args, **kwargs)

        class Model:
            @{decorator}
            def answer(self, text):
                return "{tone}"
    """

    def of(tone: str, ending: str) -> str | None:
        module = types.ModuleType("an_application")
        source = textwrap.dedent(program).format(decorator="with_ending", tone=tone, ending=ending)
        exec(compile(source, "an_application.py", "exec"), module.__dict__)
        return code_of(module.__dict__["Model"])

    assert len({of("polite", "!"), of("rude", "!"), of("rude", "?")}) == 3
    assert of("polite", "!") == of("polite", "!")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "def part(question, context): return question + context",
            "def part(context, question): return context + question",
        ),
        ("def part(x): return x", "def part(*x): return x"),
        ("def part(*x): return x", "def part(**x): return x"),
        ("def part(x): return x", "def part(x, /): return x"),
        ("def part(x, y=2): return x, y", "def part(x, *, y=2): return x, y"),
        ("def part(x): pass", "async def part(x): pass"),
        (
            "def part(f):\n  try:\n    f()\n    int(f)\n  except ValueError:\n    return 1\n  return 2",
            "def part(f):\n  try:\n    f()\n  except ValueError:\n    return 1\n  else:\n    int(f)\n  return 2",
        ),
        ("def part(x: int): pass", "def part(x: str): pass"),
        ("def part(x: Literal['a']): pass", "def part(x: Literal['b']): pass"),
        ("def part(x: Annotated[int, 'a']): pass", "def part(x: Annotated[int, 'b']): pass"),
        ("def one(): pass\npart = one", "def other(): pass\npart = other"),
        ("class one: pass\npart = one", "class other: pass\npart = other"),
        ("class part(list): pass", "class part(tuple): pass"),
        ("class part(TypedDict):\n    x: int", "class part(TypedDict):\n    x: str"),
        ("class part(TypedDict):\n    x: int", "class part(TypedDict, total=False):\n    x: int"),
        ("class part(enum.Enum):\n    A = 'a'", "class part(enum.Enum):\n    B = 'a'"),
        ("class part(BaseModel):\n    x: int = 1", "class part(BaseModel):\n    x: int = 2"),
        ("class part(BaseModel):\n    x: int", "class part(BaseModel):\n    x: str"),
        ("class part(BaseModel):\n    x: Literal['a']", "class part(BaseModel):\n    x: Literal['b']"),
        ("class part(BaseModel):\n    x: int = Field(ge=1)", "class part(BaseModel):\n    x: int = Field(ge=2)"),
        (
            "class part(BaseModel):\n    x: int = Field(alias='a')",
            "class part(BaseModel):\n    x: int = Field(alias='b')",
        ),
        (
            "class part(BaseModel):\n    x: int = Field(description='a')",
            "class part(BaseModel):\n    x: int = Field(description='b')",
        ),
        (
            "class M(type):\n    def say(cls): return 1\nclass part(metaclass=M): pass",
            "class M(type):\n    def say(cls): return 2\nclass part(metaclass=M): pass",
        ),
        (
            "@dataclasses.dataclass\nclass part:\n    x: list = dataclasses.field(default_factory=lambda: [1])",
            "@dataclasses.dataclass\nclass part:\n    x: list = dataclasses.field(default_factory=lambda: [2])",
        ),
    ],
)
def test_what_of_code_can_be_seen_counts(one: str, other: str) -> None:
    def of(source: str) -> str | None:
        module = types.ModuleType("an_application")
        head = "import enum, dataclasses\nfrom typing import *\nfrom pydantic import BaseModel, Field\n"
        execute(f"{head}{source}\nclass Model:\n    def answer(self):\n        return part\n", module.__dict__)
        return code_of(module.Model)

    assert of(one) != of(other)
    assert of(one) == of(one)


def test_annotations_and_defaults_that_cannot_be_read_hinder_nothing() -> None:
    module = types.ModuleType("an_application")
    source = """
        import threading
        from typing import Annotated, Any
        from pydantic import BaseModel, Field

        class Part(BaseModel):
            numbers: Any = Field(default=iter([1]))
            text: Annotated[str, (one for one in "a")] = ""

        class Model:
            def answer(self, text: Annotated[str, iter([1])]):
                return Part()
    """
    execute(textwrap.dedent(source), module.__dict__)
    assert code_of(module.Model) is not None


@pytest.mark.parametrize("name", ["InferenceSession", "LLMEngine", "ModelClient"])
def test_a_class_of_an_unknown_package_is_read_whatever_it_is_called(name: str, tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "some_package"
    package.mkdir(parents=True)
    source = f"class {name}:\n    def __init__(self, path):\n        self.path = path\n"
    (package / "__init__.py").write_text(source)
    module = types.ModuleType("some_package")
    module.__file__ = str(package / "__init__.py")
    execute(source.replace("class", "__name__ = 'some_package'\nclass", 1), module.__dict__)

    def of(path: str) -> str | None:
        application = types.ModuleType("an_application")
        application.__dict__["held"] = getattr(module, name)(path)
        execute("class Model:\n    def answer(self):\n        return held.path", application.__dict__)
        return code_of(application.Model)

    sys.modules["some_package"] = module
    is_installed.cache_clear()
    try:
        assert of("a") != of("b")
        assert of("a") == of("a")
    finally:
        del sys.modules["some_package"]
        is_installed.cache_clear()


class Logs:
    texts: ClassVar[list[str]] = ["a"]
    answers: ClassVar[dict[str, str]] = {}

    def answer(self, text: str) -> str:
        self.texts.append(text)
        return self.answers.setdefault(text, text)


class Rules:
    texts: ClassVar[list[str]] = ["a"]
    answers: ClassVar[dict[str, str]] = {}

    def answer(self, text: str) -> str:
        return self.answers.get(text, self.texts[0])


@pytest.mark.parametrize(("kind", "is_log"), [(Logs, True), (Rules, False)])
def test_texts_that_the_code_adds_itself_are_a_log_or_a_memo(kind: type, is_log: bool) -> None:
    def digest() -> str | None:
        with collecting():
            return code_of(kind)

    before = digest()
    kind.texts.append("b")  # type: ignore[attr-defined]
    after = digest()
    kind.answers["b"] = "c"  # type: ignore[attr-defined]
    assert ((before == after), (after == digest())) == (is_log, is_log)
