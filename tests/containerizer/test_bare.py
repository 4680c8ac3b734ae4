"""What the zygote and the inits use in place of modules that cost too much."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from containerizer import bare

SAID = st.recursive(
    st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.dictionaries(st.text(), inner),
)


@given(SAID)
def test_json_is_what_everybody_reads(value: Any) -> None:
    assert json.loads(bare.to_json(value)) == value


def test_text_that_is_no_text_is_written_all_the_same() -> None:
    """File names are bytes, and errors name files."""
    assert json.loads(bare.to_json({"error": "no \udcff"})) == {"error": "no \udcff"}
