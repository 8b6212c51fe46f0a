"""A snapshot under a MariaDB that is being written: a volume made from it has every row that was
acknowledged before, and the database goes on."""

from __future__ import annotations

import threading

from tests.engine.test_database import Database
from tests.lab import images
from tests.lab.node import Node


def test_a_database_on_a_clone_has_what_was_acknowledged(node: Node) -> None:
    node.create("database", "size=1G")
    database = Database(node, "database")
    sure = 0

    def take() -> None:
        nonlocal sure
        sure = database.acknowledged
        node.kedge("snapshot", "create", "database", "live")

    taking = threading.Thread(target=take)
    for _ in database.inserting(6):
        taking.start()
    taking.join()
    database.check()
    assert database.acknowledged > sure > 0, "rows were acknowledged before it and since"
    node.create("copy", "from=database@live")
    node.docker("rm", "-f", "db")
    node.run("-d", "--name", "db", "-v", "copy:/var/lib/mysql", image=images.MARIADB)
    database.wait()
    count, highest = map(int, database.ask("SELECT COUNT(*), MAX(n) FROM t.rows").split())
    assert count == highest >= sure
    assert database.ask("CHECK TABLE t.rows EXTENDED").split()[-1] == "OK"
    node.docker("rm", "-f", "db")
