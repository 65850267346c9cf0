"""A paper's sentences as text: Markdown and LaTeX, with what is open marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from results.publish.paper import Part, Said
from results.report.formats import escaped

NOTE = "Made from the tables by mrsweep. Open: what they do not know."
ANSWERS = {"Yes": r"\answerYes{}", "No": r"\answerNo{}", "TODO": r"\answerTODO{}"}
"""As the LaTeX template of the NeurIPS checklist has them."""


def markdown(paragraph: Sequence[Part], checklist: Sequence[Part]) -> str:
    """Return both as Markdown."""
    lines = [f"<!-- {NOTE} -->", ""]
    for part in paragraph:
        lines += [f"**{part.heading}.** {_joined(part.sentences, _plain)}", ""]
    lines += ["## NeurIPS checklist", ""]
    for part in checklist:
        lines += [f"- **{part.heading}**. Answer: {_answer(part.answer)}"]
        lines += [f"  Justification: {_joined(part.sentences, _plain)}"]
    return "\n".join(lines) + "\n"


def latex(paragraph: Sequence[Part], checklist: Sequence[Part]) -> str:
    """Return both as LaTeX; the checklist with the macros of its template."""
    lines = [f"% {NOTE}"]
    for part in paragraph:
        lines += [rf"\paragraph{{{escaped(part.heading)}.}}", _joined(part.sentences, _tex)]
    lines += ["", r"\begin{enumerate}"]
    for part in checklist:
        lines += [
            rf"\item {{\bf {escaped(part.heading)}}}",
            rf"    \item[] Answer: {ANSWERS[part.answer]}",
            rf"    \item[] Justification: {_joined(part.sentences, _tex)}",
        ]
    return "\n".join([*lines, r"\end{enumerate}", ""])


def _joined(sentences: Sequence[Said], form: Callable[[Said], str]) -> str:
    return " ".join(map(form, sentences))


def _answer(answer: str) -> str:
    return "**[OPEN]**" if answer == "TODO" else answer


def _plain(said: Said) -> str:
    return f"**[OPEN: {said.text}]**" if said.open else said.text


def _tex(said: Said) -> str:
    return rf"\textbf{{[OPEN: {escaped(said.text)}]}}" if said.open else escaped(said.text)
