"""The token log: what was drawn stays drawn, through kills, and lengths keep their distribution."""

import itertools
import json
import math
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polymath.engine.local import LocalEngine
from polymath.engine.protocol import Request, Sample, Sampling, Watch
from polymath.engine.wal import LoggedEngine, TokenLog, log_key
from polymath.run_dir import read_lines
from polymath.training import steps_up_to

pytestmark = pytest.mark.usefixtures("one_thread")

SCRIPT = Path(__file__).resolve().parents[1] / "data/sample_until_killed.py"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def uninterrupted(one_thread: None, script: dict[str, Any]) -> list[Sample]:
    return script["engine"]().generate(script["requests"]())


def test_what_is_appended_is_there_when_opened_again(tmp_path: Path) -> None:
    log = TokenLog(tmp_path / "tokens.jsonl")
    log.append([("1/0/0", Sample([4, 5], [-0.5, -1.0]), False), ("1/1/0", Sample([6], [-0.1], [[6, 7]]), True)])
    log.append([("1/0/0", Sample([9], [-2.0]), True), ("2/0/0", Sample([8], [-0.2], [[8]]), False)])
    for opened in (TokenLog(log.path), TokenLog(log.path)):
        assert opened.samples == {
            "1/0/0": Sample([4, 5, 9], [-0.5, -1.0, -2.0]),
            "1/1/0": Sample([6], [-0.1], [[6, 7]]),
            "2/0/0": Sample([8], [-0.2], [[8]]),
        }
        assert opened.complete == {"1/0/0", "1/1/0"}


@pytest.mark.parametrize(
    "torn", ['{"key": "1/0/0", "ids": [7', '{"key": "1/0/0", "ids": [7], "logprobs": [-1], "do', "{", "\0\0\0"]
)
def test_a_torn_last_line_is_as_if_it_had_not_been_written(tmp_path: Path, torn: str) -> None:
    log = TokenLog(tmp_path / "tokens.jsonl")
    log.append([("1/0/0", Sample([4], [-0.5]), False)])
    log.close()
    with log.path.open("a") as file:
        file.write(torn)
    again = TokenLog(log.path)
    assert again.samples == {"1/0/0": Sample([4], [-0.5])} and not again.complete
    again.append([("1/0/0", Sample([5], [-0.25]), True)])  # on a line of its own
    assert [line["ids"] for line in read_lines(log.path)] == [[4], [5]]
    assert TokenLog(log.path).samples == {"1/0/0": Sample([4, 5], [-0.5, -0.25])}


def test_what_a_checkpoint_holds_is_forgotten(tmp_path: Path) -> None:
    log = TokenLog(tmp_path / "tokens.jsonl")
    for step in (1, 2, 9, 10, 11):
        log.append([(f"{step}/0/0", Sample([step], [-1.0]), True), (f"{step}/1/0", Sample([step], [-1.0]), False)])
    log.forget(steps_up_to(9))
    for opened in (TokenLog(log.path), TokenLog(log.path)):
        assert list(opened.samples) == ["10/0/0", "10/1/0", "11/0/0", "11/1/0"]
        assert opened.complete == {"10/0/0", "11/0/0"}
    log.append([("10/1/0", Sample([3], [-1.0]), True)])
    assert TokenLog(log.path).samples["10/1/0"].ids == [10, 3]
    log.forget(steps_up_to(11))
    assert log.path.read_text() == ""


class Counting(LocalEngine):
    """Keeps what it is asked for."""

    asked: Sequence[Request] = ()

    def generate(self, requests: Sequence[Request], watch: Watch | None = None) -> list[Sample]:
        self.asked = requests
        return super().generate(requests, watch)


