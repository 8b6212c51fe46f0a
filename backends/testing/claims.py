"""What claims and leases must do over any Records. Subclass, give `records`, run with pytest.

Time is a number that the tests set; nothing here waits.
"""

import pytest

from backends.claims import Claim
from backends.errors import Claimed, Damaged, Fenced, KedgeError, Unavailable
from backends.records import Record, Records
from backends.testing.nodes import SOON, TTL, Ambiguous, Node, Time
from backends.testing.records import race


class ClaimsContract:
    """Override `records`; override `reopen` if two clients of one store can be had."""

    @pytest.fixture
    def records(self) -> Records:
        """An empty store."""
        raise NotImplementedError

    def reopen(self, records: Records) -> Records:
        """A second, independent client of the same store: another node."""
        return records

    @pytest.fixture
    def time(self) -> Time:
        """A clock for all nodes."""
        return Time()

    @pytest.fixture
    def a(self, records: Records, time: Time) -> Node:
        """A node."""
        return Node(records, "a", time)

    @pytest.fixture
    def b(self, records: Records, time: Time) -> Node:
        """Another node."""
        return Node(self.reopen(records), "b", time)

    # -- one writer ------------------------------------------------------------------------

    def test_the_first_claim_has_epoch_one(self, a: Node) -> None:
        claim = a.acquire()
        assert (claim.uuid, claim.node, claim.epoch) == ("u1", "a", 1)
        assert a.claims.verify(claim) == claim

    def test_asking_again_gives_the_same_claim(self, a: Node) -> None:
        assert a.acquire() == a.acquire()

    def test_a_second_node_is_told_who_and_what_to_do(self, a: Node, b: Node) -> None:
        a.acquire()
        with pytest.raises(Claimed) as refusal:
            b.acquire()
        for part in ("db", "node a", "since 2026-01-02T03:04:05Z", "epoch 1", "kedge takeover db"):
            assert part in refusal.value.message
        assert refusal.value.retry_after == TTL

    def test_the_age_of_the_lease_is_told(self, a: Node, b: Node, time: Time) -> None:
        a.acquire()
        b.watch.look()
        time.passes(2.5)
        with pytest.raises(Claimed, match=r"last moved 2\.5 s ago") as refusal:
            b.acquire()
        assert refusal.value.retry_after == pytest.approx(TTL - 2.5)
        holder = b.claims.holder("u1")
        assert holder is not None
        assert (holder.node, holder.epoch, holder.held) == ("a", 1, True)
        assert holder.lease_age == pytest.approx(2.5)

    def test_a_volume_never_claimed_has_no_holder(self, a: Node) -> None:
        assert a.claims.holder("u1") is None

    def test_one_of_many_nodes_gets_it(self, records: Records, time: Time) -> None:
        nodes = [Node(self.reopen(records), f"n{i}", time) for i in range(8)]
        results = race(8, lambda i: nodes[i].acquire())
        assert len([result for result in results if isinstance(result, Claim)]) == 1
        assert all(isinstance(r, Claim | Claimed | Unavailable) for r in results)

    # -- release ---------------------------------------------------------------------------

    def test_a_released_claim_is_free_at_once(self, a: Node, b: Node) -> None:
        a.claims.release(a.acquire())
        assert b.acquire().epoch == 2

    def test_releasing_twice_does_nothing(self, a: Node, b: Node) -> None:
        claim = a.acquire()
        a.claims.release(claim)
        a.claims.release(claim)
        b.acquire()
        with pytest.raises(Fenced, match="held by node b"):
            a.claims.release(claim)

    def test_a_released_claim_does_not_verify(self, a: Node) -> None:
        claim = a.acquire()
        a.claims.release(claim)
        with pytest.raises(Fenced):
            a.claims.verify(claim)
        with pytest.raises(Fenced):
            a.claims.amend(claim, body="late")

    def test_epochs_rise_through_every_change_of_hands(self, a: Node, b: Node, time: Time) -> None:
        epochs = []
        for node in (a, b, a, a, b):
            claim = node.acquire()
            epochs.append(claim.epoch)
            node.claims.release(claim)
        b.acquire()
        epochs.append(a.acquire(force=True).epoch)
        a.watch.look()
        b.watch.look()
        time.passes(TTL + SOON)
        epochs.append(b.acquire().epoch)
        assert epochs == [1, 2, 3, 4, 5, 7, 8]

    # -- takeover --------------------------------------------------------------------------

    def test_a_dead_node_is_taken_over_after_its_ttl(self, a: Node, b: Node, time: Time) -> None:
        lost = a.acquire()
        with pytest.raises(Claimed):
            b.acquire()
        time.passes(TTL - SOON)
        with pytest.raises(Claimed):
            b.acquire()
        time.passes(2 * SOON)
        assert b.acquire().epoch == 2
        with pytest.raises(Fenced):
            a.lease.renew()
        for verb in (a.claims.verify, a.claims.release, a.claims.resume):
            with pytest.raises(Fenced, match="held by node b"):
                verb(lost)

    def test_the_ttl_counts_from_the_first_look_in_the_background(
        self, a: Node, b: Node, time: Time
    ) -> None:
        a.acquire()
        b.watch.look()
        time.passes(TTL)
        assert b.acquire().epoch == 2

    def test_a_node_never_watched_is_not_dead(self, a: Node, b: Node, time: Time) -> None:
        a.acquire()
        time.passes(1000)
        with pytest.raises(Claimed):
            b.acquire()

    def test_a_node_that_renews_is_never_taken_over(self, a: Node, b: Node, time: Time) -> None:
        claim = a.acquire()
        for _ in range(20):
            time.passes(TTL - SOON)
            a.lease.renew()
            b.watch.look()
            with pytest.raises(Claimed):
                b.acquire()
        assert a.claims.verify(claim) == claim

    def test_a_renewal_at_the_last_moment_is_respected(
        self, a: Node, records: Records, time: Time
    ) -> None:
        """The claimant read the old version, and is overtaken before it can end the lease."""

        class Overtaken(Ambiguous):
            """The holder renews in the last moment."""

            def put(self, key: str, value: bytes, *, expected: str | None) -> Record:
                if key == "nodes/a":
                    a.lease.renew()
                return super().put(key, value, expected=expected)

        claim = a.acquire()
        c = Node(Overtaken(self.reopen(records)), "c", time)
        c.watch.look()
        time.passes(TTL + SOON)
        with pytest.raises(Claimed):
            c.acquire()
        assert a.claims.verify(claim) == claim

    def test_the_holders_own_ttl_counts(self, records: Records, b: Node, time: Time) -> None:
        slow = Node(self.reopen(records), "slow", time, ttl=20.0)
        slow.acquire()
        b.watch.look()
        time.passes(20.0 - SOON)
        with pytest.raises(Claimed):
            b.acquire()
        time.passes(2 * SOON)
        assert b.acquire().epoch == 2

    def test_all_claims_of_a_dead_node_are_free_together(
        self, a: Node, b: Node, time: Time
    ) -> None:
        for n in range(3):
            a.claims.acquire(f"u{n}", name=f"v{n}")
        b.watch.look()
        time.passes(TTL + SOON)
        for n in range(3):
            assert b.claims.acquire(f"u{n}", name=f"v{n}").epoch == 2

    def test_an_operator_need_not_wait(self, a: Node, b: Node) -> None:
        lost = a.acquire()
        assert b.acquire(force=True).epoch == 2
        a.lease.renew()
        with pytest.raises(Fenced, match="held by node b"):
            a.claims.verify(lost)

    def test_what_was_forced_is_found(self, a: Node, b: Node) -> None:
        held = [a.claims.acquire(f"u{n}", name=f"v{n}") for n in range(12)]
        assert a.claims.lost(held) == {}
        b.claims.acquire("u3", name="v3", force=True)
        assert list(a.claims.lost(held)) == ["u3"]
        assert list(a.claims.lost(held)) == ["u3"]

    def test_unchanged_claims_are_not_read_again(self, records: Records, time: Time) -> None:
        counting = Ambiguous(records)
        node = Node(counting, "a", time)
        held = [node.claims.acquire(f"u{n}", name=f"v{n}") for n in range(12)]
        node.claims.lost(held)
        before = counting.reads
        assert node.claims.lost(held) == {}
        assert counting.reads == before

    # -- coming back -----------------------------------------------------------------------

    def test_a_restarted_service_goes_on_at_once(
        self, a: Node, records: Records, time: Time
    ) -> None:
        claim = a.claims.amend(a.acquire(), body="head")
        again = Node(self.reopen(records), "a", time, own=a.sessions)
        resumed = again.claims.resume(claim)
        assert (resumed.epoch, resumed.body) == (1, "head")
        assert again.claims.verify(resumed) == resumed
        with pytest.raises(Fenced):
            a.lease.renew()

    def test_a_rebooted_node_waits_and_gets_a_new_epoch(
        self, a: Node, records: Records, time: Time
    ) -> None:
        a.acquire()
        again = Node(self.reopen(records), "a", time)
        with pytest.raises(Claimed, match="node name 'a' was in use"):
            again.acquire()
        time.passes(TTL + SOON)
        assert again.acquire().epoch == 2

    def test_two_machines_of_one_name_are_told(self, a: Node, records: Records, time: Time) -> None:
        claim = a.acquire()
        other = Node(self.reopen(records), "a", time)
        for _ in range(5):
            with pytest.raises(Claimed) as refusal:
                other.acquire()
            time.passes(2.0)
            a.lease.renew()
        assert "another machine renewed" in refusal.value.message
        assert "a name of its own" in refusal.value.message
        with pytest.raises(Claimed):
            other.claims.release(claim)
        assert a.claims.verify(claim) == claim

    def test_a_node_taken_for_dead_may_go_on_with_what_nobody_took(
        self, a: Node, b: Node, time: Time
    ) -> None:
        kept, taken = (a.claims.acquire(f"u{n}", name=f"v{n}") for n in range(2))
        b.watch.look()
        time.passes(TTL + SOON)
        b.claims.acquire("u1", name="v1")
        with pytest.raises(Fenced, match="ended by node b"):
            a.lease.renew()
        assert a.lease.remaining() < 0
        assert a.claims.resume(kept).epoch == 1
        with pytest.raises(Fenced):
            a.claims.resume(taken)

    def test_a_late_verdict_does_not_hit_who_came_back(
        self, a: Node, records: Records, time: Time
    ) -> None:
        """The claimant ends the lease, sleeps; the holder comes back and resumes; both go on."""

        class Sleepy(Ambiguous):
            """Before a claim is written, its old holder comes back."""

            def put(self, key: str, value: bytes, *, expected: str | None) -> Record:
                if key.startswith("claims/"):
                    with pytest.raises(Fenced):
                        a.lease.renew()
                    a.claims.resume(claim)
                return super().put(key, value, expected=expected)

        claim = a.acquire()
        c = Node(Sleepy(self.reopen(records)), "c", time)
        c.watch.look()
        time.passes(TTL + SOON)
        with pytest.raises(KedgeError):
            c.acquire()
        holder = c.claims.holder("u1")
        assert holder is not None
        assert (holder.node, holder.epoch) == ("a", 1)

    # -- replies that are lost -------------------------------------------------------------

    def test_a_late_release_does_not_hit_the_next_claim(self, records: Records, time: Time) -> None:
        network = Ambiguous(records)
        a = Node(network, "a", time)
        claim = a.acquire()
        network.fate = "late"
        with pytest.raises(Unavailable):
            a.claims.release(claim)
        with pytest.raises(Fenced):
            a.claims.verify(claim)
        again = a.acquire()
        network.arrive()
        assert again.epoch == 2
        assert a.claims.verify(again) == again

    @pytest.mark.parametrize("fate", ["unheard", "late", "lost"])
    def test_an_unheard_claim_is_asked_for_again(
        self, records: Records, time: Time, fate: str
    ) -> None:
        network = Ambiguous(records)
        a = Node(network, "a", time)
        a.lease.hold()
        network.fate = fate
        with pytest.raises(Unavailable):
            a.acquire()
        claim = a.acquire()
        network.arrive()
        assert a.claims.verify(claim) == claim

    @pytest.mark.parametrize("fate", ["unheard", "late", "lost"])
    def test_an_unheard_renewal_is_made_good(self, records: Records, time: Time, fate: str) -> None:
        network = Ambiguous(records)
        a = Node(network, "a", time)
        claim = a.acquire()
        before = a.lease.valid_until
        time.passes(2.0)
        network.fate = fate
        with pytest.raises(Unavailable):
            a.lease.renew()
        assert a.lease.valid_until == before
        network.arrive()
        a.lease.renew()
        assert a.lease.valid_until == before + 2.0
        assert a.claims.verify(claim) == claim

    # -- what a claim carries --------------------------------------------------------------

    def test_the_body_goes_to_the_next_holder(self, a: Node, b: Node) -> None:
        claim = a.claims.amend(a.acquire(), body="head 1")
        assert claim.body == "head 1"
        assert a.claims.verify(claim).body == "head 1"
        a.claims.release(claim)
        assert b.acquire().body == "head 1"

    def test_whoever_did_not_release_has_to_be_fenced(self, a: Node, b: Node) -> None:
        a.claims.amend(a.acquire(), fence={"client": "10.0.0.1:1"})
        claim = b.acquire(force=True)
        assert [(s.node, s.epoch, dict(s.fence)) for s in claim.stale] == [
            ("a", 1, {"client": "10.0.0.1:1"})
        ]
        assert b.claims.amend(claim, settled=True).stale == ()

    def test_nobody_is_forgotten_when_the_fencer_dies_too(
        self, a: Node, b: Node, records: Records, time: Time
    ) -> None:
        a.claims.amend(a.acquire(), fence={"client": "A"})
        b.claims.amend(b.acquire(force=True), fence={"client": "B"})
        c = Node(self.reopen(records), "c", time)
        claim = c.acquire(force=True)
        assert [dict(s.fence) for s in claim.stale] == [{"client": "A"}, {"client": "B"}]
        c.claims.release(claim)
        assert [dict(s.fence) for s in a.acquire().stale] == [{"client": "A"}, {"client": "B"}]

    def test_whoever_released_need_not_be_fenced(self, a: Node, b: Node) -> None:
        claim = a.claims.amend(a.acquire(), fence={"client": "A"})
        a.claims.release(claim)
        assert b.acquire().stale == ()

    def test_a_retired_claim_goes_with_its_volume(self, a: Node, b: Node, records: Records) -> None:
        claim = a.acquire()
        a.claims.retire(claim)
        assert records.keys("claims") == []
        with pytest.raises(Fenced):
            a.claims.verify(claim)
        with pytest.raises(Fenced, match="gone with its volume"):
            a.claims.release(claim)

    def test_only_the_holder_retires(self, a: Node, b: Node) -> None:
        lost = a.acquire()
        b.acquire(force=True)
        with pytest.raises(Fenced):
            a.claims.retire(lost)

    # -- damage ----------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "value", [b"", b"{}", b"[]", b"\xff", b'{"format": 1}', b'{"format": 2}']
    )
    def test_what_cannot_be_read_is_damaged(
        self, a: Node, b: Node, records: Records, value: bytes
    ) -> None:
        records.put("claims/u1", value, expected=None)
        with pytest.raises(Damaged):
            a.acquire()
        records.put("nodes/b", value, expected=None)
        with pytest.raises(Damaged):
            b.acquire()
