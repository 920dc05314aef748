"""How a stage samples: with transformers, or with vLLM beside the learner or behind a URL; names as in TRL."""

from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from polymath.strict import StrictModel

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # of adapters: what vLLM reserves room for
ADDRESS = r"^https?://[^\s/?#]+(/[^\s?#]*)?$"  # of a server: no query, and no part of a page


class EngineConfig(StrictModel):
    """Settings of a stage that samples."""

    use_vllm: bool = Field(default=False, description="Sample with vLLM; otherwise with transformers.")
    vllm_mode: Literal["colocate", "server"] = Field(
        default="colocate", description="vLLM in the learner's process and on its device, or a server of your own."
    )
    vllm_server_base_url: str | None = Field(
        default=None, pattern=ADDRESS, description="Of `vllm_mode: server`: http://host:port."
    )
    vllm_gpu_memory_utilization: float = Field(default=0.3, gt=0, lt=1)
    vllm_max_model_length: PositiveInt | None = Field(
        default=None, description="Tokens of prompt and completion, the results of tools included."
    )
    vllm_enable_sleep_mode: bool = Field(
        default=False, description="Give vLLM's memory to the learner while it trains; the engine is awake otherwise."
    )

    @model_validator(mode="after")
    def _a_server_has_an_address(self) -> "EngineConfig":
        if self.vllm_mode == "server" and not self.use_vllm:
            raise ValueError("vllm_mode: server goes with use_vllm: true; without it nothing samples with vLLM")
        if self.use_vllm and (self.vllm_mode == "server") != (self.vllm_server_base_url is not None):
            raise ValueError("vllm_mode: server goes with vllm_server_base_url, and colocate without")
        if self.vllm_server_base_url is not None and not self.use_vllm:
            raise ValueError("vllm_server_base_url goes with use_vllm: true; without it nothing samples with vLLM")
        if self.vllm_enable_sleep_mode and not self.use_vllm:
            raise ValueError("vllm_enable_sleep_mode goes with use_vllm: true; without it there is no vLLM to sleep")
        if self.vllm_enable_sleep_mode and self.vllm_mode == "server":
            raise ValueError("vllm_enable_sleep_mode is for vLLM in the learner's process: a server has its own memory")
        return self
