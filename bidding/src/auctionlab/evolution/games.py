"""Games of advertisers who all search at once: selfish, cooperative, and cooperative above a revenue floor.

The fitness of an ad j in a profile is

    F_j = (1 - w) O_j / O_j0 + w Profit / Profit0 - psi(rho, R - Rev / Rev0) - psi(nu_j, excess of its PPC)

with O_j what it wants, Profit that of all ads, Rev the platform's revenue, R the floor, and 0 marking what
truthful bids come to on the same day. The multipliers rho and nu follow the violations of the profile that
nobody perturbs (`auctionlab.evolution.multipliers`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auctionlab.evolution.checkpoint import Standing, Step, load, save
from auctionlab.evolution.feasibility import reachable_revenue, refuse_conflict, refuse_infeasible
from auctionlab.evolution.multipliers import penalty, updated, updated_ppc
from auctionlab.evolution.objectives import (
    Advertiser,
    budgets_of,
    ppc_excess,
    profit,
    reached,
    revenue,
)
from auctionlab.evolution.policy import Policies
from auctionlab.evolution.rollouts import Profiles, Rollouts, Table, Threads
from auctionlab.evolution.settling import settled
from auctionlab.evolution.strategy import State, step
from auctionlab.evolution.trained import Game, Trained, plain_advertiser, plain_game, truthful
from auctionlab.market.market import Market

Floats = NDArray[np.float64]

_TOLERANCE = 0.02
"""A floor or a limit missed by no more than this, relative to it, counts as kept."""


def train(
    days: Sequence[Market],
    advertisers: Sequence[Advertiser],
    game: Game | None = None,
    *,
    groups: Sequence[int] | None = None,
    threads: int | None = None,
    rollouts: Callable[[Table], Rollouts] | None = None,
    progress: Callable[[Step], None] | None = None,
    checkpoint: Path | str | None = None,
    checkpoint_every: int = 10,
    resume: bool = False,
) -> Trained:
    """Search for everyone's policy at once. Days take turns; judge on a day that is not among them.

    Args:
        days: to train on.
        advertisers: one for each ad.
        game: what is played.
        groups: (A,) ads with the same number share weights; each ad has its own where None.
        threads: for rollouts on this machine; None for one a core. They change nothing but time.
        rollouts: another way to play profiles, as `auctionlab.evolution.cluster.Cluster`.
        progress: told of every step.
        checkpoint: a file for the state; with `resume`, the search goes on from it to the same last bit.
        checkpoint_every: steps between writes.
        resume: whether to go on from the checkpoint.

    Raises:
        InfeasibleError: limits that no bids can keep to: found before the search, or at step 20.
        ValueError: no days, or what `Policies.of` refuses.
        FileNotFoundError: nothing to resume from.

    """
    game = game or Game()
    if not days:
        raise ValueError("at least one day is needed")
    if any(day.ads != days[0].ads for day in days):
        raise ValueError("all days must have the same ads")
    if checkpoint_every < 1:
        raise ValueError(f"checkpoint_every must be at least 1, not {checkpoint_every}")
    if threads is not None and threads < 1:
        raise ValueError(f"at least one thread is needed, not {threads}")
    if resume and checkpoint is None:
        raise ValueError("name the checkpoint to go on from")
    policies = Policies.of(days[0], advertisers, groups=groups, parts=game.parts)
    budgets = budgets_of(advertisers)
    base = [truthful(day, advertisers, game.rules) for day in days]
    usual = [float(revenue(sums)) for sums in base]
    refuse_infeasible(days, advertisers, game.rules, game.floor, usual)
    in_reach = game.floor is None or all(
        reachable_revenue(day, advertisers, policies, game.rules) >= game.floor * paid
        for day, paid in zip(days, usual, strict=True)
    )
    table = Table(tuple(days), policies, budgets, game.rules)
    run = Threads(table, threads) if rollouts is None else rollouts(table)
    path = Path(checkpoint) if checkpoint is not None else None
    told = _fingerprint(days, advertisers, game, policies)
    if path is not None and resume:
        standing = load(path, told)
    else:
        standing = Standing(State.start(policies.truthful()), 0.0, np.zeros(len(advertisers)))
    saved = standing
    try:
        while standing.state.iteration < game.search.iterations:
            day = standing.state.iteration % len(days)
            standing = advance(standing, day, run, base[day], advertisers, game, policies)
            if progress:
                progress(standing.history[-1])
            if not in_reach:
                seen = standing.history
                multipliers = [step.floor_multiplier for step in seen]
                refuse_conflict(game.floor, [step.revenue for step in seen], multipliers)
            if path is not None and standing.state.iteration % checkpoint_every == 0:
                save(path, standing, told)
                saved = standing
    finally:
        # The end, or Ctrl-C: what was computed is not lost.
        if path is not None and standing is not saved:
            save(path, standing, told)
    theta = np.mean(standing.tail, axis=0) if standing.tail else standing.state.theta
    trained = Trained(game, policies, theta, standing.history, standing.ppc_multipliers, "")

    def play(tried: Floats) -> Floats:
        return np.stack([replace(trained, theta=tried).play(day, advertisers) for day in days])

    theta = settled(
        theta,
        play,
        advertisers,
        policies.groups,
        floor=game.floor,
        usual=usual,
        # Where all want the common profit alone, less revenue is always more of it.
        floor_binds=standing.floor_multiplier > 0 or game.cooperation == 1,
        ppc_multipliers=standing.ppc_multipliers,
    )
    trained = replace(trained, theta=theta)
    return replace(trained, trouble=_trouble(trained, days, base, advertisers))


def advance(
    standing: Standing,
    day: int,
    run: Rollouts,
    base: Floats,
    advertisers: Sequence[Advertiser],
    game: Game,
    policies: Policies,
) -> Standing:
    """One step of the search, and of the multipliers, on a day whose truthful sums are `base`."""
    search, state = game.search, standing.state
    profiles = Profiles(search, state.theta, state.iteration, game.common_noise(state.iteration))
    sums = run(day, profiles)
    values = fitness(sums, base, advertisers, game, standing.floor_multiplier, standing.ppc_multipliers)
    # The last profile is the center, which nobody perturbs: limits are measured there.
    center = sums[-1]
    share = float(revenue(center) / _at_least(float(revenue(base))))
    floor_multiplier = standing.floor_multiplier
    if game.floor is not None:
        floor_multiplier = float(updated(floor_multiplier, game.floor - share))
    ppc_multipliers = updated_ppc(standing.ppc_multipliers, ppc_excess(center, advertisers))
    after = step(search, state, profiles.noise(), by_group(values[:-1], policies))
    told = Step(
        after.iteration,
        share,
        float(profit(center).sum()) / _at_least(float(profit(base).sum())),
        floor_multiplier,
        float(ppc_multipliers.max()),
    )
    late = after.iteration > 0.75 * search.iterations
    tail = (*standing.tail, after.theta) if late else standing.tail
    return Standing(after, floor_multiplier, ppc_multipliers, (*standing.history, told), tail)


def fitness(
    sums: Floats,
    base: Floats,
    advertisers: Sequence[Advertiser],
    game: Game,
    floor_multiplier: float,
    ppc_multipliers: Floats,
) -> Floats:
    """F (P, A) of the module's text, from profiles' sums (P, A, 6) and truthful ones (A, 6)."""
    wanted = np.abs(reached(base, advertisers))
    own = reached(sums, advertisers) / np.where(wanted > 1e-12, wanted, 1e-12)
    common = profit(sums).sum(axis=-1) / _at_least(abs(float(profit(base).sum())))
    values = (1 - game.cooperation) * own + game.cooperation * common[:, None]
    if game.floor is not None:
        missing = game.floor - revenue(sums) / _at_least(float(revenue(base)))
        values = values - penalty(floor_multiplier, missing)[:, None]
    return np.asarray(values - penalty(ppc_multipliers, ppc_excess(sums, advertisers)))


def by_group(values: Floats, policies: Policies) -> Floats:
    """(P, G) each group's mean over its ads, of values (P, A); manual ads are in no group."""
    return np.stack([values[:, policies.groups == g].mean(axis=1) for g in range(policies.count)], axis=1)