def test_only_what_is_missing_is_sampled(tmp_path: Path, script: dict[str, Any], uninterrupted: list[Sample]) -> None:
    requests = script["requests"]()
    log = TokenLog(tmp_path / "tokens.jsonl")
    cuts = [(index * 7) % (len(sample.ids) + 1) for index, sample in enumerate(uninterrupted)]
    is_whole = [cut == len(sample.ids) for cut, sample in zip(cuts, uninterrupted, strict=True)]
    for request, sample, cut, done in zip(requests, uninterrupted, cuts, is_whole, strict=True):
        kept = None if sample.kept is None else sample.kept[:cut]
        if cut:
            log.append([(log_key(request), Sample(sample.ids[:cut], sample.logprobs[:cut], kept), done)])
    engine = script["engine"]()
    counting = Counting(engine.policy, seed=0)
    logged = LoggedEngine(counting, TokenLog(log.path))
    assert_same(logged.generate(requests), uninterrupted)
    rest = [place for place, done in enumerate(is_whole) if not done]
    assert 20 < len(rest) < len(requests) - 20
    assert [request.key for request in counting.asked] == [requests[place].key for place in rest]
    for request, place in zip(counting.asked, rest, strict=True):
        assert request.written == cuts[place] and request.sampling.max_tokens == script["MOST"] - cuts[place]
        assert request.prompt_ids == requests[place].prompt_ids + uninterrupted[place].ids[: cuts[place]]
    counting.asked = ()
    assert_same(LoggedEngine(counting, TokenLog(log.path)).generate(requests), uninterrupted)
    assert counting.asked == ()  # everything was on the disk


def test_another_prompt_in_the_place_of_one_is_given_nothing_of_it(tmp_path: Path, script: dict[str, Any]) -> None:
    first = script["requests"]()[:8]
    log = TokenLog(tmp_path / "tokens.jsonl")
    before = LoggedEngine(script["engine"](), log).generate(first)
    others = [replace(request, prompt_ids=[5, *request.prompt_ids]) for request in first]
    counting = Counting(script["engine"]().policy, seed=0)
    samples = LoggedEngine(counting, TokenLog(log.path)).generate([*others[:4], *first[4:]])
    assert counting.asked == others[:4] and samples[4:] == before[4:]
    assert all(own != old for own, old in zip(samples[:4], before[:4], strict=True))


def test_what_has_all_its_tokens_is_not_asked_for(tmp_path: Path, script: dict[str, Any]) -> None:
    request = Request("1/0/0", [1, 2], Sampling(3, ()))
    log = TokenLog(tmp_path / "tokens.jsonl")
    log.append([(log_key(request), Sample([4, 5, 6], [-0.5, -1.0, -0.25]), False)])
    counting = Counting(script["engine"]().policy, seed=0)
    assert LoggedEngine(counting, TokenLog(log.path)).generate([request])[0].ids == [4, 5, 6] and not counting.asked


def test_tokens_alone_are_gone_on_with_as_well(tmp_path: Path, script: dict[str, Any]) -> None:
    asked = [replace(own, sampling=replace(own.sampling, logprobs=False)) for own in script["requests"]()[:8]]
    whole, path = script["engine"]().generate(asked), tmp_path / "tokens.jsonl"
    told = [(log_key(one), own.until(3), len(own.ids) <= 3) for one, own in zip(asked, whole, strict=True)]
    TokenLog(path).append(told)
    assert "logprobs" not in path.read_text()
    again = LoggedEngine(script["engine"](), TokenLog(path)).generate(asked)
    assert [own.ids for own in again] == [own.ids for own in whole] and not any(own.logprobs for own in whole + again)


def assert_same(samples: Sequence[Sample], expected: Sequence[Sample]) -> None:
    for sample, other in zip(samples, expected, strict=True):
        assert sample.ids == other.ids and sample.kept == other.kept
        assert sample.logprobs == pytest.approx(other.logprobs, abs=1e-5)


def test_samples_survive_that_the_process_is_killed(
    tmp_path: Path, script: dict[str, Any], uninterrupted: list[Sample]
) -> None:
    log, out = tmp_path / "tokens.jsonl", tmp_path / "samples.json"
    total, kills = sum(len(sample.ids) for sample in uninterrupted), []
    for share in (0.4, 1.1):
        process = subprocess.Popen([sys.executable, str(SCRIPT), str(log), str(out)])
        try:
            _run_until(process, log, share * total)
            if share < 1:
                process.send_signal(signal.SIGKILL)
                assert process.wait() == -signal.SIGKILL  # it was in the middle
                kills.append(_on_disk(log))
        finally:
            process.kill()
            process.wait()
    final = {
        log_key(request): own for request, own in zip(script["requests"](), json.loads(out.read_text()), strict=True)
    }
    for samples, complete in kills:
        assert 20 < len(complete) < len(samples) <= script["COUNT"]  # some were begun and not at their end
        for key, sample in samples.items():
            count = len(sample.ids)
            assert sample.ids == final[key]["ids"][:count] and sample.logprobs == final[key]["logprobs"][:count]
            assert sample.kept is None or sample.kept == final[key]["kept"][:count]
            assert (count == len(final[key]["ids"])) == (key in complete)
    sizes = [sum(len(sample.ids) for sample in samples.values()) for samples, _ in kills]
    assert 0 < sizes[-1] < total
    restored = [Sample(**own) for own in final.values()]
    assert_same(restored, uninterrupted)
    assert kolmogorov_smirnov(lengths(restored), lengths(uninterrupted)) == 1


