"""Any order of events and mishaps keeps the promises."""

from functools import partial

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.state.machine import Machine

SETTINGS = partial(settings, settings.default)


def test_briefly() -> None:
    run_state_machine_as_test(Machine, settings=SETTINGS(stateful_step_count=30, max_examples=5))


@pytest.mark.sim
def test_at_length() -> None:
    run_state_machine_as_test(Machine, settings=SETTINGS(stateful_step_count=40, max_examples=60))
