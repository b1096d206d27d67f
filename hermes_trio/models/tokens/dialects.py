"""One reader for all the places where servers put token ids. PURE.

==================================  ==================================  =====================================
how it was asked for                prompt                              completion
==================================  ==================================  =====================================
vLLM ``return_token_ids``           ``prompt_token_ids``                ``choices[0].token_ids``
vLLM                                (not told)                          ``"token_id:N"``, the ``token`` in
``return_tokens_as_token_ids``                                          ``choices[0].logprobs.content[]``
SGLang ``return_token_ids``         ``choices[0].prompt_token_ids``     ``choices[0].token_ids``,
                                                                        or ``response_token_ids``
SGLang ``return_*_ids_in_sglext``   ``sglext.input_ids``                ``sglext.output_ids[0]``
SGLang ``/generate``                ``input_token_logprobs[][1]``       ``output_token_logprobs[][1]``
                                    of ``meta_info``, if all are there  of ``meta_info``
==================================  ==================================  =====================================

The first place that has something counts; each is read strictly. Counts that the server sends beside the
ids are held against them: streaming servers have lost the ids of tool calls (vllm#27482), and a row with a
hole in it is worse than none.

Source: vLLM, OpenAI-compatible server, extra parameters; SGLang, native APIs; sglang#30917, sglang#34488.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from hermes_trio.models.members import first_choice, member
from hermes_trio.models.tokens.calls import CallTokens, TokenIds

ASK_FOR_TOKEN_IDS: Mapping[str, Any] = MappingProxyType({"logprobs": True, "return_token_ids": True})
"""Pass it as ``extra_body`` to have token ids and logprobs from vLLM and SGLang. OpenAI refuses it."""

MAX_TOKEN_ID = 2**32 - 1

_ID_PREFIX = "token_id:"


class UntoldTokens(Exception):
    """What is missing or wrong, in words for ``problem``."""


def read_tokens(response: Any, *, prompt_ids: Sequence[int] | None = None) -> CallTokens:
    """The tokens of an answer: of a chat completion or of ``/generate``, as JSON or as an SDK's object.

    Never raises on what a server sent. A completion of ours carries its tokens and gives those.

    Args:
        response: the whole answer.
        prompt_ids: what was sent, for servers that are asked with ids and do not repeat them.
    """
    carried = member(response, "tokens")
    if isinstance(carried, CallTokens):
        return carried
    choice = first_choice(response)
    prompt, prompt_problem = _told(lambda: _prompt_ids(response, choice, prompt_ids))
    completion, problem = _told(lambda: _completion_ids(response, choice))
    return CallTokens(
        prompt_ids=prompt,
        completion_ids=completion,
        logprobs=None if completion is None else _logprobs(response, choice, len(completion)),
        finish_reason=_finish_reason(response, choice),
        weight_version=_weight_version(response, choice),
        problem=problem or prompt_problem,
    )


def _told(read: Callable[[], TokenIds]) -> tuple[TokenIds | None, str]:
    try:
        return read(), ""
    except UntoldTokens as untold:
        return None, str(untold)


def _completion_ids(response: Any, choice: Any) -> TokenIds:
    told = (
        ("choices[0].token_ids", member(choice, "token_ids")),
        ("choices[0].response_token_ids", member(choice, "response_token_ids")),
        ("sglext.output_ids[0]", _first(member(member(response, "sglext"), "output_ids"))),
        ("meta_info.output_token_logprobs", _column(_meta(response, choice, "output_token_logprobs"), 1)),
        ("output_ids", member(response, "output_ids")),
        ("logprobs.content[].token", _ids_in_text(_logprob_entries(choice))),
    )
    ids = _first_told(told, "the server sent no token ids of what it sampled")
    _hold_against_counts(response, choice, len(ids))
    return ids


def _prompt_ids(response: Any, choice: Any, sent: Sequence[int] | None) -> TokenIds:
    told = (
        ("prompt_token_ids", member(response, "prompt_token_ids")),
        ("choices[0].prompt_token_ids", member(choice, "prompt_token_ids")),
        ("sglext.input_ids", member(member(response, "sglext"), "input_ids")),
        ("meta_info.input_token_logprobs", _whole_input(response, choice)),
        ("prompt_ids", sent),
    )
    return _first_told(told, "the server sent no token ids of the prompt")


def _first_told(told: Iterable[tuple[str, Any]], otherwise: str) -> TokenIds:
    for name, value in told:
        if value is not None:
            return checked_ids(name, value)
    raise UntoldTokens(otherwise)


def checked_ids(name: str, value: Any) -> TokenIds:
    """The value as ids.

    Raises:
        UntoldTokens: it is no list of token ids.
    """
    # The types first: True is an int to everything but this, and no token.
    if not isinstance(value, list | tuple) or set(map(type, value)) - {int}:
        raise UntoldTokens(f"{name} is not a list of token ids")
    if value and not 0 <= min(value) <= max(value) <= MAX_TOKEN_ID:
        raise UntoldTokens(f"{name} has a number that is no token id")
    return tuple(value)


def _hold_against_counts(response: Any, choice: Any, sent: int) -> None:
    """Refuse ids that are fewer or more than the server says it sampled.

    One fewer is let pass after ``stop``: some servers keep the token that ended the generation.
    """
    counted = _meta(response, choice, "completion_tokens")
    if counted is None and _only_choice(response):
        counted = member(member(response, "usage"), "completion_tokens")
    if not isinstance(counted, int) or counted == sent:
        return
    if counted - 1 == sent and _finish_reason(response, choice) == "stop":
        return
    raise UntoldTokens(f"the server sampled {counted} tokens and sent the ids of {sent}")


def _only_choice(response: Any) -> bool:
    choices = member(response, "choices")
    return isinstance(choices, Sequence) and len(choices) == 1


def _meta(response: Any, choice: Any, name: str) -> Any:
    """A member of SGLang's ``meta_info``, which is beside the text, or in the choice."""
    told = member(member(choice, "meta_info"), name)
    return member(member(response, "meta_info"), name) if told is None else told


