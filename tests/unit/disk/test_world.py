from tests.unit.disk.world import World
import pytest
import os

@pytest.mark.parametrize("seed", range(int(os.environ.get("SEEDS", 40))))
def test_seed(seed):
    World(seed).run(120)
