"""What the GPU does while vLLM samples 64 completions of 128 tokens: how long it is busy, and with what.

    python docs/results/sampling_profile.py {qwen3-1.7b,qwen3-4b,...}

All weights, no adapter, after four rounds to warm up; the first line is their seconds.
"""

import sys

from grpo_step import ON_GPU, model_folder, now, share_of_memory
from torch.profiler import ProfilerActivity, profile

from polymath.engine.colocated import ColocatedEngine, ColocatedSettings
from polymath.engine.protocol import Request, Sampling

COMPLETIONS, PROMPT, TOKENS, SHOWN = 64, 60, 128, 20


def seconds_of(engine: ColocatedEngine, number: int) -> float:
    """One round, of prompts of its own."""
    first = 1000 + number * COMPLETIONS
    requests = [
        Request(f"{number}/{place}", list(range(first + place // 8, first + place // 8 + PROMPT)), Sampling(TOKENS, ()))
        for place in range(COMPLETIONS)
    ]
    started = now()
    engine.generate(requests)
    return now() - started


def main() -> None:
    """Profile one round."""
    folder = model_folder(sys.argv[1])
    engine = ColocatedEngine(folder, ColocatedSettings("bfloat16", COMPLETIONS, 0, share_of_memory(), 1024))
    print(*(f"{seconds_of(engine, number):.3f} s" for number in range(4)))
    with profile(activities=[ProfilerActivity.CUDA if ON_GPU else ProfilerActivity.CPU]) as profiled:
        took = seconds_of(engine, 4)
    kernels = sorted(profiled.key_averages(), key=lambda kernel: -kernel.self_device_time_total)
    busy = sum(kernel.self_device_time_total for kernel in kernels) / 1e6
    print(f"profiled: {took:.3f} s, of which the GPU is busy for {busy:.3f} s")
    for kernel in kernels[:SHOWN]:
        print(f"{kernel.self_device_time_total / 1e3:8.2f} ms {kernel.count:6d} x {kernel.key[:100]}")


if __name__ == "__main__":
    main()
