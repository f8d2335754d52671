"""Requests of files, to an application's own models: what a command cannot say of them it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import Generation
from langchain_openai import ChatOpenAI
from llama_index.core.llms import LLM, ChatMessage, MockLLM
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai.utils import from_openai_message
from openai.types.chat import ChatCompletionMessage
from typer.testing import CliRunner

from askonce import Cache
from askonce.cli.app import app
from askonce.entries.entry import place_of
from askonce.langchain import AskOnceCache, cached
from askonce.langchain.keys.model import parameters_of_model
from askonce.langchain.keys.requests import form_of_messages
from askonce.llama_index.keys.requests import chat_form
from tests.support.application import Application
from tests.support.provider import Provider

langchain = ChatOpenAI(model="gpt-4o-mini", api_key="sk-test", base_url="http://127.0.0.1:9/v1", max_retries=0)
llama_index = OpenAI(model="gpt-4o-mini", api_key="sk-test", api_base="http://127.0.0.1:9/v1", max_retries=0)
other_llm = MockLLM()
MODELS = ("langchain", "llama_index")
CALLS = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}]
QUESTION = {"role": "user", "content": "Rome?"}
CALL: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, "tool_calls": CALLS}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "sunny"}


@pytest.fixture
def request_file(tmp_path: Path) -> Any:
    def write(value: Any, name: str = "request.json") -> str:
        (tmp_path / name).write_text(value if isinstance(value, str) else json.dumps(value))
        return str(tmp_path / name)

    return write


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/cache.db"
    with Cache(url) as cache:
        Application(cache).answer("why?")
    return url


def run(*arguments: str, model: str | None = None, url: str, input: str | bytes | None = None) -> Any:
    own = () if model is None else ("--model", f"{__name__}:{model}")
    return CliRunner().invoke(app, [*arguments, *own, "--store", url], input=input)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "more", [{"temperature": 0.9}, {"tools": [{"type": "function", "function": {"name": "f"}}]}, {"model": "gpt-5"}]
)
def test_what_a_model_is_not_given_is_refused_by_name(model: str, more: Any, request_file: Any, url: str) -> None:
    plain, other = request_file({"messages": [QUESTION]}, "plain"), request_file({"messages": [QUESTION], **more})
    name = next(iter(more))
    for command in (
        ["key", other], ["show", other], ["delete", other, "--yes"], ["warm", other], ["diff", plain, other],
    ):  # fmt: skip
        done = run(*command, model=model, url=url)
        assert done.exit_code == 1, (command, done.output)
        text = str(done.exception)
        assert f"has {name}: with --model" in text and "request.json" in text and "\n" not in text


def test_a_byte_order_mark_is_no_part_of_a_request(request_file: Any, url: str) -> None:
    text = json.dumps({"prompt": "why?"})
    plain, marked = request_file(text, "plain"), request_file("\ufeff" + text, "marked")
    keys = [
        json.loads(run("key", *given, "--json", url=url, model="other_llm").stdout)["key"]
        for given in ([plain], [marked])
    ]
    piped = run("key", "-", "--json", url=url, model="other_llm", input="\ufeff" + text)
    assert {*keys, json.loads(piped.stdout)["key"]} == {keys[0]}
    for lines in (text + "\n" + text, f"[{text}]"):
        done = run("warm", request_file("\ufeff" + lines, "lines"), "--json", url=url, model="other_llm")
        assert json.loads(done.stdout)["stored"] + json.loads(done.stdout)["hits"] > 0, done.output
    erased = run("delete", "--text", "-", "--yes", "--json", url=url, input="\ufeffwhy?\n")
    assert json.loads(erased.stdout)["entries"], erased.output
    unreadable = run("delete", "--text", "-", "--yes", url=url, input=b"\xff\xfe")
    assert "cannot read standard input" in str(unreadable.exception)


@pytest.mark.parametrize("model", MODELS)
def test_what_cannot_change_an_answer_may_stand_beside(model: str, request_file: Any, url: str) -> None:
    plain = request_file({"messages": [QUESTION]}, "plain")
    more = request_file({"messages": [QUESTION], "stream": True, "timeout": 3, "api_key": "sk-x", "stop": None})
    done = run("diff", plain, more, "--json", model=model, url=url)
    assert json.loads(done.stdout)["equal"], done.exception


def test_a_conversation_with_tools_has_the_key_of_the_application(request_file: Any, url: str) -> None:
    file = request_file({"messages": [QUESTION, CALL, RESULT]})
    call = {"name": "weather", "args": {"city": "Rome"}, "id": "c1", "type": "tool_call"}
    messages = [HumanMessage("Rome?"), AIMessage("", tool_calls=[call]), ToolMessage("sunny", tool_call_id="c1")]
    answer = ChatCompletionMessage.model_validate(CALL)
    chat = [
        ChatMessage(role="user", content="Rome?"),
        from_openai_message(answer, ["text"]),
        ChatMessage(role="tool", content="sunny", additional_kwargs={"tool_call_id": "c1"}),
    ]
    forms = {
        "langchain": form_of_messages(messages, parameters_of_model(langchain, None, {})),
        "llama_index": chat_form(llama_index, chat, {}),
    }
    for model, form in forms.items():
        done = run("key", file, "--json", model=model, url=url)
        assert done.exit_code == 0, done.exception
        assert json.loads(done.stdout)["key"] == place_of("default", form.digest()).key.hex()
        without = request_file({"messages": [QUESTION, {"role": "assistant", "content": ""}, RESULT]}, "without")
        done = run("diff", file, without, "--json", model=model, url=url)
        assert not json.loads(done.stdout)["equal"]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
    ],
    ids=lambda part: part["type"],
)
def test_media_have_the_key_of_the_application(
    part: Any, request_file: Any, url: str, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ChatOpenAI(model="gpt-4o-mini", api_key="sk-test", base_url=provider.openai_url, max_retries=0)
    monkeypatch.setitem(globals(), "langchain", model)
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}]
    with Cache(url) as cache:
        cached(model, cache).invoke(messages)
    shown = run("show", request_file({"messages": messages}), "--json", model="langchain", url=url)
    assert shown.exit_code == 0 and json.loads(shown.stdout)["kind"] == "answer", shown.exception


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "function"}]},
        {"role": "assistant", "tool_calls": "none"},
        {"role": "nobody", "content": "why?"},
        {"role": "user", "content": 5},
    ],
)
def test_what_is_no_message_is_one_line(model: str, message: Any, request_file: Any, url: str) -> None:
    for command in ("key", "show", "delete", "warm"):
        done = run(command, request_file({"messages": [QUESTION, message]}), model=model, url=url)
        assert done.exit_code == 1
        assert "messages[1] is no message of" in str(done.exception), done.exception
        assert "\n" not in str(done.exception)


def test_a_result_needs_its_call(request_file: Any, url: str) -> None:
    file = request_file({"messages": [QUESTION, CALL, {"role": "tool", "content": "sunny"}]})
    done = run("key", file, model="langchain", url=url)
    assert done.exit_code == 1 and "it lacks 'tool_call_id'" in str(done.exception)


def test_what_messages_of_llama_index_do_not_have_is_refused_by_name(request_file: Any, url: str) -> None:
    assert isinstance(other_llm, LLM)
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    for model, message, text in (
        ("other_llm", CALL, "messages[0] has tool_calls: where MockLLM has them"),
        ("llama_index", {**QUESTION, "audio": {"id": "a"}}, "messages[0] has audio"),
        ("llama_index", {"role": "user", "content": [picture]}, "a block of type 'image_url'"),
    ):
        done = run("key", request_file({"messages": [message]}), model=model, url=url)
        assert done.exit_code == 1 and text in str(done.exception)


def test_two_prompts_and_a_request_with_more_are_refused(request_file: Any, url: str) -> None:
    done = run("key", request_file({"prompt": "a", "messages": [QUESTION]}), model="langchain", url=url)
    assert "has prompt: with --model a request is messages alone" in str(done.exception)
    done = run("key", request_file({"prompt": "a", "llm_string": "{}", "temperature": 1}), url=url)
    assert "has temperature beside prompt and llm_string" in str(done.exception)


def test_a_normal_form_has_its_model_in_it(request_file: Any, url: str) -> None:
    form = {"version": 2, "kind": "own", "model": {"model": "m"}, "messages": [QUESTION]}
    keys = {run("key", request_file(form), model=one, url=url).stdout for one in (None, *MODELS)}
    assert len(keys) == 1


def test_what_key_and_show_print_is_taken_as_it_is(request_file: Any, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    with Cache(url, store_requests=True) as cache:
        key = Application(cache).answer("why?") and Application(cache).request("why?").place.key.hex()
    for command in (("show", key, "--json"), ("key", key, "--explain", "--json")):
        file = request_file(run(*command, url=url).stdout)
        assert json.loads(run("show", file, "--json", url=url).stdout)["key"] == key
        assert json.loads(run("key", file, "--json", url=url).stdout)["stored"]
    assert run("delete", file, "--yes", url=url).exit_code == 0


def test_what_show_prints_of_an_entry_without_its_request_is_refused(request_file: Any, url: str) -> None:
    [row] = json.loads(run("ls", "--json", url=url).stdout)["entries"]
    done = run("key", request_file(run("show", row["key"], "--json", url=url).stdout), url=url)
    assert "does not have its request: Cache(store_requests=True)" in str(done.exception)


def test_the_texts_of_langchains_cache_mean_the_entry_of_a_models_call(
    request_file: Any, tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, seen = f"sqlite:///{tmp_path}/cache.db", []

    class Seen(AskOnceCache):
        def lookup(self, prompt: str, llm_string: str) -> Any:
            seen.append({"prompt": prompt, "llm_string": llm_string})
            return super().lookup(prompt, llm_string)

    with Cache(url) as cache:
        monkeypatch.setattr(langchain, "cache", Seen(cache))
        monkeypatch.setattr(langchain, "client", ChatOpenAI(api_key="sk-test", base_url=provider.openai_url).client)
        langchain.invoke("why?")
        langchain.bind(stop=["x"], temperature=0.5).invoke("why?")
    for text in seen:
        file = request_file(text)
        done = run("show", file, url=url)
        assert done.exit_code == 1 and "name that with --model" in str(done.exception)
        assert "name that with --model" in run("key", file, url=url).stdout
        assert run("delete", file, "--yes", model="langchain", url=url).exit_code == 0
        done = run("key", file, model="llama_index", url=url)
        assert done.exit_code == 1 and "is LlamaIndex's" in str(done.exception)
    done = run("key", request_file({"prompt": "[]", "llm_string": "[('stop', None)]"}), model="langchain", url=url)
    assert "is not that of the model" in str(done.exception)


def test_what_was_stored_by_hand_is_found_by_its_texts(request_file: Any, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    cache = AskOnceCache(url)
    cache.update("why?", "[('stop', None)]", [Generation(text="because")])
    cache.close()
    file = request_file({"prompt": "why?", "llm_string": "[('stop', None)]"})
    assert "stored in namespace" in run("key", file, url=url).stdout
    assert run("delete", file, "--yes", url=url).exit_code == 0


def test_a_body_alone_has_no_entry(request_file: Any, url: str) -> None:
    file = request_file({"model": "m", "messages": [QUESTION]})
    shown = run("key", file, url=url).stdout
    assert "no entry has its key: name the application's model with --model" in shown
    assert "Cache-Status" in shown and "askonce ls" in shown  # one that a proxy received
    assert "not stored" not in shown
    for command in (["show", file], ["delete", file, "--yes"]):
        done = run(*command, url=url)
        assert done.exit_code == 1 and "no entry has its key" in str(done.exception)


def test_a_line_that_is_no_request_is_named(request_file: Any, url: str) -> None:
    for text, where in (
        ('"a"\n\n{"nothing": 1}\n', "request.json, line 3: a request is"),
        ('"a"\n{\n', "request.json, line 2 is no JSON"),
        ('[{"prompt": "a"}, 5]', "request.json, request 2: a request is"),
        ('{"prompt": "a"}\n{"prompt": "b", "seed": 1}', "request.json, line 2 has seed"),
        ('{"prompt": "a"}\n{"messages": [{"role": "x", "content": "b"}]}', "request.json, line 2: messages[0]"),
    ):
        done = run("warm", request_file(text), model="langchain", url=url)
        assert done.exit_code == 1 and where in str(done.exception), done.exception


def test_only_one_of_two_requests_is_standard_input(request_file: Any, url: str) -> None:
    assert run("diff", "-", "-", url=url, input='"a"').exit_code == 2
    assert run("diff", "-", request_file('"a"'), url=url, input='"a"').exit_code == 0


def test_a_key_without_an_entry_names_ls(url: str) -> None:
    for command in ("key", "show"):
        done = run(command, "ab" * 32, url=url)
        assert done.exit_code == 1
        assert "`askonce ls`" in str(done.exception) and "key --explain" not in str(done.exception)
