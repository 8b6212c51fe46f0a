"""The cluster's numbers, and what the driver makes of them."""

import errno

import pytest

from backends.ceph.failures import Absent, failure
from backends.errors import Conflict, KedgeError, NoSpace, NotFound, Unavailable


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.ENOENT, Absent),
        (errno.EEXIST, Conflict),
        (errno.ECANCELED, Conflict),
        (errno.EACCES, Unavailable),
        (errno.ETIMEDOUT, Unavailable),
        (errno.ESHUTDOWN, Unavailable),
        (errno.EINVAL, Unavailable),
    ],
)
def test_every_number_has_a_meaning(number: int, kind: type[KedgeError]) -> None:
    for signed in (number, -number):
        made = failure("do it", signed, "words")
        assert type(made) is kind
        assert "do it" in made.message
        assert not isinstance(made, NotFound), "Docker would forget the volume"


def test_the_mgr_hides_a_full_cluster_in_a_sentence() -> None:
    words = "exception in subvolume metadata: No space left on device"
    assert type(failure("make it", errno.EINVAL, words)) is NoSpace
    words = "failed to remove snapshot metadata on snap=one reason=-28 error in write"
    assert type(failure("remove it", errno.EAGAIN, words)) is NoSpace