def _run_until(process: subprocess.Popen[bytes], log: Path, tokens: float) -> None:
    """Wait until the process has written twice and so many tokens are on the disk, or it has ended."""
    size, writes = (log.stat().st_size if log.exists() else 0), 0
    while process.poll() is None:
        now = log.stat().st_size if log.exists() else 0
        if now > size:  # opening it again rewrites it, and makes it no larger
            size, writes = now, writes + 1
            if writes > 1 and sum(len(line["ids"]) for line in read_lines(log)) >= tokens:
                return
        time.sleep(0.01)


def _on_disk(log: Path) -> tuple[dict[str, Sample], set[str]]:
    samples: dict[str, Sample] = {}
    complete = set()
    for line in read_lines(log):
        samples.setdefault(line["key"], Sample()).extend(Sample(line["ids"], line["logprobs"], line.get("kept")))
        if line["done"]:
            complete.add(line["key"])
    return samples, complete


class Crash(Exception):
    pass


class CrashingLog(TokenLog):
    """Crashes once so many requests are complete; what was told before stays on the disk."""

    at: float = math.inf

    def append(self, told: Sequence[tuple[str, Sample, bool]]) -> None:
        super().append(told)
        self.finished = getattr(self, "finished", len(self.complete)) + sum(done for _, _, done in told)
        if self.finished >= self.at:
            raise Crash


def crashed_run(
    path: Path, script: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *, from_scratch: bool, same_seed: bool = False
) -> list[Sample]:
    """A run that crashes whenever 40% of what was left is complete; all requests are sampled side by side.

    `from_scratch` takes out of the log, before each start, what is not complete.
    """
    monkeypatch.setattr("polymath.engine.local.WATCH_SECONDS", -1.0)  # each token is told
    requests = script["requests"]()
    for attempt in range(7):
        log = CrashingLog(path)
        if from_scratch:
            unfinished = log.samples.keys() - log.complete
            log.forget(unfinished.__contains__)
        left = len(requests) - len(log.complete)
        log.at = len(log.complete) + 0.4 * left if attempt < 6 else math.inf
        engine = script["engine"](seed=0 if same_seed else 100 + attempt)
        engine.batch_size = len(requests)
        try:
            return LoggedEngine(engine, log).generate(requests)
        except Crash:
            log.close()
    raise AssertionError("the last attempt does not crash")


