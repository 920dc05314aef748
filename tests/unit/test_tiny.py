"""The tokenizer that is built here."""

import pytest

from polymath.base import _corpus
from polymath.chat import tokens
from polymath.models import TinyModel
from polymath.pipeline import plan
from polymath.recipe import load_recipe
from polymath.run_dir import RunDir
from polymath.tiny import build, build_tokenizer

MINIATURE = "recipes/miniature.yaml"


@pytest.fixture(scope="module")
def corpus(request) -> tuple[list[str], list[str]]:
    recipe = load_recipe(request.config.rootpath / MINIATURE)
    return _corpus(plan(recipe, RunDir(request.config.rootpath / "nowhere"))[0].job)


@pytest.fixture(scope="module")
def tokenizer(corpus):
    texts, phrases = corpus
    return build_tokenizer(texts, 768, phrases)


@pytest.mark.parametrize(
    "text",
    [
        "47 + 38",
        "\n\n a\tb  c",
        "na\u00efve \u6f22\u5b57 \U0001f600",
        f"{tokens.BOS}x{tokens.EOS}",
        f"<{tokens.DSML}invoke",
        "a  .",
    ],
)
def test_any_text_comes_back(tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_tokens_of_the_format_are_single(tokenizer) -> None:
    for token in tokens.ALL_TOKENS:
        assert len(tokenizer.encode(token)) == 1
    visible = tokenizer.decode(
        tokenizer.encode(f"{tokens.THINK}7{tokens.END_THINK}{tokens.EOS}"), skip_special_tokens=True
    )
    assert visible == f"{tokens.THINK}7{tokens.END_THINK}"


def test_building_is_repeatable(corpus) -> None:
    texts, phrases = corpus
    (one, first), (two, second) = (build(TinyModel(), texts, phrases, 3) for _ in range(2))
    assert first.get_vocab() == second.get_vocab()
    assert all((a == b).all() for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_of_many_phrases_the_commonest_are_single() -> None:
    phrases = [f'{{"name": "f{place}"}}' for place in range(2000)]
    texts = [*phrases, *phrases[1990:], *phrases[1995:]]
    tokenizer = build_tokenizer(texts, 400, phrases)
    known = set(tokenizer.get_vocab())
    assert set(phrases[1995:]) <= known and len(known & set(phrases)) == 100
    assert tokenizer.decode(tokenizer.encode(phrases[0])) == phrases[0]
