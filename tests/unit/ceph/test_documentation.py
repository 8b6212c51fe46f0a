"""The capabilities that an administrator is told to give are those that the tests run with."""

import re

from tests.lab.ceph import CAPABILITIES
from tests.lab.images import PROJECT


def test_the_capabilities_in_the_documentation_are_those_of_the_tests() -> None:
    page = (PROJECT / "docs/ceph.md").read_text()
    command = page.partition("ceph auth get-or-create client.kedge")[2].partition("```")[0]
    assert dict(re.findall(r"(mon|osd|mgr|mds) '([^']*)'", command)) == CAPABILITIES
