"""TRL's `GRPOTrainer` on rows, with one forward: packed, and at the same time the correction's."""

import random
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, cast

import torch
from torch.utils.checkpoint import checkpoint
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from polymath.data import JUDGE
from polymath.episodes import Episode
from polymath.heads import logit_scale, logit_softcap
from polymath.packed import Packed, backbone, use_packed_attention
from polymath.rollouts import Batch, RolloutMixin
from polymath.training import places_to_show, write_rollouts
from rewards import RubricReward
from rewards.scorer import Scorer
from rl.config import Mode
from rl.groups import Groups
from rl.hands import Judge
from rl.judges import fits
from rl.jury import Jury
from rl.mismatch import importance_ratio, kept_logprobs
from rl.refill import Reserve, has_signal

Play = Callable[[list[Batch]], list[Episode]]
Score = Callable[[list[Batch]], torch.Tensor]  # [B, rewards]
Others = Callable[[list[Batch], int], list[Batch]]  # one for each of some rows, or fewer
KEPT_CHUNK = 1024  # tokens whose kept rows of the head are gathered at a time


class SpecialistTrainer(RolloutMixin, GRPOTrainer):
    """A group is one prompt in one think mode, so advantages never mix modes.

    TRL runs a forward before the loss, for the log-probabilities of the policy that sampled. Every optimizer step has
    samples of its own, so that these are the loss's own, detached: the forward is left out, and the importance ratio
    is filled in where the loss has computed them.
    """

    def __init__(
        self, *, scorer: Scorer, reserve: Reserve, jury_for: Callable[[Judge], Jury] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(reward_funcs=scorer.functions(), **kwargs)
        self.scorer, self.reserve = scorer, reserve
        self.jury = jury_for(self) if jury_for else None
        self._played = 0  # rows of this step so far, by which episodes are named
        if self.sampling.truncates():
            _refuse_scaled_logits(self.accelerator.unwrap_model(self.model).config.get_text_config())
        self._inputs: Batch | None = None  # of the loss that is being computed
        self._group_size = cast(int, self.num_generations)
        if self.ref_model is not None:  # of the KL: it reads the same packed inputs
            use_packed_attention(self.accelerator.unwrap_model(self.ref_model))
        settings = cast(GRPOConfig, self.args)
        assert settings.steps_per_generation == settings.gradient_accumulation_steps and settings.num_iterations == 1

    def _collect(self, rows: list[Batch]) -> tuple[list[Batch], list[Episode]]:
        """Sample and score; a group without signal gives its place to a prompt that has one, as far as the cap goes.

        With a judge the last groups are judging tasks of what the others are. What is logged is what was sampled
        first: rewards of what replaced it are no measure of the policy.
        """
        self._played, size = 0, self._group_size
        if self.jury:
            self.jury.begin(self._step_number())
            self._log_all(self.jury.look(self.ask, size) if self.jury.is_due() else {})
        judging = self.jury.config.groups(len(rows) // size) * size if self.jury else 0
        groups = self._sampled(rows[: len(rows) - judging], self._play, self._score)
        self._note(groups.rows, groups.episodes)
        self._note_rewards(groups.rows, groups.rewards_BR)
        self._log_all(self.jury.silence(groups.rows) if self.jury else {})
        self._keep_some(groups.rows, groups.episodes)
        if worth := self._totals(groups.rewards_BR).isfinite().any(1).sum().item():
            self._log("reward/zero_std_share", len(self._dead(groups)) / worth)
        self._log("reward/refilled_groups", self._refill(groups, self._play, self._score, self._replacements))
        if self.jury and judging:
            groups += self._judging_tasks(self.jury, groups.rows, rows[-judging:])
            self._log("judge/token_share", _share_of_tokens(groups, JUDGE))
        if self.jury and self.jury.judge is not self:  # the policy's own time is counted as it is asked
            self._spent["time/judge"] += self.jury.seconds
            self.jury.seconds = 0.0
        self._rewards = groups.rewards_BR.to(self.accelerator.device)
        return groups.rows, groups.episodes

    def _refill(self, groups: Groups, play: Play, score: Score, others: Others) -> int:
        """Put others in the places of groups without signal, as far as the cap goes; how many there were."""
        dead, refilled = self._dead(groups), 0
        for attempt in range(1, self.reserve.rounds + 1):
            found = others(groups.first_rows(dead), attempt)
            if not found:
                break
            theirs = self._sampled([dict(row) for row in found for _ in range(groups.size)], play, score)
            still_dead = set(self._dead(theirs))
            live = [place for place in range(len(found)) if place not in still_dead]
            for place in live:  # what is of a group's own domain and mode takes that group's place
                groups.put(dead[place], theirs, place)
            refilled += len(live)
            dead = [group for place, group in enumerate(dead) if place not in live]
        return refilled

    def _replacements(self, rows: list[Batch], attempt: int) -> list[Batch]:
        return self.reserve.replacements(rows, self._step_number(), attempt)

    def _sampled(self, rows: list[Batch], play: Play, score: Score) -> Groups:
        episodes = play(rows) if rows else []
        rewards_BR = score(rows) if rows else torch.empty(0, len(self.scorer.settings))
        return Groups(rows, episodes, rewards_BR, self._group_size)

    def _play(self, rows: list[Batch], spent: str = "time/generate") -> list[Episode]:
        first, self._played = self._played, self._played + len(rows)
        return self._roll_out(rows, first, spent)

    def ask(self, rows: list[Batch]) -> list[Episode]:
        """Let the policy judge, or answer what a judge is tried on."""
        return self._play(rows, "time/judge")

    def fits(self, row: Batch) -> bool:
        """See `Judge`."""
        return fits(row, self._text_tokenizer(), self.engine.max_length)

    def _judging_tasks(self, jury: Jury, rows: list[Batch], spare: list[Batch]) -> Groups:
        """Groups in the places of `spare`: judgments of what was sampled, and its own prompts where that is too little.

        A task on which all verdicts are worth the same, too easy or impossible, gives its place to another one.
        """

        def ask(asked: list[Batch]) -> list[Episode]:
            episodes = self.ask(asked)
            jury.keep(asked, "task")
            return episodes

        size, step = self._group_size, self._step_number()
        count = len(spare) // size
        tasks = jury.tasks(rows, count, random.Random(f"{self.args.seed}/{step}"))
        first = list(islice(tasks, count))
        judged = self._sampled([dict(task) for task in first for _ in range(size)], ask, jury.rewards)
        self._log_all(jury.told(judged.rows, judged.rewards_BR))
        self._refill(judged, ask, jury.rewards, lambda dead, _: list(islice(tasks, len(dead))))
        return judged + self._sampled(spare[len(first) * size :], self._play, self._score)

    def _score(self, rows: list[Batch]) -> torch.Tensor:
        """`[B, rewards]`, NaN where a reward does not apply."""
        if self.jury:
            step = self._step_number()
            self.jury.vote(rows, self._group_size, f"{self.args.seed}/{step}/{self._played}")
        started = time.perf_counter()
        texts = [row["prompt"] for row in rows]
        rewards_BR = super()._calculate_rewards(rows, texts, [""] * len(rows), [[]] * len(rows)).cpu()
        if self.jury:
            rewards_BR = self._without_a_verdict(rewards_BR)
            if self.jury.column is not None:
                rewards_BR[:, self.jury.column] = torch.nan  # of judging tasks alone
        self._spend("time/rewards", started)
        return rewards_BR

    def _without_a_verdict(self, rewards_BR: torch.Tensor) -> torch.Tensor:
        """Where no verdict on a completion can be read, its group's mean: it is neither better nor worse for that."""
        place = next(at for at, own in enumerate(self.scorer.settings.values()) if isinstance(own, RubricReward))
        votes_GK = rewards_BR[:, place].view(-1, self._group_size)
        filled_GK = votes_GK.where(votes_GK.isfinite(), votes_GK.nanmean(1, keepdim=True))
        rewards_BR[:, place] = filled_GK.flatten()
        return rewards_BR

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        return self._rewards  # they decided which rows are in this batch

    def _totals(self, rewards: torch.Tensor) -> torch.Tensor:
        """The weighted sums that TRL compares, in groups `[G, K]`; NaN where no reward that counts applies."""
        weights = self.reward_weights.to(rewards.device)
        totals = (rewards * weights).nansum(1)
        totals[rewards[:, weights != 0].isnan().all(1)] = torch.nan
        return totals.view(-1, self._group_size)

    def _dead(self, groups: Groups) -> list[int]:
        """Groups whose completions are all worth the same; where no reward applies, none would to others either."""
        totals_GK = self._totals(groups.rewards_BR)
        return (~has_signal(totals_GK) & totals_GK.isfinite().any(1)).nonzero()[:, 0].tolist()

    def _note_rewards(self, rows: list[Batch], rewards: torch.Tensor) -> None:
        """Means over what was sampled; each mode's accuracy is its verifier's mean."""
        totals = self._totals(rewards)
        self._log("reward/total", totals.nanmean().item())
        for name, own in zip(self.scorer.settings, rewards.unbind(1), strict=True):
            if not own.isnan().all():
                self._log(f"reward/{name}", own.nanmean().item())
        self._log_all(self.scorer.part_means())
        verified = self.scorer.verified()
        for mode in sorted({row["mode"] for row in rows}):
            own = [value for value, row in zip(verified, rows, strict=False) if row["mode"] == mode]
            if own := [value for value in own if value is not None]:
                self._log(f"accuracy/{mode}", sum(own) / len(own))

    def _keep_some(self, rows: list[Batch], episodes: Sequence[Episode]) -> None:
        kept = [
            {"name": episodes[place].name, "prompt": rows[place]["prompt"], "turns": episodes[place].turns}
            | {"rewards": self.scorer.told(place)}
            for place in places_to_show(rows, self._group_size)
        ]
        write_rollouts(self.folder, self._step_number(), kept)

    def _generate_single_turn(
        self, prompt_ids: Any, *args: Any, **kwargs: Any
    ) -> tuple[list[list[int]], list[list[float]]]:
        return [episode.ids for episode in self._episodes], [episode.logprobs for episode in self._episodes]

    def _generate_and_score_completions(self, inputs: list[Batch]) -> Batch:
        batch = super()._generate_and_score_completions(inputs)
        if self.sampling.truncates():
            batch["kept_ids"] = self._kept_ids(batch["completion_ids"])
        return batch

    def _kept_ids(self, completion_ids: torch.Tensor) -> torch.Tensor:
        """`[B, T, K]`, -1 where a support is smaller than K, and where a tool wrote."""
        most = max(len(kept) for episode in self._episodes for kept in episode.kept)
        table = torch.full((*completion_ids.shape, most), -1, dtype=torch.long)
        for row, episode in enumerate(self._episodes):
            for place, kept in enumerate(episode.kept):
                table[row, place, : len(kept)] = torch.tensor(kept, dtype=torch.long)
        return table.to(completion_ids.device)

    def _compute_loss(self, model: Any, inputs: Batch) -> torch.Tensor:
        self._inputs, self.use_vllm = inputs, True  # in TRL's words: the sampler's log-probabilities are known
        try:
            return super()._compute_loss(model, inputs)
        finally:
            self._inputs, self.use_vllm = None, False

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        kept, balance = None, bool(kwargs.get("compute_aux_loss"))  # of experts, see `_balance`
        if self.sampling.truncates():
            kept = self._inputs["kept_ids"] if self._inputs else self._kept_ids(input_ids[:, -logits_to_keep:])
        size = batch_size or len(input_ids)
        parts = [
            self._packed_logprobs(
                model, input_ids[own], attention_mask[own], logits_to_keep, kept if kept is None else kept[own], balance
            )
            for own in (slice(start, start + size) for start in range(0, len(input_ids), size))
        ]
        logprobs, entropies, balances = zip(*parts, strict=True)
        if self._inputs is not None:
            self._correct(self._inputs, torch.cat(logprobs).detach())
        return torch.cat(logprobs), torch.cat(entropies), torch.stack(balances).mean() if balance else None

    def _packed_logprobs(
        self, model: Any, ids: torch.Tensor, mask: torch.Tensor, keep: int, kept: torch.Tensor | None, balance: bool
    ) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """Log-probability and entropy `[B, keep]` of the completions' tokens, and the balance of experts if asked."""
        packed = Packed.of(ids, mask)
        labels = ids.clone()
        labels[:, :-keep] = -100
        labels = labels[packed.mask_BT][None]
        with self.accelerator.autocast():
            inputs = packed.inputs() | ({"output_router_logits": True} if balance else {})
            if kept is None:
                out = model(**inputs, labels=labels, fused_lm_head=True)
                aux, entropy = out.aux_loss, out.entropy
                entropy = torch.zeros_like(out.log_probs) if entropy is None else entropy  # a KL needs none
                values = out.log_probs, entropy  # [1, N - 1]: the first token of a row is predicted by none
            else:
                supports = torch.nn.functional.pad(kept, (0, 0, ids.shape[1] - keep, 0), value=-1)[packed.mask_BT]
                *values, aux = self._within_support(model, inputs, labels[0, 1:], supports[1:])
        logprobs, entropies = (packed.padded(torch.nn.functional.pad(own, (1, 0)))[:, -keep:] for own in values)
        return logprobs, entropies, aux

    def _within_support(
        self, model: Any, inputs: Batch, labels: torch.Tensor, supports: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """The same within the support that sampling kept, `[1, N - 1]`; where a tool wrote, or nothing was cut, 0."""
        base = self.accelerator.unwrap_model(model)
        out = backbone(base)(**inputs)
        hidden = out.last_hidden_state[0, :-1]
        own = (supports[:, 0] >= 0).nonzero()[:, 0]
        weight = base.get_output_embeddings().weight
        values = [
            checkpoint(kept_logprobs, hidden[i], weight, labels[i], supports[i], self.temperature, use_reentrant=False)
            for i in own.split(KEPT_CHUNK)
        ]
        logprobs, entropies = (torch.cat(parts) for parts in zip(*values, strict=True))
        empty = torch.zeros(len(labels), device=labels.device)
        aux = _balance(out, base.config.get_text_config()) if inputs.get("output_router_logits") else None
        return empty.index_put((own,), logprobs)[None], empty.index_put((own,), entropies)[None], aux

    def _correct(self, inputs: Batch, learner: torch.Tensor) -> None:
        """Fill in the importance ratio, and log how far engine and learner are apart."""
        mask = inputs["completion_mask"] * inputs["tool_mask"]
        engine = inputs["sampling_per_token_logps"]
        inputs["importance_sampling_ratio"] = importance_ratio(
            learner,
            engine,
            mask,
            cast(Mode, self.vllm_importance_sampling_mode),
            self.vllm_importance_sampling_clip_min,
            self.vllm_importance_sampling_clip_max,
        )
        difference = ((learner - engine) * mask).abs()
        figures = {
            "sync/mismatch": difference.sum() / mask.sum(),
            "sync/mismatch_max": difference.max(),
            "sync/importance_ratio": inputs["importance_sampling_ratio"].mean(),
        }
        if self.off_policy_mask_threshold is not None:
            keep = self.get_off_policy_mask(
                inputs["advantages"][:, None], learner, engine, mask, self.off_policy_mask_threshold
            )
            figures["sync/off_policy_masked"] = 1 - keep.float().mean()
        for name, value in zip(figures, torch.stack(list(figures.values())).tolist(), strict=True):
            self._log(name, value)


def _share_of_tokens(groups: Groups, domain: str) -> float:
    """What part of the tokens that a step learns from, prompts included, are of a domain's rows."""
    tokens = [len(own.prompt_ids) + len(own.ids) for own in groups.episodes]
    return sum(n for n, row in zip(tokens, groups.rows, strict=True) if row["domain"] == domain) / sum(tokens)


def _balance(out: Any, config: Any) -> torch.Tensor:
    """How unevenly experts are used (Switch Transformer, arXiv 2101.03961, eq. 4), as TRL's fused head computes it."""
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    return cast(
        torch.Tensor, load_balancing_loss_func(out.router_logits, config.num_experts, config.num_experts_per_tok)
    )


def _refuse_scaled_logits(config: Any) -> None:
    """What a model does to its logits after the head, the loss within a support does not."""
    if (scale := logit_scale(config)) != 1 or logit_softcap(config) is not None:
        what = f"by {scale:g}" if scale != 1 else f"below {logit_softcap(config):g}"
        raise ValueError(f"top_k is not for this model, which scales or caps its logits ({what}): take it out")
