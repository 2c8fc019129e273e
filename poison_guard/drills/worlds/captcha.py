"""World *captcha*: people read handwritten digits; a group that knows the control images pushes one digit to another.

A page shows one control and three unknown images. The group answers controls right, skips pages until one shows a digit
it wants changed, and answers the rest of the page right as camouflage. Since every class counts alike in training, the
few controls of its digit would outweigh many pushed images; so it also answers its digit to some images of the other,
until those outnumber the right examples. Benign twin: a flash crowd of new accounts that is shown a small queue of
images within hours. Images held out of the feed are what a model is judged on. After reCAPTCHA (von Ahn 2008) and the
"one agreed wrong word" raids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.drills.world import Origin, World, seal_world
from poison_guard.drills.worlds.draws import DAYS, Behaviour, account_births, activity, daily_times, draw_ids, stamp

__all__ = ["PARAMS", "Images", "draw_images", "make_world"]


@dataclass(frozen=True, slots=True)
class Images:
    """Images and what is known of them, one row each."""

    ids: np.ndarray
    digits: np.ndarray
    error: np.ndarray
    """Chance that an average person errs, ``(n,)``."""
    confusion: np.ndarray
    """What they then answer, ``(n, 10)``, rows sum to 1, 0 at the truth."""
    control: np.ndarray
    pixels: np.ndarray
    """``(n, 64)`` uint8, 0 to 16."""


def draw_images(
    rng: np.random.Generator, *, out: int, control_share: float, easy: float, hardest: float
) -> tuple[Images, Images]:
    """Return scikit-learn's 1,797 digits shuffled and parted: those of a feed, and `out` others held out of it.

    How hard an image is to read follows from its distance to the digits' mean images: people err with chance `easy`,
    rising to `hardest` over the hardest fifth. Of the feed's images `control_share` are controls, of the others none.
    """
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    order = rng.permutation(len(digits))
    pixels, digits = pixels[order], digits[order]
    means = np.stack([pixels[digits == k].mean(0) for k in range(10)])
    away = ((pixels[:, None, :] - means) ** 2).sum(2)
    own = away[np.arange(len(digits)), digits]
    others = np.where(np.arange(10) == digits[:, None], np.inf, away)
    hard = np.argsort(np.argsort(own - others.min(1))) / len(digits)  # rank in [0, 1)
    rise = np.clip((hard - 0.8) / 0.2, 0, None) ** 2
    like = np.exp(-(others - others.min(1, keepdims=True)) / 150)
    control = np.zeros(len(digits), dtype=bool)
    shown = np.arange(out, len(digits))
    control[rng.choice(shown, size=round(len(shown) * control_share), replace=False)] = True
    drawn = Images(
        ids=draw_ids(rng, len(digits), "img-"),
        digits=digits,
        error=easy + (hardest - easy) * rise,
        confusion=like / like.sum(1, keepdims=True),
        control=control,
        pixels=pixels.astype(np.uint8),
    )
    return _rows(drawn, shown), _rows(drawn, np.arange(out))


def _rows(images: Images, at: np.ndarray) -> Images:
    return Images(
        images.ids[at], images.digits[at], images.error[at], images.confusion[at], images.control[at], images.pixels[at]
    )


COLUMNS = {
    "record_id": "answer_id",
    "source_id": "user_id",
    "item_id": "image_id",
    "answer": "answer",
    "observed_at": "answered_at",
    "source_since": "account_created_at",
}
BEHAVIOUR = Behaviour(
    medians={"dwell_ms": 2900, "pointer_speed": 0.85, "path_excess": 0.35, "key_hold_ms": 92},
    habit=(0.18, 0.16, 0.15, 0.10),
    scatter=(0.45, 0.40, 0.42, 0.25),
)

PARAMS: dict[str, Any] = {
    "fresh_images": 300,  # never shown to anybody
    "control_share": 0.25,  # of the other images
    "people": 900,
    "pages": 2450,
    "unknown_per_page": 3,
    "error_easy": 0.01,  # an honest answer about a clear image is wrong
    "error_hardest": 0.30,  # and about the least clear one; rises over the hardest fifth
    "careless_people": 0.04,  # share of honest people who err at least 8 %
    "trusted_answers": 5000,
    "trusted_people": 1600,
    "crowd_accounts": 110,
    "crowd_hours": 2.5,
    "crowd_images": 160,
    "attack_accounts": 40,
    "attack_aged": 6,  # of them, bought with age; the others were made in the week before
    "attack_from": "4",
    "attack_to": "9",
    "attack_back": 0.3,  # share of the unknown images of the other digit that are answered with the first
    "attack_share": 0.55,  # of the answers on the targeted images
    "attack_bursts": 4,
    "attack_burst_hours": 3.0,
    "attack_turnout": 0.9,  # share of the accounts that take part in a burst
}


def make_world(seed: int) -> World:
    """Return the world drawn from `seed`: about 12,000 answers of a week."""
    rng = np.random.default_rng([seed, 1])
    easy, hardest = PARAMS["error_easy"], PARAMS["error_hardest"]
    share = PARAMS["control_share"]
    images, out = draw_images(rng, out=PARAMS["fresh_images"], control_share=share, easy=easy, hardest=hardest)
    groups = (PARAMS["people"], PARAMS["crowd_accounts"], PARAMS["attack_accounts"])
    regulars, crowd, sybils = np.split(draw_ids(rng, sum(groups), "u-"), np.cumsum(groups)[:-1])
    queue = rng.choice(np.flatnonzero(~images.control), size=PARAMS["crowd_images"], replace=False)
    honest = pd.concat([_regulars(rng, images, regulars), _flash_crowd(rng, images, queue, crowd)], ignore_index=True)
    records = pd.concat([honest, _raid(rng, images, honest, sybils)], ignore_index=True)
    ids = pd.Series(images.ids, dtype="str")
    digits = pd.Series(images.digits.astype(str), dtype="str")
    return seal_world(
        records,
        name="captcha",
        seed=seed,
        columns=COLUMNS,
        features=tuple(BEHAVIOUR.medians),
        prefix="a",
        trusted=_trusted(rng, images),
        item_truth=pd.DataFrame({"item_id": ids, "label": digits, "control": images.control}),
        controls=pd.DataFrame({"item_id": ids, "answer": digits})[images.control].reset_index(drop=True),
        items=pd.DataFrame({"item_id": ids, "pixels": list(images.pixels)}),
        fresh=_fresh(out),
        params=PARAMS,
    )


def _fresh(images: Images) -> pd.DataFrame:
    """Images nobody answered about; the group wants every one of its digit misread."""
    target = images.digits == int(PARAMS["attack_from"])
    return pd.DataFrame(
        {
            "pixels": list(images.pixels),
            "label": pd.Series(images.digits.astype(str), dtype="str"),
            "attack": target,
            "attack_label": pd.Series(np.where(target, PARAMS["attack_to"], ""), dtype="str"),
        }
    )


def _regulars(rng: np.random.Generator, images: Images, ids: np.ndarray) -> pd.DataFrame:
    """The honest week: unknown images come in rounds, so that all get about as many answers."""
    pages = activity(rng, PARAMS["people"], PARAMS["pages"])
    person = np.repeat(np.arange(PARAMS["people"]), pages)
    times = _visits(rng, person)
    unknown = np.flatnonzero(~images.control)
    need = len(person) * PARAMS["unknown_per_page"]
    rounds = -(-need // len(unknown))
    stream = np.concatenate([rng.permutation(unknown) for _ in range(rounds)])[:need]
    shown = np.empty((len(person), PARAMS["unknown_per_page"]), dtype=int)
    shown[np.argsort(times, kind="stable")] = stream.reshape(-1, PARAMS["unknown_per_page"])
    return _answer(rng, images, person, times, shown, ids=ids, new=0.08)


def _visits(rng: np.random.Generator, person: np.ndarray) -> np.ndarray:
    """Times of pages: people come for visits of some pages, 15 to 60 seconds a page."""
    starts = np.concatenate([[True], (person[1:] != person[:-1]) | (rng.random(len(person) - 1) < 0.35)])
    visit = np.cumsum(starts) - 1
    begun = daily_times(rng, visit[-1] + 1)[visit]
    place = np.arange(len(person)) - np.flatnonzero(starts)[visit]
    seconds = place * rng.uniform(15, 60, len(person))
    return begun + (seconds * 1e6).astype("timedelta64[us]")


def _answer(
    rng: np.random.Generator,
    images: Images,
    person: np.ndarray,
    times: np.ndarray,
    shown: np.ndarray,
    *,
    ids: np.ndarray,
    new: float,
) -> pd.DataFrame:
    """Honest answers of pages: `person` and `times` a page, `shown` its unknown images; one control joins each page."""
    control = rng.choice(np.flatnonzero(images.control), size=(len(person), 1))
    seen = np.hstack([shown, control])
    image, who = seen.ravel(), np.repeat(person, seen.shape[1])
    skill = rng.lognormal(0, 0.5, len(ids))
    floor = np.where(rng.random(len(ids)) < PARAMS["careless_people"], 0.08, 0)
    wrong = rng.random(len(image)) < np.clip(images.error[image] * skill[who], floor[who], 0.5)
    answer = np.where(wrong, _pick(rng, images.confusion[image]), images.digits[image])
    frame = _frame(rng, images, ids, who, image, answer, _spread(rng, times, seen.shape[1]))
    first = frame.groupby("user_id")["answered_at"].min()
    born = pd.Series(account_births(rng, first.to_numpy(), new=new), index=first.index)
    return frame.assign(
        account_created_at=frame["user_id"].map(born).to_numpy(), origin=str(Origin.HONEST), honest_source=True
    ).drop_duplicates(["user_id", "image_id"])


def _frame(
    rng: np.random.Generator,
    images: Images,
    ids: np.ndarray,
    who: np.ndarray,
    image: np.ndarray,
    answer: np.ndarray,
    times: np.ndarray,
) -> pd.DataFrame:
    moves = BEHAVIOUR.draw(rng, BEHAVIOUR.habits(rng, len(ids))[who])
    moves["dwell_ms"] = (moves["dwell_ms"] * (1 + images.error[image])).round()
    frame = pd.DataFrame(
        {
            "user_id": pd.Series(ids[who], dtype="str"),
            "image_id": pd.Series(images.ids[image], dtype="str"),
            "answer": pd.Series(answer.astype(str), dtype="str"),
            "answered_at": times,
            "truth": pd.Series(images.digits[image].astype(str), dtype="str"),
        }
    )
    return frame.join(moves.round(3))


def _spread(rng: np.random.Generator, pages: np.ndarray, size: int) -> np.ndarray:
    """Times of the `size` answers of each page, some seconds apart."""
    steps = np.cumsum(rng.uniform(1.5, 6, (len(pages), size)), axis=1)
    return (pages[:, None] + (steps * 1e6).astype("timedelta64[us]")).ravel()


def _pick(rng: np.random.Generator, weights: np.ndarray) -> np.ndarray:
    return (weights.cumsum(1) < rng.random((len(weights), 1))).sum(1).clip(0, weights.shape[1] - 1)


def _flash_crowd(rng: np.random.Generator, images: Images, queue: np.ndarray, ids: np.ndarray) -> pd.DataFrame:
    """Honest newcomers who are shown one small queue of images: many agree within hours, because they are right."""
    person = rng.permutation(np.repeat(np.arange(len(ids)), rng.integers(1, 5, len(ids))))
    begin = (rng.integers(2, 5) * 24 + rng.uniform(11, 19)) * 3600
    times = np.sort(stamp(begin + rng.triangular(0, 0.3, 1, len(person)) * PARAMS["crowd_hours"] * 3600))
    need = len(person) * PARAMS["unknown_per_page"]
    stream = np.concatenate([rng.permutation(queue) for _ in range(-(-need // len(queue)))])[:need]
    shown = stream.reshape(-1, PARAMS["unknown_per_page"])
    return _answer(rng, images, person, times, shown, ids=ids, new=0.9)


def _raid(rng: np.random.Generator, images: Images, honest: pd.DataFrame, ids: np.ndarray) -> pd.DataFrame:
    """The group's week: bursts of hours, each on a part of the targets; `honest` answers set how many pushes."""
    targets = _targets(rng, images)
    votes = honest["image_id"].value_counts().reindex(images.ids[targets], fill_value=0).to_numpy()
    ratio = PARAMS["attack_share"] / (1 - PARAMS["attack_share"])
    pushes = np.repeat(targets, np.floor(votes * ratio + rng.random(len(targets))).astype(int))
    parts = np.array_split(targets, PARAMS["attack_bursts"])
    days = np.sort(rng.choice(np.arange(1, DAYS), size=len(parts), replace=False))
    work = pd.concat(
        [_burst(rng, pushes[np.isin(pushes, part)], day) for day, part in zip(days, parts, strict=True)],
        ignore_index=True,
    )
    rows = pd.concat([work, _camouflage(rng, images, work)], ignore_index=True)
    who, image, pushed = rows["account"].to_numpy(), rows["image"].to_numpy(), rows["pushed"].to_numpy()
    first, other = int(PARAMS["attack_from"]), int(PARAMS["attack_to"])
    answer = np.where(pushed, np.where(images.digits[image] == first, other, first), images.digits[image])
    times = rows["at"].to_numpy() + (rng.uniform(1.5, 25, len(rows)) * 1e6).astype("timedelta64[us]")
    frame = _frame(rng, images, ids, who, image, answer, times)
    return frame.assign(
        account_created_at=_sybil_births(rng, work["at"].min())[who],
        origin=np.where(pushed, str(Origin.POISON), str(Origin.CAMOUFLAGE)),
        honest_source=False,
    ).drop_duplicates(["user_id", "image_id"])


