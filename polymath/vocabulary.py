"""Giving a model the V4 tokens: new rows of its vocabulary, begun near what they mean."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from polymath import models
from polymath.chat.template import install
from polymath.chat.tokens import (
    ALL_TOKENS,
    ASSISTANT,
    BOS,
    DSML,
    END_THINK,
    EOS,
    PAD,
    REMINDER,
    SPECIAL_TOKENS,
    TASKS,
    THINK,
    USER,
)

NEW_TOKENS = "polymath_new_token_ids"  # in a model's config: the rows that no pre-training has seen
ROUND_TRIP = (
    f' so:\n 1  2</think>It is 3.\n\n<{DSML}tool_calls>\n<{DSML}invoke name="f">\n'
    f'<{DSML}parameter name="a" string="true"> b </{DSML}parameter>\n</{DSML}invoke>\n</{DSML}tool_calls>{EOS}'
)
# A new row begins as the mean of the rows of these words; the special ones as those which the model has for them
MEANINGS = {
    USER: "user",
    ASSISTANT: "assistant",
    THINK: "<think>",
    END_THINK: "</think>",
    DSML: " function",
    REMINDER: "reminder",
    **{token: task.replace("_", " ") for task, token in TASKS.items()},
}


def apart(origin: Path, other: Path) -> str:
    """What to say where a model gives tokens other numbers than the one that a stage begins from; empty else.

    What that one says of a token would be taken as said of another.
    """
    ours, theirs = models.load_tokenizer(origin).get_vocab(), models.load_tokenizer(other).get_vocab()
    differing = [token for token in ours | theirs if ours.get(token) != theirs.get(token)]
    if not differing:
        return ""
    return (
        f"{other} has {len(theirs)} tokens, and what `from` names has {len(ours)}; {len(differing)} are "
        f"not the same, {differing[0]!r} for one: train it from where this stage begins"
    )


def speaks_v4(tokenizer: Any) -> bool:
    """Whether a vocabulary has the format's tokens, and ends its turns as the format does."""
    return not missing_tokens(tokenizer) and tokenizer.eos_token == EOS


def missing_tokens(tokenizer: Any) -> list[str]:
    """The V4 tokens that a vocabulary lacks."""
    known = tokenizer.get_vocab()
    return [token for token in ALL_TOKENS if token not in known]


def join(model: Any, tokenizer: Any) -> list[int]:
    """Add the V4 tokens that a vocabulary lacks, in place, and make them the model's; returns the ids of the new ones.

    The embeddings grow where they have no spare rows (Qwen's have). A new row, and that of a head which is not tied,
    is the mean of the rows of words that say what the token is for, so that the model starts near what it knows.
    """
    from tokenizers import AddedToken

    pieces = {token: tokenizer.encode(words, add_special_tokens=False) for token, words in MEANINGS.items()}
    for token, own in ((BOS, tokenizer.bos_token_id), (EOS, tokenizer.eos_token_id), (PAD, tokenizer.pad_token_id)):
        pieces[token] = [token_id for token_id in (own, tokenizer.eos_token_id) if token_id is not None][:1]
    new = missing_tokens(tokenizer)
    tokenizer.add_tokens([AddedToken(token, special=token in SPECIAL_TOKENS, normalized=False) for token in new])
    tokenizer.add_special_tokens({"bos_token": BOS, "eos_token": EOS, "pad_token": PAD})
    install(tokenizer)
    _decode_bytes_token_by_token(tokenizer)
    _leave_spaces_alone(tokenizer)
    check_round_trip(tokenizer)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    ids: list[int] = tokenizer.convert_tokens_to_ids(new)
    _begin(model, {token_id: pieces[token] for token_id, token in zip(ids, new, strict=True)})
    vocabulary = tokenizer.get_vocab()
    for settings in (model.config, model.generation_config):
        settings.bos_token_id, settings.eos_token_id = vocabulary[BOS], vocabulary[EOS]
        settings.pad_token_id = vocabulary[PAD]
    setattr(model.config, NEW_TOKENS, sorted({*new_tokens(model), *ids}))
    return ids


def _decode_bytes_token_by_token(tokenizer: Any) -> None:
    """Let a byte-level tokenizer decode each token by itself.

    Tokenizers that come from GGUF files fuse all tokens first, and one character that is no byte, such as those in the
    format's tokens, then leaves the whole text undecoded.
    """
    from tokenizers import decoders, pre_tokenizers

    if isinstance(tokenizer.backend_tokenizer.pre_tokenizer, pre_tokenizers.ByteLevel):
        tokenizer.backend_tokenizer.decoder = decoders.ByteLevel()


def _leave_spaces_alone(tokenizer: Any) -> None:
    """Let a SentencePiece-like tokenizer put no space of its own before a text, as it would after each new token."""
    from tokenizers import decoders, normalizers, pre_tokenizers

    backend = tokenizer.backend_tokenizer
    marks_spaces = isinstance(backend.pre_tokenizer, pre_tokenizers.Metaspace)
    if not marks_spaces and "Prepend" not in str(backend.normalizer):
        return
    if marks_spaces:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=backend.pre_tokenizer.split)
    else:
        backend.normalizer = normalizers.Replace(" ", "\u2581")
    backend.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])


def check_round_trip(tokenizer: Any) -> None:
    """Raise `ValueError` where a completion does not come back as it was encoded: nothing could be learned from it."""
    encoded = tokenizer.encode(ROUND_TRIP, add_special_tokens=False)
    if (decoded := decode(tokenizer, encoded)) != ROUND_TRIP:
        raise ValueError(
            f"chat: v4 needs a tokenizer that gives back the text it encodes, and this one turns {ROUND_TRIP!r} "
            f"into {decoded!r}; set chat: native"
        )


def _begin(model: Any, pieces: dict[int, list[int]]) -> None:
    """Set each new row to the mean of the rows that it is given; of all rows where it is given none."""
    import torch

    tables = [model.get_input_embeddings().weight]
    if not model.config.tie_word_embeddings:
        tables.append(model.get_output_embeddings().weight)
    with torch.no_grad():
        for table in tables:
            for row, parts in pieces.items():
                table[row] = (table[parts] if parts else table).float().mean(dim=0).to(table.dtype)


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of token ids, the tokens of the format as they are.

    Many tokenizers write U+2581 as a space when they decode, also where it stands in a token's name.
    """
    literal = {tokenizer.convert_tokens_to_ids(token): token for token in SPECIAL_TOKENS}
    stretches = groupby(ids, key=lambda token_id: literal.get(token_id))
    return "".join(
        token * len(list(own)) if token else str(tokenizer.decode(list(own), skip_special_tokens=False))
        for token, own in stretches
    )


def fit_fused_head(model: Any) -> None:
    """Let TRL's fused head read a head whose new rows an adapter trains: it asks for a bias, which PEFT's has not."""
    from peft.utils.other import TrainableTokensWrapper

    for module in model.modules():
        if isinstance(module, TrainableTokensWrapper) and not hasattr(module, "bias"):
            setattr(module, "bias", None)  # noqa: B010


def new_tokens(model: Any) -> list[int]:
    """The rows of a model's vocabulary that were added here; an adapter has to train them."""
    return list(getattr(model.config, NEW_TOKENS, []))
