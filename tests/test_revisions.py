"""Whoever edits a built-in method says whether its numbers change: `revisions.txt` holds both."""

from __future__ import annotations

from revisions import TABLE, text


def test_every_edit_of_a_method_is_accounted_for() -> None:
    now, known = set(text().splitlines()), set(TABLE.read_text(encoding="utf-8").splitlines())
    edited = sorted(line.rsplit(" ", 2)[0] for line in now ^ known)
    advice = "if numbers change, raise the method's revision; then: python tests/revisions.py"
    assert now == known, f"edited: {', '.join(dict.fromkeys(edited))}; {advice}"
