"""The reference of the commands, as Markdown, from the command line itself."""

from __future__ import annotations

from typing import Any

from orchestrator.cli.options import ENVIRONMENT, EXIT_CODES


def commands_markdown(group: Any) -> str:
    """Return every command with its options, for the documents.

    Args:
        group: The command line, as typer makes it.
    """
    parts: list[str] = []
    for name, command in group.commands.items():
        if not command.hidden:
            parts += _command(name, command)
    parts += ["## Exit codes", "", "| code | meaning |", "| --- | --- |"]
    parts += [f"| {code} | {said} |" for code, said in EXIT_CODES.items()]
    parts += ["", "## Environment variables", "", "| variable | meaning |", "| --- | --- |"]
    parts += [f"| `{variable}` | {said} |" for variable, said in ENVIRONMENT.items()]
    return "\n".join([*parts, ""])


def _command(name: str, command: Any) -> list[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    given = [p.metavar or (_name(p) if p.required else f"[{_name(p)}]") for p in arguments]
    shown = [f"## `{name}`", "", f"`{' '.join(['mrsweep', name, *given])}`", "", command.help, ""]
    if command.params:
        shown += ["| given | what it is | default |", "| --- | --- | --- |"]
        shown += [_row(f"`{p.metavar or _name(p)}`", p) for p in arguments]
        shown += [_row(", ".join(f"`{flag}`" for flag in p.opts), p) for p in options] + [""]
    if command.epilog:
        lines = command.epilog.splitlines()[2:]
        shown += ["```console", *(f"$ {line.strip()}" for line in lines), "```", ""]
    return shown


def _name(parameter: Any) -> str:
    return str(parameter.name).upper()


def _row(given: str, parameter: Any) -> str:
    default = "" if parameter.default in (None, False, "") else f"`{parameter.default}`"
    needed = "**needed**" if parameter.required else default
    return f"| {given} | {parameter.help or ''} | {needed} |"