def test_sampling_from_scratch_after_a_crash_shortens_completions(
    tmp_path: Path, script: dict[str, Any], uninterrupted: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = lengths(uninterrupted)
    same = crashed_run(tmp_path / "same.jsonl", script, monkeypatch, from_scratch=False, same_seed=True)
    assert_same(same, uninterrupted)
    # An engine that draws anew after each start, as vLLM does: other tokens, of the same distribution
    logged = lengths(crashed_run(tmp_path / "logged.jsonl", script, monkeypatch, from_scratch=False))
    assert logged != expected and kolmogorov_smirnov(logged, expected) > 0.05
    naive = lengths(crashed_run(tmp_path / "naive.jsonl", script, monkeypatch, from_scratch=True))
    assert kolmogorov_smirnov(naive, expected) < 1e-6 and sum(naive) < 0.6 * sum(expected)


def lengths(samples: Sequence[Sample]) -> list[int]:
    return [len(sample.ids) for sample in samples]


def kolmogorov_smirnov(left: Sequence[float], right: Sequence[float]) -> float:
    """The p value of two samples being of one distribution; asymptotic, and too large where values are tied."""
    distance = max(
        abs(sum(own <= value for own in left) / len(left) - sum(own <= value for own in right) / len(right))
        for value in {*left, *right}
    )
    size = math.sqrt(len(left) * len(right) / (len(left) + len(right)))
    scaled = (size + 0.12 + 0.11 / size) * distance
    if scaled < 0.2:  # where the series is 1 to many digits, and converges slowly
        return 1.0
    return 2 * sum((-1) ** (term - 1) * math.exp(-2 * term**2 * scaled**2) for term in range(1, 101))


def test_the_test_of_distributions_by_hand() -> None:
    evens = [float(index) for index in range(100)]
    assert kolmogorov_smirnov(evens, evens) == 1
    # a distance of 0.5 with 8 and 8 values: Numerical Recipes, (14.3.9) with (14.3.10)
    assert kolmogorov_smirnov(list(range(8)), list(range(4, 12))) == pytest.approx(0.1877, abs=0.0005)
    assert kolmogorov_smirnov(evens, [value + 50 for value in evens]) < 1e-9


def test_tokens_are_on_the_disk_soon_after_they_are_drawn(tmp_path: Path, script: dict[str, Any]) -> None:
    on_disk = [0]
    path, step_seconds, rows = tmp_path / "tokens.jsonl", 0.03, 10

    class Counted(TokenLog):
        def append(self, told: Sequence[tuple[str, Sample, bool]]) -> None:
            super().append(told)
            on_disk.append(sum(len(line["ids"]) for line in read_lines(path)))

    requests = [Request(f"1/{index}/0", [1, 2], Sampling(100, ())) for index in range(rows)]
    LoggedEngine(script["engine"](seconds=step_seconds), Counted(path)).generate(requests)
    # each telling has all that was drawn: as many tokens of one as of the other
    assert all(count % rows == 0 for count in on_disk) and on_disk[-1] == 1000
    # in steps, for a machine that is busy elsewhere makes them longer, not more
    steps = [(after - before) / rows for before, after in itertools.pairwise(on_disk)]
    assert min(steps[:-1]) > 0 and max(steps) * step_seconds < 1


@pytest.mark.parametrize(
    "line",
    [
        "5",
        "{}",
        '{"key": "1/0/0", "ids": [1], "logprobs": [], "done": false}',
        '{"key": "1/0/0", "ids": ["a"], "logprobs": [-1.0], "done": false}',
        '{"key": "1/0/0", "ids": [1], "logprobs": [null], "done": false}',
        '{"key": "1/0/0", "ids": [1], "logprobs": [NaN], "done": false}',
        '{"key": "1/0/0", "ids": [1], "logprobs": [-Infinity], "done": false}',
        '{"key": "x", "ids": [1], "logprobs": [-1.0], "done": false}',
        '{"key": 5, "ids": [1], "logprobs": [-1.0], "done": false}',
        '{"key": "1/0/0", "ids": [1], "logprobs": [-1.0], "kept": [], "done": false}',
    ],
)
def test_a_line_that_is_none_of_a_log_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "tokens.jsonl"
    TokenLog(path).append([("1/0/0", Sample([1], [-1.0]), False)])
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=r"tokens\.jsonl:2: no line of a token log; delete the file"):
        TokenLog(path)


@pytest.mark.parametrize("line", ["{", "\0\1", "\udcff"])
def test_a_damaged_line_costs_the_whole_log(tmp_path: Path, line: str) -> None:
    path = tmp_path / "tokens.jsonl"
    path.write_bytes(line.encode(errors="surrogateescape") + b"\n")
    TokenLog(tmp_path / "other").append([("1/0/0", Sample([1], [-1.0]), False)])
    path.write_bytes(path.read_bytes() + (tmp_path / "other").read_bytes())
    with pytest.raises(ValueError, match=r"tokens\.jsonl:1: no JSON \(.*\); delete the file, and what no checkpoint"):
        TokenLog(path)


def test_a_token_of_no_vocabulary_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokens.jsonl"
    TokenLog(path).append([("1/0/0", Sample([1], [-1.0]), False), ("1/1/0", Sample([3, 50], [-1.0, -1.0]), True)])
    with pytest.raises(ValueError, match=r"tokens\.jsonl:2: token 50 of a vocabulary of 50; delete the file"):
        TokenLog(path, 50)
    assert TokenLog(path, 51).complete == {"1/1/0"}