def _whole_input(response: Any, choice: Any) -> list[Any] | None:
    """The prompt's ids, when logprobs were asked for from its beginning."""
    ids = _column(_meta(response, choice, "input_token_logprobs"), 1)
    return ids if ids is not None and len(ids) == _meta(response, choice, "prompt_tokens") else None


def _column(rows: Any, index: int) -> list[Any] | None:
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        return None
    return [row[index] if isinstance(row, Sequence) and len(row) > index else None for row in rows]


def _first(values: Any) -> Any:
    return values[0] if isinstance(values, Sequence) and values and not isinstance(values, str) else None


def _logprob_entries(choice: Any) -> Sequence[Any] | None:
    entries = member(member(choice, "logprobs"), "content")
    return entries if isinstance(entries, list | tuple) else None


def _ids_in_text(entries: Sequence[Any] | None) -> list[int] | None:
    """The numbers of ``"token_id:N"``, when that is what every token is written as."""
    texts = [member(entry, "token") for entry in entries or ()]
    if not texts or not all(isinstance(text, str) and text.startswith(_ID_PREFIX) for text in texts):
        return None
    digits = [text.removeprefix(_ID_PREFIX) for text in texts]
    return [int(each) if each.isdecimal() and each.isascii() and len(each) < 12 else -1 for each in digits]


def _logprobs(response: Any, choice: Any, wanted: int) -> tuple[float, ...] | None:
    entries = _logprob_entries(choice)
    told = (
        _column(_meta(response, choice, "output_token_logprobs"), 0)
        if entries is None
        else [member(entry, "logprob") for entry in entries]
    )
    return checked_logprobs(told, wanted)


def checked_logprobs(values: Sequence[Any] | None, wanted: int) -> tuple[float, ...] | None:
    """The values as logprobs; ``None`` unless there are as many as wanted and each is one."""
    if values is None or len(values) != wanted or not all(map(_is_logprob, values)):
        return None
    return tuple(map(float, values))


def _is_logprob(value: Any) -> bool:
    # Rounding in single precision may leave the logprob of a sure token a little above 0.
    return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value <= 1e-4


def _finish_reason(response: Any, choice: Any) -> str | None:
    told = member(choice, "finish_reason") or _meta(response, choice, "finish_reason")
    kind = told if isinstance(told, str) else member(told, "type")
    return kind if isinstance(kind, str) else None


def _weight_version(response: Any, choice: Any) -> str | None:
    told = (
        _meta(response, choice, "weight_version"),
        member(member(response, "metadata"), "weight_version"),
        member(response, "weight_version"),
    )
    version = next((value for value in told if isinstance(value, str | int)), None)
    return None if version is None else str(version)
