"""How much memory a call takes for tensors, which Python's own tracing does not see."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from torch.profiler import ProfilerActivity, profile


def peak_tensor_megabytes(contender: Callable[[], object]) -> float:
    """Largest total of CPU tensors that were alive together during one call, beyond those alive before it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        contender()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    steps = [event["args"] for event in sorted(events, key=lambda e: e.get("ts", 0)) if event.get("name") == "[memory]"]
    if not steps:
        return 0.0
    before = steps[0]["Total Allocated"] - steps[0]["Bytes"]  # the counter keeps what earlier profiles left alive
    return (max(step["Total Allocated"] for step in steps) - before) / 1e6
