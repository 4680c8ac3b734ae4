"""Streams on the wire: the bytes that neighbours of other versions must understand."""

from __future__ import annotations

import msgspec
import pytest

from containerizer.messages import ContainerizerMessage, Launch
from containerizer.spec import ContainerSpec
from containerizer.streaming import (
    AttachInput,
    AttachOutput,
    Detach,
    Input,
    InputAttached,
    InputEnded,
    InputTaken,
    Output,
    OutputAttached,
    OutputSource,
    OutputTaken,
    SetWindow,
    StreamEnded,
    WindowSet,
)
from runtime.message import message_types
from runtime.tracing.masking import mask

GOLDEN = (
    (
        AttachOutput(container_id="c", credit_bytes=9, stdout_offset=0, lag_bytes=5),
        {
            "type": "containerizer.AttachOutput",
            "container_id": "c",
            "credit_bytes": 9,
            "stdout_offset": 0,
            "lag_bytes": 5,
        },
    ),
    (
        OutputAttached(container_id="c", stream=1, tty=True),
        {"type": "containerizer.OutputAttached", "container_id": "c", "stream": 1, "tty": True},
    ),
    (AttachInput(container_id="c"), {"type": "containerizer.AttachInput", "container_id": "c"}),
    (
        InputAttached(container_id="c", stream=2, credit_bytes=3),
        {"type": "containerizer.InputAttached", "container_id": "c", "stream": 2, "credit_bytes": 3},
    ),
    (
        Output(stream=1, source=OutputSource.STDERR, data=b"\x00x", offset=7, skipped_bytes=4),
        {
            "type": "containerizer.Output",
            "stream": 1,
            "source": "stderr",
            "data": b"\x00x",
            "offset": 7,
            "skipped_bytes": 4,
        },
    ),
    (OutputTaken(stream=1, size_bytes=2), {"type": "containerizer.OutputTaken", "stream": 1, "size_bytes": 2}),
    (Input(stream=2, data=b"y"), {"type": "containerizer.Input", "stream": 2, "data": b"y"}),
    (InputTaken(stream=2, size_bytes=1), {"type": "containerizer.InputTaken", "stream": 2, "size_bytes": 1}),
    (InputEnded(stream=2), {"type": "containerizer.InputEnded", "stream": 2}),
    (
        SetWindow(container_id="c", rows=24, columns=80),
        {"type": "containerizer.SetWindow", "container_id": "c", "rows": 24, "columns": 80},
    ),
    (WindowSet(container_id="c"), {"type": "containerizer.WindowSet", "container_id": "c"}),
    (Detach(stream=1), {"type": "containerizer.Detach", "stream": 1}),
    (
        StreamEnded(stream=1, reason="why"),
        {"type": "containerizer.StreamEnded", "stream": 1, "reason": "why"},
    ),
    (
        Launch(
            spec=ContainerSpec(id="a.b", sandbox="/s", argv=("x",), interactive=True, tty=True, rows=5), session=True
        ),
        {
            "type": "containerizer.Launch",
            "spec": {"id": "a.b", "sandbox": "/s", "argv": ["x"], "interactive": True, "tty": True, "rows": 5},
            "session": True,
        },
    ),
)


@pytest.mark.parametrize(("message", "fields"), GOLDEN, ids=lambda value: type(value).__name__)
def test_message_is_this_map(message: ContainerizerMessage, fields: dict[str, object]) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message)) == fields
    assert message_types()[str(fields["type"])] is type(message)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(fields), type=type(message)) == message


def test_what_is_typed_and_shown_reaches_no_trace() -> None:
    assert b"hunter2" not in msgspec.msgpack.encode(mask(Input(stream=1, data=b"hunter2")))
    assert b"hunter2" not in msgspec.msgpack.encode(mask(Output(stream=1, source=OutputSource.STDOUT, data=b"hunter2")))
