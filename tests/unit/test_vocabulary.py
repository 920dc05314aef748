"""Models that join: the V4 tokens in another vocabulary, trained with all weights or with an adapter."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from polymath.chat import V4Format, format_for, parse
from polymath.chat.formats import NativeFormat
from polymath.chat.template import install_header
from polymath.chat.tokens import ALL_TOKENS, BOS, EOS, PAD, THINK, USER
from polymath.models import load_model, load_tokenizer
from polymath.vocabulary import check_round_trip, decode, fit_fused_head, join, missing_tokens, new_tokens

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def stranger(fused: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer that knows nothing of V4; `fused` as one that was converted from a GGUF file."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte_level = decoders.ByteLevel()
    tokenizer.decoder = (
        decoders.Sequence([decoders.Fuse(), decoders.Replace("\u2581", " "), byte_level]) if fused else byte_level
    )
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|im_start|>", "<|im_end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(["the user thinks, the assistant answers a query of some domain"] * 9, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", chat_template=CHATML)


def model_for(rows: int, *, tied: bool) -> Any:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "head_dim": 16}
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 2}
    return Qwen3ForCausalLM(Qwen3Config(vocab_size=rows, tie_word_embeddings=tied, **sizes, **heads))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("spare", [0, 64])
def test_new_rows_begin_near_what_they_mean(tied: bool, spare: int, tmp_path: Path) -> None:
    tokenizer = stranger()
    before = len(tokenizer)
    model = model_for(before + spare, tied=tied)
    words = tokenizer.encode("user")
    old = [table.weight.detach().clone() for table in (model.get_input_embeddings(), model.get_output_embeddings())]
    ids = join(model, tokenizer)
    assert not missing_tokens(tokenizer) and len(ids) == len(ALL_TOKENS)
    assert model.get_input_embeddings().num_embeddings == max(before + spare, len(tokenizer))
    for was, table in zip(old, (model.get_input_embeddings(), model.get_output_embeddings()), strict=True):
        weight = table.weight.detach()
        assert torch.equal(weight[:before], was[:before])
        assert torch.allclose(weight[tokenizer.convert_tokens_to_ids(USER)], was[words].mean(0), atol=1e-6)
        assert torch.allclose(
            weight[tokenizer.convert_tokens_to_ids(EOS)], was[tokenizer.convert_tokens_to_ids("<|im_end|>")]
        )
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert (again.bos_token, again.eos_token, again.pad_token) == (BOS, EOS, PAD)
    assert new_tokens(load_model(tmp_path, "float32")) == ids
    assert isinstance(format_for("v4", again), V4Format)
    assert "tool_calls" in again.chat_template and again.response_template
    assert model.generation_config.eos_token_id == again.eos_token_id


@pytest.mark.parametrize("fused", [False, True])
def test_text_with_tokens_comes_back(fused: bool) -> None:
    tokenizer = stranger(fused)
    join(model_for(len(tokenizer), tied=True), tokenizer)
    text = f"{BOS}a\n\nb \u6f22{USER}c{THINK}  d{EOS}{EOS}"
    assert decode(tokenizer, tokenizer.encode(text, add_special_tokens=False)) == text


@pytest.mark.parametrize("prepends", ["pre_tokenizer", "normalizer"])
def test_a_tokenizer_that_marks_spaces_joins(prepends: str) -> None:
    """As SentencePiece's do: Llama 2, Mistral, Gemma."""
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
    vocabulary = {
        token: index for index, token in enumerate(["<unk>", "<s>", "</s>", *alphabet, "\u2581", *"thinksoue"])
    }
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    if prepends == "pre_tokenizer":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", bos_token="<s>")
    join(model_for(len(fast), tied=True), fast)
    check_round_trip(fast)
    text = f"{BOS}  a b\n{USER} c{THINK}  d \u6f22{EOS}"
    assert decode(fast, fast.encode(text, add_special_tokens=False)) == text


def test_a_tokenizer_that_loses_text_is_refused() -> None:
    tokenizer = stranger()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(ValueError, match="needs a tokenizer that gives back the text"):
        join(model_for(len(tokenizer), tied=True), tokenizer)


def test_joining_without_an_end_token_and_twice() -> None:
    tokenizer = stranger()
    tokenizer.eos_token = None
    model = model_for(len(tokenizer), tied=True)
    ids = join(model, tokenizer)
    assert not model.get_input_embeddings().weight.isnan().any()
    assert join(model, tokenizer) == [] and new_tokens(model) == ids


@pytest.mark.parametrize("tied", [True, False])
def test_an_adapter_trains_the_new_rows_and_no_old_one(tied: bool, tmp_path: Path) -> None:
    """Through TRL's trainer, whose fused head reads the head's weight past PEFT's forward."""
    tokenizer = stranger()
    model = model_for(len(tokenizer), tied=tied)
    ids = join(model, tokenizer)
    tables = ["embed_tokens"] if tied else ["embed_tokens", "lm_head"]
    peft_model = get_peft_model(
        model, LoraConfig(r=2, target_modules="all-linear", trainable_token_indices=dict.fromkeys(tables, ids))
    )
    row = tokenizer.encode(f"{USER}a{THINK}{EOS}", add_special_tokens=False)
    args = SFTConfig(
        output_dir=str(tmp_path), max_steps=40, per_device_train_batch_size=2, learning_rate=0.05, use_cpu=True, bf16=False,
        report_to="none", gradient_checkpointing=False, save_strategy="no",
    )  # fmt: skip
    data = Dataset.from_list([{"input_ids": row, "completion_mask": [0, 0, 1, 1]}] * 80)
    before = peft_model.get_output_embeddings().weight.detach().clone()
    trainer = SFTTrainer(model=peft_model, args=args, train_dataset=data, processing_class=tokenizer)
    fit_fused_head(trainer.model)
    trainer.train()
    after = peft_model.get_output_embeddings().weight.detach()
    changed = {index for index in range(len(after)) if not torch.equal(before[index], after[index])}
    assert changed <= set(ids) and {row[-1], row[-2]} <= changed
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert losses == [] or losses[-1] < 2
    with torch.no_grad():
        logits = peft_model(torch.tensor([row[:3]])).logits[0]
    assert logits[-1].argmax() == row[-1] and logits[-2].argmax() == row[-2]


