"""Token ids are found wherever a server puts them, and nowhere else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hermes_trio.models.completion import read_completion
from hermes_trio.models.tokens import CallTokens, read_tokens

PROMPT, COMPLETION, LOGPROBS = (1, 2, 300), (7, 8), (-0.25, -1.5)
CONTENT = [{"token": "a", "logprob": -0.25}, {"token": "b", "logprob": -1.5}]
TOKEN_CONTENT = [{"token": "token_id:7", "logprob": -0.25}, {"token": "token_id:8", "logprob": -1.5}]
META = {
    "finish_reason": {"type": "stop", "matched": 8},
    "prompt_tokens": 3,
    "completion_tokens": 2,
    "weight_version": "step-12",
    "output_token_logprobs": [[-0.25, 7, None], [-1.5, 8, None]],
}


def chat(*, choice: dict[str, Any] | None = None, content: Any = CONTENT, **body: Any) -> dict[str, Any]:
    """A chat completion with these members beside the usual ones."""
    usual = {
        "index": 0,
        "message": {"content": "ab"},
        "finish_reason": "stop",
        "logprobs": {"content": content},
    }
    return {"choices": [usual | (choice or {})], "usage": {"completion_tokens": 2}} | body


DIALECTS = {
    "vllm": chat(prompt_token_ids=list(PROMPT), choice={"token_ids": list(COMPLETION)}),
    "sglang": chat(choice={"prompt_token_ids": list(PROMPT), "token_ids": list(COMPLETION)}),
    "sglang-older": chat(choice={"prompt_token_ids": list(PROMPT), "response_token_ids": list(COMPLETION)}),
    "sglext": chat(sglext={"input_ids": list(PROMPT), "output_ids": [list(COMPLETION)]}),
    "vllm-strings": chat(content=TOKEN_CONTENT, prompt_token_ids=list(PROMPT)),
    "sglang-meta": chat(choice={"prompt_token_ids": list(PROMPT), "meta_info": META}, content=None),
    "generate": {
        "text": "ab",
        "meta_info": META | {"input_token_logprobs": [[None, 1, None], [-1.0, 2, None], [-1.0, 300, None]]},
    },
    "generate-ids": {
        "output_ids": list(COMPLETION),
        "prompt_token_ids": list(PROMPT),
        "meta_info": META | {"output_token_logprobs": None},
    },
}


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_gives_the_same_tokens(name: str) -> None:
    """Prompt, completion, why it ended; logprobs in all that carry them."""
    tokens = read_tokens(DIALECTS[name])
    assert (tokens.prompt_ids, tokens.completion_ids, tokens.problem) == (PROMPT, COMPLETION, "")
    assert tokens.logprobs == (None if name == "generate-ids" else LOGPROBS)
    assert tokens.finish_reason == "stop"


@pytest.mark.parametrize("name", DIALECTS)
def test_sdk_objects_are_read_like_json(name: str) -> None:
    """OpenAI's SDK keeps members it does not know as attributes."""

    def as_object(value: Any) -> Any:
        if isinstance(value, dict):
            return SimpleNamespace(**{key: as_object(member) for key, member in value.items()})
        return [as_object(member) for member in value] if isinstance(value, list) else value

    assert read_tokens(as_object(DIALECTS[name])) == read_tokens(DIALECTS[name])


def test_prompt_ids_that_were_sent_stand_in_for_those_not_repeated() -> None:
    """``/generate`` is asked with ids; strings of ids come without the prompt."""
    assert read_tokens({"meta_info": META}, prompt_ids=PROMPT) == CallTokens(
        prompt_ids=PROMPT,
        completion_ids=COMPLETION,
        logprobs=LOGPROBS,
        finish_reason="stop",
        weight_version="step-12",
    )
    assert read_tokens(chat(content=TOKEN_CONTENT), prompt_ids=[5]).prompt_ids == (5,)


