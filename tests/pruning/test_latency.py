"""Latency is the median of counted calls."""

import pytest

from medlib.pruning import latency
from medlib.pruning.latency import measure_latency


def test_it_is_the_median_after_a_call_that_is_not_counted(monkeypatch):
    clock, durations = [0.0], iter([100.0, 3.0, 1.0, 2.0])

    def call() -> None:
        clock[0] += next(durations)

    monkeypatch.setattr(latency.time, "perf_counter", lambda: clock[0])
    assert measure_latency(call, repeats=3) == 2.0
    assert next(durations, None) is None


def test_work_on_a_gpu_is_waited_for(monkeypatch):
    events = []
    monkeypatch.setattr(latency.torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(latency.torch.cuda, "synchronize", lambda: events.append("wait"))
    measure_latency(lambda: events.append("call"), repeats=2)
    assert events == ["call", "wait", "call", "wait", "wait", "call", "wait"]


def test_no_calls_have_no_median():
    with pytest.raises(ValueError, match=r"repeats is 0, .* Give 1 or more"):
        measure_latency(lambda: None, repeats=0)
