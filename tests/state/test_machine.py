"""Any order of events and mishaps keeps the promises."""

from hypothesis import settings

from tests.state.machine import Machine

TestMachine = Machine.TestCase
TestMachine.settings = settings(settings.default, stateful_step_count=40, max_examples=60)
