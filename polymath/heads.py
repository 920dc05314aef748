"""What a model does to its logits after the product of hidden states and head; no torch."""

from typing import Any


def logit_scale(config: Any) -> float:
    """What it multiplies them with: Cohere, Muse Glimmer, Falcon-H1; HyperCLOVA X; Granite and MiniCPM3."""
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
        if (value := getattr(config, name, None)) is not None:
            return float(value)
    if (value := getattr(config, "logits_scaling", None)) is None:
        return 1.0
    return float(value) if config.model_type == "hyperclovax" else 1 / float(value)


def logit_softcap(config: Any) -> float | None:
    """The value that tanh keeps them below: Gemma 2."""
    return getattr(config, "final_logit_softcapping", None)
