"""Telling how far work is: to who reads, without waiting for who does not."""

import threading

from driver.streaming import Stream


def test_a_hint_waits_for_nobody() -> None:
    stream, hinted = Stream(), threading.Event()

    def hint() -> None:
        for done in range(1000):
            stream.hint(done, 1000)
        hinted.set()

    threading.Thread(target=hint, daemon=True).start()
    assert hinted.wait(20), "work waits for somebody who does not read"


def test_a_hint_ends_no_work_whose_caller_is_gone() -> None:
    stream = Stream()
    done = threading.Event()

    def work(stream: Stream) -> str:
        gone.wait(20)
        stream.hint(1, 2)
        done.set()
        return "done"

    gone = threading.Event()
    answer = stream.run(work)
    answer.response.close()  # type: ignore[union-attr]
    gone.set()
    assert done.wait(20)
