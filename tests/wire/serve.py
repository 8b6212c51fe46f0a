"""`kedge serve` as it is, with simulated storage that obeys files in the directory HOOKS:

HOOKS/<verb> holds `fail`: the verb raises Unavailable; `fault`: it raises what nobody expects;
`block`: it waits until the file is gone. HOOKS/compose: the service is that many seconds slow to
start; HOOKS/chatter: every look-up logs that many characters; HOOKS/again, HOOKS/handover: the
seconds of those names in the composition root.
"""

import logging
import os
import sys
import time
from functools import partial
from pathlib import Path

from backends.errors import Unavailable
from backends.memory import world
from driver import __main__ as kedge

HOOKS = Path(os.environ["HOOKS"])


def said(name: str) -> str:
    try:
        return (HOOKS / name).read_text()
    except FileNotFoundError:
        return ""


def obey(verb: str) -> None:
    if size := said("chatter"):
        logging.getLogger("chatter").warning("x" * int(size))
    while said(verb) == "block":
        time.sleep(0.01)
    if said(verb) == "fail":
        raise Unavailable(f"the storage cannot {verb} now")
    if said(verb) == "fault":
        raise ZeroDivisionError(verb)


for each in ("create", "remove", "get", "volumes", "attach", "detach", "attachments", "occupants"):
    world("default").before[each] = partial(obey, each)

composed = kedge.compose


def slow(*args: object) -> object:
    time.sleep(float(said("compose") or 0))
    return composed(*args)  # type: ignore[arg-type]


kedge.TRY_AGAIN = float(said("again") or kedge.TRY_AGAIN)
kedge.HANDOVER = float(said("handover") or kedge.HANDOVER)
kedge.compose = slow  # type: ignore[assignment]
sys.argv = ["kedge", *sys.argv[1:]]
kedge.main()
