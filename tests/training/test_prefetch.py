"""What is read ahead, by whom, and what becomes of it."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.clips.prefetch import Prefetch


@settings(max_examples=40)
@given(st.lists(st.integers(0, 6), max_size=12), st.integers(0, 3), st.sets(st.integers(0, 9), max_size=3))
def test_every_step_gets_its_own_result_or_error_however_steps_jump(steps, ahead, failing):
    def make(step):
        if step in failing:
            raise OSError(step)
        return [step]

    with Prefetch(make, ahead) as prefetch:
        for step in steps:
            if step in failing:
                with pytest.raises(OSError, match=str(step)):
                    prefetch.get(step)
            else:
                assert prefetch.get(step) == [step]


def test_the_next_steps_are_made_in_one_thread_while_the_caller_works():
    made, threads, ready = [], set(), threading.Event()

    def make(step):
        made.append(step)
        threads.add(threading.current_thread())
        time.sleep(0.01)  # a second thread would come in here
        if step == 2:
            ready.set()
        return step

    with Prefetch(make, 2) as prefetch:
        assert prefetch.get(0) == 0 and ready.wait(10)
        assert made == [0, 1, 2]  # without another call of get
        assert prefetch.get(1) == 1
    assert made in ([0, 1, 2], [0, 1, 2, 3]) and len(threads) == 1
    assert threading.current_thread() not in threads and not any(thread.is_alive() for thread in threads)


def test_a_jump_drops_what_was_made_ahead():
    jump = 0

    def make(step):
        return step, jump

    with Prefetch(make, 3) as prefetch:
        for jump, step in enumerate((0, 50, 2, 51, 1)):
            assert prefetch.get(step) == (step, jump)
            time.sleep(0.01)  # the three after it are made


def test_nothing_is_made_ahead_without_a_thread_and_waiting_is_measured():
    made, second = [], threading.Event()

    def make(step):
        made.append((step, threading.current_thread()))
        if step == 2:
            second.set()  # step 1 is ready
        time.sleep(0.1)

    with Prefetch(make, 0) as alone:
        alone.get(4)
        assert made == [(4, threading.current_thread())] and alone.waited_s >= 0.1
    with Prefetch(make, 2) as ahead:
        ahead.get(0)
        assert ahead.waited_s >= 0.1 and second.wait(10)
        ahead.get(1)
        assert ahead.waited_s < 0.1


def test_closing_does_not_wait_for_steps_that_were_not_begun():
    made = []

    def make(step):
        made.append(step)
        time.sleep(0.01)

    prefetch = Prefetch(make, 50)
    prefetch.get(0)
    prefetch.close()
    assert len(made) < 25