def test_a_model_keeps_its_own_template() -> None:
    tokenizer = stranger()
    form = format_for("native", tokenizer)
    assert isinstance(form, NativeFormat)
    with pytest.raises(ValueError, match="needs tokens which this vocabulary lacks"):
        format_for("v4", tokenizer)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    call = {"type": "function", "id": "1", "function": {"name": "f", "arguments": {"x": 1}}}
    question = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    answers = [
        {"role": "assistant", "content": "", "reasoning": "why", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "r"},
        {"role": "assistant", "content": "4", "reasoning": "so"},
    ]
    prompt = "".join(segment.text for segment in form.conversation(question, "high", [tool]))
    whole = form.conversation([*question, *answers], "high", [tool])
    assert prompt.startswith("<|im_start|>system\ns\n\n## Tools") and prompt.endswith("<|im_start|>assistant\n<think>")
    assert "".join(segment.text for segment in whole).startswith(prompt)
    written = [segment.text for segment in whole if segment.generated]
    assert [parse(turn, "high", eos_token="<|im_end|>")["reasoning"] for turn in written] == ["why", "so"]
    assert whole[2].text == form.results(["r"], "high")
    assert whole[2].text == "\n<|im_start|>user\n<tool_result>r</tool_result><|im_end|>\n<|im_start|>assistant\n<think>"


NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHATML
OPENS = CHATML.replace("{% if enable_thinking is", "<think>\n{% if false and enable_thinking is")
DROPS = "{% for m in messages[-1:] %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"


def native(template: str) -> NativeFormat:
    tokenizer = stranger()
    tokenizer.chat_template = template
    return NativeFormat(tokenizer)


def test_templates_with_ways_of_their_own() -> None:
    question = [{"role": "user", "content": "q"}]
    text = "".join(segment.text for segment in native(NO_SYSTEM).conversation(question, "max", ()))
    assert text.startswith("<|im_start|>user\nReasoning Effort") and "\n\nq<|im_end|>" in text
    ends: list[tuple[Any, str]] = [("non_think", "<think>\n</think>"), ("high", "<think>\n")]
    for mode, end in ends:
        assert "".join(s.text for s in native(OPENS).conversation(question, mode, ())).endswith(f"assistant\n{end}")
    with pytest.raises(ValueError, match="repeats earlier answers"):
        native(DROPS).results(["r"], "high")
    with pytest.raises(ValueError, match="begins with a system or user message"):
        native(CHATML).conversation([], "max", ())
    with pytest.raises(ValueError, match=r"messages hold <\|im_end\|>"):
        native(CHATML).conversation([{"role": "user", "content": "a<|im_end|>b"}], "high", ())
    assert "error: the result holds a token" in native(CHATML).results(["a<|im_end|>b"], "high")
    told = [*question, {"role": "assistant", "content": "a"}, {"role": "system", "content": "s"}, *question]
    assert "".join(s.text for s in native(CHATML).conversation(told, "high", ())).count("<|im_start|>assistant") == 2


PLAIN = CHATML.replace("enable_thinking is defined and not enable_thinking", "false")


@pytest.mark.parametrize("template", [CHATML, PLAIN, NO_SYSTEM, OPENS])
def test_who_renders_by_the_saved_template_asks_what_was_trained(template: str) -> None:
    form = native(template)
    asked = [{"role": "user", "content": "q"}]
    modes: tuple[Any, ...] = "non_think", "high"
    due = {mode: "".join(own.text for own in form.conversation(asked, mode, ())) for mode in modes}
    for _ in range(2):  # a stage, and one that goes on from it
        install_header(form.tokenizer, form)
        for mode, text in due.items():
            thinks, render = mode != "non_think", form.tokenizer.apply_chat_template
            assert render(asked, tokenize=False, add_generation_prompt=True, enable_thinking=thinks) == text
            assert "".join(own.text for own in form.conversation(asked, mode, ())) == text
    plain = form.tokenizer.apply_chat_template(asked, tokenize=False)
    assert plain == native(template).tokenizer.apply_chat_template(asked, tokenize=False)


@pytest.mark.parametrize(
    ("mode", "begins", "ends"),
    [("non_think", "<|im_start|>user", "<think>\n\n</think>\n\n"), ("high", "<|im_start|>user", "assistant\n<think>"),
     ("max", "<|im_start|>system\nReasoning Effort: Absolute maximum", "assistant\n<think>")],
)  # fmt: skip
def test_modes_are_mapped_onto_what_a_template_has(mode: Any, begins: str, ends: str) -> None:
    form = NativeFormat(stranger())
    text = "".join(segment.text for segment in form.conversation([{"role": "user", "content": "q"}], mode, ()))
    assert text.startswith(begins) and text.endswith(ends)
