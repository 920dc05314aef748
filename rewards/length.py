"""What reasoning costs."""


def length_penalty(reasoning_tokens: int, k: float, length_norm: int, maximum: float) -> float:
    """`-min(maximum, k * reasoning_tokens / length_norm)`, the penalty of the V4.1 report (section 5.1.4).

    `k` belongs to the think mode; groups share one mode, so the advantage compares lengths within it alone.
    """
    return -min(maximum, k * reasoning_tokens / length_norm)
