"""What every implementation of Records must do. Subclass, give `records`, run with pytest."""

import threading
from collections.abc import Callable

import pytest

from backends.errors import Conflict, Invalid, KedgeError, Unavailable
from backends.records.base import MAX_VALUE, Record, Records

RACERS = 12


def race(number: int, act: Callable[[int], object]) -> list[object]:
    """Run `act(0)`..`act(number - 1)` at once; their results, or the KedgeError each raised."""
    results: list[object] = [None] * number
    start = threading.Barrier(number)

    def run(index: int) -> None:
        start.wait()
        try:
            results[index] = act(index)
        except KedgeError as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


class RecordsContract:
    """Override `records`; override `reopen` if two clients of one store can be had."""

    @pytest.fixture
    def records(self) -> Records:
        """An empty store."""
        raise NotImplementedError

    def reopen(self, records: Records) -> Records:
        """A second, independent client of the same store: another node."""
        return records

    def test_an_unknown_key_is_none(self, records: Records) -> None:
        assert records.get("volumes/db") is None
        assert records.keys("volumes") == []
        assert records.stamps("volumes") == {}

    def test_what_was_put_is_got(self, records: Records) -> None:
        put = records.put("volumes/db", b"one", expected=None)
        assert put == Record("volumes/db", b"one", put.version)
        assert records.get("volumes/db") == put
        assert self.reopen(records).get("volumes/db") == put

    @pytest.mark.parametrize("value", [b"", b"\0\n\xff" * 9, b"x" * MAX_VALUE], ids=len)
    def test_any_bytes_up_to_the_limit_are_kept(self, records: Records, value: bytes) -> None:
        records.put("volumes/db", value, expected=None)
        found = records.get("volumes/db")
        assert found is not None
        assert found.value == value

    def test_a_value_over_the_limit_is_refused(self, records: Records) -> None:
        with pytest.raises(Invalid):
            records.put("volumes/db", b"x" * (MAX_VALUE + 1), expected=None)
        assert records.get("volumes/db") is None

    @pytest.mark.parametrize(
        "key",
        ["", "db", "/db", "volumes/", "volumes/..", "volumes/.x", "volumes/a/b", "../x/y", "V/x"]
        + [f"volumes/{name}" for name in ("x" * 201, "a\0", "a\n", "é")],
    )
    def test_a_malformed_key_is_refused(self, records: Records, key: str) -> None:
        with pytest.raises(Invalid):
            records.get(key)
        with pytest.raises(Invalid):
            records.put(key, b"", expected=None)
        with pytest.raises(Invalid):
            records.delete(key, expected="1")

    def test_a_malformed_kind_is_refused(self, records: Records) -> None:
        with pytest.raises(Invalid):
            records.keys("../volumes")
        with pytest.raises(Invalid):
            records.stamps("")

    def test_the_longest_key_is_kept(self, records: Records) -> None:
        key = "volumes/" + "x" * 200
        first = records.put(key, b"", expected=None)
        second = records.put(key, b"2", expected=first.version)
        assert records.keys("volumes") == [key]
        records.delete(key, expected=second.version)
        assert records.get(key) is None

    def test_put_if_absent_refuses_a_present_key(self, records: Records) -> None:
        put = records.put("volumes/db", b"one", expected=None)
        with pytest.raises(Conflict):
            records.put("volumes/db", b"two", expected=None)
        assert records.get("volumes/db") == put

    def test_put_replaces_exactly_the_expected_version(self, records: Records) -> None:
        first = records.put("volumes/db", b"one", expected=None)
        second = records.put("volumes/db", b"two", expected=first.version)
        assert second.version != first.version
        with pytest.raises(Conflict):
            records.put("volumes/db", b"three", expected=first.version)
        assert records.get("volumes/db") == second

    def test_put_of_an_absent_key_with_a_version_is_a_conflict(self, records: Records) -> None:
        with pytest.raises(Conflict):
            records.put("volumes/db", b"one", expected="1")
        assert records.get("volumes/db") is None

    def test_equal_values_have_different_versions(self, records: Records) -> None:
        """Else a sleeper would take the second A of A, B, A for the first."""
        seen = set()
        version = None
        for value in [b"A", b"B", b"A", b"B", b"A"] * 4:
            version = records.put("volumes/db", value, expected=version).version
            seen.add(version)
        assert len(seen) == 20

    def test_versions_do_not_repeat_after_removal(self, records: Records) -> None:
        first = records.put("volumes/db", b"one", expected=None)
        records.delete("volumes/db", expected=first.version)
        again = records.put("volumes/db", b"one", expected=None)
        assert again.version != first.version
        with pytest.raises(Conflict):
            records.put("volumes/db", b"late", expected=first.version)
        with pytest.raises(Conflict):
            records.delete("volumes/db", expected=first.version)
        assert records.get("volumes/db") == again

    def test_delete_removes_the_expected_version_only(self, records: Records) -> None:
        first = records.put("volumes/db", b"one", expected=None)
        second = records.put("volumes/db", b"two", expected=first.version)
        with pytest.raises(Conflict):
            records.delete("volumes/db", expected=first.version)
        assert records.get("volumes/db") == second
        records.delete("volumes/db", expected=second.version)
        assert records.get("volumes/db") is None
        assert records.keys("volumes") == []

    def test_delete_of_an_absent_key_is_a_conflict(self, records: Records) -> None:
        put = records.put("volumes/db", b"one", expected=None)
        records.delete("volumes/db", expected=put.version)
        with pytest.raises(Conflict):
            records.delete("volumes/db", expected=put.version)

    def test_keys_are_sorted_and_of_one_kind(self, records: Records) -> None:
        for key in ["volumes/b", "volumes/a", "claims/c", "volumes/a.b-c_D", "volumes2/x"]:
            records.put(key, b"", expected=None)
        assert records.keys("volumes") == ["volumes/a", "volumes/a.b-c_D", "volumes/b"]
        assert records.keys("claims") == ["claims/c"]

    def test_a_stamp_changes_with_its_record_and_only_then(self, records: Records) -> None:
        first = records.put("volumes/a", b"one", expected=None)
        records.put("volumes/b", b"one", expected=None)
        before = records.stamps("volumes")
        assert before == records.stamps("volumes")
        records.put("volumes/a", b"one", expected=first.version)
        after = records.stamps("volumes")
        assert after["volumes/a"] != before["volumes/a"]
        assert after["volumes/b"] == before["volumes/b"]
        assert list(after) == list(before) == ["volumes/a", "volumes/b"]

    def test_one_of_many_creators_wins(self, records: Records) -> None:
        clients = [self.reopen(records) for _ in range(RACERS)]
        results = race(
            RACERS, lambda i: clients[i].put("volumes/db", b"%d" % i, expected=None).value
        )
        self._check_one_winner(records, results)

    def test_one_of_many_writers_wins(self, records: Records) -> None:
        clients = [self.reopen(records) for _ in range(RACERS)]
        old = records.put("volumes/db", b"old", expected=None).version
        results = race(
            RACERS, lambda i: clients[i].put("volumes/db", b"%d" % i, expected=old).value
        )
        self._check_one_winner(records, results)

    def test_one_of_many_removers_wins(self, records: Records) -> None:
        clients = [self.reopen(records) for _ in range(RACERS)]
        old = records.put("volumes/db", b"old", expected=None).version
        results = race(RACERS, lambda i: clients[i].delete("volumes/db", expected=old))
        assert results.count(None) <= 1
        assert all(isinstance(r, Conflict | Unavailable) for r in results if r is not None)
        assert records.get("volumes/db") is None

    def test_a_counter_loses_no_step(self, records: Records) -> None:
        records.put("volumes/n", b"0", expected=None)
        steps = 10

        def count(index: int) -> int:
            client, done = self.reopen(records), 0
            while done < steps:
                present = client.get("volumes/n")
                assert present is not None
                entries = present.value.split(b",")
                tag = b"%d:%d" % (index, done)
                if tag in entries:
                    done += 1
                    continue
                try:
                    client.put("volumes/n", b",".join([*entries, tag]), expected=present.version)
                except (Conflict, Unavailable):
                    continue
                done += 1
            return done

        assert race(4, count) == [steps] * 4
        final = records.get("volumes/n")
        assert final is not None
        entries = final.value.split(b",")
        assert len(entries) == len(set(entries)) == 4 * steps + 1

    def _check_one_winner(self, records: Records, results: list[object]) -> None:
        winners = [result for result in results if isinstance(result, bytes)]
        assert len(winners) == 1
        assert {type(r) for r in results if not isinstance(r, bytes)} == {Conflict}, results
        final = records.get("volumes/db")
        assert final is not None
        assert final.value == winners[0]
