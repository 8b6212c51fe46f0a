"""Contract tests, shipped so that anybody can prove a backend of their own."""

import pytest

pytest.register_assert_rewrite("backends.testing.records", "backends.testing.backend")