@pytest.mark.parametrize(
    ("body", "version"),
    [
        (chat(metadata={"weight_version": "v3"}), "v3"),
        (chat(choice={"meta_info": {"weight_version": 4}}), "4"),
        (chat(weight_version="w"), "w"),
        (chat(weight_version=["w"]), None),
        (chat(), None),
    ],
)
def test_the_weight_version_is_kept_where_it_is_told(body: dict[str, Any], version: str | None) -> None:
    """Text, whatever it was."""
    assert read_tokens(body).weight_version == version


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (chat(), "the server sent no token ids of what it sampled"),
        (chat(content=TOKEN_CONTENT), "the server sent no token ids of the prompt"),
        (chat(choice={"token_ids": [7, 8]}), "the server sent no token ids of the prompt"),
        (chat(choice={"token_ids": "78"}), "choices[0].token_ids is not a list of token ids"),
        (chat(choice={"token_ids": [7, True]}), "choices[0].token_ids is not a list of token ids"),
        (chat(choice={"token_ids": [7, 8.0]}), "choices[0].token_ids is not a list of token ids"),
        (chat(choice={"token_ids": [7, -8]}), "choices[0].token_ids has a number that is no token id"),
        (chat(choice={"token_ids": [7, 2**32]}), "choices[0].token_ids has a number that is no token id"),
        (
            chat(prompt_token_ids=[None], choice={"token_ids": [7, 8]}),
            "prompt_token_ids is not a list of token ids",
        ),
        (chat(choice={"token_ids": [7, 8, 9]}), "the server sampled 2 tokens and sent the ids of 3"),
        (
            chat(choice={"token_ids": [7], "finish_reason": "tool_calls"}),
            "the server sampled 2 tokens and sent the ids of 1",
        ),
        (
            chat(content=[{"token": "token_id:x"}] * 2),
            "logprobs.content[].token has a number that is no token id",
        ),
        (
            chat(content=[{"token": "token_id:7"}, {"token": "b"}]),
            "the server sent no token ids of what it sampled",
        ),
        (chat(content="token_id:7"), "the server sent no token ids of what it sampled"),
        (chat(sglext={"output_ids": "x"}), "the server sent no token ids of what it sampled"),
        ({"choices": "x"}, "the server sent no token ids of what it sampled"),
        ({"choices": []}, "the server sent no token ids of what it sampled"),
        (None, "the server sent no token ids of what it sampled"),
        (
            {"meta_info": {"output_token_logprobs": [[-1.0], 7, "ab"]}},
            "meta_info.output_token_logprobs is not a list of token ids",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_said_and_not_made_up(body: Any, problem: str) -> None:
    """No ids rather than some of them."""
    tokens = read_tokens(body)
    assert tokens.problem == problem
    assert tokens.prompt_ids is None or tokens.completion_ids is None


def test_a_stop_token_that_the_server_keeps_is_no_lost_token() -> None:
    """Some count the token that ended the generation, and do not send it."""
    tokens = read_tokens(chat(choice={"token_ids": [7]}, prompt_token_ids=[1]))
    assert (tokens.completion_ids, tokens.problem) == ((7,), "")


def test_usage_of_several_choices_says_nothing_about_the_first() -> None:
    """The count is of all of them together."""
    body = chat(prompt_token_ids=[1], choice={"token_ids": [7, 8]}) | {"usage": {"completion_tokens": 5}}
    body["choices"] *= 2
    assert read_tokens(body).problem == ""


@pytest.mark.parametrize(
    "content",
    [
        CONTENT[:1],
        [{"logprob": -1.0}, {}],
        [{"logprob": -1.0}, {"logprob": True}],
        [{"logprob": -1.0}, {"logprob": 1.0}],
        [{"logprob": -1.0}, {"logprob": float("nan")}],
        [{"logprob": -1.0}, {"logprob": float("-inf")}],
        None,
    ],
    ids=["fewer", "missing", "bool", "positive", "nan", "infinite", "none"],
)
def test_logprobs_that_do_not_go_with_the_ids_are_not_kept(content: Any) -> None:
    """The ids are good without them."""
    tokens = read_tokens(chat(content=content, prompt_token_ids=[1], choice={"token_ids": [7, 8]}))
    assert (tokens.completion_ids, tokens.logprobs, tokens.problem) == (COMPLETION, None, "")


def test_a_prompt_whose_logprobs_begin_late_is_not_a_whole_prompt() -> None:
    """``logprob_start_len`` cuts its beginning off."""
    late = META | {"input_token_logprobs": [[-1.0, 2, None], [-1.0, 300, None]]}
    assert read_tokens({"meta_info": late}).problem == "the server sent no token ids of the prompt"


def test_a_completion_carries_its_tokens() -> None:
    """Read once, where the answer is read; whoever keeps a trace need not know whose answer it is."""
    completion = read_completion(DIALECTS["vllm"])
    assert completion.tokens == read_tokens(DIALECTS["vllm"])
    assert read_tokens(completion) is completion.tokens
