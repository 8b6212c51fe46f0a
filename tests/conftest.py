"""For all tests: hypothesis tries the same examples every time, however slow the machine is.

`HYPOTHESIS=long python -m pytest tests/state` tries others, and many more of them.
"""

import os

import pytest
from hypothesis import settings

from tests import groups, scratch

settings.register_profile("same", derandomize=True, deadline=None, database=None)
settings.register_profile("long", deadline=None, max_examples=5_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS", "same"))


def pytest_configure(config: pytest.Config) -> None:
    scratch.prepare(config)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    scratch.tidy(session, exitstatus)


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    groups.arrange(items)
