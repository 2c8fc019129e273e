"""Device: the records of one run are scored on one class of device, CPU or GPU, whichever processes do it."""

from __future__ import annotations

from poison_guard.errors import UsageError
from poison_guard.steps.handover import Handover, Pin

__all__ = ["device_of", "keep_device"]


def keep_device(handover: Handover, pin: Pin, device: str) -> None:
    """Note the class of `device` with a run, or refuse another one than was noted: `UsageError`.

    Models are fitted and calibrated where they score, so a run on another class of device calibrates anew; two
    classes in one run would be ranked among each other.
    """
    here = device.partition(":")[0]
    noted = device_of(handover, pin)
    if noted is None:
        handover.put(_name(pin), {"class": here})
    elif noted != here:
        run = "this batch" if handover.run_id is None else f"the run {handover.run_id}"
        raise UsageError(
            f"{run} is scored on {noted}, and this process computes on {here}: send its tasks to machines of one kind, "
            "or set POISON_GUARD_DEVICE=cpu for all of them and run it again, which fits, calibrates and scores anew"
        )


def device_of(handover: Handover, pin: Pin) -> str | None:
    """Return the class of device that a run's records are scored on; None before the first one is."""
    return str(handover.get(_name(pin))["class"]) if handover.has(_name(pin)) else None


def _name(pin: Pin) -> str:
    return f"device@{pin}"
