"""A tiny model with a tokenizer of its own, made from the recipe's domains; needs no download."""

import re
from typing import TYPE_CHECKING

from polymath import chat
from polymath.models import TinyModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# What one token may span at most: the fixed pieces of a DSML tag, a word, a digit, a run of anything else.
PIECES = (
    r'parameter name="[a-z_]*" string="(?:true|false)">|parameter>\n</?|invoke name="[a-z_]*">\n<|invoke>\n</?'
    r"|tool_calls>(?:\n<)?| ?[A-Za-z_]+|[0-9]"
)


def build(config: TinyModel, corpus: list[str], seed: int) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """A randomly initialised model and a tokenizer whose merges are learned from `corpus`."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = build_tokenizer(corpus, config.vocab_size)
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            **config.model_dump(exclude={"init", "vocab_size"}),
            vocab_size=len(tokenizer),
            tie_word_embeddings=True,
            bos_token_id=_id(tokenizer, chat.BOS),
            eos_token_id=_id(tokenizer, chat.EOS),
            pad_token_id=_id(tokenizer, chat.PAD),
        )
    )
    return model, tokenizer


def _id(tokenizer: "PreTrainedTokenizerBase", token: str) -> int:
    return tokenizer.get_vocab()[token]


def build_tokenizer(corpus: list[str], vocab_size: int) -> "PreTrainedTokenizerBase":
    """Byte-level BPE with the V4 tokens; any text can be encoded, and decodes to itself."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    pieces = pre_tokenizers.Split(Regex(PIECES), "isolated")
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pieces, bytes_of])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(chat.TEXT_TOKENS),
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in chat.SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_between_tokens(corpus), trainer)
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in chat.TEXT_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=chat.BOS, eos_token=chat.EOS, pad_token=chat.PAD, padding_side="left"
    )


def _between_tokens(corpus: list[str]) -> list[str]:
    """The stretches of text between the V4 tokens: merges never cross a token."""
    tokens = re.compile("|".join(map(re.escape, (*chat.SPECIAL_TOKENS, *chat.TEXT_TOKENS))))
    return [piece for text in corpus for piece in tokens.split(text) if piece]
