"""A tiny model with a tokenizer of its own, made from the recipe's domains; needs no download."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from polymath.chat import tokens
from polymath.chat.template import install
from polymath.models import TinyModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PARAGRAPHS = (tokens.MAX_EFFORT, tokens.TOOLS_BEFORE, tokens.TOOLS_AFTER)
# A tag of DSML or of a tool's result with the line break after it
TAG = re.compile(rf"(?:\n\n)?</?{tokens.DSML}[^>\n]*>\n?|</?tool_result>")
PHRASES_SHARE = 4  # of the vocabulary one part in so many, at most
# What a learned token may span at most: a word, a digit, a run of anything else
PIECES = r" ?[A-Za-z_]+|[0-9]"


def build(
    config: TinyModel, corpus: list[str], phrases: list[str], seed: int
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """A randomly initialised model and its tokenizer, as `build_tokenizer` makes it."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = build_tokenizer(corpus, config.vocab_size, phrases)
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            **config.model_dump(exclude={"init", "vocab_size"}),
            vocab_size=len(tokenizer),
            tie_word_embeddings=True,
            bos_token_id=_id(tokenizer, tokens.BOS),
            eos_token_id=_id(tokenizer, tokens.EOS),
            pad_token_id=_id(tokenizer, tokens.PAD),
        )
    )
    return model, tokenizer


def _id(tokenizer: "PreTrainedTokenizerBase", token: str) -> int:
    return tokenizer.get_vocab()[token]


def build_tokenizer(corpus: list[str], vocab_size: int, phrases: Sequence[str] = ()) -> "PreTrainedTokenizerBase":
    """Byte-level BPE with the V4 tokens; any text can be encoded, and decodes to itself.

    The format's fixed paragraphs and each of `phrases` (tags, the schemas of tools) are one token, as far as these are
    few: a model this small would spend its prompts on them. Merges are learned from `corpus` between them.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    pieces = pre_tokenizers.Split(Regex(PIECES), "isolated")
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pieces, bytes_of])
    tokenizer.decoder = decoders.ByteLevel()
    whole = (*tokens.TEXT_TOKENS, *PARAGRAPHS, *_commonest(phrases, corpus, vocab_size // PHRASES_SHARE))
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(whole),
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in tokens.SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_between(corpus, (*tokens.SPECIAL_TOKENS, *whole)), trainer)
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in whole])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=tokens.BOS,
        eos_token=tokens.EOS,
        pad_token=tokens.PAD,
        padding_side="left",
    )
    install(fast)
    return fast


def _commonest(phrases: Sequence[str], corpus: list[str], count: int) -> Sequence[str]:
    """The phrases, or so many of them that stand in most texts."""
    if len(phrases) <= count:
        return phrases
    texts = {phrase: sum(phrase in text for text in corpus) for phrase in phrases}
    return sorted(sorted(phrases, key=lambda phrase: -texts[phrase])[:count])


def _between(corpus: list[str], whole: Sequence[str]) -> list[str]:
    """The stretches of text between whole tokens: merges never cross one."""
    longest_first = sorted(whole, key=len, reverse=True)
    breaks = re.compile("|".join(map(re.escape, longest_first)))
    return [piece for text in corpus for piece in breaks.split(text) if piece]
