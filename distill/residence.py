"""Tensors that lie in the host's memory, and are on a GPU for as long as somebody computes with them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch


class Residence:
    """Of tensors that are read and never written; on a CPU they are where they are.

    They are copied by a stream of their own, from pinned memory. Their place is taken from the stream that computes,
    which waits for them to arrive before it reads them, so that it may give the place to others once it has.
    """

    def __init__(self, tensors: Iterable[torch.Tensor], device: torch.device) -> None:
        self.device = device
        self._copying = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._at_home = [(own, own.data.pin_memory() if self._copying else own.data) for own in tensors]
        self._go_home()

    def fetch(self) -> None:
        """Begin to bring them, beside what is computed."""
        if self._copying is None or self._is_away:
            return
        places = [torch.empty_like(at_home, device=self.device) for _, at_home in self._at_home]
        self._copying.wait_stream(torch.cuda.current_stream(self.device))  # what was in these places is read until then
        with torch.cuda.stream(self._copying):
            for place, (own, at_home) in zip(places, self._at_home, strict=True):
                own.data = place.copy_(at_home, non_blocking=True)
        self._is_away = True

    @contextmanager
    def on_device(self) -> Iterator[None]:
        """They are there for as long as the context is open."""
        self.fetch()
        if self._copying is not None:
            torch.cuda.current_stream(self.device).wait_stream(self._copying)
        try:
            yield
        finally:
            self._go_home()

    def _go_home(self) -> None:
        for own, at_home in self._at_home:
            own.data = at_home
        self._is_away = False
