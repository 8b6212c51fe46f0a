"""What holds of containers on any volume, on both layouts and in either packaging: `make soak`.

`node` and `volume` are those of this directory. Tests that kill an engine with all its processes
and then look for what was never synced are left out: on an image that is lost with them, as in a
power cut; test_engine.py has a database there instead.
"""

from tests.engine.soak_containers import (
    test_a_reader_beside_a_writer,
    test_nocopy_leaves_the_volume_empty_and_as_it_was_made,
)
from tests.engine.test_containers import (
    test_copy_from_a_stopped_container,
    test_copy_from_and_to_a_running_container_keeps_its_mount,
    test_data_stay_from_container_to_container,
    test_image_files_are_copied_into_an_empty_volume,
    test_read_only_container,
    test_remove_is_refused_while_a_container_has_it,
    test_stop_start_restart_kill,
    test_two_containers_share_one_mount,
)
from tests.engine.test_deaths import (
    test_engine_stopped_in_order,
    test_service_killed_during_calls,
    test_service_killed_while_a_container_writes,
)
from tests.engine.test_volumes import test_create_again_is_the_same_volume

__all__ = [
    "test_a_reader_beside_a_writer",
    "test_copy_from_a_stopped_container",
    "test_copy_from_and_to_a_running_container_keeps_its_mount",
    "test_create_again_is_the_same_volume",
    "test_data_stay_from_container_to_container",
    "test_engine_stopped_in_order",
    "test_image_files_are_copied_into_an_empty_volume",
    "test_nocopy_leaves_the_volume_empty_and_as_it_was_made",
    "test_read_only_container",
    "test_remove_is_refused_while_a_container_has_it",
    "test_service_killed_during_calls",
    "test_service_killed_while_a_container_writes",
    "test_stop_start_restart_kill",
    "test_two_containers_share_one_mount",
]