def _targets(rng: np.random.Generator, images: Images) -> np.ndarray:
    """Unknown images the group answers wrong, shuffled: all of its digit and some of the other."""
    first, other = (
        rng.permutation(np.flatnonzero((images.digits == int(PARAMS[digit])) & ~images.control))
        for digit in ("attack_from", "attack_to")
    )
    return rng.permutation(np.concatenate([first, other[: round(PARAMS["attack_back"] * len(other))]]))


def _burst(rng: np.random.Generator, pushes: np.ndarray, day: int) -> pd.DataFrame:
    """Deal `pushes` out to the accounts that came, two a page: ``account, image, page, at, pushed``."""
    n = PARAMS["attack_accounts"]
    came = rng.choice(n, size=round(n * PARAMS["attack_turnout"]), replace=False)
    account = np.concatenate([rng.permutation(came) for _ in range(-(-len(pushes) // len(came)))])[: len(pushes)]
    work = pd.DataFrame({"account": account, "image": pushes}).drop_duplicates().sample(frac=1, random_state=rng)
    work["page"] = work["account"] * 100 + work.groupby("account").cumcount() // 2
    begin, length = (day * 24 + rng.uniform(9, 20)) * 3600, PARAMS["attack_burst_hours"] * 3600
    pages = work["page"].unique()
    at = pd.Series(stamp(begin + rng.random(len(pages)) * length), index=pages)
    return work.assign(at=work["page"].map(at), pushed=True)


def _camouflage(rng: np.random.Generator, images: Images, work: pd.DataFrame) -> pd.DataFrame:
    """What else stood on the pages, answered right: one control, and unknown images that are no target."""
    pages = work.groupby(["account", "at"], as_index=False).size()
    extra = pages.loc[pages.index.repeat(1 + PARAMS["unknown_per_page"] - pages["size"])]
    first = ~extra.index.duplicated()
    control = rng.choice(np.flatnonzero(images.control), size=len(extra))
    digits = int(PARAMS["attack_from"]), int(PARAMS["attack_to"])
    others = np.flatnonzero(~images.control & ~np.isin(images.digits, digits))
    image = np.where(first, control, rng.choice(others, size=len(extra)))
    return pd.DataFrame({"account": extra["account"], "at": extra["at"], "image": image, "pushed": False})


def _sybil_births(rng: np.random.Generator, first_burst: pd.Timestamp) -> np.ndarray:
    """When the accounts were made, ``(accounts,)``: most in the days before the first burst, some bought aged."""
    n = PARAMS["attack_accounts"]
    first = np.full(n, first_burst.to_datetime64().astype("datetime64[us]"))
    born = first - (rng.uniform(0.05, 6, n) * 86_400e6).astype("timedelta64[us]")
    aged = rng.choice(n, size=PARAMS["attack_aged"], replace=False)
    born[aged] = account_births(rng, first[aged], new=0)
    return born


def _trusted(rng: np.random.Generator, images: Images) -> pd.DataFrame:
    """Correct answers of vetted people about controls, from a week like this one."""
    people = PARAMS["trusted_people"]
    person = np.repeat(np.arange(people), activity(rng, people, PARAMS["trusted_answers"] // 3))
    shown = rng.choice(np.flatnonzero(images.control), size=(len(person), PARAMS["unknown_per_page"]))
    frame = _answer(rng, images, person, _visits(rng, person), shown, ids=draw_ids(rng, people, "vetted-"), new=0.02)
    truth = pd.Series(images.digits.astype(str), index=images.ids)
    right = frame[frame["answer"].to_numpy() == truth.reindex(frame["image_id"]).to_numpy()]
    return right.head(PARAMS["trusted_answers"]).drop(columns=["origin", "honest_source", "truth"])
