"""The model: a Llama of about 100,000 random parameters, sampled token by token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import frozen
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from hermes_trio.testing.tiny_model.template import END, VOCABULARY


@frozen(kw_only=True)
class Sampled:
    """A completion, with the logprob of each id under the model itself, whatever the temperature was."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: str


class TinyLlama:
    """Random weights, the same for the same seed. Not to be used by two threads at once.

    Args:
        seed: of the weights.
    """

    def __init__(self, *, seed: int = 0) -> None:
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=4096,
            initializer_range=0.2,  # ten times the usual: no even noise, and logprobs that tell ids apart
            tie_word_embeddings=False,
        )
        torch.set_num_threads(1)  # of two cores; more would cost more than such small matrices give
        torch.manual_seed(seed)
        self._model = LlamaForCausalLM(config).eval()

    @property
    def parameters(self) -> int:
        """How many there are."""
        return sum(each.numel() for each in self._model.parameters())

    def sample(self, prompt: Sequence[int], *, max_tokens: int, temperature: float, seed: int) -> Sampled:
        """Go on from a prompt until the end mark, or until there are enough tokens."""
        with torch.inference_mode():
            return self._sample(prompt, max_tokens, temperature, torch.Generator().manual_seed(seed))

    def _sample(
        self, prompt: Sequence[int], max_tokens: int, temperature: float, dice: torch.Generator
    ) -> Sampled:
        ids, logprobs = list[int](), list[float]()
        step, cache = torch.tensor([list(prompt)]), DynamicCache(config=self._model.config)
        while len(ids) < max_tokens and (not ids or ids[-1] != END):
            logits = self._model(input_ids=step, cache=cache, use_cache=True).logits[0, -1].float()
            chosen = int(_pick(logits, temperature, dice))
            ids.append(chosen)
            logprobs.append(float(logits.log_softmax(-1)[chosen]))
            step = torch.tensor([[chosen]])
        finish_reason = "stop" if ids and ids[-1] == END else "length"
        return Sampled(ids=tuple(ids), logprobs=tuple(logprobs), finish_reason=finish_reason)

    def logprobs(self, ids: Sequence[int]) -> list[float]:
        """Of each id given all before it, in one pass, as a trainer computes them; 0.0 for the first."""
        tokens = torch.tensor([list(ids)])
        with torch.inference_mode():
            scores = self._model(input_ids=tokens).logits[0, :-1].float().log_softmax(-1)
        return [0.0, *scores.gather(1, tokens[0, 1:, None])[:, 0].tolist()]


def _pick(logits: torch.Tensor, temperature: float, dice: torch.Generator) -> torch.Tensor:
    if temperature <= 0:
        return logits.argmax()
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=dice)
