"""Token ids of scripted answers, in whichever dialect a request asks for them. PURE.

The scripted model has a byte for a token: a transcript is rendered by one small template, and what the model
"sampled" is its answer as that template renders it. So the next prompt goes on from what was sampled exactly
when the caller gave the answer back unchanged, as with a real server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from hermes_trio.models.completion import text_of

ASKING = frozenset(
    {
        *("logprobs", "return_token_ids", "return_tokens_as_token_ids"),
        *("return_input_ids_in_sglext", "return_output_ids_in_sglext"),
    }
)
"""Members of a request that ask for tokens; see :mod:`hermes_trio.models.tokens.dialects`."""

_END = "\x03"


@frozen(kw_only=True)
class SampledTokens:
    """What a model read and sampled, from the server's side."""

    prompt_ids: Sequence[int]
    completion_ids: Sequence[int]
    logprobs: Sequence[float]


def scripted_tokens(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], answer: Mapping[str, Any]
) -> SampledTokens:
    """The tokens of an answer to these messages."""
    names = [str(tool.get("function", {}).get("name")) for tool in tools]
    prompt = f"<tools>{','.join(names)}{_END}" + "".join(f"<{_role(each)}>{_said(each)}" for each in messages)
    completion = list(_said(answer).encode("utf-8", "surrogatepass"))
    return SampledTokens(
        prompt_ids=list(f"{prompt}<assistant>".encode("utf-8", "surrogatepass")),
        completion_ids=completion,
        logprobs=[-0.125 * (1 + token % 8) for token in completion],
    )


def _role(message: Mapping[str, Any]) -> str:
    return str(message.get("role"))


def _said(message: Mapping[str, Any]) -> str:
    functions = [call.get("function", {}) for call in message.get("tool_calls") or ()]
    calls = "".join(f"<call>{function.get('name')}{function.get('arguments')}" for function in functions)
    return f"{message.get('reasoning_content') or ''}\x02{text_of(message.get('content'))}{calls}{_END}"


def with_tokens(body: dict[str, Any], asked: frozenset[str], tokens: SampledTokens) -> dict[str, Any]:
    """The body of an answer with what was asked for, its usage counted in these tokens.

    ``return_token_ids`` is answered as vLLM does, the members of ``sglext`` as SGLang does.
    """
    prompt, completion = list(tokens.prompt_ids), list(tokens.completion_ids)
    (choice,) = body["choices"]
    choice = dict(choice)
    more: dict[str, Any] = {"usage": _usage(len(prompt), len(completion))}
    if "logprobs" in asked or "return_tokens_as_token_ids" in asked:
        as_ids = "return_tokens_as_token_ids" in asked
        choice["logprobs"] = {"content": _entries(completion, tokens.logprobs, as_ids=as_ids)}
    if "return_token_ids" in asked:
        more["prompt_token_ids"] = prompt
        choice["token_ids"] = completion
    sglext: dict[str, Any] = {"input_ids": prompt} if "return_input_ids_in_sglext" in asked else {}
    if "return_output_ids_in_sglext" in asked:
        sglext |= {"output_ids": [completion]}
    return body | more | ({"sglext": sglext} if sglext else {}) | {"choices": [choice]}


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _entries(ids: Sequence[int], logprobs: Sequence[float], *, as_ids: bool) -> list[dict[str, Any]]:
    return [
        {"token": f"token_id:{token}" if as_ids else chr(token), "logprob": logprob, "top_logprobs": []}
        for token, logprob in zip(ids, logprobs, strict=True)
    ]


def streamed_body(body: Mapping[str, Any], *, with_usage: bool) -> bytes:
    """The server-sent events that add up to an answer: a few pieces of text and arguments, then the rest.

    Token ids come with the last piece that has a choice, the prompt's with the first, as vLLM may do.
    """
    (choice,) = body["choices"]
    message, rest = choice["message"], ("finish_reason", "logprobs", "token_ids")
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [
        {name: part} for name in ("reasoning_content", "content") for part in _halves(message.get(name))
    ]
    deltas += [
        delta for at, call in enumerate(message.get("tool_calls") or ()) for delta in _pieces(at, call)
    ]
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks += [{"choices": [{"index": 0, "delta": {}} | {name: choice.get(name) for name in rest}]}]
    chunks[0]["prompt_token_ids"] = body.get("prompt_token_ids")
    chunks += [{"choices": [], "sglext": body["sglext"]}] if "sglext" in body else []
    chunks += [{"choices": [], "usage": body["usage"]}] if with_usage else []
    same = {name: body[name] for name in ("id", "created", "model", "metadata") if name in body} | {
        "object": "chat.completion.chunk"
    }
    events = [*(json.dumps(same | chunk) for chunk in chunks), "[DONE]"]
    return "".join(f"data: {event}\n\n" for event in events).encode()


def _halves(text: str | None) -> list[str]:
    half = len(text or "") // 2
    return [part for part in ((text or "")[:half], (text or "")[half:]) if part]


def _pieces(index: int, call: Mapping[str, Any]) -> list[dict[str, Any]]:
    function = call["function"]
    first = {"index": index, "id": call["id"], "type": "function", "function": {"name": function["name"]}}
    more = [{"index": index, "function": {"arguments": part}} for part in _halves(function["arguments"])]
    return [{"tool_calls": [piece]} for piece in (first, *more)]
