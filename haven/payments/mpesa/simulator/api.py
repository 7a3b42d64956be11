"""What the simulator's APIs are made of."""

from __future__ import annotations

from haven.payments.mpesa.simulator.courier import Courier, Timetable
from haven.payments.mpesa.simulator.gate import Gate
from haven.payments.mpesa.simulator.identifiers import Chance
from haven.payments.mpesa.simulator.prompts import Prompts
from haven.payments.mpesa.simulator.world import World


class Api:
    """An API that moves money and calls back: what has happened, chance, who may ask, phones, time and delivery."""

    def __init__(
        self,
        world: World,
        chance: Chance,
        gate: Gate,
        prompts: Prompts,
        timetable: Timetable,
        courier: Courier,
    ) -> None:
        self._world = world
        self._chance = chance
        self._gate = gate
        self._prompts = prompts
        self._timetable = timetable
        self._courier = courier
