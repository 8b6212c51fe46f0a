"""What must be so in the model of claims, whatever happens."""

from collections.abc import Callable, Mapping

from docs.model.claims_state import NOW, State
from docs.model.explorer import Hope


def one_writer(state: State) -> bool:
    """Fencing by the node: no two believe at the same moment that they may write."""
    return sum(1 for node in state.nodes if node.writer and node.writer.until > 0) <= 1


def one_holder_per_epoch(state: State) -> bool:
    """Of all who write, whatever they believe."""
    epochs = [node.writer.epoch for node in state.nodes if node.writer]
    return len(epochs) == len(set(epochs))


def stale_writers_are_refused(state: State) -> bool:
    """Fencing by the storage: when somebody writes under a higher epoch, a lower one is shut out,
    whatever it believes."""
    epochs = [node.writer.epoch for node in state.nodes if node.writer]
    return all(epoch < max(epochs) <= state.floor for epoch in epochs if epoch != max(epochs))


def holder_is_not_refused(state: State) -> bool:
    """Whoever has the claim and writes is not shut out itself."""
    claim = state.claim
    if not claim.held or claim.node < 0:
        return True
    writer = state.nodes[claim.node].writer
    return writer is None or writer.epoch != claim.epoch or state.floor <= claim.epoch


def epochs_rise(before: State, step: str, after: State) -> bool:
    """And an epoch never passes from one node to another."""
    was, now = before.claim, after.claim
    return now.epoch > was.epoch or (now.epoch, now.node) == (was.epoch, was.node)


def live_is_not_stolen(before: State, step: str, after: State) -> bool:
    """A claim that is held passes on only when the session that it is held under is over, and the
    holder has stopped believing."""
    was, now = before.claim, after.claim
    if not was.held or (was.node, was.epoch) == (now.node, now.epoch) or was.node == now.node:
        return True
    writer = before.nodes[was.node].writer
    over = before.leases[was.node].ended or was.session != NOW
    return over and not (writer and writer.until)


def trusted_is_not_ended(before: State, step: str, after: State) -> bool:
    """A lease is ended only when its node does not believe in it any more."""
    return all(
        not now.ended or was.ended or node.trust <= 0
        for was, now, node in zip(before.leases, after.leases, before.nodes, strict=True)
    )


INVARIANTS: Mapping[str, Callable[[State], bool]] = {
    "no two nodes believe that they may write": one_writer,
    "an epoch has one holder": one_holder_per_epoch,
    "the storage refuses a stale writer": stale_writers_are_refused,
    "the storage does not refuse the holder": holder_is_not_refused,
}

STEP_RULES: Mapping[str, Callable[[State, str, State], bool]] = {
    "epochs only rise": epochs_rise,
    "a live claim is not stolen": live_is_not_stolen,
    "a lease that is believed in is not ended": trusted_is_not_ended,
}


def hopes(nodes: int, epochs: int) -> Mapping[str, Hope[State]]:
    """For every node."""
    found = {}
    for number in range(nodes):
        name = "abc"[number]
        found[f"{name} gets what is released, at once"] = _released_is_free(number, name, epochs)
        found[f"{name} gets what the dead had"] = _dead_is_obtained(number, name, epochs)
    return found


def _writes(number: int) -> Callable[[State], bool]:
    return lambda state: state.nodes[number].writer is not None


def _released_is_free(number: int, name: str, epochs: int) -> Hope[State]:
    """By steps of this node only, and without a tick."""

    def given(state: State) -> bool:
        node = state.nodes[number]
        free = not state.claim.held and state.claim.epoch < epochs
        return free and node.trust > 0 and node.job is None

    return Hope(_writes(number), given, lambda step: step.startswith(f"{name} "))


def _dead_is_obtained(number: int, name: str, epochs: int) -> Hope[State]:
    """Nobody else does anything any more; time passes."""
    return Hope(
        _writes(number),
        lambda state: state.claim.epoch < epochs,
        lambda step: step == "a tick" or step.startswith(f"{name} "),
    )