def _at_least(value: float) -> float:
    return value if abs(value) > 1e-12 else 1e-12


def _trouble(
    trained: Trained, days: Sequence[Market], base: Sequence[Floats], advertisers: Sequence[Advertiser]
) -> str:
    """What the result does not keep on the days it was trained on, as a sentence; empty where it does."""
    sums = [trained.play(day, advertisers) for day in days]
    said = []
    floor = trained.game.floor
    if floor is not None:
        share = float(np.mean([revenue(got) / revenue(usual) for got, usual in zip(sums, base, strict=True)]))
        if share < floor * (1 - _TOLERANCE):
            said.append(f"revenue came to {share:.3f} of truthful bidding's, below the floor of {floor:g}")
    excess = np.mean([ppc_excess(got, advertisers) for got in sums], axis=0)
    if excess.max() > _TOLERANCE:
        worst = int(excess.argmax())
        said.append(
            f"ad {worst} pays {100 * excess[worst]:.1f} % more for a click than its limit of "
            f"{advertisers[worst].ppc_limit:g}"
        )
    if not said:
        return ""
    return f"{' and '.join(said)}; the limits are in conflict, or the search was too short"


def _fingerprint(
    days: Sequence[Market], advertisers: Sequence[Advertiser], game: Game, policies: Policies
) -> str:
    """A text that is the same only for the same game on the same days."""
    digest = hashlib.sha256()
    for day in days:
        for array in (day.offsets, day.ad, day.click, day.conversion, day.price, day.predicted, day.hour):
            digest.update(np.ascontiguousarray(array).tobytes())
    who = [plain_advertiser(one) for one in advertisers]
    told = {
        "game": plain_game(game),
        "who": who,
        "groups": policies.groups.tolist(),
        "days": digest.hexdigest(),
    }
    return json.dumps(told, sort_keys=True)
