"""What clients do to themselves."""

import random

from tests.chaos.kinds import fault
from tests.chaos.rig import Rig


@fault(1.5)
async def jump_clock(rig: Rig, rng: random.Random) -> None:
    """A device starts again without its counter, and with a wrong clock."""
    device = rng.choice([device for device in rig.devices.values() if hasattr(device, "forget_counter")])
    shift = rng.choice((-3600.0, -5.0, 3600.0))
    async with rig.fault("clock jump", device.name, detail=f"{shift:+} s"):
        device.forget_counter(shift)


@fault(4)
async def leave_text(rig: Rig, rng: random.Random) -> None:
    """A text client ends its connection, and comes back."""
    some = [device for device in rig.devices.values() if hasattr(device, "leave") and device.connected]
    if some:
        device = rng.choice(some)
        async with rig.fault("hang up", device.name):
            await device.leave()
